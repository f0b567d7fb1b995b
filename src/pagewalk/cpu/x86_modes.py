"""The two modes in which one engine runs programs: 64-bit mode, and the compatibility mode of 32-bit programs.

Each is a saved context of the engine; changing over loads it and keeps the floating-point state. In compatibility mode
the segment registers are real: their descriptors come out of the GDT, which is a frame of RAM at the place where Linux
has the first CPU's (cpu_entry_area). No 32-bit program can address it, and the emulator reads it through the TLB.

Sources: Intel SDM volume 3, sections 3.4 and 3.5 (selectors, descriptors); Linux Documentation/arch/x86/x86_64/mm.rst.
"""

from typing import TYPE_CHECKING, Any, Final

from unicorn import x86_const as x86

from pagewalk.cpu import unicorn_lib as ulib
from pagewalk.cpu.unicorn_setup import Engine
from pagewalk.cpu.x86_fxsave import FxState
from pagewalk.kernel.ptrace import USER_CS, PtRegs

if TYPE_CHECKING:
    from pagewalk.cpu.x86_mmu import X86Mmu
    from pagewalk.mm.ram import Ram

_SELECTORS: Final = [x86.UC_X86_REG_DS, x86.UC_X86_REG_ES, x86.UC_X86_REG_FS, x86.UC_X86_REG_GS]
_BASES: Final = [x86.UC_X86_REG_FS_BASE, x86.UC_X86_REG_GS_BASE]
_UNKNOWN: Final = (-1, -1, -1, -1)
_PRESENT: Final = 1 << 47  # of a descriptor
_NO_DESCRIPTORS: Final = (0, 0, 0)


class Modes:
    """The mode of one engine. ``wide``: it is the 64-bit one; ``clean``: the context that a mode starts from.

    tls_entry  the first of the three descriptors of the GDT that belong to the running thread
    """

    def __init__(self, owner: Engine, fx: FxState, mmu: "X86Mmu", ram: "Ram", tls_entry: int) -> None:
        self._owner = owner
        self._fx = fx
        self._mmu = mmu
        self._ram = ram
        self._tls_entry = tls_entry
        self.wide = True
        self.clean: Any = owner.context_64
        self._selectors = ulib.Registers(_SELECTORS)
        self._bases = ulib.Registers(_BASES)
        self._cs = ulib.Registers([x86.UC_X86_REG_CS, x86.UC_X86_REG_SS])
        self._known = _UNKNOWN
        self._tls = _NO_DESCRIPTORS
        self._restarted = False

    def enter(self, regs: PtRegs, gdt_pfn: int) -> bool:
        """Before a program runs: the mode that its CS asks for, with its segments; ``gdt_pfn`` is the GDT's frame.
        Whether the engine's other registers are no longer what they were."""
        if regs.cs == USER_CS:
            if self.wide:
                return False
            self._change(self._owner.context_64, wide=True)
            return True
        self._restarted = False
        changed = self.wide or self._mmu.gdt_pfn != gdt_pfn
        if changed:
            self._mmu.gdt_pfn = gdt_pfn
            self._change(self._owner.context_32, wide=False)
            self._known = _UNKNOWN
            self._tls = _NO_DESCRIPTORS
        tls = (regs.tls0, regs.tls1, regs.tls2)
        if tls != self._tls:
            first = (gdt_pfn << 9) + self._tls_entry
            for at, descriptor in enumerate(tls):
                self._ram.quads[first + at] = descriptor
            self._tls = tls
            self._known = _UNKNOWN
        wanted = (regs.ds, regs.es, regs.fs, regs.gs)
        if wanted == self._known:
            return changed
        for at, selector in enumerate(wanted):
            self._selectors.values[at] = selector if self._loadable(selector, gdt_pfn) else 0
        self._selectors.write(self._owner.address)
        self._bases.read(self._owner.address)
        regs.fs_base, regs.gs_base = self._bases.values
        return True

    def leave(self, regs: PtRegs) -> None:
        """After a program has run in compatibility mode: its selectors."""
        if self._restarted:
            return
        self._selectors.read(self._owner.address)
        self._cs.read(self._owner.address)
        ds, es, fs, gs = (value & 0xFFFF for value in self._selectors.values)
        self._known = (ds, es, fs, gs)
        regs.ds, regs.es, regs.fs, regs.gs = self._known
        regs.cs, regs.ss = (value & 0xFFFF for value in self._cs.values)

    def restart(self, regs: PtRegs) -> None:
        """Back to the mode's clean context; the floating-point state stays, and ``regs`` gets the selectors."""
        if not self.wide:
            self.leave(regs)
            self._restarted = True
        self._change(self.clean, self.wide)
        self._known = _UNKNOWN

    def _change(self, context: Any, wide: bool) -> None:
        image = self._fx.save()
        pkru = self._owner.pkru
        kept = 0 if pkru is None else pkru.value
        self._owner.uc.context_restore(context)
        if pkru is not None:
            pkru.value = kept
        self._fx.restore(image)
        self.clean = context
        self.wide = wide
        self._mmu.wide = wide
        self._mmu.flush()

    def _loadable(self, selector: int, gdt_pfn: int) -> bool:
        """Whether the emulator can load it without an exception, which has nobody to go to here: a user's selector of a
        present descriptor. Linux loads a null one in place of any other."""
        if selector & 7 != 3:
            return False
        at = selector >> 3
        return at <= self._owner.last_descriptor and bool(self._ram.quads[(gdt_pfn << 9) + at] & _PRESENT)
