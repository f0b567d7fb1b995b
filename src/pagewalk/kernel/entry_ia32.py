"""The ways of 32-bit programs into the kernel: int 0x80 and SYSENTER.

The number is in eax, the arguments in ebx, ecx, edx, esi, edi and ebp. A 64-bit program may use int 0x80 too: it gets
the same calls, with the low halves of its registers.

Sources: syscall(2), table of calling conventions; Documentation/arch/x86/entry_64.rst.

Mirrors: arch/x86/entry/syscall_32.c (6.18)
Differs: nothing.
"""

import errno
from typing import TYPE_CHECKING, Final

from pagewalk.kernel.ptrace import x86_regs
from pagewalk.kernel.signal_send import force_sig
from pagewalk.kernel.signal_types import SIGSEGV
from pagewalk.kernel.syscall.table_ia32 import FIRST_TIME64, SYSCALLS_IA32
from pagewalk.kernel.word import signed32
from pagewalk.mm.uaccess import get_user_u32

if TYPE_CHECKING:
    from pagewalk.kernel.syscall.table_ia32 import Ia32Syscall
    from pagewalk.kernel.task import Task

_LOW: Final = 0xFFFF_FFFF
_NR_SENDFILE: Final = 187


def do_int80_syscall(task: "Task") -> None:
    """Serves the system call in eax and leaves its answer there."""
    regs = x86_regs(task)
    number = signed32(int(regs.rax))
    regs.syscallno = number if number >= 0 else -1
    task.nr_syscalls += 1
    task.compat = True
    task.time32 = number < FIRST_TIME64
    task.narrow_offset = number == _NR_SENDFILE
    words = (
        int(regs.rbx) & _LOW, int(regs.rcx) & _LOW, int(regs.rdx) & _LOW, int(regs.rsi) & _LOW, int(regs.rdi) & _LOW,
        int(regs.rbp) & _LOW,
    )  # fmt: skip
    on_syscall = task.kernel.on_syscall
    before = task.kernel.before_syscall
    entry = known_call(task, number) if on_syscall is not None or before is not None else None
    if before is not None and entry is not None:
        before(task, entry.function, entry.arguments(words))
    result = call_ia32(task, number, words)
    task.compat = False
    task.kernel.oom.reserves = False
    task.regs.set_return_value(result)
    if on_syscall is not None and entry is not None:
        on_syscall(task, entry.function, entry.arguments(words), result)


def do_sysenter(task: "Task") -> None:
    """SYSENTER: ebp is the stack pointer, and points to the sixth argument; the program goes on in the vDSO."""
    regs = x86_regs(task)
    regs.rsp = regs.rbp & _LOW
    if task.vdso_base == 0:
        force_sig(task, SIGSEGV)
        return
    regs.rip = task.vdso_base + task.kernel.the_vdso_32().landing_pad
    sixth = get_user_u32(task.mm, regs.rsp)
    if sixth is None:
        regs.rax = -errno.EFAULT
        return
    regs.rbp = sixth
    do_int80_syscall(task)


def known_call(task: "Task", number: int) -> "Ia32Syscall | None":
    """The system call of that number, where the machine's release has it."""
    known = 0 <= number < len(SYSCALLS_IA32) and number < task.kernel.known_syscalls
    return SYSCALLS_IA32[number] if known else None


def call_ia32(task: "Task", number: int, words: tuple[int, ...]) -> int:
    """One system call with the arguments in ``words``, the six registers; its answer."""
    entry = known_call(task, number)
    if entry is None:
        if number != -1:
            task.unknown_calls_ia32[number] = task.unknown_calls_ia32.get(number, 0) + 1
        return -errno.ENOSYS
    task.calls_ia32[number] = task.calls_ia32.get(number, 0) + 1
    return entry.function(task, *entry.arguments(words))
