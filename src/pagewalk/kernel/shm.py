"""System V shared memory: segments by id and key, attached as shared mappings.

Mirrors: ipc/shm.c, ipc/util.c (6.18)
Differs: ids count up from 0 and are not reused; SHM_HUGETLB finds empty pools (ENOMEM); permissions are root's.
"""

import errno
from typing import Final, final

from mypy_extensions import i64

from pagewalk.mm.file import FMODE_READ, FMODE_WRITE, AddressSpace, File
from pagewalk.mm.hugetlb import huge_page_shifts
from pagewalk.mm.mm_types import MmStruct
from pagewalk.mm.mmap import vm_mmap
from pagewalk.mm.mmap_flags import MAP_FIXED, MAP_SHARED, PROT_EXEC, PROT_READ, PROT_WRITE
from pagewalk.mm.munmap import do_munmap
from pagewalk.mm.shmem import SHMEM_DEV, SHMEM_VM_OPS, ShmemFile, shmem_file_setup
from pagewalk.mm.system import System
from pagewalk.mm.vma import Vma, VmFault, VmOps

IPC_PRIVATE: Final = 0
IPC_CREAT: Final = 0o1000
IPC_EXCL: Final = 0o2000
SHM_HUGETLB: Final = 0o4000
SHM_NORESERVE: Final = 0o10000
SHM_RDONLY: Final = 0o10000
SHM_RND: Final = 0o20000
SHM_REMAP: Final = 0o40000
SHM_EXEC: Final = 0o100000
SHM_DEST: Final = 0o1000
SHM_LOCKED: Final = 0o2000

SHMMAX: Final = (1 << 64) - 1 - (1 << 24)
SHMALL: Final = (1 << 64) - 1 - (1 << 24)
SHMMNI: Final = 4096


def nr_pages(system: System, size: int) -> int:
    """Pages that ``size`` bytes take; ``size`` is unsigned."""
    return (size + int(system.page_size) - 1) >> int(system.page_shift)


@final
class Segment:
    """struct shmid_kernel.

    nattch          attachments; a segment marked SHM_DEST goes with the last one
    atime, dtime, ctime  seconds since 1970 of the last attach, detach, change; cpid, lpid: who made it, who last used
    it
    locked_by    the user for whom it counts as locked (SHM_LOCK), -1 for none
    """

    def __init__(self, ident: int, key: int, file: ShmemFile, size: int, mode: int, cpid: int, now: int) -> None:
        self.ident = ident
        self.key = key
        self.file = file
        self.size = size
        self.mode = mode
        self.uid = 0
        self.gid = 0
        self.cuid = 0
        self.cgid = 0
        self.nattch = 0
        self.atime = 0
        self.dtime = 0
        self.ctime = now
        self.cpid = cpid
        self.lpid = 0
        self.locked_by = -1

    def mapping(self) -> AddressSpace:
        """The segment's pages."""
        assert self.file.mapping is not None
        return self.file.mapping


@final
class ShmNamespace:
    """All segments of a machine.

    locked  pages that each user has locked with SHM_LOCK
    """

    def __init__(self, system: System) -> None:
        self.system = system
        self.segments: dict[int, Segment] = {}
        self.next_id = 0
        self.locked: dict[int, int] = {}

    def get(self, key: int, size: int, flags: int, pid: int, now: int) -> int:
        """shmget(2): an id, or -ENOENT, -EEXIST, -EINVAL (size), -ENOSPC, -ENOMEM. ``size``: unsigned bytes."""
        if key != IPC_PRIVATE:
            for segment in self.segments.values():
                if segment.key == key:
                    return self._existing(segment, size, flags)
            if not flags & IPC_CREAT:
                return -errno.ENOENT
        return self._create(key, size, flags, pid, now)

    def _existing(self, segment: Segment, size: int, flags: int) -> int:
        if flags & IPC_CREAT and flags & IPC_EXCL:
            return -errno.EEXIST
        return -errno.EINVAL if segment.size < size else segment.ident

    def _create(self, key: int, size: int, flags: int, pid: int, now: int) -> int:
        if size < 1 or size > SHMMAX:
            return -errno.EINVAL
        system = self.system
        pages = nr_pages(system, size)
        if pages > SHMALL or sum(nr_pages(system, s.size) for s in self.segments.values()) + pages > SHMALL:
            return -errno.ENOSPC
        if flags & SHM_HUGETLB:
            shift = (flags >> 26) & 0x3F
            known = shift == 0 or shift in huge_page_shifts(self.system.config)
            return -errno.ENOMEM if known else -errno.EINVAL
        if len(self.segments) >= SHMMNI:
            return -errno.ENOSPC
        if size >> 63:
            return -errno.EINVAL
        noreserve = flags & SHM_NORESERVE != 0 and self.system.config.overcommit_memory != 2
        file = shmem_file_setup(self.system, f"/SYSV{key & 0xFFFF_FFFF:08x}", size, noreserve)
        if isinstance(file, int):
            return file
        ident = self.next_id
        self.next_id += 1
        file.st_ino = ident
        self.segments[ident] = Segment(ident, key, file, size, flags & 0o777, pid, now)
        return ident

    def find(self, ident: int) -> Segment | None:
        """The segment with this id."""
        return self.segments.get(ident)

    def destroy_if_unused(self, segment: Segment) -> None:
        """Frees a segment that is marked and has no attachment left."""
        if segment.nattch == 0 and segment.mode & SHM_DEST and segment.ident in self.segments:
            del self.segments[segment.ident]
            self.release_lock(segment)
            segment.file.put()

    def release_lock(self, segment: Segment) -> None:
        """A locked segment counts no more for who has locked it (user_shm_unlock)."""
        if segment.locked_by >= 0:
            self.locked[segment.locked_by] -= nr_pages(self.system, segment.size)
            segment.locked_by = -1
            segment.mapping().unevictable = False

    def proc_lines(self) -> str:
        """The lines of /proc/sysvipc/shm below its heading."""
        out = ""
        for segment in self.segments.values():
            out += (
                f"{segment.key:10d} {segment.ident:10d}  {segment.mode:4o} {segment.size:21d} {segment.cpid:5d} "
                f"{segment.lpid:5d}  {segment.nattch:5d} {segment.uid:5d} {segment.gid:5d} {segment.cuid:5d} "
                f"{segment.cgid:5d} {segment.atime:10d} {segment.dtime:10d} {segment.ctime:10d} "
                f"{len(segment.mapping().i_pages) << 12:21d} {len(segment.mapping().swapped) << 12:21d}\n"
            )
        return out

    def remove(self, segment: Segment) -> None:
        """shmctl(IPC_RMID): no key finds it any more; it goes with its last attachment."""
        segment.mode |= SHM_DEST
        segment.key = IPC_PRIVATE
        self.destroy_if_unused(segment)


