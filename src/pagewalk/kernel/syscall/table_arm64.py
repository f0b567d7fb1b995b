"""The arm64 system-call table: x86-64's functions under other numbers, found by name.

Only what differs stands here: clone's order of arguments, the flags of mmap that mean something on x86 alone, and a
personality that the machine does not have.

Mirrors: arch/arm64/kernel/sys.c (6.18)
Differs: what is not in it answers ENOSYS and is counted: see ``Task.unknown_calls``.
"""

import errno
from typing import TYPE_CHECKING, Final

from pagewalk.kernel.syscall import clone, mm, process
from pagewalk.kernel.syscall.names import NAMES, NR_SYSCALLS
from pagewalk.kernel.syscall.names_arm64 import NAMES_ARM64
from pagewalk.kernel.syscall.table import SYSCALLS, Syscall
from pagewalk.mm.mmap_flags import MAP_32BIT, MAP_ABOVE4G

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

_PER_MASK: Final = 0xFF
_PER_LINUX32: Final = 8


def sys_mmap(task: "Task", addr: int, length: int, prot: int, flags: int, fd: int, offset: int) -> int:
    """mmap(2)."""
    return mm.sys_mmap(task, addr, length, prot, flags & ~(MAP_32BIT | MAP_ABOVE4G), fd, offset)


def sys_personality(task: "Task", persona: int) -> int:
    """personality(2): a machine without 32-bit programs does not claim to have them."""
    if persona & _PER_MASK == _PER_LINUX32 and persona & 0xFFFF_FFFF != 0xFFFF_FFFF:
        return -errno.EINVAL
    return process.sys_personality(task, persona)


def build_table() -> "list[Syscall | None]":
    """The table by number; None for what is not modelled."""
    own = {
        "clone": Syscall(clone.sys_clone_backwards, 5),
        "mmap": Syscall(sys_mmap, 6),
        "personality": Syscall(sys_personality, 1),
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
