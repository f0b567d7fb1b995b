"""The whole virtual address space as regions, user half, hole and kernel half: what a layout of Linux documents.

Addresses are unsigned here, ends are exclusive; the regions of a map tile it from 0 to the end of the address space.

Mirrors: the tables in Documentation/arch (6.18)
Differs: nothing is randomised: each region is where it lies without KASLR.
"""

from dataclasses import dataclass
from typing import Final

from pagewalk.arch.format import Layout

USER: Final = "user"
HOLE: Final = "hole"
KERNEL: Final = "kernel"
UNUSED: Final = "unused"

STACK_LIMIT: Final = 8 << 20  # RLIMIT_STACK's default
STACK_GUARD: Final = 256  # pages
MIN_GAP: Final = 128 << 20
MMAP_MIN_ADDR: Final = 65536


@dataclass(frozen=True)
class Region:
    """A range of addresses.

    start, end  bytes, the end exclusive
    name        as the kernel's documentation calls it
    kind        USER, HOLE (no address at all), KERNEL or UNUSED
    """

    start: int
    end: int
    name: str
    kind: str

    @property
    def size(self) -> int:
        """Bytes."""
        return self.end - self.start


@dataclass(frozen=True)
class AddressMap:
    """A whole address space.

    name     for people
    bits     of an address: 32 or 64
    regions  ascending, without gaps or overlaps
    within   regions that lie within others (what a configuration would put there)
    marks    addresses that have a name, ascending
    """

    name: str
    bits: int
    regions: tuple[Region, ...]
    within: tuple[Region, ...]
    marks: tuple[tuple[int, str], ...]


def mmap_base(layout: Layout) -> int:
    """mmap_base of a process without randomisation and with the default stack limit."""
    gap = min(max(STACK_LIMIT + STACK_GUARD * layout.page_size, MIN_GAP), layout.mmap_top // 6 * 5)
    return (layout.mmap_top - gap + layout.page_size - 1) & -layout.page_size


def user_marks(layout: Layout) -> tuple[tuple[int, str], ...]:
    """The addresses of the user half that have names."""
    return tuple(
        sorted(
            [
                (MMAP_MIN_ADDR, "mmap_min_addr: nothing below it"),
                (layout.text_base, "a program that is not position independent"),
                (layout.mmap_legacy, "TASK_UNMAPPED_BASE: mmap bottom-up (legacy layout)"),
                (layout.et_dyn_base & -layout.page_size, "ELF_ET_DYN_BASE: a position-independent program"),
                (mmap_base(layout), "mmap_base: mmap top-down"),
                (layout.stack_top, "STACK_TOP"),
                (layout.task_size, "TASK_SIZE"),
            ]
        )
    )


def tile(bits: int, regions: list[Region], gap: str = "... unused") -> tuple[Region, ...]:
    """The regions in order, the gaps between them and to the end filled with unused ones. ValueError where two overlap
    or one lies beyond the end."""
    found: list[Region] = []
    at = 0
    for region in sorted(regions, key=lambda region: region.start):
        if region.start < at or region.end > 1 << bits or region.end <= region.start:
            raise ValueError(f"{region.name}: {region.start:#x}-{region.end:#x} does not fit behind {at:#x}")
        if region.start > at:
            found.append(Region(at, region.start, gap, UNUSED))
        found.append(region)
        at = region.end
    if at < 1 << bits:
        found.append(Region(at, 1 << bits, gap, UNUSED))
    return tuple(found)
