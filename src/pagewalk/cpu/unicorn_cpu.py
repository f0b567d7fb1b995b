"""A CPU that is Unicorn (QEMU's translator), with pagewalk's page tables as its MMU: what all architectures share.

Unicorn keeps a TLB of its own. Where that has no answer it calls machine code that walks the page table in RAM
(hw/callbacks.py); where the walk does not grant the access, Python and the kernel (unicorn_mmu.py). System calls and
exceptions stop the emulator, with no Python on the way.
"""

import os
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from pagewalk.cpu import unicorn_lib as ulib
from pagewalk.cpu.listener import AccessSink
from pagewalk.cpu.unicorn_events import Events
from pagewalk.cpu.unicorn_mmu import Mmu
from pagewalk.cpu.unicorn_record import AccessHooks
from pagewalk.errors import NotModelled, PagewalkError
from pagewalk.hw.state import STATE_FILLS, STATE_SLICE
from pagewalk.kernel.cpu import EXIT_FAULT, EXIT_STOPPED, EXIT_TRAP, Cpu
from pagewalk.kernel.ptrace import TaskRegs

if TYPE_CHECKING:
    from pagewalk.mm.mm_types import MmStruct
    from pagewalk.mm.ram import Ram

_STOP_INTERVAL: Final = 0.001  # seconds between two attempts to stop
_IDLE_LIMIT: Final = 10_000  # times that the emulator may stop without a reason before we give up
_PIECE: Final = 50_000  # instructions that run at a time where blocks are not counted, and it may have to stop
_HOST_NS_A_BLOCK: Final = 25  # what a slice lasts where blocks are not counted

COMPILE_AFTER: Final = 16_384  # TLB misses: as long in Python as it takes to load the code that does without


def may_compile() -> bool:
    """Whether Numba is there and PAGEWALK_INTERPRETED is not set."""
    return not os.environ.get("PAGEWALK_INTERPRETED") and find_spec("numba") is not None


