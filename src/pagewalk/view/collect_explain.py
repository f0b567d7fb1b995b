"""Finds out what ``explain`` says: asks the VMAs, the hardware's walk (without leaving a mark) and the reverse map."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from pagewalk.hw.walker import NON_CANONICAL, NOT_PRESENT, PEEK, RIGHT_EXECUTE, RIGHT_READ, RIGHT_WRITE, Walk, walk
from pagewalk.mm.page import Page, PG_anon, PG_special, PG_swapbacked
from pagewalk.mm.pkeys import pkru_allows, vma_pkey
from pagewalk.mm.rmap import page_mappers
from pagewalk.mm.swap_state import swap_cache_get_folio
from pagewalk.mm.swapfile import pte_to_swp_entry
from pagewalk.mm.vma import VM_ACCESS_FLAGS, VM_EXEC, VM_FLAG_LETTERS, VM_GROWSDOWN, VM_SHARED, VM_WRITE, Vma
from pagewalk.view.explain import Explanation, Frame, ProtectionKey, Sharer, TlbHolding, WalkStep

if TYPE_CHECKING:
    from pagewalk.hw.mmu import Entry
    from pagewalk.mm.mm_types import MmStruct
    from pagewalk.mm.system import System

__all__ = ["explain_address"]

Owner = Callable[["MmStruct"], tuple[int, str]]


def explain_address(
    mm: "MmStruct",
    addr: int,
    maps: str,
    owner: Owner,
    entries: "list[tuple[int, Entry]] | None" = None,
    marks: str = "format",
    pkru: int = 0,
) -> Explanation:
    """What is behind ``addr`` (signed, or unsigned 64-bit) of ``mm``.

    maps     the /proc/PID/maps of ``mm``
    owner    the (pid, comm) of the process that an address space belongs to
    entries  (CPU, entry) of what the modelled TLBs hold of it; None where there are none
    pkru     what the protection keys let the thread do
    marks    who sets Accessed and Dirty, as ``TlbConfig.marks`` says it
    """
    addr = (addr + (1 << 63)) % (1 << 64) - (1 << 63)
    system = mm.system
    vma = mm.vma_lookup(addr) if addr >= 0 else None
    found = walk(system.ram, system.format, int(mm.pgd_pfn), addr, PEEK, pkru=pkru)
    explanation = Explanation(pid=owner(mm)[0], addr=addr, page_size=int(system.page_size))
    if vma is not None:
        explanation.vma = maps.splitlines()[mm.vmas.index(vma)]
        explanation.flags = [letters for bit, letters in VM_FLAG_LETTERS if vma.vm_flags & bit]
    if vma is not None and system.pku:
        explanation.key = _key(vma_pkey(vma), pkru, execute_only=vma_pkey(vma) == mm.execute_only_pkey)
    explanation.steps = _steps(system, found)
    pte = found.steps[-1].entry if found.steps else 0
    kept = found.pfn < 0 and vma is not None and system.format.protnone.test(pte)
    pfn = int(system.format.pfn(pte)) if kept else found.pfn
    if pfn >= 0:
        explanation.frame = _frame(system, pfn, owner)
    if entries is not None:
        explanation.tlb = [_holding(system, cpu, entry) for cpu, entry in entries]
    explanation.reason = _reason(mm, addr, vma, found, explanation.frame, marks, pkru)
    return explanation


def _key(pkey: int, pkru: int, *, execute_only: bool) -> ProtectionKey:
    """A mapping's protection key, and what PKRU says of it."""
    return ProtectionKey(
        pkey, pkru, pkru_allows(pkru, pkey, write=False), pkru_allows(pkru, pkey, write=True), execute_only
    )


def _holding(system: "System", cpu: int, entry: "Entry") -> TlbHolding:
    """An entry of a TLB or a walk cache, in words."""
    rights = "".join(letter if entry.rights >> bit & 1 else "-" for bit, letter in enumerate("rwx"))
    level = system.format.levels[entry.level].name if entry.level >= 0 else ""
    return TlbHolding(cpu, entry.array, entry.asid, entry.addr, entry.size, entry.pfn, rights, level)


