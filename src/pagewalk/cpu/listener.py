"""What the CPU's hooks tell of a running program, and to whom: protocols, without what carries them out."""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from pagewalk.cpu.tap import Tap
    from pagewalk.kernel.kernel import Kernel
    from pagewalk.kernel.task import Task

__all__ = ["AccessSink", "Listener", "Recording"]


class AccessSink(Protocol):
    """Who takes what the hooks of one CPU collect."""

    @property
    def sets_marks(self) -> bool:
        """Accessed and Dirty are set by the sink, when it takes the accesses, and not by the CPU."""

    def enter(self) -> None:
        """The current task is about to run; ``AccessHooks.count`` accesses have happened and were not taken."""

    def leave(self) -> None:
        """It runs no longer: the kernel is about to act."""

    def before_fault(self, addr: int, access: int) -> bool:
        """The page table does not grant an access, and the kernel is about to be told. True where the sink has changed
        the page table: it is asked again."""

    def after_fault(self) -> None:
        """The kernel has served that fault, or has refused to."""

    def take(self, addr: "npt.NDArray[np.int64]", meta: "npt.NDArray[np.int64]", instructions: int) -> None:
        """Accesses in order, and kind | size << 8 of each; the arrays are used again afterwards."""


class Listener(Protocol):
    """Who gets to know what programs access. A position is a number of accesses since the last ``on_accesses``."""

    def on_turn(self, position: int, task: "Task") -> None:
        """From here on this task runs, on its CPU."""

    def on_fault(self, position: int, task: "Task", addr: int, access: int) -> None:
        """An access was not granted, and the kernel gets to know."""

    def on_late_fault(self, position: int, task: "Task", addr: int, access: int, *, is_alone: bool = False) -> None:
        """The access at ``position`` was made, and needs the kernel: a mark that software sets, or the second page of
        one that crosses a page. ``is_alone``: nobody else tells of this fault, should it be refused."""

    def on_resumed(self) -> None:
        """The kernel is done with what it did last: from here on the hardware marks page tables."""

    def on_accesses(
        self,
        addrs: "npt.NDArray[np.int64]",
        kinds: "npt.NDArray[np.uint8]",
        sizes: "npt.NDArray[np.uint16]",
        instructions: int,
    ) -> None:
        """Accesses in order. The arrays are the listener's."""


class Recording(Listener, Protocol):
    """Who records a run: ``trace.recorder.Recorder``."""

    def begin(self, kernel: "Kernel", tap: "Tap", task: "Task") -> None:
        """``task``, which has its program, is about to run, and ``tap`` to tell of its accesses."""

    def end(self) -> None:
        """The run is over, or has failed, and its address spaces are gone; ``tap`` has told everything."""

    def on_idle(self, cpu: int) -> None:
        """A CPU has nothing to run."""

    def on_mm_release(self, task: "Task") -> None:
        """See TaskRegistry."""
