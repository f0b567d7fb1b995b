"""A machine without a kernel: RAM, one hand-made page table, and the CPU. For the tests of cpu/ and hw/."""

import functools
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pagewalk.arch.format import PageFormat
from pagewalk.arch.x86_64 import DIRTY, NX, PRESENT, PSE, RW, USER, page_format
from pagewalk.cpu.unicorn_x86 import UnicornX86
from pagewalk.kernel.ptrace import PtRegs
from pagewalk.mm.ram import Ram

CODE = 0x40_0000
DATA = 0x60_0000
STACK = 0x7FFF_FFFF_0000
TABLE = PRESENT | RW | USER


@functools.cache
def assemble(source: str) -> bytes:
    """Machine code of GNU assembler text (Intel syntax)."""
    if shutil.which("cc") is None or shutil.which("objcopy") is None:
        pytest.skip("needs cc and objcopy to assemble")
    with tempfile.TemporaryDirectory() as folder:
        unit, raw = Path(folder, "x.o"), Path(folder, "x.bin")
        text = f".intel_syntax noprefix\n.text\n{source.replace(';', chr(10))}\n"
        subprocess.run(["cc", "-c", "-x", "assembler", "-o", unit, "-"], input=text.encode(), check=True)
        subprocess.run(["objcopy", "-O", "binary", "-j", ".text", unit, raw], check=True)
        return raw.read_bytes()


class Mm:
    """What the CPU asks of an address space."""

    def __init__(self, pgd_pfn: int) -> None:
        self.pgd_pfn = pgd_pfn
        self.tlb_gen = 0


class Rig:
    """RAM with a page table that grows as ``map`` needs it; frames are handed out from 1 up."""

    def __init__(self, levels: int = 4, size: int = 64 << 20, compile_after: int = 0) -> None:
        self.compile_after = compile_after
        self.ram = Ram(size)
        self.fmt: PageFormat = page_format(levels)
        self.next_pfn = 1
        self.mm = Mm(self.frame())
        self.regs = PtRegs()
        self.faults: list[tuple[int, int]] = []
        self.on_fault: Callable[[int, int], bool] = lambda addr, access: False
        self._cpu: UnicornX86 | None = None

    @property
    def cpu(self) -> UnicornX86:
        if self._cpu is None:
            self._cpu = UnicornX86(self.ram, self.fmt, compile_after=self.compile_after)
        return self._cpu

    def frame(self) -> int:
        self.next_pfn += 1
        return self.next_pfn - 1

    def entry_index(self, addr: int, shift: int = 12) -> int:
        """Index in ``ram.words`` of the entry for ``addr`` at the level of ``shift``, tables made as needed."""
        table = self.mm.pgd_pfn << 9
        for level in self.fmt.levels:
            index = table + (addr >> level.shift & 511)
            if level.shift == shift:
                return index
            if not self.ram.words[index] & PRESENT:
                self.ram.words[index] = self.frame() << 12 | TABLE
            table = (self.ram.words[index] & self.fmt.pfn_mask) >> 3
        raise AssertionError(shift)

    def map(self, addr: int, rights: str = "rw", pfn: int | None = None, shift: int = 12) -> int:
        """Maps a page at ``addr`` (rights: some of r, w, x, and d for Dirty); its frame."""
        frame = self.frame() if pfn is None else pfn
        bits = PRESENT | USER
        if "w" in rights:
            bits |= RW
        if "d" in rights:
            bits |= DIRTY
        if "x" not in rights:
            bits |= NX
        if shift != 12:
            bits |= PSE
        self.ram.words[self.entry_index(addr, shift)] = frame << 12 | bits
        return frame

    def unmap(self, addr: int) -> None:
        self.ram.words[self.entry_index(addr)] = 0
        self.mm.tlb_gen += 1

    def pte(self, addr: int) -> int:
        return self.ram.words[self.entry_index(addr)]

    def put(self, addr: int, data: bytes) -> None:
        """Writes to memory behind the CPU's back."""
        for at, byte in enumerate(data):
            pfn = (self.pte(addr + at) & self.fmt.pfn_mask) >> 12
            self.ram.bytes[(pfn << 12) + (addr + at & 4095)] = byte

    def get(self, addr: int, length: int) -> bytes:
        return bytes(
            self.ram.bytes[(self.pte(addr + at) & self.fmt.pfn_mask) + (addr + at & 4095)] for at in range(length)
        )

    def load(self, source: str | bytes, addr: int = CODE) -> None:
        """Maps and writes code, and points rip at it."""
        code = assemble(source) if isinstance(source, str) else source
        for page in range(addr & ~4095, addr + len(code), 4096):
            if not self.pte(page) & PRESENT:
                self.map(page, "rx")
            pfn = (self.pte(page) & self.fmt.pfn_mask) >> 12
            self.ram.frame_changed(pfn)
        self.put(addr, code)
        self.regs.rip = addr

    def _fault(self, addr: int, access: int) -> bool:
        self.faults.append((addr, access))
        return self.on_fault(addr, access)

    def run(self) -> int:
        return self.cpu.run(self.mm, self.regs, self._fault)  # type: ignore[arg-type]