def _steps(system: "System", found: Walk) -> list[WalkStep]:
    """The levels that the walk read, in words."""
    fmt = system.format
    page = 1 << int(fmt.page_shift)
    steps = []
    for at, step in enumerate(found.steps):
        target = int(fmt.pfn(step.entry))
        bits = fmt.decode(step.entry, at)
        if not fmt.present.test(step.entry):
            then = "not present"
            if fmt.protnone.test(step.entry):
                then += f", keeps frame {target:#x}"
            elif fmt.is_swap_pte(step.entry):
                then += f", {_swap_words(system, step.entry)}"
                bits = []
        elif fmt.is_leaf(step.entry, at):
            target &= -(1 << step.level.shift - int(fmt.page_shift))
            then = ", ".join(filter(None, (f"frame {target:#x}", fmt.memory_type(step.entry, at))))
        else:
            then = f"table at {target << int(fmt.page_shift):#x}"
        index = (step.paddr & page - 1) >> int(fmt.entry_shift)
        folded = list(fmt.folded(step.level.name))
        size = 1 << int(fmt.entry_shift)
        steps.append(WalkStep(step.level.name, index, step.paddr & -page, step.entry, bits, then, size, folded))
    return steps


def _swap_words(system: "System", pte: int) -> str:
    """A swap entry, or what else is no page, in words."""
    fmt = system.format
    if pte == fmt.guard:
        return "a guard marker"
    alone = ", exclusive" if fmt.pte_swp_exclusive(pte) else ""
    return f"swap area {int(fmt.pte_swp_type(pte))}, slot {int(fmt.pte_swp_offset(pte)):#x}{alone}"


def _frame(system: "System", pfn: int, owner: Owner) -> Frame:
    """The frame, and every process that maps it."""
    page = system.page(pfn)
    zone = next((z.name for z in system.zones if z.zone_start_pfn <= pfn < z.end_pfn), "none")
    sharers = []
    for mm, _, address in page_mappers(page):
        pid, comm = owner(mm)
        sharers.append(Sharer(pid, int(address), comm))
    kind = "the zero page, shared by all" if pfn == system.zero_pfn else _kind(page)
    return Frame(
        pfn,
        zone,
        kind,
        page.flag_names(),
        int(page.refcount),
        int(page.mapcount),
        sharers,
    )


def _kind(page: Page) -> str:
    """What the frame holds, in words."""
    if page.flags & PG_anon:
        return "anonymous"
    if page.flags & PG_special:
        return "the kernel's, mapped specially"
    if page.mapping is None:
        return "the kernel's"
    what = "shared memory" if page.flags & PG_swapbacked else "page cache"
    return f"{what}, page {int(page.index)} of its file"


