"""Swap areas come and go: swapon(2), swapoff(2), and those that a machine is configured with.

swapoff brings every page back: first those of shared memory, then those of each address space.

Sources: swapon(2), swapon(8), mkswap(8).

Mirrors: mm/swapfile.c (swapon, swapoff, try_to_unuse) (6.18)
Differs: the contents of a swap file on the host are neither read nor written, but for its header.
"""

import errno
import struct
from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

from pagewalk.errors import ConfigError
from pagewalk.mm.mm_types import MM_ANONPAGES, MM_SWAPENTS, MmStruct
from pagewalk.mm.page import Page, PG_anon, PG_anon_exclusive, PG_special, PG_swapbacked
from pagewalk.mm.pgtable import next_table, pte_lookup
from pagewalk.mm.rmap import anon_vma_prepare
from pagewalk.mm.shmem_swap import shmem_swapin_folio
from pagewalk.mm.swap import mlock_folio
from pagewalk.mm.swap_area import SwapArea
from pagewalk.mm.swap_state import read_swap_cache
from pagewalk.mm.swapfile import MAX_SWAPFILES, SWP_OFFSET_BITS, pte_to_swp_entry
from pagewalk.mm.util import vm_enough_memory
from pagewalk.mm.vma import VM_LOCKED, VM_SPECIAL

if TYPE_CHECKING:
    from pagewalk.mm.system import System
    from pagewalk.mm.vma import Vma

SWAP_FLAG_PREFER: Final = 0x8000
SWAP_FLAG_PRIO_MASK: Final = 0x7FFF
ZRAM_NAME: Final = "/dev/zram0"
ZRAM_PRIO: Final = 100  # what the tools that set zram up give it: it is filled first
SWAP_FLAGS_VALID: Final = 0x7FFFF
_BADPAGES: Final = 1024 + 512  # where a header lists them; its last 10 bytes are the signature


def add_swap(system: "System", name: str, nr_slots: int, prio: int, *, partition: bool, rotational: bool) -> int:
    """A new area of ``nr_slots`` pages, its header included; ``prio`` -1: lower than all before. 0, or -EPERM (there
    are as many as there may be), -EINVAL (too small)."""
    swap = system.swap
    kind = swap.free_kind()
    if kind < 0 or kind > system.format.swap.max_type:
        return -errno.EPERM
    nr_slots = min(nr_slots, int(system.format.swap.max_offset) + 1)
    if nr_slots < 2:
        return -errno.EINVAL
    if prio < 0:
        swap.least_priority -= 1
        prio = swap.least_priority
    area = SwapArea(kind, name, nr_slots, prio, int(system.page_shift))
    area.partition = partition
    area.rotational = rotational
    swap.add_area(area)
    return 0


def swap_header(page: bytes, file_size: int) -> int:
    """The slots that mkswap(8) has written into a file's first page: how many, or -EINVAL where it is no swap area."""
    size = len(page)
    if size < 4096 or page[size - 10 :] != b"SWAPSPACE2":
        return -errno.EINVAL
    version, last_page, nr_badpages = struct.unpack_from("<III", page, 1024)
    if version != 1 or last_page == 0 or nr_badpages > (size - 10 - _BADPAGES) // 4:
        return -errno.EINVAL
    if file_size // size < last_page + 1:
        return -errno.EINVAL
    return int(last_page) + 1


def swapon(system: "System", name: str, header: bytes, file_size: int, flags: int, *, partition: bool) -> int:
    """swapon(2), the file found and read; 0, -EINVAL, -EPERM, -EBUSY (it is in use)."""
    if flags & ~SWAP_FLAGS_VALID:
        return -errno.EINVAL
    if not system.current.capable:
        return -errno.EPERM
    if find_area(system, name) is not None:
        return -errno.EBUSY
    nr_slots = swap_header(header, file_size)
    if nr_slots < 0:
        return nr_slots
    prio = flags & SWAP_FLAG_PRIO_MASK if flags & SWAP_FLAG_PREFER else -1
    return add_swap(system, name, nr_slots, prio, partition=partition, rotational=False)


def find_area(system: "System", name: str) -> SwapArea | None:
    """The area of that name."""
    for area in system.swap.areas:
        if area is not None and area.name == name:
            return area
    return None


def swapoff(system: "System", name: str) -> int:
    """swapoff(2): 0, -EPERM, -EINVAL (no such area), -ENOMEM (its pages find no room)."""
    if not system.current.capable:
        return -errno.EPERM
    area = find_area(system, name)
    if area is None:
        return -errno.EINVAL
    swap = system.swap
    if not vm_enough_memory(system, area.pages):
        return -errno.ENOMEM
    swap.disable(area)
    if not try_to_unuse(system, area):
        swap.enable(area)
        return -errno.ENOMEM
    for frame in area.frames:
        frame.flags &= ~PG_special
        system.node.put_page(frame)
    area.frames = []
    swap.remove_area(area)
    return 0


