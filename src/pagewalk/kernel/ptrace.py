"""The registers of a task as the kernel sees them: struct pt_regs, and what the CPU keeps beside it.

Mirrors: arch/x86/include/asm/ptrace.h (6.18)
Differs: fs_base and gs_base, the segment selectors and the thread's TLS descriptors stand beside the general registers.
"""

from typing import Final

from mypy_extensions import i64, mypyc_attr

REG_NAMES: Final = (
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11",
    "r12", "r13", "r14", "r15", "rip", "eflags", "fs_base", "gs_base",
)  # fmt: skip


USER_CS: Final = 0x33  # a 64-bit program's code segment; every other one is 32-bit code
USER_DS: Final = 0x2B


class PtRegs:
    """General registers, signed 64-bit words (an i64 each); the CPU loads them on entry and stores them on exit.

    cs, ss, ds, es, fs, gs  selectors; ``cs`` says whether the program runs 64-bit or 32-bit code. Of a 64-bit program
                            only ``cs`` and ``ss`` are meaningful: the others are null
    tls0, tls1, tls2        the thread's three descriptors in the GDT (thread.tls_array), 0 for an empty one
    """

    def __init__(self) -> None:
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
        self.orig_rax: i64 = -1  # the system call's number while one is served, -1 otherwise

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
        self.orig_rax = other.orig_rax


@mypyc_attr(allow_interpreted_subclasses=True)
class Fpu:
    """The floating-point and vector state of the running task; the CPU implements it."""

    def save(self) -> bytes:
        """The 512 bytes of FXSAVE64."""
        return bytes(512)

    def restore(self, image: bytes) -> None:
        """Loads 512 bytes in FXSAVE64's layout."""

    def reset(self) -> None:
        """The state after execve: FCW 0x37f, MXCSR 0x1f80, everything else zero."""
