"""shmctl(SHM_LOCK) and SHM_UNLOCK: a segment whose pages stay in memory.

A locked segment counts against RLIMIT_MEMLOCK of who has locked it, per user and apart from what mlock(2) counts. Pages
that it gets from then on are unevictable at once, those it has already when reclaim meets them.

Sources: shmctl(2), mlock(2), getrlimit(2).

Mirrors: ipc/shm.c (shmctl_do_lock), mm/shmem.c (shmem_lock), mm/mlock.c (user_shm_lock),
mm/vmscan.c (check_move_unevictable_folios) (6.18)
Differs: nothing.
"""

import errno
from typing import TYPE_CHECKING

from pagewalk.kernel.shm import SHM_LOCKED, Segment, nr_pages
from pagewalk.mm.current import RLIMIT_MEMLOCK
from pagewalk.mm.swap import check_move_unevictable_folio

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task


def shm_lock(task: "Task", segment: Segment) -> int:
    """SHM_LOCK: 0; -EPERM for who neither owns the segment nor may lock anything, -ENOMEM above his limit."""
    owner = task.euid in (segment.uid, segment.cuid)
    if not task.capable and (not owner or task.rlim_cur[RLIMIT_MEMLOCK] == 0):
        return -errno.EPERM
    mapping = segment.mapping()
    if mapping.unevictable:
        return 0
    ns = task.kernel.shm
    pages = nr_pages(ns.system, segment.size)
    locked = ns.locked.get(task.uid, 0) + pages
    if locked > task.rlimit(RLIMIT_MEMLOCK) >> int(ns.system.page_shift) and not task.capable:
        return -errno.ENOMEM
    ns.locked[task.uid] = locked
    segment.locked_by = task.uid
    segment.mode |= SHM_LOCKED
    mapping.unevictable = True
    return 0


def shm_unlock(task: "Task", segment: Segment) -> int:
    """SHM_UNLOCK: 0, or -EPERM for who does not own the segment."""
    if not task.capable and task.euid not in (segment.uid, segment.cuid):
        return -errno.EPERM
    if not segment.mode & SHM_LOCKED:
        return 0
    segment.mode &= ~SHM_LOCKED
    task.kernel.shm.release_lock(segment)
    system = task.kernel.system
    for page in segment.mapping().i_pages.values():
        check_move_unevictable_folio(system, page)
    return 0
