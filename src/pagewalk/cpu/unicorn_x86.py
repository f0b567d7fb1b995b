"""An x86 CPU: Unicorn (QEMU's translator), with pagewalk's page tables as its MMU. It runs 64-bit and 32-bit code.

Unicorn keeps a TLB of its own. Where that has no answer it calls machine code that walks the page table in RAM
(hw/callbacks.py); where the walk does not grant the access, Python and the kernel (unicorn_mmu.py). System calls and
exceptions stop the emulator, with no Python on the way.

Differs: a load and a store of one instruction fault one after the other, except for read-modify-write, which faults as
a write; #GP carries no selector; DS, ES, FS and GS of 64-bit code take null
selectors only, and it cannot jump to 32-bit code; segments have no limits; there are no SIMD floating-point
exceptions, and no #GP for a misaligned 16-byte operand or reserved bits of MXCSR; instructions with a VEX prefix, which
CPUID does not offer, are not all refused.
"""

import os
import threading
import time
from collections.abc import Callable
from ctypes import c_uint64
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from pagewalk.arch.format import PageFormat
from pagewalk.cpu import unicorn_lib as ulib
from pagewalk.cpu.listener import AccessSink
from pagewalk.cpu.sse_flags import SseFlags
from pagewalk.cpu.unicorn_events import Events
from pagewalk.cpu.unicorn_mmu import Mmu
from pagewalk.cpu.unicorn_record import AccessHooks
from pagewalk.cpu.unicorn_setup import USER32_CS, Engine
from pagewalk.cpu.x86_fxsave import FxState
from pagewalk.cpu.x86_insn import MAX_LENGTH, RDPMC, is_software_interrupt, uses_the_stack_segment
from pagewalk.cpu.x86_modes import Modes
from pagewalk.cpu.x86_registers import GeneralRegisters
from pagewalk.errors import NotModelled, PagewalkError
from pagewalk.hw.state import (
    EVENT_INTERRUPT,
    EVENT_NONE,
    EVENT_REFUSED,
    EVENT_SYSCALL,
    STATE_EVENT,
    STATE_FILLS,
    STATE_SLICE,
    STATE_VECTOR,
)
from pagewalk.hw.walker import FETCH, NO_RIGHT, NON_CANONICAL, WRITE
from pagewalk.kernel.cpu import (
    DR6_STEP,
    EXIT_FAULT,
    EXIT_INT80,
    EXIT_STOPPED,
    EXIT_SYSCALL,
    EXIT_SYSENTER,
    EXIT_TRAP,
    Cpu,
)
from pagewalk.kernel.ptrace import USER_CS, PtRegs

if TYPE_CHECKING:
    from pagewalk.mm.mm_types import MmStruct
    from pagewalk.mm.ram import Ram

# Vectors (AMD64 Architecture Programmer's Manual volume 2, table 8-1).
_DB: Final = 1
_BP: Final = 3
_OF: Final = 4
_UD: Final = 6
_SS: Final = 12
_GP: Final = 13
_IA32_SYSCALL: Final = 0x80
_SYSENTER: Final = b"\x0f\x34"
_CONTRIBUTORY: Final = frozenset({0, 10, 11, 12, 13})  # a second one in a row would become a double fault

_TF: Final = 0x100  # EFLAGS: trap after each instruction
_ICEBP: Final = 0xF1
_STOP_INTERVAL: Final = 0.001  # seconds between two attempts to stop
_IDLE_LIMIT: Final = 10_000  # times that the emulator may stop without a reason before we give up
_HOST_NS_A_BLOCK: Final = 25  # what a slice lasts where blocks are not counted
_STEP_LIMIT: Final = 4096  # instructions to a fault that translation ran into early

TLS_ENTRY: Final = 12  # GDT_ENTRY_TLS_MIN of a 64-bit kernel
COMPILE_AFTER: Final = 16_384  # TLB misses: as long in Python as it takes to load the code that does without


