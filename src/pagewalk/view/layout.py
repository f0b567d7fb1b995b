"""The whole virtual address space, to scale: for ``pagewalk layout``.

A bar is a piece of the address space cut into cells of equal size; a cell shows the letter of the region that fills
most of it. What is smaller than a cell is seen in a further bar of the part that it lies in, or only in the table.
"""

import functools
import json
from typing import Any, Final

from pagewalk.arch import arm64, map_arm64, map_riscv, map_x86, riscv64
from pagewalk.arch.address_map import HOLE, KERNEL, UNUSED, USER, AddressMap, Region
from pagewalk.errors import ConfigError

__all__ = ["ARCHITECTURES", "as_dict", "build_map", "layout_json", "layout_text"]

ARCHITECTURES: Final = ("x86_64", "x86_32", "x86_pae", "arm64", "riscv64", "riscv32")
CELLS: Final = 96
MIN_RAM: Final = 16 << 20
_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTVWXYZ"  # U is the user half
_UNITS: Final = ((60, "EiB"), (50, "PiB"), (40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB"))


def build_map(
    arch: str,
    levels: int | None = None,
    granule: int | None = None,
    va_bits: int | None = None,
    vmsplit: str | None = None,
    ram: int = 4 << 30,
    linux: str | None = None,
    va_bits_actual: int | None = None,
) -> AddressMap:
    """The address map of an architecture.

    levels   x86_64: 4 or 5; riscv64: 3 (Sv39), 4 or 5
    granule  arm64: page size in bytes
    va_bits  arm64: bits of address; riscv64: 39, 48 or 57
    vmsplit  x86_32, x86_pae: "3G", "2G/2G", "3G_OPT" ... or an address
    ram      x86_32, x86_pae: the end of RAM in bytes
    linux    arm64: the release, whose map changed in 6.5 and 6.9; "6.18" where it is not given
    va_bits_actual  arm64: bits that the CPU offers a kernel for 52: 52, or 48 (47 with 16K pages)

    ConfigError for a setting that the architecture does not have.
    """
    given = {"levels": levels, "granule": granule, "va_bits": va_bits, "vmsplit": vmsplit, "linux": linux}
    given["va_bits_actual"] = va_bits_actual
    allowed = {
        "x86_64": {"levels"}, "x86_32": {"vmsplit"}, "x86_pae": {"vmsplit"},
        "arm64": {"granule", "va_bits", "linux", "va_bits_actual"},
        "riscv64": {"levels", "va_bits"}, "riscv32": set(),
    }  # fmt: skip
    if arch not in allowed:
        raise ConfigError(f"arch: expected one of {', '.join(ARCHITECTURES)}, got {arch!r}")
    extra = sorted(name for name, value in given.items() if value is not None and name not in allowed[arch])
    if extra:
        raise ConfigError(f"layout: {arch} has no {' and no '.join(extra)}")
    try:
        if arch == "arm64":
            return _build_arm64(granule, va_bits, linux or "6.18", va_bits_actual)
        return _build(arch, levels, va_bits, vmsplit, ram)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _build_arm64(granule: int | None, va_bits: int | None, linux: str, actual: int | None) -> AddressMap:
    size, bits = 4096 if granule is None else granule, 48 if va_bits is None else va_bits
    arm64.page_format(size, bits, 52 if bits == 52 else 48)  # ValueError where there is none
    number = map_arm64.release_number(linux)
    if number < (6, 1):
        raise ValueError(f"linux: expected 6.1 or later, got {linux}")
    if bits > 48 and size != 65536 and number < (6, 9):
        raise ValueError(f"arm64: Linux {linux} has {bits} bits of address with 64K pages only (others since 6.9)")
    return map_arm64.address_map(size, bits, linux, bits if actual is None else actual)


def _build(arch: str, levels: int | None, va_bits: int | None, vmsplit: str | None, ram: int) -> AddressMap:
    if arch == "x86_64":
        if levels not in (None, 4, 5):
            raise ValueError(f"levels: expected 4 or 5, got {levels}")
        return map_x86.map_64(4 if levels is None else levels)
    if arch in ("x86_32", "x86_pae"):
        pae = arch == "x86_pae"
        if ram < MIN_RAM:
            raise ValueError(f"ram: expected 16M or more, got {ram} bytes")
        return map_x86.map_32(map_x86.page_offset("3G" if vmsplit is None else vmsplit, pae), ram, pae)
    if arch == "riscv32":
        return map_riscv.address_map("sv32")
    by_bits = {12 + 9 * count: mode for mode, count in riscv64.MODES.items() if mode != "sv32"}
    bits = va_bits if va_bits is not None else 39 if levels is None else 12 + 9 * levels
    if bits not in by_bits or (levels is not None and bits != 12 + 9 * levels):
        got = [f"{va_bits} bits"] * (va_bits is not None) + [f"{levels} levels"] * (levels is not None)
        raise ValueError(f"riscv64: expected 39, 48 or 57 bits (3, 4 or 5 levels), got {' and '.join(got)}")
    return map_riscv.address_map(by_bits[bits])


def size_text(size: int) -> str:
    """A size in its largest unit, three digits."""
    for shift, unit in _UNITS:
        if size >> shift:
            value = size / (1 << shift)
            return f"{value:.0f} {unit}" if value >= 100 or size % (1 << shift) == 0 else f"{value:.3g} {unit}"
    return f"{size} B"


def _letters(regions: tuple[Region, ...]) -> dict[int, str]:
    """A letter for each region by its start: U the user half, '-' the hole, '.' what is not used."""
    letters: dict[int, str] = {}
    fresh = iter(_LETTERS)
    for region in regions:
        if region.kind == KERNEL:
            letters[region.start] = next(fresh)
        else:
            letters[region.start] = {USER: "U", HOLE: "-", UNUSED: "."}[region.kind]
    return letters


def _share(low: int, high: int, region: Region) -> int:
    """Bytes of [low, high) that are the region's; negative where it lies elsewhere."""
    return min(region.end, high) - max(region.start, low)


def bar(regions: tuple[Region, ...], letters: dict[int, str], start: int, end: int, cells: int = CELLS) -> str:
    """[start, end) as ``cells`` letters: each that of the region with the largest part of the cell."""
    found = []
    for cell in range(cells):
        low = start + (end - start) * cell // cells
        high = start + (end - start) * (cell + 1) // cells
        most = max(regions, key=functools.partial(_share, low, high))
        found.append(letters[most.start])
    return "".join(found)


def _user_bar(found: AddressMap, end: int) -> str:
    """The user half, with a digit in the cell of each address that has a name (the last of those that share one)."""
    cells = ["U"] * CELLS
    for at, (addr, _) in enumerate(found.marks, 1):
        cells[min(addr * CELLS // end, CELLS - 1)] = str(at)
    return "".join(cells)


def _bars(found: AddressMap, letters: dict[int, str]) -> list[str]:
    """The whole, then the kernel half, then the part at its top where much lies within little."""
    top = 1 << found.bits
    kernel = next(region.start for region in found.regions if region.kind in (KERNEL, UNUSED) and region.start)
    user = found.regions[0].end
    pieces = [(0, top), (0, user), (kernel, top)]
    last = top - (4 << 30 if found.bits == 64 else 32 << 20)
    if last > kernel:
        pieces.append((last, top))
    digits = found.bits // 4
    lines = []
    for start, end in pieces:
        cell = size_text((end - start) // CELLS)
        lines.append(f"{start:0{digits}x} to {end - 1:0{digits}x}, {size_text(end - start)}, a cell is {cell}")
        drawn = _user_bar(found, user) if end == user else bar(found.regions, letters, start, end)
        lines.append(f"|{drawn}|")
    return lines


def layout_text(found: AddressMap) -> str:
    """The map for a person: bars to scale, then every region with its size, and the addresses that have names."""
    letters = _letters(found.regions)
    digits = found.bits // 4
    top = 1 << found.bits
    lines = [found.name, *_bars(found, letters), ""]
    lines.append(f"   {'start':<{digits}} {'end':<{digits}} {'size':>9} {'from top':>10}  what")
    marks = list(enumerate(found.marks, 1))
    for region in found.regions:
        below = f"-{size_text(top - region.start)}" if region.kind in (KERNEL, UNUSED) else ""
        row = f"{region.start:0{digits}x} {region.end - 1:0{digits}x} {size_text(region.size):>9}"
        lines.append(f" {letters[region.start]} {row} {below:>10}  {region.name}")
        while marks and region.kind == USER:
            at, (addr, name) = marks.pop(0)
            lines.append(f" {at} {addr:0{digits}x} {'':{digits}} {'':>9} {'':>10}    <- {name}")
        for inner in found.within:
            if region.start <= inner.start < region.end:
                row = f"{inner.start:0{digits}x} {inner.end - 1:0{digits}x} {size_text(inner.size):>9}"
                lines.append(f"   {row} {'':>10}    {inner.name}")
    return "\n".join(lines) + "\n"


def as_dict(found: AddressMap) -> dict[str, Any]:
    """The same for programs; addresses are "0x..." text, ends exclusive, sizes bytes."""

    def row(region: Region) -> dict[str, Any]:
        return {
            "start": f"{region.start:#x}", "end": f"{region.end:#x}", "size": region.size,
            "kind": region.kind, "name": region.name,
        }  # fmt: skip

    return {
        "name": found.name,
        "bits": found.bits,
        "regions": [row(region) for region in found.regions],
        "within": [row(region) for region in found.within],
        "marks": [{"addr": f"{addr:#x}", "name": name} for addr, name in found.marks],
    }


def layout_json(found: AddressMap) -> str:
    """``as_dict`` as text, ending in a newline."""
    return json.dumps(as_dict(found), indent=2) + "\n"
