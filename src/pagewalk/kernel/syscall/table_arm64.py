"""The arm64 system-call table: x86-64's functions under other numbers, found by name.

Only what differs stands here: clone's order of arguments, the flags of mmap that mean something on x86 alone, a
personality that the machine does not have, and addresses with a tag in their highest byte.

Sources: Documentation/arch/arm64/tagged-address-abi.rst.

Mirrors: arch/arm64/kernel/sys.c, arch/arm64/kernel/process.c (set_tagged_addr_ctrl) (6.18)
Differs: what is not in it answers ENOSYS and is counted: see ``Task.unknown_calls``.
"""

import errno
from typing import TYPE_CHECKING, Any, Final

from pagewalk.kernel.syscall import clone, mempolicy, mm, prctl, process
from pagewalk.kernel.syscall.names import NAMES, NR_SYSCALLS
from pagewalk.kernel.syscall.names_arm64 import NAMES_ARM64
from pagewalk.kernel.syscall.table import SYSCALLS, Syscall
from pagewalk.kernel.word import signed32
from pagewalk.mm.mmap_flags import MAP_32BIT, MAP_ABOVE4G
from pagewalk.mm.uaccess import untagged_addr

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

PR_SET_TAGGED_ADDR_CTRL: Final = 55
PR_GET_TAGGED_ADDR_CTRL: Final = 56
PR_TAGGED_ADDR_ENABLE: Final = 1
_PER_MASK: Final = 0xFF
_PER_LINUX32: Final = 8


def sys_mmap(task: "Task", addr: int, length: int, prot: int, flags: int, fd: int, offset: int) -> int:
    """mmap(2)."""
    return mm.sys_mmap(task, addr, length, prot, flags & ~(MAP_32BIT | MAP_ABOVE4G), fd, offset)


def sys_munmap(task: "Task", addr: int, length: int) -> int:
    """munmap(2). It and those below take an address with a tag from every program."""
    return mm.sys_munmap(task, untagged_addr(addr), length)


def sys_mprotect(task: "Task", addr: int, length: int, prot: int) -> int:
    """mprotect(2)."""
    return mm.sys_mprotect(task, untagged_addr(addr), length, prot)


def sys_mremap(task: "Task", addr: int, old_len: int, new_len: int, flags: int, new_addr: int) -> int:
    """mremap(2): the new address may have none, as mmap's."""
    return mm.sys_mremap(task, untagged_addr(addr), old_len, new_len, flags, new_addr)


def sys_madvise(task: "Task", addr: int, length: int, behavior: int) -> int:
    """madvise(2)."""
    return mm.sys_madvise(task, untagged_addr(addr), length, behavior)


def sys_mincore(task: "Task", addr: int, length: int, vec: int) -> int:
    """mincore(2)."""
    return mm.sys_mincore(task, untagged_addr(addr), length, vec)


def sys_msync(task: "Task", addr: int, length: int, flags: int) -> int:
    """msync(2)."""
    return mm.sys_msync(task, untagged_addr(addr), length, flags)


def sys_mlock(task: "Task", addr: int, length: int) -> int:
    """mlock(2)."""
    return mm.sys_mlock(task, untagged_addr(addr), length)


def sys_mlock2(task: "Task", addr: int, length: int, flags: int) -> int:
    """mlock2(2)."""
    return mm.sys_mlock2(task, untagged_addr(addr), length, flags)


def sys_munlock(task: "Task", addr: int, length: int) -> int:
    """munlock(2)."""
    return mm.sys_munlock(task, untagged_addr(addr), length)


def sys_mbind(task: "Task", start: int, length: int, mode: int, nmask: int, maxnode: int, flags: int) -> int:
    """mbind(2)."""
    return mempolicy.sys_mbind(task, untagged_addr(start), length, mode, nmask, maxnode, flags)


def sys_get_mempolicy(task: "Task", policy: int, nmask: int, maxnode: int, addr: int, flags: int) -> int:
    """get_mempolicy(2)."""
    return mempolicy.sys_get_mempolicy(task, policy, nmask, maxnode, untagged_addr(addr), flags)


def sys_prctl(task: "Task", option: int, arg2: int, arg3: int, arg4: int, arg5: int) -> int:
    """prctl(2), with the tagged-address ABI: pointers that the task gives to the kernel may have tags."""
    option = signed32(option)
    if option == PR_SET_TAGGED_ADDR_CTRL:
        if arg2 & ~PR_TAGGED_ADDR_ENABLE or arg3 or arg4 or arg5:
            return -errno.EINVAL
        task.tagged_addr = arg2 != 0
        return 0
    if option == PR_GET_TAGGED_ADDR_CTRL:
        return -errno.EINVAL if arg2 or arg3 or arg4 or arg5 else int(task.tagged_addr)
    return prctl.sys_prctl(task, option, arg2, arg3, arg4, arg5)


def sys_personality(task: "Task", persona: int) -> int:
    """personality(2): a machine without 32-bit programs does not claim to have them."""
    if persona & _PER_MASK == _PER_LINUX32 and persona & 0xFFFF_FFFF != 0xFFFF_FFFF:
        return -errno.EINVAL
    return process.sys_personality(task, persona)


# Those that take the tag off their first argument, and then do what x86-64's do: a recorder knows them by these.
UNTAGGED: "Final[dict[Any, Any]]" = {
    sys_munmap: mm.sys_munmap,
    sys_mprotect: mm.sys_mprotect,
    sys_mremap: mm.sys_mremap,
    sys_madvise: mm.sys_madvise,
    sys_msync: mm.sys_msync,
    sys_mlock: mm.sys_mlock,
    sys_mlock2: mm.sys_mlock2,
    sys_munlock: mm.sys_munlock,
}


def build_table() -> "list[Syscall | None]":
    """The table by number; None for what is not modelled."""
    own = {
        "clone": Syscall(clone.sys_clone_backwards, 5),
        "mmap": Syscall(sys_mmap, 6),
        "personality": Syscall(sys_personality, 1),
        "munmap": Syscall(sys_munmap, 2),
        "mprotect": Syscall(sys_mprotect, 3),
        "mremap": Syscall(sys_mremap, 5),
        "madvise": Syscall(sys_madvise, 3),
        "mincore": Syscall(sys_mincore, 3),
        "msync": Syscall(sys_msync, 3),
        "mlock": Syscall(sys_mlock, 2),
        "mlock2": Syscall(sys_mlock2, 3),
        "munlock": Syscall(sys_munlock, 2),
        "mbind": Syscall(sys_mbind, 6),
        "get_mempolicy": Syscall(sys_get_mempolicy, 5),
        "prctl": Syscall(sys_prctl, 5),
    }
    numbers = {name: number for number, name in NAMES.items()}
    table: list[Syscall | None] = [None] * NR_SYSCALLS
    for number, name in NAMES_ARM64.items():
        if name in own:
            table[number] = own[name]
        elif name in numbers:
            table[number] = SYSCALLS[numbers[name]]
    return table


SYSCALLS_ARM64: Final = build_table()