def may_compile() -> bool:
    """Whether Numba is there and PAGEWALK_INTERPRETED is not set."""
    return not os.environ.get("PAGEWALK_INTERPRETED") and find_spec("numba") is not None


class UnicornX86(Cpu):
    """One CPU over one RAM, which may run any address space in it whose page tables have the format ``fmt``.

    hwcap  CPUID 1's EDX: AT_HWCAP

    ``user32_cs`` and ``tls_entry`` are the kernel's choice: the selector of 32-bit code, and the first of the GDT's
    descriptors that belong to the running thread.

    TLB misses are served in Python (10 µs) until there have been ``compile_after`` of them; then Numba's code is loaded
    (0.4 s) and serves them (0.1 µs). A small program never pays for what it does not need.

    Raises PagewalkError where the emulator cannot be set up.
    """

    def __init__(
        self,
        ram: "Ram",
        fmt: PageFormat,
        compile_after: int = COMPILE_AFTER,
        user32_cs: int = USER32_CS,
        tls_entry: int = TLS_ENTRY,
    ) -> None:
        super().__init__()
        self._owner = Engine(ram.address, ram.size, user32_cs)
        self._ram = ram  # its memory must outlive the engine
        self._engine = self._owner.address
        self.hwcap = self._owner.hwcap
        self._sse = SseFlags(self._engine, *self._owner.sse_flags)
        self._mmu = Mmu(self._engine, ram, fmt, self._sse.on_new_code, compile_after if may_compile() else -1)
        self._state = self._mmu.state
        self._general = GeneralRegisters(self._engine)
        self._events = Events(self._engine, self._mmu.state, self._mmu.state_address, self._general.words)
        self._fx = FxState(self._engine, self._sse)
        self._fx.reset()
        self._modes = Modes(self._owner, self._fx, self._mmu, ram, tls_entry)
        self._running = False
        self._stop_wanted = False
        self._thread = 0
        self._counts = False
        self._slice_end = 0
        self._hooks: AccessHooks | None = None

    # What the program's other state is (Fpu).

    def save(self) -> bytes:
        """The 512 bytes of FXSAVE64."""
        return self._fx.save()

    def restore(self, image: bytes) -> None:
        """Loads 512 bytes in FXSAVE64's layout."""
        self._fx.restore(image)

    def reset(self) -> None:
        """The state after execve: FCW 0x37f, MXCSR 0x1f80, everything else zero."""
        self._fx.reset()

    def in_program(self) -> bool:
        """See ``Cpu.in_program``."""
        return self._running

    # Time slices.

    def count_blocks(self) -> bool:
        """See ``Cpu.count_blocks``: machine code counts (6 ns a block); without Numba nobody does."""
        if self._counts or not may_compile():
            return self._counts
        from pagewalk.hw import callbacks

        if not self._mmu.has_machine_code:
            self._use_machine_code()
        self._events.count_blocks(callbacks.on_block.address)
        self._mmu.forget_translations()
        self._counts = True
        return True

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

        self._hooks = AccessHooks(self._engine, sink, self._ram.size >> 12, self._mmu.state_address)
        self._mmu.record_pages(record, self._hooks.pages, sink.before_fault, peek=sink.sets_marks)
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

    def _recorded(self, hooks: AccessHooks, regs: PtRegs, reason: int) -> int:
        """After a run: what was announced and did not happen is taken back."""
        if reason == EXIT_STOPPED:
            hooks.not_begun(regs.rip)
        elif reason in (EXIT_FAULT, EXIT_TRAP):
            hooks.left_early(regs.rip)
        hooks.sink.leave()
        if hooks.exception is not None:
            exception, hooks.exception = hooks.exception, None
            raise exception
        return reason

    # Running.

    def run(self, mm: "MmStruct", regs: PtRegs, on_fault: Callable[[int, int], bool]) -> int:
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
            if (regs.cs != USER_CS or not self._modes.wide) and self._modes.enter(regs, mm.system.gdt_pfn):
                self._general.forget()
            self._general.load(regs)
            if self._hooks is None:
                reason = self._execute(regs)
            else:
                self._hooks.sink.enter()
                reason = self._recorded(self._hooks, regs, self._execute(regs))
            if not self._modes.wide:
                self._modes.leave(regs)
            return reason
        finally:
            self._running = False

    def stop(self) -> None:
        """Makes ``run`` come back with EXIT_STOPPED: the one under way, or else the next one.

        From another thread: returns when ``run`` has come back. A request that reaches the emulator while it starts is
        lost there, so it is repeated until it is seen.
        """
        self._stop_wanted = True
        if threading.get_ident() == self._thread:
            ulib.emu_stop(self._engine)
            return
        while self._stop_wanted and self._running:
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

    def _execute(self, regs: PtRegs) -> int:
        """Until the kernel is needed; an EXIT_* value, with ``regs`` stored."""
        engine = self._engine
        state = self._state
        mmu = self._mmu
        rip = regs.rip
        idle = 0
        while True:
            state[STATE_EVENT] = EVENT_NONE
            error = ulib.emu_start(engine, rip, 0, 0, 0)
            event = state[STATE_EVENT]
            if event == EVENT_SYSCALL and mmu.exception is None:
                self._general.store(regs)
                if not self._modes.wide:
                    return self._narrow_syscall(regs)
                regs.rcx = regs.rip
                regs.r11 = regs.eflags
                return EXIT_SYSCALL
            if event != EVENT_REFUSED:
                self._general.store(regs)
            else:
                self._general.unpack(regs)
                self._general.forget()  # the engine went on to the end of its block: load all of them next time
            if mmu.exception is not None:
                exception, mmu.exception = mmu.exception, None
                mmu.fault = None
                raise exception
            if event != EVENT_NONE:
                return self._trap(regs, state[STATE_VECTOR], at_instruction=event == EVENT_REFUSED)
            if mmu.fault is not None:
                if mmu.fault[1] == FETCH and mmu.fault[0] >> 12 != regs.rip >> 12:
                    return self._step_to_fault(regs)
                return self._refused_fault(regs.rip)
            if error == ulib.UC_ERR_INSN_INVALID:
                return self._trap(regs, _UD, at_instruction=True)
            if error != ulib.UC_ERR_OK:
                raise PagewalkError(
                    f"the CPU emulator gave up at rip {regs.rip & (1 << 64) - 1:#x}: {ulib.strerror(error)}"
                )
            if self._stop_wanted:
                self._stop_wanted = False
                return EXIT_STOPPED
            if self._counts and state[STATE_SLICE] <= 0:
                return EXIT_STOPPED
            if mmu.wants_machine_code:
                self._use_machine_code()
            idle = idle + 1 if regs.rip == rip else 0  # a stop() that came too late for the run before
            if idle > _IDLE_LIMIT:
                raise PagewalkError(f"the CPU emulator does not go on at rip {rip & (1 << 64) - 1:#x}")
            rip = regs.rip

    def _refused_fault(self, rip: int) -> int:
        """``on_fault`` said False, or the address cannot be one."""
        assert self._mmu.fault is not None
        page, access, status = self._mmu.fault
        self._mmu.fault = None
        self.addr = page
        if self._owner.fault_address:
            exact = c_uint64.from_address(self._owner.fault_address).value
            if exact >> 12 == page >> 12 & (1 << 52) - 1:
                self.addr = page + (exact & 4095)
        self.access = access
        if status == NON_CANONICAL:
            stack = access != FETCH and uses_the_stack_segment(self._mmu.code_at(rip, MAX_LENGTH))
            self.vector = _SS if stack else _GP
            self.error_code = 0
            return EXIT_TRAP
        # U, and P, W, I as they apply
        self.error_code = 4 | (status == NO_RIGHT) | (access == WRITE) << 1 | (access == FETCH) << 4
        return EXIT_FAULT

    def _step_to_fault(self, regs: PtRegs) -> int:
        """Translation ran ahead of the program onto a page that cannot be executed: carries out what comes before it.

        With the trap flag set, a block is one instruction.
        """
        state = self._state
        mmu = self._mmu
        flags = regs.eflags
        for _ in range(_STEP_LIMIT):
            mmu.fault = None
            regs.eflags |= _TF
            self._general.load(regs)
            state[STATE_EVENT] = EVENT_NONE
            error = ulib.emu_start(self._engine, regs.rip, 0, 0, 0)
            event = state[STATE_EVENT]
            vector = state[STATE_VECTOR]
            if event != EVENT_REFUSED:
                self._general.words.read(self._engine)
            self._general.unpack(regs)
            self._general.forget()
            if not flags & _TF:
                regs.eflags &= ~_TF
            if mmu.exception is not None:
                exception, mmu.exception = mmu.exception, None
                raise exception
            if mmu.fault is not None:
                return self._refused_fault(regs.rip)
            if event == EVENT_SYSCALL:
                if not self._modes.wide:
                    return self._narrow_syscall(regs)
                regs.rcx = regs.rip
                regs.r11 = regs.eflags
                return EXIT_SYSCALL
            if event == EVENT_INTERRUPT and vector == _DB and not flags & _TF:
                continue
            if event != EVENT_NONE:
                return self._trap(regs, vector, at_instruction=event == EVENT_REFUSED)
            if error == ulib.UC_ERR_INSN_INVALID:
                return self._trap(regs, _UD, at_instruction=True)
            if self._stop_wanted:
                self._stop_wanted = False
                return EXIT_STOPPED
        return self._execute(regs)

    def _trap(self, regs: PtRegs, vector: int, *, at_instruction: bool) -> int:
        """An exception; ``at_instruction``: rip is known to be at the instruction, not behind it."""
        if vector == _IA32_SYSCALL:
            return EXIT_INT80
        self.vector = vector
        self.error_code = DR6_STEP if vector == _DB else 0
        if vector == _UD:
            code = self._mmu.code_at(regs.rip, 2)
            if code == _SYSENTER and not self._modes.wide:
                regs.rip += len(_SYSENTER)
                return EXIT_SYSENTER
            if is_software_interrupt(code, _UD):
                self._software_interrupt(_UD)
            elif code == RDPMC:
                self.vector = _GP
            elif code[:1] == bytes((_ICEBP,)):
                self.vector = _DB
                self.error_code = 0
                regs.rip += 1
        elif (
            not at_instruction
            and vector not in (_BP, _OF)
            and is_software_interrupt(self._mmu.code_at(regs.rip - 2, 2), vector)
        ):
            regs.rip -= 2
            self._software_interrupt(vector)
        if vector in _CONTRIBUTORY:
            self._forget_exception(regs)
        return EXIT_TRAP

    def _narrow_syscall(self, regs: PtRegs) -> int:
        """SYSCALL in 32-bit code: Intel's processors, one of which this claims to be, know it in 64-bit mode only."""
        regs.rip -= 2
        return self._trap(regs, _UD, at_instruction=True)

    def _software_interrupt(self, vector: int) -> None:
        """``int n``: Linux's gates are closed to user mode but for 3 and 4. The error code names the gate."""
        self.vector = _GP
        self.error_code = vector << 3 | 2

    def _forget_exception(self, regs: PtRegs) -> None:
        """The emulator remembers an exception until it is delivered, which never happens here: two #GP would be a #DF.

        What it remembers is among what a saved context brings back; the program's own registers are then loaded again.
        """
        self._modes.restart(regs)
        self._general.forget()

    def _use_machine_code(self) -> None:
        """From now on misses and events are machine code."""
        from pagewalk.hw import callbacks

        self._mmu.use(callbacks)
        self._events.hook(callbacks.on_syscall.address, callbacks.on_interrupt.address)
