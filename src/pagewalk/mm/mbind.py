"""mbind, set_mempolicy_home_node, migrate_pages and move_pages: policies of mappings, and pages that follow.

Mirrors: mm/mempolicy.c (do_mbind, do_migrate_pages), mm/migrate.c (do_pages_move, do_pages_stat) (6.18)
Differs: pages move one by one, not in batches.
"""

import errno
from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

from pagewalk.mm.memory import vm_normal_page
from pagewalk.mm.mempolicy import (
    MPOL_BIND,
    MPOL_DEFAULT,
    MPOL_INTERLEAVE,
    MPOL_PREFERRED_MANY,
    MPOL_WEIGHTED_INTERLEAVE,
    MemPolicy,
    first_node,
    interleave_node,
    mpol_equal,
    mpol_new,
    mpol_set_nodemask,
)
from pagewalk.mm.migrate import is_shared, migratable, migrate_page, page_to_nid
from pagewalk.mm.mm_types import MmStruct
from pagewalk.mm.page import Page, PG_reserved
from pagewalk.mm.pgtable import present_ptes, pte_lookup
from pagewalk.mm.shmem import ShmemSpace, shmem_set_policy
from pagewalk.mm.vma import VM_HUGETLB, VM_IO, VM_PFNMAP, VM_SHARED, Vma
from pagewalk.mm.vma_merge import vma_modify_policy

if TYPE_CHECKING:
    from pagewalk.mm.system import System

MPOL_MF_STRICT: Final = 1
MPOL_MF_MOVE: Final = 2
MPOL_MF_MOVE_ALL: Final = 4
_FAR: Final = 0x7FFF_FFFF_FFFF_F000


def mbind(mm: MmStruct, start: i64, length: i64, mode: int, mode_flags: int, nodes: int, flags: i64) -> int:
    """Gives [start, start + length) a policy; with MPOL_MF_MOVE pages elsewhere move, with MPOL_MF_STRICT they are EIO.

    0, -EINVAL (flags, alignment, mode and nodes), -EPERM (MOVE_ALL without the right), -EFAULT (a hole), -EIO, -ENOMEM.
    """
    system = mm.system
    if flags & ~(MPOL_MF_STRICT | MPOL_MF_MOVE | MPOL_MF_MOVE_ALL):
        return -errno.EINVAL
    if flags & MPOL_MF_MOVE_ALL and not system.current.capable:
        return -errno.EPERM
    if start & ~system.page_mask:
        return -errno.EINVAL
    if mode == MPOL_DEFAULT:
        flags &= ~MPOL_MF_STRICT
    length = system.page_align(length)
    if length == 0:
        return 0
    if unsigned_wraps(start, length):
        return -errno.EINVAL
    end: i64 = range_end(start, length)
    made = mpol_new(system, mode, mode_flags, nodes)
    if isinstance(made, int) and made < 0:
        return made
    new = made if isinstance(made, MemPolicy) else None
    if new is not None:
        failed = mpol_set_nodemask(system, new)
        if failed:
            return failed
    queue = queue_pages_range(mm, start, end, nodes, flags, discontig_ok=new is None)
    if isinstance(queue, int):
        return queue
    found, stuck = queue
    system.has_policies = system.has_policies or new is not None
    error = mbind_range(mm, start, end, new)
    if error:
        return error
    for turn, page in enumerate(found):
        nid = target_node(system, new, turn)
        if migrate_page(system, page, nid):
            stuck += 1
    return -errno.EIO if stuck and flags & MPOL_MF_STRICT else 0


def unsigned_wraps(start: i64, length: i64) -> bool:
    """start + length exceeds 2**64."""
    return (int(start) & 0xFFFF_FFFF_FFFF_FFFF) + (int(length) & 0xFFFF_FFFF_FFFF_FFFF) >= 1 << 64


def range_end(start: i64, length: i64) -> i64:
    """The end of a range, at most what a signed word holds: no mapping reaches that far."""
    if length < 0 or (start >= 0 and start > _FAR - length):
        return _FAR
    return start + length


