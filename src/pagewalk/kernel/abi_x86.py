"""x86, as the rest of the kernel asks for it.

Mirrors: arch/x86/include/asm/elf.h, arch/x86/kernel/process.c (6.18)
Differs: processes that Python drives have these registers on every machine that runs no programs.
"""

from typing import TYPE_CHECKING

from pagewalk.kernel.abi import Abi
from pagewalk.kernel.cpu import CLEAN_FXSAVE
from pagewalk.kernel.entry_x86 import bad_area_signal, trap_signal
from pagewalk.kernel.ptrace import PtRegs, TaskRegs
from pagewalk.kernel.sigframe import MINSIGSTKSZ, restore_sigframe, setup_rt_frame
from pagewalk.kernel.sigframe_ia32 import sigframe_size
from pagewalk.kernel.syscall.names import NAMES
from pagewalk.kernel.syscall.table import SYSCALLS

if TYPE_CHECKING:
    from pagewalk.kernel.signal_types import SigAction, SigInfo
    from pagewalk.kernel.task import Task


class X86Abi(Abi):
    """64-bit programs; what 32-bit ones have of their own is in the files that end in _ia32.

    ``pku``: the CPU has protection keys."""

    def __init__(self, pku: bool) -> None:
        super().__init__(
            SYSCALLS,
            NAMES,
            clean_fpu=CLEAN_FXSAVE,
            platform=b"x86_64\0",
            minsigstksz=MINSIGSTKSZ,
            sigframe_size=sigframe_size(pku),
            stack_align_range=8192,
            syscall_prefix="__x64_sys_",
            entry_functions=["do_syscall_64", "entry_SYSCALL_64_after_hwframe"],
            more_auxv=[],
        )

    def new_regs(self) -> TaskRegs:
        """See Abi."""
        return PtRegs()

    def trap_signal(self, task: "Task", vector: int, error_code: int) -> None:
        """See Abi."""
        trap_signal(task, vector, error_code)

    def fault_signal(self, task: "Task", addr: int, access: int) -> None:
        """See Abi."""
        bad_area_signal(task, addr, access)

    def setup_rt_frame(self, task: "Task", sig: int, action: "SigAction", info: "SigInfo", mask: int) -> bool:
        """See Abi."""
        return setup_rt_frame(task, sig, action, info, mask)

    def restore_sigframe(self, task: "Task") -> bool:
        """See Abi."""
        return restore_sigframe(task)
