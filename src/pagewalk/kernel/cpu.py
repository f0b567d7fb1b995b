"""What the kernel needs of a CPU; ``cpu/`` implements it.

``run`` executes the task until the kernel is needed and says why it came back. While it runs, a page fault enters the
kernel through ``on_fault`` without leaving the CPU; only a fault that ends in a signal comes back as ``EXIT_FAULT``.

Mirrors: arch/x86/entry/entry_64.S (6.18)
Differs: why the program stopped is a number, not an entry point.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

from pagewalk.kernel.ptrace import Fpu, TaskRegs

if TYPE_CHECKING:
    from pagewalk.mm.mm_types import MmStruct

# FCW 0x37f, MXCSR 0x1f80 and its mask, everything else zero.
CLEAN_FXSAVE: Final = b"\x7f\x03" + bytes(22) + b"\x80\x1f\x00\x00\xff\xff\x00\x00" + bytes(480)

# Why ``run`` came back.
EXIT_SYSCALL: Final = 0  # the program counter is behind the instruction, rcx and r11 are as the hardware leaves them
EXIT_FAULT: Final = 1  # on_fault said False: ``addr`` and ``access`` tell which; the instruction was not carried out
EXIT_TRAP: Final = 2  # an exception: ``vector``, by x86's numbers or arm64's (kernel/entry_arm64.py)
EXIT_STOPPED: Final = 3  # ``stop`` was called (timer, watchdog, end of the time slice)
EXIT_INT80: Final = 4  # a 32-bit system call; rip is behind the instruction
EXIT_SYSENTER: Final = 5  # another way to make one, of 32-bit code; rip is behind the instruction

# What ``error_code`` says of vector 1, as DR6 does: a single step; 0 for INT1.
DR6_STEP: Final = 0x4000

# Kinds of access, for faults.
ACCESS_READ: Final = 0
ACCESS_WRITE: Final = 1
ACCESS_FETCH: Final = 2


class TaskFpu(Fpu):
    """A task's floating-point state: in ``cpu`` while that holds it, else in ``image`` (None: ``clean``, as after
    execve)."""

    def __init__(self, clean: bytes) -> None:
        self.cpu: Cpu | None = None
        self.image: bytes | None = None
        self.clean = clean

    def save(self) -> bytes:
        """See Fpu."""
        if self.cpu is not None:
            return self.cpu.save()
        return self.image if self.image is not None else self.clean

    def restore(self, image: bytes) -> None:
        """See Fpu."""
        if self.cpu is not None:
            self.cpu.restore(image)
        else:
            self.image = image

    def reset(self) -> None:
        """The state after execve."""
        if self.cpu is not None:
            self.cpu.reset()
        else:
            self.image = None

    def enter(self, cpu: "Cpu") -> None:
        """The task is to run on ``cpu``: what that holds of another goes to its owner, and this is loaded."""
        if self.cpu is cpu:
            return
        self.leave()
        owner = cpu.fpu_owner
        if owner is not None:
            owner.leave()
        if self.image is None:
            cpu.reset()
        else:
            cpu.restore(self.image)
        self.cpu = cpu
        cpu.fpu_owner = self

    def leave(self) -> None:
        """Takes the state out of the CPU that has it."""
        cpu = self.cpu
        if cpu is not None:
            self.image = cpu.save()
            self.cpu = None
            cpu.fpu_owner = None

    def cpu_forget(self) -> None:
        """The task has ended: the CPU's contents are nobody's."""
        if self.cpu is not None:
            self.cpu.fpu_owner = None
            self.cpu = None

    def copy(self) -> "TaskFpu":
        """For a child: the same state."""
        other = TaskFpu(self.clean)
        other.image = self.save()
        return other


@mypyc_attr(allow_interpreted_subclasses=True)
class Cpu(Fpu):
    """One CPU. ``addr``, ``access``, ``vector`` and ``error_code`` describe the last exit.

    fpu_owner  whose floating-point state it holds, None for nobody's
    """

    def __init__(self) -> None:
        self.fpu_owner: TaskFpu | None = None
        self.addr: int = 0
        self.access: int = 0
        self.vector: int = 0
        self.error_code: int = 0

    def run(self, mm: "MmStruct", regs: TaskRegs, on_fault: Callable[[int, int], bool]) -> int:
        """Loads ``regs``, executes in ``mm`` until the kernel is needed, stores ``regs``; an EXIT_* value.

        ``on_fault(addr, access)`` answers True when the page table now grants the access. It may be called while
        ``regs`` is not current. An exception in it stops the CPU and is raised here.
        """
        raise NotImplementedError

    def read_pkru(self) -> int:
        """PKRU, while a program runs or after it has; 0 where there is none."""
        return 0

    def write_pkru(self, value: int) -> None:
        """PKRU of the program that is to run."""

    def in_program(self) -> bool:
        """Whether ``run`` is under way: what is asked of the kernel now is a page fault, which may be taken again."""
        return False

    def count_blocks(self) -> bool:
        """From now on ``run`` counts basic blocks, and ends with EXIT_STOPPED when a slice is used up. False where it
        cannot: then a slice is host time, and somebody must call ``stop``."""
        return False

    def expect_stops(self) -> None:
        """From now on ``stop`` may come from another thread while the program is to go on afterwards where it was.

        ``run`` may then end with EXIT_STOPPED at any time; the caller gives a new slice when one is used up.
        """

    def start_slice(self, blocks: int) -> None:
        """Gives ``run`` that many basic blocks."""

    def slice_left(self) -> int:
        """Blocks that are left; 0 or less where the slice is used up."""
        return 1

    def stop(self) -> None:
        """Makes ``run`` come back soon with EXIT_STOPPED. May be called from another thread."""
        raise NotImplementedError