def target_node(system: "System", pol: MemPolicy | None, turn: int) -> int:
    """Where a page goes that is not where its policy says."""
    if pol is None or not pol.nodes:
        return int(system.node.node_id)
    if pol.mode in (MPOL_INTERLEAVE, MPOL_WEIGHTED_INTERLEAVE):
        return interleave_node(system, pol, turn)
    here = int(system.node.node_id)
    return here if pol.nodes >> here & 1 else first_node(pol.nodes)


def vma_migratable(vma: Vma) -> bool:
    """Its pages are frames that can change."""
    return not vma.vm_flags & (VM_IO | VM_PFNMAP | VM_HUGETLB)


def queue_pages_range(
    mm: MmStruct, start: i64, end: i64, nodes: int, flags: i64, *, discontig_ok: bool
) -> tuple[list[Page], int] | int:
    """Pages of the range that are on none of ``nodes``: those that may move, and how many may not; -EFAULT for a hole,
    -EIO where one that may not is not to be tolerated (STRICT without MOVE)."""
    found: list[Page] = []
    stuck = 0
    at = start
    any_vma = False
    for vma in mm.vmas:
        if vma.vm_end <= start or vma.vm_start >= end:
            continue
        if not discontig_ok and vma.vm_start > at:
            return -errno.EFAULT
        any_vma = True
        at = vma.vm_end
        if not flags & (MPOL_MF_STRICT | MPOL_MF_MOVE | MPOL_MF_MOVE_ALL):
            continue
        if not vma_migratable(vma) and not flags & MPOL_MF_STRICT:
            continue
        for page in mapped_pages(vma, max(start, vma.vm_start), min(end, vma.vm_end)):
            if nodes >> page_to_nid(mm.system, page) & 1:
                continue
            move = flags & (MPOL_MF_MOVE | MPOL_MF_MOVE_ALL) and vma_migratable(vma)
            if move and (flags & MPOL_MF_MOVE_ALL or not is_shared(page)):
                found.append(page)
                continue
            stuck += 1
            if flags & (MPOL_MF_STRICT | MPOL_MF_MOVE | MPOL_MF_MOVE_ALL) == MPOL_MF_STRICT:
                return -errno.EIO
    if not any_vma or (not discontig_ok and at < end):
        return -errno.EFAULT
    return found, stuck


def mapped_pages(vma: Vma, start: i64, end: i64) -> list[Page]:
    """User space's pages that the page table maps in the range."""
    mm = vma.vm_mm
    found = []
    for addr in present_ptes(vma, start, end):
        page = vm_normal_page(mm.system, mm.system.ram.words[pte_lookup(mm, addr)])
        if page is not None and not page.flags & PG_reserved and migratable(page):
            found.append(page)
    return found


def mbind_range(mm: MmStruct, start: i64, end: i64, pol: MemPolicy | None) -> int:
    """Sets the policy of each mapping in the range, splitting and merging; 0 or a negative errno."""
    at = start
    while at < end:
        vma = mm.find_vma(at)
        if vma is None or vma.vm_start >= end:
            return 0
        first: i64 = max(at, vma.vm_start)
        upto: i64 = min(end, vma.vm_end)
        at = upto
        if mpol_equal(vma.vm_policy, pol):
            continue
        target = vma_modify_policy(vma, first, upto, pol)
        if isinstance(target, int):
            return target
        target.vm_policy = pol
        share_policy(target, first, upto, pol)
    return 0


def share_policy(vma: Vma, start: i64, end: i64, pol: MemPolicy | None) -> None:
    """The policy of a mapping of shared memory is the object's."""
    file = vma.vm_file
    if file is not None and vma.vm_flags & VM_SHARED and isinstance(file.mapping, ShmemSpace):
        shmem_set_policy(file.mapping, int(vma.pgoff_of(start)), int(vma.pgoff_of(end)), pol)


