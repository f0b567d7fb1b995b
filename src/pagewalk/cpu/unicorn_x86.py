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

from ctypes import c_uint64
from typing import TYPE_CHECKING, Final

from pagewalk.arch.format import PageFormat
from pagewalk.cpu import unicorn_lib as ulib
from pagewalk.cpu.sse_flags import SseFlags
from pagewalk.cpu.unicorn_cpu import COMPILE_AFTER, UnicornCpu, may_compile
from pagewalk.cpu.unicorn_setup import USER32_CS, Engine
from pagewalk.cpu.x86_events import X86Events
from pagewalk.cpu.x86_fxsave import FxState
from pagewalk.cpu.x86_insn import MAX_LENGTH, RDPMC, is_software_interrupt, uses_the_stack_segment
from pagewalk.cpu.x86_mmu import X86Mmu
from pagewalk.cpu.x86_modes import Modes
from pagewalk.cpu.x86_registers import GeneralRegisters
from pagewalk.errors import PagewalkError
from pagewalk.hw.state import (
    EVENT_INTERRUPT,
    EVENT_NONE,
    EVENT_REFUSED,
    EVENT_SYSCALL,
    STATE_EVENT,
    STATE_PKRU,
    STATE_VECTOR,
)
from pagewalk.hw.walker import FETCH, NO_KEY, NO_RIGHT, NON_CANONICAL, WRITE
from pagewalk.kernel.cpu import (
    DR6_STEP,
    EXIT_FAULT,
    EXIT_INT80,
    EXIT_STOPPED,
    EXIT_SYSCALL,
    EXIT_SYSENTER,
    EXIT_TRAP,
)
from pagewalk.kernel.ptrace import USER_CS, PtRegs, TaskRegs

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
_STEP_LIMIT: Final = 4096  # instructions to a fault that translation ran into early

TLS_ENTRY: Final = 12  # GDT_ENTRY_TLS_MIN of a 64-bit kernel


class UnicornX86(UnicornCpu):
    """One CPU over one RAM, which may run any address space in it whose page tables have the format ``fmt``.

    hwcap  CPUID 1's EDX: AT_HWCAP

    ``user32_cs`` and ``tls_entry`` are the kernel's choice: the selector of 32-bit code, and the first of the GDT's
    descriptors that belong to the running thread. ``pku``: the CPU has protection keys.

    Raises PagewalkError where the emulator cannot be set up.
    """

    def __init__(
        self,
        ram: "Ram",
        fmt: PageFormat,
        compile_after: int = COMPILE_AFTER,
        user32_cs: int = USER32_CS,
        tls_entry: int = TLS_ENTRY,
        *,
        pku: bool = False,
    ) -> None:
        self._owner = Engine(ram.address, ram.size, user32_cs, pku=pku)
        ram.programs_run()
        engine = self._owner.address
        self.hwcap = self._owner.hwcap
        self._sse = SseFlags(engine, *self._owner.sse_flags)
        mmu = X86Mmu(engine, ram, fmt, self._sse.on_new_code, compile_after if may_compile() else -1)
        mmu.state[STATE_PKRU] = self._owner.pkru_address
        self._general = GeneralRegisters(engine)
        super().__init__(engine, ram, mmu, X86Events(engine, mmu.state, mmu.state_address, self._general.words))
        self._fx = FxState(engine, self._sse)
        self._fx.reset()
        self._modes = Modes(self._owner, self._fx, mmu, ram, tls_entry)

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

    def read_pkru(self) -> int:
        """See Cpu."""
        pkru = self._owner.pkru
        return 0 if pkru is None else pkru.value

    def write_pkru(self, value: int) -> None:
        """See Cpu. What the emulator's TLB holds was granted under the old one."""
        pkru = self._owner.pkru
        if pkru is not None and pkru.value != value:
            pkru.value = value
            self._mmu.flush()

    # Running.

    def _load(self, mm: "MmStruct", regs: TaskRegs) -> None:
        """See UnicornCpu."""
        assert isinstance(regs, PtRegs)
        if (regs.cs != USER_CS or not self._modes.wide) and self._modes.enter(regs, mm.system.gdt_pfn):
            self._general.forget()
        self._general.load(regs)

    def _unload(self, regs: TaskRegs) -> None:
        """See UnicornCpu."""
        if not self._modes.wide:
            assert isinstance(regs, PtRegs)
            self._modes.leave(regs)

    def _execute(self, regs: TaskRegs) -> int:
        """See UnicornCpu."""
        assert isinstance(regs, PtRegs)
        engine = self._engine
        state = self._state
        mmu = self._mmu
        rip = regs.rip
        while True:
            state[STATE_EVENT] = EVENT_NONE
            error = ulib.emu_start(engine, rip, 0, 0, self._piece)
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
            self._raise_pending()
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
            if self._stopped(rip, regs.rip):
                return EXIT_STOPPED
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
        # U, and PK, P, W, I as they apply
        self.error_code = (
            (status == NO_KEY) << 5
            | 4
            | (status in (NO_RIGHT, NO_KEY))
            | (access == WRITE) << 1
            | (access == FETCH) << 4
        )
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
            error = ulib.emu_start(self._engine, regs.rip, 0, 0, self._piece)
            event = state[STATE_EVENT]
            vector = state[STATE_VECTOR]
            if event != EVENT_REFUSED:
                self._general.words.read(self._engine)
            self._general.unpack(regs)
            self._general.forget()
            if not flags & _TF:
                regs.eflags &= ~_TF
            self._raise_pending()
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
