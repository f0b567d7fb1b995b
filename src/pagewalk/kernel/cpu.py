"""What the kernel needs of a CPU; ``cpu/`` implements it.

``run`` executes the task until the kernel is needed and says why it came back. While it runs, a page fault enters the
kernel through ``on_fault`` without leaving the CPU; only a fault that ends in a signal comes back as ``EXIT_FAULT``.

Mirrors: arch/x86/entry/entry_64.S (6.18)
Differs: why the program stopped is a number, not an entry point.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

from pagewalk.kernel.ptrace import Fpu, PtRegs

if TYPE_CHECKING:
    from pagewalk.mm.mm_types import MmStruct

# Why ``run`` came back.
EXIT_SYSCALL: Final = 0  # rip is behind the syscall instruction, rcx and r11 are as the hardware leaves them
EXIT_FAULT: Final = 1  # on_fault said False: ``addr`` and ``access`` tell which; rip is the faulting instruction
EXIT_TRAP: Final = (
    2  # an exception: ``vector`` (0 divide, 3 breakpoint, 4 overflow, 6 opcode, 13 protection, 16, 19 float)
)
EXIT_STOPPED: Final = 3  # ``stop`` was called (timer, watchdog, end of the time slice)

# Kinds of access, for faults.
ACCESS_READ: Final = 0
ACCESS_WRITE: Final = 1
ACCESS_FETCH: Final = 2


@mypyc_attr(allow_interpreted_subclasses=True)
class Cpu(Fpu):
    """One CPU. ``addr``, ``access``, ``vector`` and ``error_code`` describe the last exit."""

    def __init__(self) -> None:
        self.addr: int = 0
        self.access: int = 0
        self.vector: int = 0
        self.error_code: int = 0

    def run(self, mm: "MmStruct", regs: PtRegs, on_fault: Callable[[int, int], bool]) -> int:
        """Loads ``regs``, executes in ``mm`` until the kernel is needed, stores ``regs``; an EXIT_* value.

        ``on_fault(addr, access)`` answers True when the page table now grants the access. It may be called while
        ``regs`` is not current. An exception in it stops the CPU and is raised here.
        """
        raise NotImplementedError

    def stop(self) -> None:
        """Makes ``run`` come back soon with EXIT_STOPPED. May be called from another thread."""
        raise NotImplementedError
