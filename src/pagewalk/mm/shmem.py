"""Memory that lives in no file: tmpfs, memfd, shared anonymous mappings, System V segments.

Mirrors: mm/shmem.c (6.18)
Differs: no huge pages; a page's zone is as for any user page.
"""

import errno
from typing import Final, final

from mypy_extensions import i64

from pagewalk.mm.fault_types import VM_FAULT_MAJOR, VM_FAULT_OOM, VM_FAULT_SIGBUS
from pagewalk.mm.file import F_SEAL_FUTURE_WRITE, F_SEAL_WRITE, FMODE_READ, FMODE_WRITE, AddressSpace, File
from pagewalk.mm.filemap import filemap_map_pages
from pagewalk.mm.gfp import GFP_HIGHUSER_MOVABLE, GFP_ZERO
from pagewalk.mm.mempolicy import MemPolicy, alloc_page_current, alloc_page_mpol
from pagewalk.mm.mmu_gather import unmap_mapping_pages
from pagewalk.mm.page import Page, PG_dirty, PG_swapbacked, PG_unevictable, PG_uptodate
from pagewalk.mm.shmem_swap import shmem_free_swap, shmem_lookup, shmem_swap_major
from pagewalk.mm.system import System
from pagewalk.mm.util import vm_acct_memory, vm_enough_memory, vm_unacct_memory
from pagewalk.mm.vma import VM_MAYWRITE, VM_NORESERVE, VM_SHARED, Vma, VmFault, VmOps

SHMEM_DEV: Final = (0, 1)  # the kernel's internal tmpfs mount, as maps shows it
FALLOC_FL_KEEP_SIZE: Final = 0x1
FALLOC_FL_PUNCH_HOLE: Final = 0x2
MAX_LFS_FILESIZE: Final = 0x7FFF_FFFF_FFFF_FFFF

_ZEROS: Final = bytes(65536)  # of the largest page


@final
class ShmemSpace(AddressSpace):
    """The pages of one shmem object.

    policies    (first page, page behind the last, NUMA policy) that mbind gave parts of it, for all who map it
    accounted   pages promised when it was made (without VM_NORESERVE); others are promised one by one as they come
    """

    def __init__(self, system: System, size: i64, noreserve: bool) -> None:
        super().__init__()
        self.system = system
        self.is_shmem = True
        self.noreserve = noreserve
        self.i_size = size
        self.accounted: i64 = 0 if noreserve else system.nr_pages(size)
        self.policies: list[tuple[int, int, MemPolicy]] = []

    def read_folio(self, index: i64, into: memoryview) -> int:
        """A hole reads as zeros."""
        into[:] = _ZEROS[: len(into)]
        return 0


def shmem_file_setup(system: System, name: str, size: i64, noreserve: bool) -> "ShmemFile | int":
    """A new unlinked object of ``size`` bytes, shown as ``name`` (deleted); or -EINVAL, -ENOMEM."""
    if size < 0:
        return -errno.EINVAL
    whole = size <= MAX_LFS_FILESIZE - system.page_size + 1
    pages: i64 = system.nr_pages(size) if whole else (size >> system.page_shift) + 1
    if not noreserve:
        if not vm_enough_memory(system, pages):
            return -errno.ENOMEM
        vm_acct_memory(system, pages)
    system.nr_shmem_inodes += 1
    return ShmemFile(system, f"{name} (deleted)", ShmemSpace(system, size, noreserve), system.nr_shmem_inodes)


def shmem_get_page(system: System, mapping: AddressSpace, index: i64) -> Page | None:
    """The page at ``index``, a new zeroed one where there is none yet; None where memory or the promise is short.

    A page that fallocate(2) made counts as present (PG_uptodate) only now, when it is asked for.
    """
    page = shmem_lookup(system, mapping, index)
    if page is not None:
        page.flags |= PG_uptodate
        return page
    if index in mapping.swapped:
        return None
    if mapping.noreserve:
        if not vm_enough_memory(system, 1):
            return None
        vm_acct_memory(system, 1)
    page = shmem_alloc_page(system, mapping, index)
    if page is None:
        if mapping.noreserve:
            vm_unacct_memory(system, 1)
        return None
    page.mapping = mapping
    page.index = index
    page.flags |= PG_swapbacked | PG_uptodate
    mapping.i_pages[index] = page
    if mapping.unevictable:
        page.flags |= PG_unevictable
        system.vmstat.unevictable_pgs_culled += 1
    system.node.folio_lruvec(page).add(page)
    system.vmstat.nr_file_pages += 1
    system.vmstat.nr_shmem += 1
    return page


