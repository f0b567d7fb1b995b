"""What watches over a run from the terminal: Ctrl-C and SIGTERM, the time limit, the status line.

While a program runs, the main thread is mostly inside the emulator, where Python handles no signals. So signals arrive
on a pipe (``signal.set_wakeup_fd``), and a thread that waits there asks the machine to stop.
"""

import os
import select
import signal
import sys
import threading
import time
from types import FrameType
from typing import TYPE_CHECKING

from pagewalk.view.progress import StatusLine

if TYPE_CHECKING:
    from pagewalk.machine import Machine

__all__ = ["Session"]

TIMED_OUT = 124
WATCHED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _left_to_the_watcher(number: int, frame: FrameType | None) -> None:
    """Python's part of the handler; the watching thread has the byte that the C part wrote."""


class Session:
    """A context in which ``machine`` runs a program; afterwards ``status()`` knows why it ended.

    A second Ctrl-C ends pagewalk at once, should the machine not stop.
    """

    def __init__(self, machine: "Machine", timeout: float | None, quiet: bool) -> None:
        self.machine = machine
        self.timeout = timeout
        self.signal = 0
        self.timed_out = False
        self._quiet = quiet
        self._done = threading.Event()
        self._old: dict[int, object] = {}

    def __enter__(self) -> "Session":
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        for number in WATCHED:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                self._old[number] = signal.signal(number, _left_to_the_watcher)
        self._old_fd = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._watch, name="pagewalk-watch", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._done.set()
        signal.set_wakeup_fd(self._old_fd)
        os.write(self._write, b"\0")
        self._thread.join()
        for number, handler in self._old.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        os.close(self._read)
        os.close(self._write)

    def status(self, program_status: int, stopped: str) -> int:
        """The exit status: the program's, unless it was stopped from here (``stopped``, the report's reason).

        A signal that comes when the program has ended already finds nothing to stop.
        """
        if stopped and self.timed_out:
            return TIMED_OUT
        return 128 + self.signal if stopped and self.signal else program_status

    def _watch(self) -> None:
        """The thread: waits for signals, the time limit and the next tick of the status line."""
        start = time.monotonic()
        line = StatusLine(sys.stderr, self.machine.progress) if not self._quiet else None
        while not self._done.is_set():
            waits = [line.interval] if line and line.wanted else []
            if self.timeout is not None and not self.timed_out:
                waits.append(max(0.0, start + self.timeout - time.monotonic()))
            ready, _, _ = select.select([self._read], [], [], min(waits, default=None))
            for number in os.read(self._read, 64) if ready else b"":
                if number in WATCHED:
                    self._stop_for(number)
            if self.timeout is not None and not self.timed_out and time.monotonic() - start >= self.timeout:
                self.timed_out = not self._done.is_set()
                self.machine.stop(f"--timeout {self.timeout:g}")
            elif line and line.wanted and not ready:
                line.show(time.monotonic() - start)
        if line:
            line.clear()

    def _stop_for(self, number: int) -> None:
        """The first signal stops the machine, the second one ends everything."""
        if self.signal:
            os._exit(128 + number)
        self.signal = number
        self.machine.stop(signal.Signals(number).name)