@final
class ShmVmOps(VmOps):
    """shm_vm_ops: shared memory's without its fault-around, and counting attachments."""

    def __init__(self, ns: ShmNamespace, segment: Segment) -> None:
        super().__init__()
        self.ns = ns
        self.segment = segment
        self.has_close = True

    def fault(self, vmf: VmFault) -> i64:
        """As shared memory."""
        return SHMEM_VM_OPS.fault(vmf)

    def open(self, vma: Vma) -> None:
        """One attachment more."""
        self.segment.nattch += 1

    def close(self, vma: Vma) -> None:
        """One attachment less."""
        self.segment.nattch -= 1
        self.ns.destroy_if_unused(self.segment)


@final
class ShmFile(File):
    """What one shmat opens: the segment with the rights of that attachment."""

    def __init__(self, ns: ShmNamespace, segment: Segment, f_mode: int) -> None:
        super().__init__(segment.file.path, f_mode)
        self.ops = ShmVmOps(ns, segment)
        self.segment = segment
        self.mapping = segment.mapping()
        self.st_dev = SHMEM_DEV
        self.st_ino = segment.ident

    def can_mmap(self) -> bool:
        """Always."""
        return True

    def mmap(self, vma: Vma) -> int:
        """shm_mmap."""
        vma.vm_ops = self.ops
        self.segment.nattch += 1
        return 0

    def fallocate(self, mode: int, offset: int, length: int) -> int:
        """MADV_REMOVE reaches the segment's pages."""
        return self.segment.file.fallocate(mode, offset, length)


def do_shmat(ns: ShmNamespace, mm: MmStruct, ident: int, addr: int, flags: int, pid: int, now: int) -> int:
    """shmat(2): the address, or -EINVAL, -ENOMEM."""
    map_flags = MAP_SHARED
    if ident < 0:
        return -errno.EINVAL
    if addr:
        if addr & (mm.system.page_size - 1):
            if not flags & SHM_RND:
                return -errno.EINVAL
            addr &= mm.system.page_mask
            if addr == 0 and flags & SHM_REMAP:
                return -errno.EINVAL
        map_flags |= MAP_FIXED
    elif flags & SHM_REMAP:
        return -errno.EINVAL
    prot = PROT_READ if flags & SHM_RDONLY else PROT_READ | PROT_WRITE
    if flags & SHM_EXEC:
        prot |= PROT_EXEC
    segment = ns.find(ident)
    if segment is None:
        return -errno.EINVAL
    size = nr_pages(mm.system, segment.size) << int(mm.system.page_shift)
    if addr and not flags & SHM_REMAP:
        if addr < 0 <= addr + size:  # wraps around the end of the address space
            return -errno.EINVAL
        if addr > 0 and mm.find_vma_intersection(addr, addr + size) is not None:
            return -errno.EINVAL
    segment.nattch += 1  # held while it is mapped
    file = ShmFile(ns, segment, FMODE_READ if flags & SHM_RDONLY else FMODE_READ | FMODE_WRITE)
    result = int(vm_mmap(mm, file, addr, segment.size, prot, map_flags, 0))
    file.put()
    segment.nattch -= 1
    if result >= 0:
        segment.atime = now
        segment.lpid = pid
    ns.destroy_if_unused(segment)
    return result


def do_shmdt(mm: MmStruct, addr: int, pid: int, now: int) -> int:
    """shmdt(2): 0, or -EINVAL where nothing is attached at ``addr``. Unmaps all that is left of the attachment."""
    if addr & (mm.system.page_size - 1):
        return -errno.EINVAL
    if addr < 0 or addr >= mm.task_size:
        return -errno.EINVAL
    file: File | None = None
    size = 0
    for vma in mm.vmas_in(addr, mm.task_size):
        ops = vma.vm_ops
        if not isinstance(ops, ShmVmOps) or (vma.vm_start - addr) >> mm.system.page_shift != vma.vm_pgoff:
            continue
        if file is None:
            file = vma.vm_file
            size = nr_pages(mm.system, ops.segment.size) << int(mm.system.page_shift)
            ops.segment.dtime = now
            ops.segment.lpid = pid
        elif vma.vm_file is not file or vma.vm_end - addr > size:
            continue
        do_munmap(mm, vma.vm_start, vma.vm_end)
    return 0 if file is not None else -errno.EINVAL