def _reason(mm: "MmStruct", addr: int, vma: Vma | None, found: Walk, frame: Frame | None, who: str, pkru: int) -> str:
    """What an access would find."""
    if found.status == NON_CANONICAL:
        if not mm.system.format.name.startswith("x86_64"):
            return "not an address: an access raises SIGSEGV (SEGV_MAPERR)"
        return "not a canonical address: an access raises a general protection fault, SIGSEGV"
    if vma is None:
        above = mm.find_vma(addr) if addr >= 0 else None
        if above is not None and above.vm_flags & VM_GROWSDOWN:
            return "below the stack: an access makes it grow to here, where the limit and the guard gap allow"
        return "an access raises SIGSEGV (SEGV_MAPERR)"
    if not vma.vm_flags & VM_ACCESS_FLAGS:
        kept = " (the page is kept)" if frame is not None else ""
        return f"the mapping grants no access: SIGSEGV (SEGV_ACCERR){kept}"
    if found.status == NOT_PRESENT:
        pte = found.steps[-1].entry
        there = _not_there(mm.system, vma, pte) if mm.system.format.is_swap_pte(pte) else _untouched(vma, addr)
        return there + _closed(mm, vma, pkru)
    pte = found.steps[-1].entry
    fmt = mm.system.format
    by_hardware = who == "hardware" or (who == "format" and fmt.hw_accessed)
    marks = "" if by_hardware or fmt.accessed.test(pte) else ", once the page is marked Accessed (a fault)"
    read = f"goes ahead{marks}" if found.rights & RIGHT_READ else "raises SIGSEGV (SEGV_ACCERR)"
    by_hardware = who == "hardware" or (who == "format" and fmt.hw_dirty)
    if not marks and not by_hardware and not fmt.hw_dirty_bits.test(pte):
        marks = ", once the page is marked Dirty (a fault)"
    write = f"goes ahead{marks}" if found.rights & RIGHT_WRITE else _refused_write(mm.system, vma, pte, frame)
    execute = "allowed" if found.rights & RIGHT_EXECUTE else "SIGSEGV (SEGV_ACCERR)"
    if mm.system.pku:
        if not pkru_allows(pkru, vma_pkey(vma), write=False):
            read = "raises SIGSEGV (SEGV_PKUERR)"
        if not pkru_allows(pkru, vma_pkey(vma), write=True):
            write = "raises SIGSEGV (SEGV_PKUERR)"
    return f"a read {read}; a write {write}; execution: {execute}"


def _closed(mm: "MmStruct", vma: Vma, pkru: int) -> str:
    """What PKRU adds to what is said of a page that is not there."""
    if not mm.system.pku or pkru_allows(pkru, vma_pkey(vma), write=True):
        return ""
    what = "a write" if pkru_allows(pkru, vma_pkey(vma), write=False) else "a read or write"
    return f"; but PKRU closes its protection key: {what} raises SIGSEGV (SEGV_PKUERR)"


def _not_there(system: "System", vma: Vma, pte: int) -> str:
    """What an access to an entry leads to that is neither empty nor of a page in memory."""
    if pte == system.format.guard:
        return "a guard page (MADV_GUARD_INSTALL): an access raises SIGSEGV (SEGV_MAPERR)"
    page = swap_cache_get_folio(system, pte_to_swp_entry(system.format, pte))
    if page is None:
        text = "the page is in swap: an access reads it back (a major fault)"
    else:
        text = f"the page is in swap and still in frame {int(page.pfn):#x}: an access maps that (a minor fault)"
    return text if vma.vm_flags & VM_WRITE else f"{text}; a write raises SIGSEGV (SEGV_ACCERR)"


def _refused_write(system: "System", vma: Vma, pte: int, frame: Frame | None) -> str:
    """What a write to a read-only entry leads to."""
    if not vma.vm_flags & VM_WRITE:
        return "raises SIGSEGV (SEGV_ACCERR)"
    if system.format.write.test(pte):
        return "goes ahead, once the page is marked Dirty (a fault)"
    if vma.vm_flags & VM_SHARED:
        return "tells the file first (a fault)"
    if frame is not None and "anon" in frame.flags and ("anon_exclusive" in frame.flags or frame.refcount == 1):
        return "takes the page over, nobody else has it (a fault)"
    return "copies the page (a fault)"


def _untouched(vma: Vma, addr: int) -> str:
    """What the first touch of a page will do."""
    if vma.vm_ops is None:
        write = "a write a new zeroed frame" if vma.vm_flags & VM_WRITE else "a write raises SIGSEGV (SEGV_ACCERR)"
        return f"mapped, not touched yet: a read maps the zero page, {write}"
    page = int(vma.pgoff_of(addr))
    mapping = vma.vm_file.mapping if vma.vm_file is not None else None
    if mapping is not None and page << int(vma.vm_mm.system.page_shift) >= mapping.i_size:
        return f"beyond the end of the file ({int(mapping.i_size)} bytes): an access raises SIGBUS (BUS_ADRERR)"
    verb = "execution" if vma.vm_flags & VM_EXEC else "access"
    return f"mapped, not touched yet: the first {verb} maps page {page} of the file"
