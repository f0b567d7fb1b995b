"""An arm64 CPU: Unicorn (QEMU's translator), with pagewalk's page tables as its MMU. It runs 64-bit code at EL0.

System calls and exceptions come as the emulator's interrupts, a fault as one that the fill hook has refused. What a
program may not read or write (system registers) is an undefined instruction, as on hardware.

Differs: a load-acquire or an atomic operation that is not aligned does not fault, as with FEAT_LSE2, only exclusive
ones do; nor does an unaligned stack pointer; a cache-maintenance instruction checks no address; while accesses are
recorded, DC ZVA is prohibited (DCZID_EL0 says so); store-exclusive compares the value, not who wrote in between, until
the next entry into the kernel.
"""

from ctypes import c_uint64
from typing import TYPE_CHECKING, Final

from pagewalk.arch.format import PageFormat
from pagewalk.cpu import unicorn_lib as ulib
from pagewalk.cpu.arm64_registers import Arm64FpState, Arm64GeneralRegisters
from pagewalk.cpu.arm64_setup import Arm64Engine
from pagewalk.cpu.listener import AccessSink
from pagewalk.cpu.unicorn_cpu import COMPILE_AFTER, UnicornCpu, may_compile
from pagewalk.cpu.unicorn_events import Events
from pagewalk.cpu.unicorn_mmu import Mmu
from pagewalk.cpu.unicorn_record import AccessHooks
from pagewalk.errors import PagewalkError
from pagewalk.hw.state import EVENT_NONE, STATE_EVENT, STATE_VECTOR
from pagewalk.hw.walker import FETCH
from pagewalk.kernel.cpu import EXIT_FAULT, EXIT_STOPPED, EXIT_SYSCALL, EXIT_TRAP
from pagewalk.kernel.entry_arm64 import EXC_ALIGNMENT, EXC_BREAKPOINT, EXC_PC_ALIGNMENT, EXC_UNDEFINED
from pagewalk.kernel.ptrace_arm64 import INSN_SIZE, Arm64Regs

if TYPE_CHECKING:
    from pagewalk.kernel.ptrace import TaskRegs
    from pagewalk.mm.mm_types import MmStruct
    from pagewalk.mm.ram import Ram

# The emulator's numbers of exceptions (EXCP_*).
_UDEF: Final = 1
_SWI: Final = 2
_DATA_ABORT: Final = 4
_BKPT: Final = 7
_SMC: Final = 13  # noticed behind the instruction
_YIELD: Final = 0x1_0001

_TAG_SHIFT: Final = 56
_SIGN: Final = 1 << 55
_NO_MONITOR: Final = (1 << 64) - 1


def _sees_nothing(addr: int, page: memoryview) -> None:
    """No instruction needs a hook here."""


def without_tag(addr: int) -> int:
    """A signed address without the tag in its highest byte."""
    if addr & _SIGN:
        return addr | -(1 << _TAG_SHIFT)
    return addr & (1 << _TAG_SHIFT) - 1


class Arm64Mmu(Mmu):
    """See Mmu. The highest byte of an address is a tag, which no page table knows."""

    def _plain(self, addr: int) -> int:
        """See Mmu."""
        return without_tag(addr)


