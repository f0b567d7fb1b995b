"""Which format and which layout a configured machine has.

Mirrors: the choices of arch/*/Kconfig (6.18)
Differs: nothing.
"""

from typing import Final

from pagewalk.arch import arm64, riscv64, x86_32, x86_64, x86_pae
from pagewalk.arch.format import Layout, PageFormat
from pagewalk.arch.map_x86 import page_offset

ARCHITECTURES: Final = ("x86_64", "x86_32", "x86_pae", "arm64", "riscv64", "riscv32")
RISCV_MODES: Final = {3: "sv39", 4: "sv48", 5: "sv57"}


def page_format(arch: str, levels: int, granule: int, va_bits: int) -> PageFormat:
    """The page-table format of a machine. ``levels`` is for x86_64 and riscv64, ``granule`` (bytes) and ``va_bits`` for
    arm64. ValueError where the architecture has no such thing."""
    if arch in ARCHITECTURES and arch != "arm64" and granule != 4096:
        raise ValueError(f"granule: {arch} has pages of 4096 bytes, got {granule} (arm64 has others)")
    if arch == "x86_64":
        if levels not in (4, 5):
            raise ValueError(f"levels: expected 4 or 5, got {levels!r}")
        return x86_64.page_format(levels)
    if arch == "x86_32":
        return x86_32.page_format()
    if arch == "x86_pae":
        return x86_pae.page_format()
    if arch == "arm64":
        return arm64.page_format(granule, va_bits, 52 if va_bits == 52 else 48)
    if arch == "riscv64":
        if levels not in RISCV_MODES:
            raise ValueError(f"levels: expected 3 (Sv39), 4 (Sv48) or 5 (Sv57), got {levels!r}")
        return riscv64.page_format(RISCV_MODES[levels])
    if arch == "riscv32":
        return riscv64.page_format("sv32")
    raise ValueError(f"arch: expected one of {', '.join(ARCHITECTURES)}, got {arch!r}")


def layout(arch: str, levels: int, granule: int, va_bits: int, vmsplit: str) -> Layout:
    """The user address space of a machine; ``vmsplit`` is for 32-bit x86. Errors as ``page_format``."""
    if arch == "x86_64":
        return x86_64.layout(levels)
    if arch in ("x86_32", "x86_pae"):
        return x86_32.layout(page_offset(vmsplit, arch == "x86_pae"))
    if arch == "arm64":
        return arm64.layout(granule, va_bits)
    return riscv64.layout("sv32" if arch == "riscv32" else RISCV_MODES[levels])
