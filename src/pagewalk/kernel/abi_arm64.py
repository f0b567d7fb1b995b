"""arm64, as the rest of the kernel asks for it.

Mirrors: arch/arm64/include/asm/elf.h, arch/arm64/kernel/process.c (6.18)
Differs: 32-bit programs are not run; sysctl abi.tagged_addr_disabled is 0; the marks of ELF files for BTI are ignored.
"""

from typing import TYPE_CHECKING, Final

from pagewalk.kernel.abi import Abi
from pagewalk.kernel.entry_arm64 import bad_area_signal, notify_segfault, trap_signal
from pagewalk.kernel.ptrace import TaskRegs
from pagewalk.kernel.ptrace_arm64 import Arm64Regs
from pagewalk.kernel.sigframe_arm64 import (
    FPSIMD_STATE_SIZE,
    MINSIGSTKSZ,
    restore_sigframe,
    setup_rt_frame,
    sigframe_size,
)
from pagewalk.kernel.syscall.names_arm64 import NAMES_ARM64
from pagewalk.kernel.syscall.table_arm64 import SYSCALLS_ARM64

if TYPE_CHECKING:
    from pagewalk.kernel.signal_types import SigAction, SigInfo
    from pagewalk.kernel.task import Task

AT_HWCAP3: Final = 29


class Arm64Abi(Abi):
    """64-bit programs."""

    def __init__(self, page_size: int) -> None:
        super().__init__(
            SYSCALLS_ARM64,
            NAMES_ARM64,
            clean_fpu=bytes(FPSIMD_STATE_SIZE),
            platform=b"aarch64\0",
            minsigstksz=MINSIGSTKSZ,
            sigframe_size=sigframe_size(),
            stack_align_range=page_size,
            syscall_prefix="__arm64_sys_",
            entry_functions=["invoke_syscall", "el0_svc_common.constprop.0", "do_el0_svc", "el0_svc",
                             "el0t_64_sync_handler", "el0t_64_sync"],
            more_auxv=[(AT_HWCAP3, 0)],
            asm_generic=True,
        )  # fmt: skip

    def new_regs(self) -> TaskRegs:
        """See Abi."""
        return Arm64Regs()

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

    def bad_frame(self, task: "Task") -> None:
        """See Abi: the signal tells where the frame should have been."""
        notify_segfault(task, int(task.regs.user_stack_pointer()))
