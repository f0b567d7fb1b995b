"""What one architecture has of its own, as the rest of the kernel asks for it.

Mirrors: arch/*/include/asm/{syscall,elf,signal,ptrace}.h (6.18)
Differs: an object in place of each architecture's own functions of the same names.
"""

from typing import TYPE_CHECKING, Final

from pagewalk.kernel.ptrace import TaskRegs
from pagewalk.kernel.signal_send import force_sig
from pagewalk.kernel.signal_types import SIGSEGV

if TYPE_CHECKING:
    from pagewalk.kernel.signal_types import SigAction, SigInfo
    from pagewalk.kernel.syscall.table import Syscall
    from pagewalk.kernel.task import Task


_SWAPPED_FLAGS: Final = 0o740000
_LOWER_PAIR: Final = 0o140000


class Abi:
    """How programs of one architecture and the kernel meet.

    syscalls            the system-call table, by number; None for what is not modelled
    names               names of all system calls, by number
    clean_fpu           an image of the floating-point state after execve
    platform            AT_PLATFORM
    minsigstksz         the smallest alternate signal stack
    sigframe_size       bytes that a signal frame may take: AT_MINSIGSTKSZ
    stack_align_range   the stack pointer is moved down by less than this, at random
    syscall_prefix      of the function that serves a system call, in a trace of the kernel's stack
    entry_functions     the outermost functions of such a trace
    more_auxv           entries of the auxiliary vector that stand behind AT_HWCAP2: (kind, value)
    asm_generic         structures and flags are asm-generic's where x86 has its own: stat, epoll_event, semid64_ds
    """

    def __init__(
        self,
        syscalls: "list[Syscall | None]",
        names: dict[int, str],
        clean_fpu: bytes,
        platform: bytes,
        minsigstksz: int,
        sigframe_size: int,
        stack_align_range: int,
        syscall_prefix: str,
        entry_functions: list[str],
        more_auxv: list[tuple[int, int]],
        asm_generic: bool = False,
    ) -> None:
        self.syscalls = syscalls
        self.names = names
        self.clean_fpu = clean_fpu
        self.platform = platform
        self.minsigstksz = minsigstksz
        self.sigframe_size = sigframe_size
        self.stack_align_range = stack_align_range
        self.syscall_prefix = syscall_prefix
        self.entry_functions = entry_functions
        self.more_auxv = more_auxv
        self.asm_generic = asm_generic

    def open_flags(self, flags: int) -> int:
        """Flags of open(2), from the program's numbers to the kernel's (x86's) or back: asm-generic has four of them in
        another order, O_DIRECTORY O_NOFOLLOW O_DIRECT O_LARGEFILE."""
        if not self.asm_generic:
            return flags
        return flags & ~_SWAPPED_FLAGS | (flags & _SWAPPED_FLAGS) >> 2 & _LOWER_PAIR | (flags & _LOWER_PAIR) << 2

    def new_regs(self) -> TaskRegs:
        """Registers that are all zero, as a new program finds them."""
        raise NotImplementedError

    def trap_signal(self, task: "Task", vector: int, error_code: int) -> None:
        """What becomes of an exception other than a page fault: a signal, or an emulated instruction."""
        raise NotImplementedError

    def fault_signal(self, task: "Task", addr: int, access: int) -> None:
        """Raises the signal that a page fault is to become (``task.fault_sig``, ``fault_code``)."""
        raise NotImplementedError

    def setup_rt_frame(self, task: "Task", sig: int, action: "SigAction", info: "SigInfo", mask: int) -> bool:
        """Writes a handler's frame and points the registers at the handler; ``mask`` is what sigreturn restores. False:
        EFAULT."""
        raise NotImplementedError

    def restore_sigframe(self, task: "Task") -> bool:
        """rt_sigreturn: everything comes back from the frame. False: unreadable."""
        raise NotImplementedError

    def bad_frame(self, task: "Task") -> None:
        """What a program gets whose frame rt_sigreturn could not read."""
        force_sig(task, SIGSEGV)
