"""Programs: execve; and what a process tells the kernel about itself.

Sources: execve(2), personality(2), arch_prctl(2), rseq(2).

Mirrors: fs/exec.c, kernel/rseq.c, arch/x86/kernel/process_64.c (6.18)
Differs: nothing that is not said in kernel/exec.py.
"""

import errno
import struct
from typing import TYPE_CHECKING, Final

from pagewalk.fs.fcntl import AT_EMPTY_PATH, AT_FDCWD
from pagewalk.kernel.binprm import ARG_MAX, MAX_ARG_STRLEN_PAGES, STK_LIM
from pagewalk.kernel.exec import do_execveat
from pagewalk.kernel.ptrace import x86_regs
from pagewalk.kernel.rseq import RSEQ_CS, rseq_update_cpu
from pagewalk.kernel.signal_send import force_fatal_sig
from pagewalk.kernel.signal_types import SIGSEGV
from pagewalk.kernel.syscall.args import getname, long_size
from pagewalk.kernel.word import signed, signed32
from pagewalk.mm.uaccess import copy_to_user, get_user_u32, get_user_u64, strncpy_from_user

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

ARCH_SET_GS: Final = 0x1001
ARCH_SET_FS: Final = 0x1002
ARCH_GET_FS: Final = 0x1003
ARCH_GET_GS: Final = 0x1004
ARCH_GET_CPUID: Final = 0x1011
ARCH_SET_CPUID: Final = 0x1012
ARCH_GET_XCOMP_SUPP: Final = 0x1021
ARCH_GET_XCOMP_PERM: Final = 0x1022
ARCH_MAP_VDSO_X32: Final = 0x2001
ARCH_MAP_VDSO_64: Final = 0x2003

XFEATURE_FP_SSE: Final = 3
RSEQ_FLAG_UNREGISTER: Final = 1
RSEQ_SIZE: Final = 32


def sys_execve(task: "Task", filename: int, argv: int, envp: int) -> int:
    """execve(2)."""
    return sys_execveat(task, AT_FDCWD, filename, argv, envp, 0)


def sys_execveat(task: "Task", dfd: int, filename: int, argv: int, envp: int, flags: int) -> int:
    """execveat(2). An error after the old program is gone kills."""
    flags = signed32(flags)
    if filename == 0 and flags & AT_EMPTY_PATH:
        path: str | int = ""
    else:
        path = getname(task, filename)
    if isinstance(path, int):
        return path
    if not path and not flags & AT_EMPTY_PATH:
        return -errno.ENOENT
    arguments = get_strings(task, argv)
    if isinstance(arguments, int):
        return arguments
    environment = get_strings(task, envp)
    if isinstance(environment, int):
        return environment
    bprm = do_execveat(task, signed32(dfd), path, arguments, environment, flags)
    if bprm.error < 0 and bprm.point_of_no_return:
        force_fatal_sig(task, SIGSEGV)
    return bprm.error


def get_strings(task: "Task", addr: int) -> list[bytes] | int:
    """A NULL-terminated array of strings from user memory; -EFAULT, or -E2BIG where it cannot fit on a stack."""
    strings: list[bytes] = []
    most = MAX_ARG_STRLEN_PAGES * int(task.mm.system.page_size)
    room = max(STK_LIM // 4 * 3, ARG_MAX)
    while addr:
        pointer = get_user_u32(task.mm, addr) if task.compat else get_user_u64(task.mm, addr)
        if pointer is None:
            return -errno.EFAULT
        if pointer == 0:
            break
        string = strncpy_from_user(task.mm, signed(pointer), most)
        if isinstance(string, int):
            return -errno.E2BIG if string == -errno.ENAMETOOLONG else string
        strings.append(string)
        room -= len(string) + 1 + long_size(task)
        if room < 0:
            return -errno.E2BIG
        addr += long_size(task)
    return strings


def sys_rseq(task: "Task", rseq: int, length: int, flags: int, sig: int) -> int:
    """rseq(2): one area per task; the kernel keeps the CPU's number in it."""
    length &= 0xFFFF_FFFF
    sig &= 0xFFFF_FFFF
    if flags & RSEQ_FLAG_UNREGISTER:
        if flags & ~RSEQ_FLAG_UNREGISTER or task.rseq != rseq or not rseq or task.rseq_len != length:
            return -errno.EINVAL
        if task.rseq_sig != sig:
            return -errno.EPERM
        if not copy_to_user(task.mm, rseq, struct.pack("<II", 0, 0xFFFF_FFFF)):
            return -errno.EFAULT
        task.reset_rseq()
        return 0
    if flags:
        return -errno.EINVAL
    if task.rseq:
        if task.rseq != rseq or task.rseq_len != length:
            return -errno.EINVAL
        return -errno.EPERM if task.rseq_sig != sig else -errno.EBUSY
    if length < RSEQ_SIZE or rseq & (RSEQ_SIZE - 1):
        return -errno.EINVAL
    task.rseq = rseq
    if not copy_to_user(task.mm, rseq + RSEQ_CS, bytes(8)) or not rseq_update_cpu(task):
        task.rseq = 0
        return -errno.EFAULT
    task.rseq_len = length
    task.rseq_sig = sig
    return 0


def sys_arch_prctl(task: "Task", option: int, addr: int) -> int:
    """arch_prctl(2)."""
    option = signed32(option)
    regs = x86_regs(task)
    if option in (ARCH_SET_FS, ARCH_SET_GS):
        if addr < 0 or addr >= task.mm.task_size:
            return -errno.EPERM
        if option == ARCH_SET_FS:
            regs.fs_base = addr
        else:
            regs.gs_base = addr
        return 0
    if option in (ARCH_GET_FS, ARCH_GET_GS):
        base = regs.fs_base if option == ARCH_GET_FS else regs.gs_base
        return 0 if copy_to_user(task.mm, addr, struct.pack("<q", base)) else -errno.EFAULT
    if option == ARCH_GET_CPUID:
        return 1
    if option == ARCH_SET_CPUID:
        return -errno.ENODEV
    if option in (ARCH_GET_XCOMP_SUPP, ARCH_GET_XCOMP_PERM):
        return 0 if copy_to_user(task.mm, addr, struct.pack("<Q", XFEATURE_FP_SSE)) else -errno.EFAULT
    if ARCH_MAP_VDSO_X32 <= option <= ARCH_MAP_VDSO_64:
        return -errno.EEXIST
    return -errno.EINVAL


def sys_arch_prctl_32(task: "Task", option: int, addr: int) -> int:
    """arch_prctl(2) of a 32-bit program, which has no bases to set."""
    if signed32(option) in (ARCH_GET_CPUID, ARCH_SET_CPUID, ARCH_GET_XCOMP_SUPP, ARCH_GET_XCOMP_PERM):
        return sys_arch_prctl(task, option, addr)
    return -errno.EINVAL


def sys_personality(task: "Task", persona: int) -> int:
    """personality(2): the old one."""
    old = task.personality
    persona &= 0xFFFF_FFFF
    if persona != 0xFFFF_FFFF:
        task.personality = persona
    return old
