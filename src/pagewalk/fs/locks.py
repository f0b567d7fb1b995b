"""Locks on files: flock(2), and fcntl(2)'s record locks, of processes and of open files.

A lock that is in somebody's way answers WOULD_BLOCK: the caller waits in ``FileLockContext.wait`` and asks again.

Sources: flock(2), fcntl(2) (F_SETLK, F_OFD_SETLK).

Mirrors: fs/locks.c (6.18)
Differs: whoever waits is told of every change and looks for himself, in the order in which he came; no leases.
"""

import errno
from typing import TYPE_CHECKING, Final, final

from pagewalk.fs.file import WOULD_BLOCK
from pagewalk.fs.wait import WaitQueueHead

if TYPE_CHECKING:
    from pagewalk.fs.file import VfsFile
    from pagewalk.fs.inode import Inode

F_RDLCK: Final = 0
F_WRLCK: Final = 1
F_UNLCK: Final = 2
OFFSET_MAX: Final = (1 << 63) - 1

# The kinds of lock.
POSIX: Final = "POSIX "
OFDLCK: Final = "OFDLCK"
FLOCK: Final = "FLOCK "

MAX_DEADLK_ITERATIONS: Final = 10


@final
class FileLock:
    """struct file_lock: bytes ``start`` to ``end`` (inclusive) are locked for ``kind`` (F_RDLCK, F_WRLCK).

    owner  the descriptor table of a process, or an open file; pid: who it is to others, -1 for an open file's record
           lock; what: POSIX, OFDLCK or FLOCK
    seq    when it came into the machine's list, 0 while it is in none; what a change leaves of a lock keeps its place
    """

    def __init__(self, owner: object, pid: int, kind: int, start: int, end: int, what: str = POSIX) -> None:
        self.owner = owner
        self.pid = pid
        self.kind = kind
        self.start = start
        self.end = end
        self.what = what
        self.seq = 0

    def overlaps(self, other: "FileLock") -> bool:
        """Whether they share a byte."""
        return self.start <= other.end and other.start <= self.end

    def conflicts(self, other: "FileLock") -> bool:
        """posix_locks_conflict: somebody else's, on the same bytes, and one of the two writes."""
        return (
            self.owner is not other.owner and (self.kind == F_WRLCK or other.kind == F_WRLCK) and self.overlaps(other)
        )

    def part(self, start: int, end: int) -> "FileLock":
        """The same lock of other bytes."""
        other = FileLock(self.owner, self.pid, self.kind, start, end, self.what)
        other.seq = self.seq
        return other


@final
class Waiter:
    """A process that waits for ``lock``, in the way of which is ``blocker``."""

    def __init__(self, lock: FileLock, blocker: FileLock) -> None:
        self.lock = lock
        self.blocker = blocker


@final
class FileLockContext:
    """struct file_lock_context of one inode.

    inode    whose locks these are; table: the machine's
    flocks   by open file; posix: owners in the order in which they came, the locks of one together and by offset
    wait     who waits for any of them
    """

    def __init__(self, inode: "Inode", table: "LockTable") -> None:
        self.inode = inode
        self.table = table
        self.flocks: list[FileLock] = []
        self.posix: list[FileLock] = []
        self.wait = WaitQueueHead()

    # flock(2).

    def flock(self, file: "VfsFile", kind: int, pid: int) -> int:
        """Locks (F_RDLCK shared, F_WRLCK exclusive) or unlocks for an open file of process ``pid``: 0 or WOULD_BLOCK.

        Changing the kind gives the old lock up first, even where the new one then has to wait.
        """
        mine: FileLock | None = None
        for lock in self.flocks:
            if lock.owner is file:
                mine = lock
        if mine is not None:
            if mine.kind == kind:
                return 0
            self.flocks.remove(mine)
            self.wait.wake_up(0, 0)
        if kind == F_UNLCK:
            return 0
        wanted = flock_lock(file, kind, pid)
        if self.flock_conflict(wanted) is not None:
            return WOULD_BLOCK
        wanted.seq = self.table.new_seq(self)
        self.flocks.append(wanted)
        return 0

    def flock_conflict(self, wanted: FileLock) -> FileLock | None:
        """The first lock that is in the way of a flock."""
        for lock in self.flocks:
            if lock.conflicts(wanted):
                return lock
        return None

    # fcntl(2).

    def conflict(self, wanted: FileLock) -> FileLock | None:
        """The first lock that is in the way (F_GETLK)."""
        for lock in self.posix:
            if lock.conflicts(wanted):
                return lock
        return None

    def set_lock(self, wanted: FileLock) -> int:
        """Locks, or unlocks for F_UNLCK, the bytes of ``wanted`` for its owner: 0 or WOULD_BLOCK."""
        if wanted.kind != F_UNLCK and self.conflict(wanted) is not None:
            return WOULD_BLOCK
        mine: list[FileLock] = []
        at = -1
        others: list[FileLock] = []
        for lock in self.posix:
            if lock.owner is not wanted.owner:
                others.append(lock)
                continue
            if at < 0:
                at = len(others)
            mine.append(lock)
        kept = without(mine, wanted)
        changed = len(kept) != len(mine) or not same_objects(kept, mine)
        if wanted.kind != F_UNLCK:
            wanted.seq = reused_seq(mine, wanted) or self.table.new_seq(self)
            kept = merged(kept, wanted)
        for lock in kept:
            if lock.seq == 0:
                lock.seq = self.table.new_seq(self)
        if at < 0:
            at = len(others)
        self.posix = others[:at] + kept + others[at:]
        if changed:
            self.wait.wake_up(0, 0)
        return 0

    def remove_owner(self, owner: object) -> None:
        """All of an owner's locks go."""
        kept = [lock for lock in self.posix if lock.owner is not owner]
        flocks = [lock for lock in self.flocks if lock.owner is not owner]
        if len(kept) != len(self.posix) or len(flocks) != len(self.flocks):
            self.posix = kept
            self.flocks = flocks
            self.wait.wake_up(0, 0)