def shmem_alloc_page(system: System, mapping: AddressSpace, index: i64) -> Page | None:
    """A frame for a page of shared memory, by the policy that the object has there, or the task's."""
    gfp: i64 = GFP_HIGHUSER_MOVABLE | GFP_ZERO
    if system.has_policies and isinstance(mapping, ShmemSpace):
        for start, end, policy in mapping.policies:
            if start <= index < end:
                return alloc_page_mpol(system, policy, gfp, int(index))
    return alloc_page_current(system, gfp)


def shmem_set_policy(mapping: ShmemSpace, start: int, end: int, policy: MemPolicy | None) -> None:
    """Pages [start, end) of the object get a policy, or none (mpol_set_shared_policy)."""
    left = []
    for first, behind, old in mapping.policies:
        left += [(a, b, old) for a, b in ((first, min(behind, start)), (max(first, end), behind)) if a < b]
    if policy is not None:
        left.append((start, end, policy))
    mapping.policies = left


def shmem_delete_page(system: System, mapping: AddressSpace, index: i64) -> None:
    """Takes a page out of the object."""
    page = mapping.i_pages.pop(index)
    page.mapping = None
    system.vmstat.nr_file_pages -= 1
    system.vmstat.nr_shmem -= 1
    if mapping.noreserve:
        vm_unacct_memory(system, 1)
    system.node.put_page(page)


def shmem_read(system: System, mapping: AddressSpace, pos: i64, count: i64) -> bytes | int:
    """Up to ``count`` bytes from ``pos``; holes read as zeros and stay holes."""
    end: i64 = mapping.i_size if count > mapping.i_size - pos else pos + count
    parts: list[bytes] = []
    while pos < end:
        start: i64 = pos & ~system.page_mask
        stop: i64 = min(system.page_size, start + end - pos)
        page = shmem_lookup(system, mapping, pos >> system.page_shift)
        parts.append(_ZEROS[start:stop] if page is None else bytes(system.ram.page(page.pfn)[start:stop]))
        pos += stop - start
    return b"".join(parts)


def shmem_write(system: System, mapping: AddressSpace, pos: i64, data: bytes) -> int:
    """Writes, growing the object; bytes written, or -EPERM (sealed), -ENOSPC."""
    if mapping.seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE):
        return -errno.EPERM
    if mapping.seals & 0x4 and pos + len(data) > mapping.i_size:
        return -errno.EPERM
    done: i64 = 0
    total: i64 = len(data)
    while done < total:
        start: i64 = (pos + done) & ~system.page_mask
        size: i64 = min(system.page_size - start, total - done)
        page = shmem_get_page(system, mapping, (pos + done) >> system.page_shift)
        if page is None:
            return int(done) if done else -errno.ENOSPC
        system.ram.page(page.pfn)[start : start + size] = data[done : done + size]
        system.ram.stored_to(page.pfn)
        page.flags |= PG_dirty
        done += size
        if pos + done > mapping.i_size:
            mapping.i_size = pos + done
    return int(done)


def shmem_truncate(system: System, mapping: AddressSpace, new_size: i64) -> int:
    """Sets the length; pages beyond it go. 0, or -EPERM (sealed), -ENOMEM."""
    old_size = mapping.i_size
    if (new_size < old_size and mapping.seals & 0x2) or (new_size > old_size and mapping.seals & 0x4):
        return -errno.EPERM
    if isinstance(mapping, ShmemSpace) and not mapping.noreserve:
        grown: i64 = system.nr_pages(new_size) - mapping.accounted
        if grown > 0 and not vm_enough_memory(system, grown):
            return -errno.ENOMEM
        vm_acct_memory(system, grown)
        mapping.accounted += grown
    mapping.i_size = new_size
    if new_size <= old_size:  # at its own length, too: fallocate(2) may have put pages beyond
        first: i64 = system.nr_pages(new_size)
        unmap_mapping_pages(mapping, first, (1 << 51) - 1, even_cows=True)
        for index in [index for index in mapping.i_pages if index >= first]:
            shmem_delete_page(system, mapping, index)
        shmem_free_swap(system, mapping, first, 1 << 52)
        zero_part(system, mapping, new_size, system.page_align(new_size))
    return 0


def shmem_punch_hole(system: System, mapping: AddressSpace, start: i64, end: i64) -> None:
    """Frees the whole pages of [start, end) bytes and zeroes the parts of pages at its ends."""
    first: i64 = system.nr_pages(start)
    last: i64 = end >> system.page_shift
    if first < last:
        unmap_mapping_pages(mapping, first, last - 1, even_cows=False)
        for index in [index for index in mapping.i_pages if first <= index < last]:
            shmem_delete_page(system, mapping, index)
        shmem_free_swap(system, mapping, first, last)
    elif last == 0:
        # The last page to unmap is -1 then, which Linux takes for the end of the file.
        unmap_mapping_pages(mapping, first, (1 << 51) - 1, even_cows=False)
    if first > last:
        zero_part(system, mapping, start, end)
    else:
        zero_part(system, mapping, start, first << system.page_shift)
        zero_part(system, mapping, last << system.page_shift, end)