class UnicornArm64(UnicornCpu):
    """One CPU over one RAM, which may run any address space in it whose page tables have the format ``fmt``.

    Raises PagewalkError where the emulator cannot be set up.
    """

    def __init__(self, ram: "Ram", fmt: PageFormat, compile_after: int = COMPILE_AFTER) -> None:
        self._owner = Arm64Engine(ram.address, ram.size, int(fmt.page_size))
        ram.programs_run()
        engine = self._owner.address
        mmu = Arm64Mmu(engine, ram, fmt, _sees_nothing, compile_after if may_compile() else -1)
        super().__init__(engine, ram, mmu, Events(engine, mmu.state, mmu.state_address))
        self._general = Arm64GeneralRegisters(engine)
        self._fp = Arm64FpState(engine)
        self._fp.reset()
        self._monitor = c_uint64.from_address(self._owner.monitor) if self._owner.monitor else c_uint64()

    def save(self) -> bytes:
        """The 528 bytes of struct user_fpsimd_state."""
        return self._fp.save()

    def restore(self, image: bytes) -> None:
        """Loads them."""
        self._fp.restore(image)

    def reset(self) -> None:
        """The state after execve: all zero."""
        self._fp.reset()

    def record(self, sink: AccessSink) -> AccessHooks:
        """See UnicornCpu. DC ZVA writes without telling: programs find it prohibited."""
        self._owner.allow_zeroing(False)
        return super().record(sink)

    def stop_recording(self) -> None:
        """See UnicornCpu."""
        super().stop_recording()
        self._owner.allow_zeroing(True)

    def _load(self, mm: "MmStruct", regs: "TaskRegs") -> None:
        """See UnicornCpu. Returning from an exception clears the exclusive monitor."""
        assert isinstance(regs, Arm64Regs)
        self._monitor.value = _NO_MONITOR
        self._general.load(regs)

    def _execute(self, regs: "TaskRegs") -> int:
        """See UnicornCpu."""
        assert isinstance(regs, Arm64Regs)
        state = self._state
        mmu = self._mmu
        pc = regs.pc
        while True:
            state[STATE_EVENT] = EVENT_NONE
            error = ulib.emu_start(self._engine, pc, 0, 0, self._piece)
            self._general.store(regs)
            self._raise_pending()
            if state[STATE_EVENT] != EVENT_NONE:
                vector = state[STATE_VECTOR]
                if vector == _SWI:
                    return EXIT_SYSCALL
                if vector != _YIELD:
                    return self._trap(regs, vector)
            elif mmu.fault is not None:
                return self._refused_fault(regs)
            elif error == ulib.UC_ERR_INSN_INVALID:
                return self._trap(regs, _UDEF)
            elif error != ulib.UC_ERR_OK:
                where = regs.pc & (1 << 64) - 1
                raise PagewalkError(f"the CPU emulator gave up at pc {where:#x}: {ulib.strerror(error)}")
            if self._stopped(pc, regs.pc):
                return EXIT_STOPPED
            pc = regs.pc

    def _trap(self, regs: Arm64Regs, vector: int) -> int:
        """An exception, by the emulator's number."""
        self.error_code = 0
        if vector == _SMC:
            regs.pc -= INSN_SIZE
        if regs.pc & 3:
            self.vector = EXC_PC_ALIGNMENT
        elif vector == _BKPT:
            self.vector = EXC_BREAKPOINT
        elif vector == _DATA_ABORT:
            self.vector = EXC_ALIGNMENT
            self.error_code = self._misaligned_address(regs)
        elif vector in (_UDEF, _SMC):
            self.vector = EXC_UNDEFINED
        else:
            raise PagewalkError(f"the CPU emulator met exception {vector} at pc {regs.pc & (1 << 64) - 1:#x}")
        return EXIT_TRAP

    def _misaligned_address(self, regs: Arm64Regs) -> int:
        """Where the exclusive load or store at pc goes to: its base register, without an offset."""
        code = self._mmu.code_at(regs.pc, INSN_SIZE)
        base = int.from_bytes(code, "little") >> 5 & 31
        return without_tag(regs.sp if base == 31 else regs.regs[base])

    def _refused_fault(self, regs: Arm64Regs) -> int:
        """``on_fault`` said False."""
        assert self._mmu.fault is not None
        page, access, _ = self._mmu.fault
        self._mmu.fault = None
        if access == FETCH and regs.pc & 3:
            self.vector = EXC_PC_ALIGNMENT
            self.error_code = 0
            return EXIT_TRAP
        self.addr = page
        self.access = access
        if access == FETCH:
            self.addr = regs.pc
        elif self._owner.fault_address:
            exact = c_uint64.from_address(self._owner.fault_address).value
            exact = without_tag(exact - (1 << 64) if exact >> 63 else exact)
            if exact >> self._ram.page_shift == page >> self._ram.page_shift:
                self.addr = exact
        return EXIT_FAULT
