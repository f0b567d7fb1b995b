"""What the emulated MMU has of its own for x86: the GDT, read-modify-write, and addresses that are none."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from unicorn import x86_const as x86

from pagewalk.arch.format import PageFormat
from pagewalk.cpu.unicorn_lib import Registers
from pagewalk.cpu.unicorn_mmu import Mmu, write_entry
from pagewalk.cpu.unicorn_setup import GDT_ADDR
from pagewalk.cpu.x86_insn import MAX_LENGTH, writes_what_it_reads
from pagewalk.hw.walker import NON_CANONICAL, RIGHT_READ

if TYPE_CHECKING:
    from pagewalk.mm.ram import Ram

_DECODED_LIMIT: Final = 4096  # instructions whose kind is remembered


class X86Mmu(Mmu):
    """See Mmu.

    wide       the program runs 64-bit code
    gdt_pfn    the frame of the GDT, -1 for none: a program that runs 32-bit code loads segments from it
    """

    def __init__(
        self,
        engine: int,
        ram: "Ram",
        fmt: PageFormat,
        on_new_code: Callable[[int, memoryview], None],
        compile_after: int,
    ) -> None:
        super().__init__(engine, ram, fmt, on_new_code, compile_after)
        self._rip = Registers([x86.UC_X86_REG_RIP])
        self._decoded: dict[int, bool] = {}
        self.wide = True
        self.gdt_pfn = -1

    def flush(self) -> None:
        """See Mmu."""
        self._decoded.clear()
        super().flush()

    def _fill_special(self, addr: int, entry: int) -> bool:
        """The GDT, from which a program that runs 32-bit code loads segments."""
        if addr < 0 and addr & -4096 == GDT_ADDR and not self.wide:
            write_entry(entry, self.gdt_pfn << 12, RIGHT_READ)
            return True
        return False

    def _is_refused(self, addr: int, access: int, status: int) -> bool:
        """An address that is none is no page fault."""
        return status == NON_CANONICAL or super()._is_refused(addr, access, status)

    def _writes_what_it_reads(self) -> bool:
        """Whether the instruction that is loading now will store to the same place."""
        self._rip.read(self._engine)
        rip = self._rip.values[0]
        known = self._decoded.get(rip)
        if known is None:
            if len(self._decoded) >= _DECODED_LIMIT:
                self._decoded.clear()
            known = writes_what_it_reads(self.code_at(rip, MAX_LENGTH), self.wide)
            self._decoded[rip] = known
        return known
