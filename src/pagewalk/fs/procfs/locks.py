"""/proc/locks: the locks on files, and under each who waits for it.

Sources: proc_locks(5).

Mirrors: fs/locks.c (locks_show, lock_get_status) (6.18)
Differs: one list for all CPUs, the newest lock first.
"""

from pagewalk.fs.inode import Inode
from pagewalk.fs.locks import F_RDLCK, F_WRLCK, FLOCK, OFFSET_MAX, FileLock
from pagewalk.fs.procfs.inodes import ProcSuper


def locks(sb: ProcSuper) -> str:
    """/proc/locks."""
    table = sb.kernel.file_locks
    out = ""
    for number, (lock, inode) in enumerate(table.all_locks(), 1):
        out += lock_line(number, lock, inode, "")
        waiting: list[Blocked] = []
        for wanted in table.waiting_for(lock):
            insert(waiting, wanted)
        out += blocked_lines(number, waiting, inode, 1)
    return out


class Blocked:
    """A lock that somebody waits for, and those who will have to wait for that one."""

    def __init__(self, lock: FileLock) -> None:
        self.lock = lock
        self.waiting: list[Blocked] = []


def insert(waiting: list[Blocked], lock: FileLock) -> None:
    """__locks_insert_block: below the first that it would have to wait for, or at the end."""
    for other in waiting:
        if other.lock.conflicts(lock):
            insert(other.waiting, lock)
            return
    waiting.append(Blocked(lock))


def blocked_lines(number: int, waiting: list[Blocked], inode: Inode, level: int) -> str:
    """Those who wait, each followed by those who wait for him."""
    out = ""
    for blocked in waiting:
        out += lock_line(number, blocked.lock, inode, " " * (level - 1) + "-> ")
        out += blocked_lines(number, blocked.waiting, inode, level + 1)
    return out


def lock_line(number: int, lock: FileLock, inode: Inode, prefix: str) -> str:
    """One lock: its number, kind, who has it, the file, and the bytes."""
    kind = "WRITE" if lock.kind == F_WRLCK else "READ" if lock.kind == F_RDLCK else "UNLCK"
    major, minor = inode.i_sb.s_dev
    end = "EOF" if lock.end == OFFSET_MAX else str(lock.end)
    start = 0 if lock.what == FLOCK else lock.start
    return (
        f"{number}: {prefix}{lock.what} ADVISORY  {kind} {lock.pid} {major:02x}:{minor:02x}:{inode.i_ino} "
        f"{start} {end}\n"
    )
