"""The registers of an arm64 task: struct user_pt_regs, and what the CPU keeps beside it.

Source: Arm Architecture Reference Manual for A-profile, C5.2 (special-purpose registers), D1.4 (saved program status).

Mirrors: arch/arm64/include/asm/ptrace.h, arch/arm64/include/asm/syscall.h (6.18)
Differs: TPIDR_EL0 stands beside the general registers.
"""

from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

from pagewalk.kernel.ptrace import TaskRegs

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

INSN_SIZE: Final = 4
NR_RESTART_SYSCALL: Final = 128

# Saved program status: mode bits (0 is EL0 with 64-bit code), masked exceptions, branch type.
PSR_MODE_MASK: Final = 0xF
PSR_MODE32: Final = 0x10
PSR_DAIF: Final = 0x3C0
PSR_BTYPE_MASK: Final = 0xC00
PSR_FLAGS: Final = 0xF000_0000  # N Z C V
PSR_SS: Final = 1 << 21
PSR_RES0: Final = -(1 << 32) | 0x0C00_0000 | 0x00C0_0000 | 0x001F_E000 | 0x20


class Arm64Regs(TaskRegs):
    """General registers, signed 64-bit words; the CPU loads them on entry and stores them on exit.

    regs      x0 to x30
    sp, pc, pstate, tpidr_el0   as the architecture calls them
    orig_x0   x0 as it was when the system call was made
    """

    def __init__(self) -> None:
        super().__init__()
        self.regs: list[int] = [0] * 31
        self.sp: i64 = 0
        self.pc: i64 = 0
        self.pstate: i64 = 0
        self.tpidr_el0: i64 = 0
        self.orig_x0: int = 0

    def syscall_number(self) -> int:
        """w8, as a C int; notes x0, which the answer will replace."""
        self.orig_x0 = self.regs[0]
        number = self.regs[8] & 0xFFFF_FFFF
        return number - (1 << 32) if number >> 31 else number

    def argument(self, at: i64) -> i64:
        """x0, as it was when the call was made, to x5."""
        return self.orig_x0 if at == 0 else self.regs[at]

    def return_value(self) -> int:
        """x0."""
        return self.regs[0]

    def set_return_value(self, value: i64) -> None:
        """x0."""
        self.regs[0] = value

    def restart_syscall(self) -> None:
        """Back to the instruction, with the first argument again; the number is still in x8."""
        self.regs[0] = self.orig_x0
        self.pc -= INSN_SIZE

    def restart_block(self) -> None:
        """The same with another number."""
        self.restart_syscall()
        self.regs[8] = NR_RESTART_SYSCALL

    def instruction_pointer(self) -> i64:
        """pc."""
        return self.pc

    def set_instruction_pointer(self, addr: i64) -> None:
        """pc."""
        self.pc = addr

    def user_stack_pointer(self) -> i64:
        """sp."""
        return self.sp

    def set_user_stack_pointer(self, addr: i64) -> None:
        """sp."""
        self.sp = addr

    def set_thread_pointer(self, addr: i64) -> None:
        """TPIDR_EL0."""
        self.tpidr_el0 = addr

    def copy(self) -> TaskRegs:
        """For a child."""
        other = Arm64Regs()
        other.regs = list(self.regs)
        other.sp = self.sp
        other.pc = self.pc
        other.pstate = self.pstate
        other.tpidr_el0 = self.tpidr_el0
        other.orig_x0 = self.orig_x0
        return other

    def valid_user_regs(self) -> bool:
        """Whether ``pstate`` is one of user mode, as a signal handler may have left it; made one where it is not."""
        self.pstate &= ~(PSR_RES0 | PSR_SS)
        if self.pstate & (PSR_MODE_MASK | PSR_MODE32 | PSR_DAIF) == 0:
            return True
        self.pstate &= PSR_FLAGS
        return False


def arm64_regs(task: "Task") -> Arm64Regs:
    """The registers of a task of an arm64 machine."""
    regs = task.regs
    assert isinstance(regs, Arm64Regs)
    return regs
