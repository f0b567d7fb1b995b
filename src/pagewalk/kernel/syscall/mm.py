"""The system calls of memory management; each is a few lines over its room in ``mm/``.

Mirrors: mm/mmap.c, mm/mprotect.c, mm/mlock.c, mm/madvise.c, mm/memfd.c, mm/mseal.c,
    mm/process_vm_access.c (6.18)
Differs: process_madvise and process_vm_* reach the caller alone.
"""

import errno
import os
from typing import TYPE_CHECKING

from pagewalk.fs.fcntl import MFD_CLOEXEC
from pagewalk.fs.memfd import MFD_NAME_MAX_LEN, memfd_create, memfd_flags_error
from pagewalk.kernel.syscall.args import fdget, import_iovec
from pagewalk.kernel.syscall.limits import same_owner
from pagewalk.kernel.word import signed32
from pagewalk.mm import brk as mm_brk
from pagewalk.mm import madvise as mm_madvise
from pagewalk.mm import mincore as mm_mincore
from pagewalk.mm import mlock as mm_mlock
from pagewalk.mm import mprotect as mm_mprotect
from pagewalk.mm import mremap as mm_mremap
from pagewalk.mm import msync as mm_msync
from pagewalk.mm import pkeys as mm_pkeys
from pagewalk.mm.hugetlb import default_shift, huge_page_shifts
from pagewalk.mm.mmap import vm_mmap
from pagewalk.mm.mmap_flags import MAP_ANONYMOUS, MAP_FIXED, MAP_FIXED_NOREPLACE, MAP_HUGETLB
from pagewalk.mm.mseal import mseal as mm_mseal
from pagewalk.mm.munmap import vm_munmap
from pagewalk.mm.remap_file_pages import remap_file_pages as mm_remap_file_pages
from pagewalk.mm.uaccess import copy_from_user_partial, copy_to_user_partial, strncpy_from_user
from pagewalk.mm.vma import VM_LOCKED, VM_LOCKONFAULT

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task


def sys_brk(task: "Task", new: int) -> int:
    """brk(2), the raw call: the break."""
    return mm_brk.brk(task.mm, new)


def sys_mmap(task: "Task", addr: int, length: int, prot: int, flags: int, fd: int, offset: int) -> int:
    """mmap(2)."""
    if offset & (task.mm.system.page_size - 1):
        return -errno.EINVAL
    if flags & MAP_ANONYMOUS:
        if flags & MAP_HUGETLB:
            return hugetlb_error(task, addr, length, flags)
        return vm_mmap(task.mm, None, addr, length, prot, flags, offset)
    file = fdget(task, fd)
    if file is None:
        return -errno.EBADF
    if flags & MAP_HUGETLB:
        return -errno.EINVAL
    return vm_mmap(task.mm, file, addr, length, prot, flags, offset)


def hugetlb_error(task: "Task", addr: int, length: int, flags: int) -> int:
    """What a machine whose pools of huge pages are empty answers.

    EINVAL for other sizes, for no length (or one that rounds to none), and for a fixed address that is not aligned to
    the page; ENOMEM for the rest.
    """
    config = task.kernel.config
    shift = (flags >> 26) & 0x3F or default_shift(config)
    if shift not in huge_page_shifts(config):
        return -errno.EINVAL
    mask = (1 << shift) - 1
    if not ((length & 0xFFFF_FFFF_FFFF_FFFF) + mask) & ~mask & 0xFFFF_FFFF_FFFF_FFFF:
        return -errno.EINVAL
    if flags & (MAP_FIXED | MAP_FIXED_NOREPLACE) and addr & mask and 0 < length <= task.mm.task_size - addr:
        return -errno.EINVAL
    return -errno.ENOMEM


def sys_munmap(task: "Task", addr: int, length: int) -> int:
    """munmap(2)."""
    return vm_munmap(task.mm, addr, length)


def sys_mprotect(task: "Task", addr: int, length: int, prot: int) -> int:
    """mprotect(2)."""
    return mm_mprotect.mprotect(task.mm, addr, length, prot)


def sys_pkey_mprotect(task: "Task", addr: int, length: int, prot: int, pkey: int) -> int:
    """pkey_mprotect(2)."""
    return mm_mprotect.mprotect(task.mm, addr, length, prot, signed32(pkey))


def sys_pkey_alloc(task: "Task", flags: int, rights: int) -> int:
    """pkey_alloc(2)."""
    return mm_pkeys.pkey_alloc(task.mm, flags, rights)


def sys_pkey_free(task: "Task", pkey: int) -> int:
    """pkey_free(2)."""
    return mm_pkeys.mm_pkey_free(task.mm, signed32(pkey))


def sys_mremap(task: "Task", addr: int, old_len: int, new_len: int, flags: int, new_addr: int) -> int:
    """mremap(2)."""
    return mm_mremap.mremap(task.mm, addr, old_len, new_len, flags, new_addr)