def zero_part(system: System, mapping: AddressSpace, start: i64, end: i64) -> None:
    """Zeroes bytes [start, end), which lie within one page, where that page exists."""
    page = shmem_lookup(system, mapping, start >> system.page_shift) if start < end else None
    if page is not None:
        low: i64 = start & ~system.page_mask
        system.ram.page(page.pfn)[low : low + end - start] = _ZEROS[: end - start]
        page.flags |= PG_dirty


def shmem_evict(system: System, mapping: AddressSpace) -> None:
    """The object is gone: frees its pages and takes its promise back."""
    for index in list(mapping.i_pages):
        shmem_delete_page(system, mapping, index)
    shmem_free_swap(system, mapping, 0, 1 << 52)
    system.shmem_swaplist.pop(id(mapping), None)
    if isinstance(mapping, ShmemSpace):
        vm_unacct_memory(system, mapping.accounted)
        mapping.accounted = 0
    mapping.i_size = 0


@final
class ShmemVmOps(VmOps):
    """shmem_vm_ops, and shmem_anon_vm_ops for shared anonymous memory."""

    def __init__(self) -> None:
        super().__init__()
        self.has_map_pages = True

    def fault(self, vmf: VmFault) -> i64:
        """shmem_fault."""
        vma = vmf.vma
        assert vma.vm_file is not None and vma.vm_file.mapping is not None
        mapping = vma.vm_file.mapping
        if vmf.pgoff >= vma.vm_mm.system.nr_pages(mapping.i_size):
            return VM_FAULT_SIGBUS
        major = shmem_swap_major(vma.vm_mm.system, mapping, vmf.pgoff)
        page = shmem_get_page(vma.vm_mm.system, mapping, vmf.pgoff)
        if page is None:  # a promise that is refused is ENOSPC, and that a SIGBUS
            refused = mapping.noreserve and not vm_enough_memory(vma.vm_mm.system, 1)
            return VM_FAULT_SIGBUS if refused else VM_FAULT_OOM
        page.refcount += 1
        vmf.page = page
        if major:
            vma.vm_mm.system.vmstat.pgmajfault += 1
            return VM_FAULT_MAJOR
        return 0

    def map_pages(self, vmf: VmFault, start_pgoff: i64, end_pgoff: i64) -> bool:
        """filemap_map_pages."""
        return filemap_map_pages(vmf, start_pgoff, end_pgoff)


SHMEM_VM_OPS: Final = ShmemVmOps()


def shmem_mmap(file: File, vma: Vma) -> int:
    """The mmap method of tmpfs, memfd and shared anonymous memory."""
    assert file.mapping is not None
    if file.mapping.seals & (F_SEAL_FUTURE_WRITE | F_SEAL_WRITE) and vma.vm_flags & VM_SHARED:
        if vma.vm_flags & 0x2:
            return -errno.EPERM
        vma.vm_flags &= ~VM_MAYWRITE
    vma.vm_ops = SHMEM_VM_OPS
    return 0


@final
class ShmemFile(File):
    """A file of the kernel's own tmpfs mount: shared anonymous memory and System V segments."""

    def __init__(self, system: System, path: str, space: ShmemSpace, inode: int) -> None:
        super().__init__(path, FMODE_READ | FMODE_WRITE)
        self.system = system
        self.mapping = space
        self.st_dev = SHMEM_DEV
        self.st_ino = inode
        slab = system.slab
        for cache in (slab.filp, slab.dentry, slab.shmem_inode_cache):
            cache.alloc()

    def can_mmap(self) -> bool:
        """Always."""
        return True

    def mmap(self, vma: Vma) -> int:
        """As tmpfs."""
        return shmem_mmap(self, vma)

    def fallocate(self, mode: int, offset: int, length: int) -> int:
        """Punches a hole, which is all that madvise(2) asks for."""
        if mode != FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE:
            return -errno.EOPNOTSUPP
        assert self.mapping is not None
        shmem_punch_hole(self.system, self.mapping, offset, offset + length)
        return 0

    def release(self) -> None:
        """Nobody can reach the object any more."""
        assert self.mapping is not None
        shmem_evict(self.system, self.mapping)
        slab = self.system.slab
        for cache in (slab.filp, slab.dentry, slab.shmem_inode_cache):
            cache.free()


def shmem_zero_setup(vma: Vma) -> int:
    """Backs a shared anonymous mapping with a new object ("/dev/zero (deleted)"); 0 or -ENOMEM."""
    system = vma.vm_mm.system
    size = vma.vm_end - vma.vm_start
    file = shmem_file_setup(system, "/dev/zero", size, vma.vm_flags & VM_NORESERVE != 0)
    if isinstance(file, int):
        return file
    vma.vm_file = file
    vma.vm_ops = SHMEM_VM_OPS
    return 0