def set_home_node(mm: MmStruct, start: i64, length: i64, home_node: int, flags: i64) -> int:
    """set_mempolicy_home_node(2): where BIND and PREFERRED_MANY mappings of the range begin to look.

    0, -EINVAL (alignment, flags, no such node), -EOPNOTSUPP (another mode), -ENOENT (no mapping has a policy).
    """
    system = mm.system
    if start & ~system.page_mask or flags:
        return -errno.EINVAL
    if not 0 <= home_node < len(system.nodes):
        return -errno.EINVAL
    length = system.page_align(length)
    if length == 0:
        return 0
    if unsigned_wraps(start, length):
        return -errno.EINVAL
    end: i64 = range_end(start, length)
    error = -errno.ENOENT
    for vma in [vma for vma in mm.vmas if vma.vm_end > start and vma.vm_start < end]:
        old = vma.vm_policy
        if old is None:
            continue
        if old.mode not in (MPOL_BIND, MPOL_PREFERRED_MANY):
            return -errno.EOPNOTSUPP
        new = old.copy()
        new.home_node = home_node
        error = mbind_range(mm, max(start, vma.vm_start), min(end, vma.vm_end), new)
        if error:
            return error
    return error


def do_migrate_pages(mm: MmStruct, old: int, new: int, *, move_all: bool) -> int:
    """Moves the pages that are on nodes of ``old`` to those of ``new``, in order and round and round; how many could
    not be moved. Where there are not as many of the one as of the other, pages that are on ``new`` already stay."""
    system = mm.system
    targets = [nid for nid in range(new.bit_length()) if new >> nid & 1]
    sources = [nid for nid in range(old.bit_length()) if old >> nid & 1]
    stay = new if len(targets) != len(sources) else 0
    goes = {source: targets[n % len(targets)] for n, source in enumerate(sources) if not stay >> source & 1}
    stuck = 0
    for vma in mm.vmas:
        if not vma_migratable(vma):
            continue
        for page in mapped_pages(vma, vma.vm_start, vma.vm_end):
            nid = page_to_nid(system, page)
            to = goes.get(nid, nid)
            if to == nid:
                continue
            if (is_shared(page) and not move_all) or migrate_page(system, page, to):
                stuck += 1
    return stuck


def page_status(mm: MmStruct, addr: i64) -> int:
    """move_pages(2) without nodes: the node of the page at ``addr``; -EFAULT (no mapping, zero page) or ``no_page``."""
    vma = mm.vma_lookup(addr)
    if vma is None:
        return -errno.EFAULT
    page = page_at(mm, addr)
    if page is None:
        return no_page(vma, addr)
    return -errno.EFAULT if page.flags & PG_reserved else page_to_nid(mm.system, page)


def no_page(vma: Vma, addr: i64) -> int:
    """Why there is no page: -ENOENT; in 6.1 -EFAULT where anonymous memory was never touched."""
    mm = vma.vm_mm
    index = pte_lookup(mm, addr)
    untouched = index < 0 or mm.system.ram.words[index] == 0
    return -errno.EFAULT if mm.system.linux_6_1 and vma.is_anonymous() and untouched else -errno.ENOENT


def page_at(mm: MmStruct, addr: i64) -> Page | None:
    """The page that the page table maps at ``addr``, the zero page too."""
    index = pte_lookup(mm, addr)
    if index < 0:
        return None
    fmt = mm.system.format
    pte: i64 = mm.system.ram.words[index]
    if not (fmt.present.test(pte) or fmt.protnone.test(pte)):
        return None
    return mm.system.page((pte & fmt.pfn_mask) >> fmt.pfn_shift)


def move_one(mm: MmStruct, addr: i64, nid: int, *, move_all: bool) -> int:
    """move_pages(2) with a node: where the page is afterwards, or why it was not moved. ``nid`` has memory."""
    system = mm.system
    vma = mm.vma_lookup(addr)
    if vma is None or not vma_migratable(vma):
        return -errno.EFAULT
    page = page_at(mm, addr)
    if page is None:
        return no_page(vma, addr)
    if page.flags & PG_reserved:
        return -errno.EFAULT
    if page_to_nid(system, page) == nid:
        return nid
    if is_shared(page) and not move_all:
        return -errno.EACCES
    if not migratable(page):
        return -errno.EBUSY
    failed = migrate_page(system, page, nid)
    return failed or nid