def sys_madvise(task: "Task", addr: int, length: int, behavior: int) -> int:
    """madvise(2)."""
    return mm_madvise.madvise(task.mm, addr, length, signed32(behavior))


def sys_mincore(task: "Task", addr: int, length: int, vec: int) -> int:
    """mincore(2)."""
    return mm_mincore.mincore(task.mm, addr, length, vec)


def sys_msync(task: "Task", addr: int, length: int, flags: int) -> int:
    """msync(2)."""
    return mm_msync.msync(task.mm, addr, length, signed32(flags))


def sys_mlock(task: "Task", addr: int, length: int) -> int:
    """mlock(2)."""
    return mm_mlock.mlock(task.mm, addr, length, VM_LOCKED)


def sys_mlock2(task: "Task", addr: int, length: int, flags: int) -> int:
    """mlock2(2)."""
    flags = signed32(flags)
    if flags & ~mm_mlock.MLOCK_ONFAULT:
        return -errno.EINVAL
    return mm_mlock.mlock(task.mm, addr, length, VM_LOCKED | (VM_LOCKONFAULT if flags else 0))


def sys_munlock(task: "Task", addr: int, length: int) -> int:
    """munlock(2)."""
    return mm_mlock.munlock(task.mm, addr, length)


def sys_mlockall(task: "Task", flags: int) -> int:
    """mlockall(2)."""
    return mm_mlock.mlockall(task.mm, signed32(flags))


def sys_munlockall(task: "Task") -> int:
    """munlockall(2)."""
    return mm_mlock.munlockall(task.mm)


def sys_mseal(task: "Task", addr: int, length: int, flags: int) -> int:
    """mseal(2)."""
    return mm_mseal(task.mm, addr, length, flags)


def sys_remap_file_pages(task: "Task", addr: int, size: int, prot: int, pgoff: int, flags: int) -> int:
    """remap_file_pages(2)."""
    return mm_remap_file_pages(task.mm, addr, size, prot, pgoff, flags)


def sys_memfd_create(task: "Task", name_addr: int, flags: int) -> int:
    """memfd_create(2): a new descriptor."""
    flags &= 0xFFFF_FFFF
    failed = memfd_flags_error(flags)
    if failed:
        return failed
    name = strncpy_from_user(task.mm, name_addr, MFD_NAME_MAX_LEN + 1)
    if isinstance(name, int):
        return -errno.EFAULT if name == -errno.EFAULT else -errno.EINVAL
    file = memfd_create(task.mm.system, os.fsdecode(name), flags)
    if isinstance(file, int):
        return file
    fd = task.files.install(file, flags & MFD_CLOEXEC != 0)
    if fd < 0:
        file.put()
    return fd


def sys_process_vm_readv(
    task: "Task", pid: int, local: int, nr_local: int, remote: int, nr_remote: int, flags: int
) -> int:
    """process_vm_readv(2)."""
    return process_vm_rw(task, pid, local, nr_local, remote, nr_remote, flags, write=False)


def sys_process_vm_writev(
    task: "Task", pid: int, local: int, nr_local: int, remote: int, nr_remote: int, flags: int
) -> int:
    """process_vm_writev(2)."""
    return process_vm_rw(task, pid, local, nr_local, remote, nr_remote, flags, write=True)


def process_vm_rw(
    task: "Task", pid: int, local: int, nr_local: int, remote: int, nr_remote: int, flags: int, write: bool
) -> int:
    """Copies between the caller's buffers and another process's; bytes copied, or a negative errno."""
    if flags:
        return -errno.EINVAL
    mine = import_iovec(task, local, nr_local)
    if isinstance(mine, int):
        return mine
    theirs = import_iovec(task, remote, nr_remote)
    if isinstance(theirs, int):
        return theirs
    other = task.kernel.find_task(signed32(pid))
    if other is None or other.is_ended():
        return -errno.ESRCH
    if other.signal is not task.signal and task.euid != 0 and not (same_owner(task, other) and other.dumpable == 1):
        return -errno.EPERM
    total = min(sum(length for _, length in mine), sum(length for _, length in theirs))
    source, source_mm = (mine, task.mm) if write else (theirs, other.mm)
    target, target_mm = (theirs, other.mm) if write else (mine, task.mm)
    system = task.mm.system
    data = b""
    done = 0
    try:
        system.foreign_access = not write
        for addr, length in source:
            wanted = min(length, total - len(data))
            part = copy_from_user_partial(source_mm, addr, wanted)
            data += part
            if len(part) < wanted:
                break
        system.foreign_access = write
        for addr, length in target:
            part = data[done : done + length]
            stored = copy_to_user_partial(target_mm, addr, part)
            done += stored
            if stored < len(part):
                break
    finally:
        system.foreign_access = False
    return done if done or total == 0 else -errno.EFAULT
