"""swapon and swapoff.

Sources: swapon(2).

Mirrors: mm/swapfile.c (the system calls) (6.18)
Differs: the areas that a machine is configured with have names, /dev/vda and on, but no nodes in /dev.
"""

import errno
from typing import TYPE_CHECKING

from pagewalk.fs.fcntl import AT_FDCWD, O_RDONLY, S_IFBLK, S_IFMT, S_IFREG
from pagewalk.fs.file import VfsFile
from pagewalk.fs.open import do_openat
from pagewalk.kernel.syscall.args import getname
from pagewalk.mm.swapon import SWAP_FLAGS_VALID, find_area, swapoff, swapon

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task


def sys_swapon(task: "Task", specialfile: int, swap_flags: int) -> int:
    """swapon(2): a file or device that mkswap(8) has prepared becomes a swap area."""
    system = task.kernel.system
    if swap_flags & ~SWAP_FLAGS_VALID:
        return -errno.EINVAL
    if not system.current.capable:
        return -errno.EPERM
    path = getname(task, specialfile)
    if isinstance(path, int):
        return path
    file = do_openat(task.fs, task.files, AT_FDCWD, path, O_RDONLY, 0)
    if isinstance(file, int):
        return file
    try:
        kind = file.inode.i_mode & S_IFMT if isinstance(file, VfsFile) else 0
        mapping = file.mapping
        if kind not in (S_IFREG, S_IFBLK) or mapping is None or mapping.is_shmem:  # shared memory has no blocks
            return -errno.EINVAL
        header = file.read(int(system.page_size), 0)
        if isinstance(header, int):
            return header
        return swapon(system, file.path, header, int(mapping.i_size), swap_flags, partition=kind == S_IFBLK)
    finally:
        file.put()


def sys_swapoff(task: "Task", specialfile: int) -> int:
    """swapoff(2): everything comes back into memory, and the area goes."""
    system = task.kernel.system
    if not system.current.capable:
        return -errno.EPERM
    path = getname(task, specialfile)
    if isinstance(path, int):
        return path
    if find_area(system, path) is None:
        file = do_openat(task.fs, task.files, AT_FDCWD, path, O_RDONLY, 0)
        if isinstance(file, int):
            return file
        path = file.path
        file.put()
    return swapoff(system, path)