def same_objects(one: list[FileLock], other: list[FileLock]) -> bool:
    """Whether two lists of the same length hold the same locks."""
    return all(one[at] is other[at] for at in range(len(one)))


def without(locks: list[FileLock], hole: FileLock) -> list[FileLock]:
    """The locks, by offset, less the bytes of ``hole``."""
    kept: list[FileLock] = []
    for lock in locks:
        if not lock.overlaps(hole):
            kept.append(lock)
            continue
        if lock.start < hole.start:
            left = lock.part(lock.start, hole.start - 1)
            if lock.end > hole.end:
                left.seq = 0  # of a lock that falls apart, the right half is the old one
            kept.append(left)
        if lock.end > hole.end:
            kept.append(lock.part(hole.end + 1, lock.end))
    return kept


def reused_seq(mine: list[FileLock], wanted: FileLock) -> int:
    """The place in the machine's list that a new lock takes over from an owner's old one, which it extends; 0 where it
    is new there."""
    for lock in mine:
        if lock.kind == wanted.kind:
            if lock.start <= wanted.end + (wanted.end != OFFSET_MAX) and wanted.start <= lock.end + (
                lock.end != OFFSET_MAX
            ):
                return lock.seq
        elif wanted.start <= lock.start and lock.end <= wanted.end:
            return 0
    return 0


def merged(locks: list[FileLock], new: FileLock) -> list[FileLock]:
    """The locks, by offset, with ``new``, which overlaps none of them; neighbours of the same kind become one."""
    start, end = new.start, new.end
    before: list[FileLock] = []
    after: list[FileLock] = []
    for lock in locks:
        if lock.kind == new.kind and lock.end == start - 1:
            start = lock.start
        elif lock.kind == new.kind and end != OFFSET_MAX and lock.start == end + 1:
            end = lock.end
        elif lock.start < start:
            before.append(lock)
        else:
            after.append(lock)
    return [*before, new.part(start, end), *after]


@final
class LockTable:
    """The locks of a machine (file_lock_list), and who waits for them (blocked_hash).

    contexts  of the inodes that have locks, or had some; last_seq: of the newest lock
    """

    def __init__(self) -> None:
        self.waiters: list[Waiter] = []
        self.contexts: list[FileLockContext] = []
        self.last_seq = 0

    def new_seq(self, context: FileLockContext) -> int:
        """The place of a new lock of ``context`` in the list."""
        if context not in self.contexts:
            self.contexts = [other for other in self.contexts if other.flocks or other.posix]
            self.contexts.append(context)
        self.last_seq += 1
        return self.last_seq

    def all_locks(self) -> list[tuple[FileLock, "Inode"]]:
        """Every lock with its inode, the newest first."""
        found = [(lock, context.inode) for context in self.contexts for lock in context.flocks + context.posix]
        found.sort(key=newest_first)
        return found

    def waiting_for(self, lock: FileLock) -> list[FileLock]:
        """What others want and ``lock`` is in the way of, in the order in which they came."""
        return [waiter.lock for waiter in self.waiters if waiter.blocker.seq == lock.seq]

    def would_deadlock(self, owner: object, blocker: object) -> bool:
        """Whether ``blocker`` waits, perhaps through others, for ``owner``."""
        for _ in range(MAX_DEADLK_ITERATIONS):
            if blocker is owner:
                return True
            found: Waiter | None = None
            for waiter in self.waiters:
                if waiter.lock.what == POSIX and waiter.lock.owner is blocker:
                    found = waiter
                    break
            if found is None:
                return False
            blocker = found.blocker.owner
        return False


def newest_first(entry: "tuple[FileLock, Inode]") -> int:
    """For sorting."""
    return -entry[0].seq


def flock_lock(file: "VfsFile", kind: int, pid: int) -> FileLock:
    """What flock(2) of an open file by process ``pid`` is as a lock."""
    return FileLock(file, pid, kind, 0, OFFSET_MAX, FLOCK)


def lock_context(table: LockTable, inode: "Inode") -> FileLockContext:
    """The inode's locks, made at the first use."""
    if inode.i_flctx is None:
        inode.i_flctx = FileLockContext(inode, table)
    return inode.i_flctx


def range_of(start: int, length: int, base: int) -> tuple[int, int] | int:
    """(first, last) byte that a struct flock means, relative to ``base``. EINVAL: before the file. EOVERFLOW."""
    if start > OFFSET_MAX - base:
        return -errno.EOVERFLOW
    start += base
    if start < 0:
        return -errno.EINVAL
    if length > 0:
        if length - 1 > OFFSET_MAX - start:
            return -errno.EOVERFLOW
        return start, start + length - 1
    if length < 0:
        return -errno.EINVAL if start + length < 0 else (start + length, start - 1)
    return start, OFFSET_MAX
