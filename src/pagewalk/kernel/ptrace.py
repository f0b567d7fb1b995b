"""The registers of a task as the kernel sees them: struct pt_regs, and what the CPU keeps beside it.

``TaskRegs`` is what the kernel asks of any architecture's; ``PtRegs`` are those of x86.

Mirrors: arch/x86/include/asm/ptrace.h, arch/x86/include/asm/syscall.h (6.18)
Differs: fs_base and gs_base, the segment selectors and the thread's TLS descriptors stand beside the general registers.
"""

from typing import TYPE_CHECKING, Final

from mypy_extensions import i64, mypyc_attr

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

REG_NAMES: Final = (
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11",
    "r12", "r13", "r14", "r15", "rip", "eflags", "fs_base", "gs_base",
)  # fmt: skip


USER_CS: Final = 0x33  # a 64-bit program's code segment; every other one is 32-bit code
USER_DS: Final = 0x2B

NR_RESTART_SYSCALL: Final = 219
NR_IA32_RESTART_SYSCALL: Final = 0


class TaskRegs:
    """The registers of one task, of some architecture. Words are signed.

    syscallno  the number of the system call that is served, -1 otherwise (x86: orig_rax)
    """

    def __init__(self) -> None:
        self.syscallno: i64 = -1

    def syscall_number(self) -> int:
        """The system call that the program has asked for."""
        raise NotImplementedError

    def argument(self, at: i64) -> i64:
        """Argument 0 to 5 of a system call, while that is served."""
        raise NotImplementedError

    def return_value(self) -> int:
        """What a system call has answered."""
        raise NotImplementedError

    def set_return_value(self, value: i64) -> None:
        """What a system call answers."""
        raise NotImplementedError

    def restart_syscall(self) -> None:
        """The program makes the interrupted system call again."""
        raise NotImplementedError

    def restart_block(self) -> None:
        """The program makes restart_syscall(2) in place of the interrupted one."""
        raise NotImplementedError

    def instruction_pointer(self) -> i64:
        """Where the program is."""
        raise NotImplementedError

    def set_instruction_pointer(self, addr: i64) -> None:
        """Where the program goes on."""
        raise NotImplementedError

    def user_stack_pointer(self) -> i64:
        """The stack pointer."""
        raise NotImplementedError

    def set_user_stack_pointer(self, addr: i64) -> None:
        """The stack pointer."""
        raise NotImplementedError

    def set_thread_pointer(self, addr: i64) -> None:
        """Where the thread's own data is (CLONE_SETTLS)."""
        raise NotImplementedError

    def copy(self) -> "TaskRegs":
        """For a child: the same registers, in no system call."""
        raise NotImplementedError


class PtRegs(TaskRegs):
    """General registers, signed 64-bit words (an i64 each); the CPU loads them on entry and stores them on exit.

    cs, ss, ds, es, fs, gs  selectors; ``cs`` says whether the program runs 64-bit or 32-bit code. Of a 64-bit program
                            only ``cs`` and ``ss`` are meaningful: the others are null
    tls0, tls1, tls2        the thread's three descriptors in the GDT (thread.tls_array), 0 for an empty one
    """

    def __init__(self) -> None:
        super().__init__()
        self.rax: i64 = 0
        self.rbx: i64 = 0
        self.rcx: i64 = 0
        self.rdx: i64 = 0
        self.rsi: i64 = 0
        self.rdi: i64 = 0
        self.rbp: i64 = 0
        self.rsp: i64 = 0
        self.r8: i64 = 0
        self.r9: i64 = 0
        self.r10: i64 = 0
        self.r11: i64 = 0
        self.r12: i64 = 0
        self.r13: i64 = 0
        self.r14: i64 = 0
        self.r15: i64 = 0
        self.rip: i64 = 0
        self.eflags: i64 = 0x202
        self.fs_base: i64 = 0
        self.gs_base: i64 = 0
        self.cs: int = USER_CS
        self.ss: int = USER_DS
        self.ds: int = 0
        self.es: int = 0
        self.fs: int = 0
        self.gs: int = 0
        self.tls0: i64 = 0
        self.tls1: i64 = 0
        self.tls2: i64 = 0

    def syscall_number(self) -> int:
        """rax, as a C int."""
        number = int(self.rax) & 0xFFFF_FFFF
        return number - (1 << 32) if number >> 31 else number

    def argument(self, at: i64) -> i64:
        """rdi, rsi, rdx, r10, r8, r9."""
        if at == 0:
            return self.rdi
        if at == 1:
            return self.rsi
        if at == 2:
            return self.rdx
        if at == 3:
            return self.r10
        return self.r8 if at == 4 else self.r9

    def return_value(self) -> int:
        """rax."""
        return int(self.rax)

    def set_return_value(self, value: i64) -> None:
        """rax."""
        self.rax = value

    def restart_syscall(self) -> None:
        """Back to the instruction, of two bytes, with the number again."""
        self.rax = self.syscallno
        self.rip -= 2

    def restart_block(self) -> None:
        """The same with another number."""
        self.rax = NR_RESTART_SYSCALL if self.cs == USER_CS else NR_IA32_RESTART_SYSCALL
        self.rip -= 2

    def instruction_pointer(self) -> i64:
        """rip."""
        return self.rip

    def set_instruction_pointer(self, addr: i64) -> None:
        """rip."""
        self.rip = addr

    def user_stack_pointer(self) -> i64:
        """rsp."""
        return self.rsp

    def set_user_stack_pointer(self, addr: i64) -> None:
        """rsp."""
        self.rsp = addr

    def set_thread_pointer(self, addr: i64) -> None:
        """The base of FS."""
        self.fs_base = addr

    def copy(self) -> "TaskRegs":
        """For a child."""
        regs = PtRegs()
        regs.copy_from(self)
        regs.syscallno = -1
        return regs

    def copy_from(self, other: "PtRegs") -> None:
        """Takes over all registers of another."""
        self.rax = other.rax
        self.rbx = other.rbx
        self.rcx = other.rcx
        self.rdx = other.rdx
        self.rsi = other.rsi
        self.rdi = other.rdi
        self.rbp = other.rbp
        self.rsp = other.rsp
        self.r8 = other.r8
        self.r9 = other.r9
        self.r10 = other.r10
        self.r11 = other.r11
        self.r12 = other.r12
        self.r13 = other.r13
        self.r14 = other.r14
        self.r15 = other.r15
        self.rip = other.rip
        self.eflags = other.eflags
        self.fs_base = other.fs_base
        self.gs_base = other.gs_base
        self.cs = other.cs
        self.ss = other.ss
        self.ds = other.ds
        self.es = other.es
        self.fs = other.fs
        self.gs = other.gs
        self.tls0 = other.tls0
        self.tls1 = other.tls1
        self.tls2 = other.tls2
        self.syscallno = other.syscallno


def x86_regs(task: "Task") -> PtRegs:
    """The registers of a task of an x86 machine."""
    regs = task.regs
    assert isinstance(regs, PtRegs)
    return regs


@mypyc_attr(allow_interpreted_subclasses=True)
class Fpu:
    """The floating-point and vector state of the running task; the CPU implements it.

    An image of it is the 512 bytes of FXSAVE64, or arm64's 528 of struct user_fpsimd_state."""

    def save(self) -> bytes:
        """The image."""
        return bytes(512)

    def restore(self, image: bytes) -> None:
        """Loads an image."""

    def reset(self) -> None:
        """The state after execve."""