class UnicornCpu(Cpu):
    """One CPU over one RAM. A subclass has made its engine, and what serves it, before it calls this.

    TLB misses are served in Python (10 µs) until there have been ``compile_after`` of them (see Mmu); then Numba's code
    is loaded (0.4 s) and serves them (0.1 µs). A small program never pays for what it does not need.
    """

    def __init__(self, engine: int, ram: "Ram", mmu: Mmu, events: Events) -> None:
        super().__init__()
        self._engine = engine
        self._ram = ram  # its memory must outlive the engine
        self._mmu = mmu
        self._state = mmu.state
        self._events = events
        self._running = False
        self._stop_wanted = False
        self._thread = 0
        self._counts = False
        self._piece = 0
        self._slice_end = 0
        self._idle = 0
        self._hooks: AccessHooks | None = None

    def in_program(self) -> bool:
        """See ``Cpu.in_program``."""
        return self._running

    # Time slices.

    def count_blocks(self) -> bool:
        """See ``Cpu.count_blocks``: machine code counts (6 ns a block); without Numba nobody does."""
        if self._counts:
            return True
        if not may_compile():
            self._piece = _PIECE
            return False
        from pagewalk.hw import callbacks

        self._piece = 0
        if not self._mmu.has_machine_code:
            self._use_machine_code()
        self._events.count_blocks(callbacks.on_block.address)
        self._mmu.forget_translations()
        self._counts = True
        return True

    def expect_stops(self) -> None:
        """See ``Cpu.expect_stops``.

        Unicorn leaves rip at the last instruction that used memory when ``emu_stop`` comes from another thread: what
        the program has done since, it would do again. So nobody calls it then: the end of the slice is the stop where
        blocks are counted, and elsewhere the program runs so many instructions at a time, which Unicorn counts (7 ns
        each).
        """
        if self._mmu.has_machine_code:
            self.count_blocks()
        else:
            self._piece = _PIECE

    def start_slice(self, blocks: int) -> None:
        """See ``Cpu.start_slice``."""
        self._state[STATE_SLICE] = blocks
        self._slice_end = time.monotonic_ns() + blocks * _HOST_NS_A_BLOCK

    def slice_left(self) -> int:
        """See ``Cpu.slice_left``."""
        if self._counts:
            return self._state[STATE_SLICE]
        return (self._slice_end - time.monotonic_ns()) // _HOST_NS_A_BLOCK if self._slice_end else 1

    # Recording.

    def record(self, sink: AccessSink) -> AccessHooks:
        """From now on everything that programs access goes to ``sink``. Raises NotModelled without machine code."""
        if not may_compile():
            raise NotModelled("--record and --tlb need Numba, and PAGEWALK_INTERPRETED not to be set")
        if not self._mmu.has_machine_code:
            self._use_machine_code()
        from pagewalk.hw import record

        shift = int(self._ram.page_shift)
        self._hooks = AccessHooks(self._engine, sink, self._ram.size >> shift, shift, self._mmu.state_address)
        self._mmu.record_pages(record, self._hooks.pages, sink.before_fault, sink.after_fault, peek=sink.sets_marks)
        self._mmu.forget_translations()
        return self._hooks

    def stop_recording(self) -> None:
        """Gives what is left to the sink; programs run as before."""
        if self._hooks is not None:
            self._hooks.flush()
            self._mmu.ask_nobody()
            self._hooks.close()
            self._hooks = None
            self._use_machine_code()
            self._mmu.forget_translations()

    def _recorded(self, hooks: AccessHooks, regs: TaskRegs, reason: int) -> int:
        """After a run: what was announced and did not happen is taken back."""
        if reason == EXIT_STOPPED:
            hooks.not_begun(int(regs.instruction_pointer()))
        elif reason in (EXIT_FAULT, EXIT_TRAP):
            hooks.left_early(int(regs.instruction_pointer()))
        hooks.sink.leave()
        if hooks.exception is not None:
            exception, hooks.exception = hooks.exception, None
            raise exception
        return reason

    # Running.

    def run(self, mm: "MmStruct", regs: TaskRegs, on_fault: Callable[[int, int], bool]) -> int:
        """See ``Cpu.run``. ``addr`` is exact in EXIT_FAULT; ``on_fault`` gets the start of the page."""
        self._thread = threading.get_ident()
        self._running = True  # before the look at _stop_wanted: see stop()
        try:
            if self._stop_wanted:
                self._stop_wanted = False
                return EXIT_STOPPED
            if self._mmu.wants_machine_code:
                self._use_machine_code()
            self._mmu.enter(mm, on_fault)
            self._load(mm, regs)
            self._idle = 0
            if self._hooks is None:
                reason = self._execute(regs)
            else:
                self._hooks.sink.enter()
                reason = self._recorded(self._hooks, regs, self._execute(regs))
            self._unload(regs)
            return reason
        finally:
            self._running = False

    def _load(self, mm: "MmStruct", regs: TaskRegs) -> None:
        """The registers, into the engine."""
        raise NotImplementedError

    def _unload(self, regs: TaskRegs) -> None:
        """What ``_execute`` has not stored."""

    def _execute(self, regs: TaskRegs) -> int:
        """Until the kernel is needed; an EXIT_* value, with ``regs`` stored."""
        raise NotImplementedError

    def _raise_pending(self) -> None:
        """Raises what happened in a callback."""
        mmu = self._mmu
        if mmu.exception is not None:
            exception, mmu.exception = mmu.exception, None
            mmu.fault = None
            raise exception

    def _stopped(self, before: int, now: int) -> bool:
        """The emulator came back without a reason of its own: whether that is somebody's wish. ``before`` and ``now``
        are where the program was and is."""
        if self._stop_wanted:
            self._stop_wanted = False
            return True
        if self._piece or (self._counts and self._state[STATE_SLICE] <= 0):
            return True
        if self._mmu.wants_machine_code:
            self._use_machine_code()
        self._idle = self._idle + 1 if now == before else 0  # a stop() that came too late for the run before
        if self._idle > _IDLE_LIMIT:
            raise PagewalkError(f"the CPU emulator does not go on at {before & (1 << 64) - 1:#x}")
        return False

    def stop(self) -> None:
        """Makes ``run`` come back with EXIT_STOPPED: the one under way, or else the next one.

        From another thread: returns when ``run`` has come back. A request that reaches the emulator while it starts is
        lost there, so it is repeated until it is seen. Where nobody expected it, the program cannot go on.
        """
        self._stop_wanted = True
        if threading.get_ident() == self._thread:
            ulib.emu_stop(self._engine)
            return
        while self._stop_wanted and self._running:
            if self._counts:
                self._state[STATE_SLICE] = 1  # the next block is the last; should one just be counting, again
            elif not self._piece:
                ulib.emu_stop(self._engine)
            time.sleep(_STOP_INTERVAL)

    @property
    def tlb_misses(self) -> int:
        """Times that the emulator's TLB had no answer and the page table was walked."""
        return self._state[STATE_FILLS]

    @property
    def tlb_flushes(self) -> int:
        """Times that the emulator's TLB was flushed."""
        return self._mmu.flushes

    def _use_machine_code(self) -> None:
        """From now on misses and events are machine code."""
        from pagewalk.hw import callbacks

        self._mmu.use(callbacks)
        self._events.hook(callbacks.on_syscall.address, callbacks.on_interrupt.address)
        if self._piece:
            self.count_blocks()