def try_to_unuse(system: "System", area: SwapArea) -> bool:
    """Brings everything back from an area; False where there is no frame for it."""
    swap = system.swap
    for mapping in list(system.shmem_swaplist.values()):
        for index, entry in list(mapping.swapped.items()):
            here = entry >> SWP_OFFSET_BITS == area.kind
            if here and index in mapping.swapped and shmem_swapin_folio(system, mapping, index) is None:
                return False
        if not mapping.swapped:
            system.shmem_swaplist.pop(id(mapping), None)
    for mm in list(system.mmlist.values()):
        if not unuse_mm(mm, area.kind):
            return False
    for page in area.cached_pages():
        if swap.folio_free_swap(page):
            system.node.put_page(page)
    return area.inuse_pages == 0


def unuse_mm(mm: MmStruct, kind: int) -> bool:
    """Every swap entry of an area in one address space becomes a page again."""
    system = mm.system
    fmt = system.format
    words = system.ram.words
    for vma in list(mm.vmas):
        addr = vma.vm_start
        while addr < vma.vm_end:
            index = pte_lookup(mm, addr)
            if index < 0:
                addr = next_table(addr, index)
                continue
            pte: i64 = words[index]
            if fmt.is_swap_pte(pte) and pte != fmt.guard and fmt.pte_swp_type(pte) == kind:
                page = read_swap_cache(system, pte_to_swp_entry(fmt, pte), False, vma, addr)
                if page is None:
                    return False
                if words[index] == pte:
                    unuse_pte(vma, addr, index, page)
            addr += fmt.page_size
    return True


def unuse_pte(vma: "Vma", addr: i64, index: i64, page: Page) -> None:
    """One entry: the page is mapped, read-only and unused until the program comes to it."""
    mm = vma.vm_mm
    system = mm.system
    fmt = system.format
    pte: i64 = system.ram.words[index]
    page.refcount += 1
    if vma.anon_vma is None:
        anon_vma_prepare(vma)
    exclusive = fmt.pte_swp_exclusive(pte)
    system.swap.swap_free(page.swap)
    if not page.flags & PG_anon:
        anon_vma = vma.anon_vma
        assert anon_vma is not None
        while not exclusive and anon_vma.parent is not None:
            anon_vma = anon_vma.parent
        page.flags |= PG_anon | PG_swapbacked
        page.mapping = anon_vma
        page.index = vma.pgoff_of(addr)
    if exclusive:
        page.flags |= PG_anon_exclusive
    page.mapcount += 1
    if page.mapcount == 1:
        system.vmstat.nr_anon_mapped += 1
    mm.rss_stat[MM_ANONPAGES] += 1
    mm.rss_stat[MM_SWAPENTS] -= 1
    if vma.vm_flags & (VM_LOCKED | VM_SPECIAL) == VM_LOCKED:
        mlock_folio(system, page)
    new = fmt.accessed.clear((page.pfn << fmt.pfn_shift) | vma.vm_page_prot)
    system.ram.words[index] = fmt.sync_rdonly(new) if fmt.rdonly else new
    system.swap.try_to_free_swap(page)


def configured_areas(text: str | int) -> list[tuple[int, int]]:
    """``Config.swap``: (bytes, priority or -1) of each area. Raises ConfigError."""
    from pagewalk.config import parse_size

    if isinstance(text, int):
        return [(parse_size(text, "swap"), -1)] if text else []
    found = []
    for part in text.split(","):
        size, colon, prio = part.strip().partition(":")
        if colon and not (prio.isascii() and prio.isdigit() and int(prio) <= SWAP_FLAG_PRIO_MASK):
            raise ConfigError(f"swap: expected a priority of 0 to {SWAP_FLAG_PRIO_MASK}, got {prio!r}")
        nr_bytes = parse_size(size, "swap")
        if nr_bytes:
            found.append((nr_bytes, int(prio) if colon else -1))
    for nr_bytes, _ in found:
        if not 8192 <= nr_bytes <= 16 << 40:
            raise ConfigError(f"swap: expected 8K to 16T for each area, got {nr_bytes} bytes")
    return found


def configure_swap(system: "System") -> None:
    """The areas that the machine is configured with, as /dev/vda, /dev/vdb, ..., and /dev/zram0. Raises ConfigError."""
    from pagewalk.config import parse_size

    config = system.config
    for number, (nr_bytes, prio) in enumerate(configured_areas(config.swap)):
        name = f"/dev/vd{chr(ord('a') + number)}"
        nr_slots = nr_bytes >> int(system.page_shift)
        if add_swap(system, name, nr_slots, prio, partition=True, rotational=config.swap_rotational):
            raise ConfigError(f"swap: expected at most {MAX_SWAPFILES} areas of two pages or more, got {config.swap!r}")
    nr_slots = parse_size(config.zram, "zram") >> int(system.page_shift)
    if nr_slots:
        if add_swap(system, ZRAM_NAME, nr_slots, ZRAM_PRIO, partition=True, rotational=False):
            raise ConfigError(f"zram: expected two pages or more, got {config.zram!r}")
        area = find_area(system, ZRAM_NAME)
        assert area is not None
        area.ratio = float(config.zram_ratio)
        area.synchronous = True
