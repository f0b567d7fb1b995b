"""/proc/PID/mem: an address space as a file; and reading a task's own strings (cmdline, environ).

Mirrors: fs/proc/base.c mem_rw, mm/memory.c access_remote_vm (6.18)
Differs: nothing.
"""

import errno
from typing import TYPE_CHECKING

from mypy_extensions import i64

from pagewalk.fs.dcache import Dentry
from pagewalk.fs.fcntl import S_IFREG, SEEK_CUR, SEEK_SET
from pagewalk.fs.file import VfsFile
from pagewalk.fs.procfs.inodes import ProcInode, ProcSuper
from pagewalk.fs.procfs.tasks import ptrace_may_access, task_mm
from pagewalk.mm.file import FMODE_READ, FMODE_WRITE
from pagewalk.mm.gup import faultin_range
from pagewalk.mm.mm_types import MmStruct
from pagewalk.mm.pgtable import pte_lookup

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task
    from pagewalk.mm.system import System


def remote_page(mm: MmStruct, addr: i64, write: bool) -> i64:
    """Physical address behind ``addr`` for a debugger's access, which rights of the mapping do not stop (FOLL_FORCE);
    -1
    where nothing is mapped or may never be accessed."""
    vma = mm.vma_lookup(addr)
    if vma is None:
        return -1
    page: i64 = addr & mm.system.page_mask
    try:
        mm.system.foreign_access = True
        if faultin_range(vma, page, page + mm.system.page_size, write, force=True) < 0:
            return -1
    finally:
        mm.system.foreign_access = False
    index = pte_lookup(mm, addr)
    if index < 0:
        return -1
    fmt = mm.system.format
    pte: i64 = mm.system.ram.words[index]
    if not fmt.present.test(pte) and not fmt.protnone.test(pte):
        return -1
    return (fmt.pfn(pte) << mm.system.page_shift) | (addr & ~mm.system.page_mask)


def access_remote_read(mm: MmStruct, addr: i64, count: i64) -> bytes:
    """Up to ``count`` bytes from ``addr``, less where the memory ends."""
    parts: list[memoryview] = []
    ram = mm.system.ram.bytes
    end: i64 = min(addr + count, mm.task_size)
    while addr < end:
        size: i64 = min(mm.system.page_size - (addr & ~mm.system.page_mask), end - addr)
        paddr = remote_page(mm, addr, write=False)
        if paddr < 0:
            break
        parts.append(ram[paddr : paddr + size])
        addr += size
    return b"".join(parts)


def access_remote_write(mm: MmStruct, addr: i64, data: bytes) -> int:
    """Stores what it can of ``data``; the bytes stored."""
    ram = mm.system.ram
    done: i64 = 0
    while done < len(data) and addr < mm.task_size:
        size: i64 = min(mm.system.page_size - (addr & ~mm.system.page_mask), len(data) - done)
        paddr = remote_page(mm, addr, write=True)
        if paddr < 0:
            break
        ram.bytes[paddr : paddr + size] = data[done : done + size]
        ram.stored_to(paddr >> mm.system.page_shift)
        addr += size
        done += size
    return int(done)


class MemInode(ProcInode):
    """/proc/PID/mem."""

    def __init__(self, sb: ProcSuper, key: str, task: "Task") -> None:
        super().__init__(sb, key, S_IFREG | 0o600)
        self.task = task

    def open(self, dentry: Dentry, flags: int) -> VfsFile | int:
        """The address space as it is now: a later execve leaves the open file with the old one. ESRCH where there is
        none any more, EACCES where the opener may not look into the task."""
        mm = task_mm(self.task)
        if mm is None:
            return -errno.ESRCH
        if not ptrace_may_access(self.task):
            return -errno.EACCES
        return MemFile(self.proc.system, dentry, flags, mm)


class MemFile(VfsFile):
    """An open /proc/PID/mem: offsets are addresses."""

    def __init__(self, system: "System", dentry: Dentry, flags: int, mm: MmStruct) -> None:
        super().__init__(system, dentry, flags)
        self.mm = mm

    def read(self, count: int, pos: int = -1) -> bytes | int:
        """Memory; EIO where the first byte is not mapped."""
        if not self.f_mode & FMODE_READ:
            return -errno.EBADF
        at = self.f_pos if pos == -1 else pos
        if at < 0:
            return -errno.EIO
        data = access_remote_read(self.mm, at, count)
        if not data and count:
            return -errno.EIO
        if pos == -1:
            self.f_pos = at + len(data)
        return data

    def write(self, data: bytes, pos: int = -1) -> int:
        """Changes memory, read-only private mappings too (the page is copied first)."""
        if not self.f_mode & FMODE_WRITE:
            return -errno.EBADF
        at = self.f_pos if pos == -1 else pos
        if at < 0:
            return -errno.EIO
        done = access_remote_write(self.mm, at, data)
        if done == 0 and data:
            return -errno.EIO
        if pos == -1:
            self.f_pos = at + done
        return done

    def lseek(self, offset: int, whence: int) -> int:
        """Any address, also one beyond the middle (negative as a file offset)."""
        if whence == SEEK_CUR:
            offset += int(self.f_pos)
        elif whence != SEEK_SET:
            return -errno.EINVAL
        self.f_pos = offset
        return offset


def cmdline(mm: MmStruct) -> bytes:
    """The arguments, each with its NUL. A program that overwrote the last NUL (setproctitle) is read on into the
    environment."""
    if mm.arg_end <= mm.arg_start:
        return b""
    args = access_remote_read(mm, mm.arg_start, mm.arg_end - mm.arg_start)
    if not args or args[-1] == 0 or mm.env_start != mm.arg_end:
        return args
    end = args.find(b"\0")
    if end >= 0:
        return args[: end + 1]
    more = access_remote_read(mm, mm.arg_end, mm.env_end - mm.arg_end)
    end = more.find(b"\0")
    return args + (more if end < 0 else more[: end + 1])


def environ(mm: MmStruct) -> bytes:
    """The environment as execve made it (or as the program has overwritten it)."""
    if mm.env_end <= mm.env_start:
        return b""
    return access_remote_read(mm, mm.env_start, mm.env_end - mm.env_start)
