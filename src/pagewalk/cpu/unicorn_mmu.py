"""The emulated CPU's MMU: TLB misses, page faults, and code that the translator must forget.

A miss goes first to machine code (hw/callbacks.py), once there have been so many that loading it pays. Only what that
cannot grant comes to ``_on_miss`` here, and from there to the kernel.
"""

import ctypes
import mmap
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from pagewalk.arch.format import PageFormat
from pagewalk.cpu.unicorn_lib import (
    CTL_TB_FLUSH,
    CTL_TB_REMOVE_CACHE,
    CTL_TLB_FLUSH,
    FILL_CALLBACK,
    UC_HOOK_TLB_FILL,
    emu_stop,
    hook_add,
    hook_del,
    remove_cache,
    tlb_flush,
)
from pagewalk.errors import PagewalkError
from pagewalk.hw import fill as filling
from pagewalk.hw import keys
from pagewalk.hw.state import (
    STATE_CODE,
    STATE_FILLS,
    STATE_FORMAT,
    STATE_NR_WORDS,
    STATE_OUT,
    STATE_OWNERS,
    STATE_PAGES,
    STATE_PAGES_GEN,
    STATE_PEEK,
    STATE_PKRU,
    STATE_RAM,
    STATE_ROOT,
    STATE_STATUS,
    STATE_WINDOW,
    STATE_WORDS,
    WINDOW,
    WINDOW_MASK,
)
from pagewalk.hw.walker import (
    FETCH,
    FORMAT_PKRU,
    NO_RIGHT,
    OK,
    OUT_PFN,
    OUT_RIGHTS,
    OUT_WORDS,
    PEEK,
    READ,
    RESERVED,
    RIGHT_EXECUTE,
    RIGHT_READ,
    WRITE,
    pack_format,
    walk,
)

if TYPE_CHECKING:
    from pagewalk.mm.mm_types import MmStruct
    from pagewalk.mm.ram import Ram

_FIRST_KIND: Final = 16  # UC_MEM_READ; writes and fetches follow
_SIGN: Final = 1 << 63
_WORD: Final = 1 << 64
_STALE_LIMIT: Final = 2048  # with more stale frames, all translations are dropped at once
_GRANTED: Final = frozenset({OK, filling.FLUSH, filling.NEW_CODE})
_ATTEMPTS: Final = 16  # times that a fault may be served before the access must be granted


def _refuse(addr: int, access: int) -> bool:
    raise PagewalkError("a page fault outside of run()")


def _refuse_quietly(addr: int, access: int) -> bool:
    return False


def _claims_nothing(pages: Any, pfn: int, page: int, gen: int) -> bool:
    return True


def _no_matter() -> None:
    """The kernel has served a fault, or refused to."""


def _tell_nobody(addr: int, access: int) -> bool:
    return False


class Mmu:
    """One engine's MMU over one RAM.

    state      the words that the C callbacks share (hw/state.py)
    fault      (address of the page, access, how the walk ended) of the last fault that was refused, or None
    exception  what ``on_fault`` raised, or None
    flushes    times that the TLB was flushed

    ``on_new_code(addr, page)`` is told of each page before code is translated from it.
    ``before_fault(addr, access)`` is told of each fault before the kernel is; True where that has changed the table;
    ``after_fault()`` when the kernel is done, before anything else happens.

    It begins in Python. After ``compile_after`` misses, ``wants_machine_code`` turns true and the emulator is stopped.
    """

    def __init__(
        self,
        engine: int,
        ram: "Ram",
        fmt: PageFormat,
        on_new_code: Callable[[int, memoryview], None],
        compile_after: int,
    ) -> None:
        self._on_new_code = on_new_code
        self._engine = engine
        self._ram = ram
        self._fmt = fmt
        self._format = pack_format(fmt)
        self._nr_words = ram.size >> 3
        self._page_shift = int(fmt.page_shift)
        self._page_size = int(fmt.page_size)
        self._owners_map = mmap.mmap(-1, max(ram.size >> 9, 4096), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)
        self._owners = memoryview(self._owners_map).cast("q")
        self._state = (ctypes.c_int64 * STATE_WORDS)()
        self.state_address = ctypes.addressof(self._state)
        self.state = memoryview(self._state).cast("B").cast("q")
        self._out = self.state[STATE_OUT : STATE_OUT + OUT_WORDS]
        self.state[STATE_RAM] = ram.address
        self.state[STATE_NR_WORDS] = self._nr_words
        self.state[STATE_OWNERS] = ctypes.addressof(ctypes.c_char.from_buffer(self._owners_map))
        self.state[STATE_CODE] = ram.code_address
        for at, word in enumerate(self._format):
            self.state[STATE_FORMAT + at] = word
        self._mm: MmStruct | None = None
        self._gen = -1
        self._on_fault: Callable[[int, int], bool] = _refuse
        self.fault: tuple[int, int, int] | None = None
        self.exception: BaseException | None = None
        self.flushes = 0
        self._compile_after = compile_after
        self.wants_machine_code = compile_after == 0
        self._compiled: Any = None
        self._pages: Any = None  # while accesses are recorded
        self._claim_page: Callable[[Any, int, int, int], bool] = _claims_nothing
        self.before_fault: Callable[[int, int], bool] = _tell_nobody
        self.after_fault: Callable[[], None] = _no_matter
        self._callback = FILL_CALLBACK(self._on_miss)
        self._hooks = [hook_add(engine, UC_HOOK_TLB_FILL, self._callback, self.state_address)]

    @property
    def has_machine_code(self) -> bool:
        """Whether ``use`` was called."""
        return self._compiled is not None

    def forget_translations(self) -> None:
        """Drops all translated code."""
        tlb_flush(self._engine, CTL_TB_FLUSH)
        self.flush()

    def use(self, machine_code: Any) -> None:
        """From now on the C function of ``machine_code`` (hw/callbacks) is asked first; not while the emulator runs."""
        self.wants_machine_code = False
        self._pages = None
        self.before_fault = _tell_nobody
        self.after_fault = _no_matter
        self.state[STATE_PEEK] = 0
        self._compiled = FILL_CALLBACK(machine_code.on_tlb_fill.address)
        for hook in self._hooks:
            hook_del(self._engine, hook)
        first = hook_add(self._engine, UC_HOOK_TLB_FILL, machine_code.on_tlb_fill.address, self.state_address)
        second = hook_add(self._engine, UC_HOOK_TLB_FILL, self._callback, self.state_address)
        self._hooks = [first, second]

    def record_pages(
        self,
        machine_code: Any,
        pages: Any,
        before_fault: Callable[[int, int], bool],
        after_fault: Callable[[], None],
        *,
        peek: bool,
    ) -> None:
        """From now on ``pages`` (hw/record) tells through which page the TLB has a frame, until the next ``use``.

        peek  somebody else sets Accessed and Dirty: fills leave no marks
        """
        self.use(machine_code)
        self.before_fault = before_fault
        self.after_fault = after_fault
        self.state[STATE_PEEK] = int(peek)
        self._pages = pages
        self._claim_page = machine_code.claim_page
        self.state[STATE_PAGES] = pages.ctypes.data

    def enter(self, mm: "MmStruct", on_fault: Callable[[int, int], bool]) -> None:
        """Before a program runs in ``mm``: the TLB and the translations hold nothing that is no longer so."""
        self._on_fault = on_fault
        if mm is not self._mm or mm.tlb_gen != self._gen or mm.pgd_pfn != self.state[STATE_ROOT]:
            self._mm = mm
            self._gen = mm.tlb_gen
            self.state[STATE_ROOT] = mm.pgd_pfn
            self.flush()
        if self._ram.stale_code:
            if len(self._ram.stale_code) > _STALE_LIMIT:
                self._ram.stale_code.clear()
                tlb_flush(self._engine, CTL_TB_FLUSH)
                self.flush()
            else:
                self._forget_stale_code()

    def ask_nobody(self) -> None:
        """No program runs: until the next ``enter``, what the page table does not grant is refused. (The emulator looks
        up the address of each translation that had a hook when that is removed.)"""
        self.before_fault = _tell_nobody
        self.after_fault = _no_matter
        self._on_fault = _refuse_quietly

    def flush(self) -> None:
        """Empties the emulator's TLB."""
        self.flushes += 1
        self.state[STATE_PAGES_GEN] = self.flushes
        tlb_flush(self._engine, CTL_TLB_FLUSH)

    def code_at(self, addr: int, length: int) -> bytes:
        """Up to ``length`` bytes of the program at ``addr`` (signed), as far as they are mapped."""
        assert self._mm is not None
        found = b""
        while len(found) < length:
            at = addr + len(found)
            came_to = walk(self._ram, self._fmt, self._mm.pgd_pfn, at, PEEK)
            if came_to.status != OK:
                break
            in_page = at & (self._page_size - 1)
            start = (came_to.pfn << self._page_shift) + in_page
            found += bytes(self._ram.bytes[start : start + min(length - len(found), self._page_size - in_page)])
        return found

    def _forget_stale_code(self) -> None:
        """Drops the translations of the frames in ``ram.stale_code``.

        The emulator is told by virtual address and looks it up in its TLB: while the window is open, the fill answers
        any fetch with the frame that the low bits name. The entries that this leaves are flushed.
        """
        self.state[STATE_WINDOW] = 1
        try:
            for pfn in self._ram.stale_code:
                start = WINDOW | pfn << self._page_shift
                remove_cache(self._engine, CTL_TB_REMOVE_CACHE, start, start + self._page_size)
        finally:
            self.state[STATE_WINDOW] = 0
        self._ram.stale_code.clear()
        self.flush()

    def _on_miss(self, engine: int, vaddr: int, kind: int, entry: int, user_data: int) -> bool:
        """The hook: what machine code did not grant. False stops the program before the instruction."""
        try:
            addr = vaddr - _WORD if vaddr & _SIGN else vaddr
            access = kind - _FIRST_KIND
            plain = self._plain(addr)
            if self._fill_special(addr, entry):
                return True
            if self._compiled is None or plain != addr:
                status = self._fill(plain, access, entry)
                addr = plain
            else:
                status = self.state[STATE_STATUS]
            return status == OK or self._serve(addr, access, status, entry)
        except BaseException as exception:  # it must not reach the emulator's C code: run() raises it
            self.exception = exception
            return False

    def _serve(self, addr: int, access: int, status: int, entry: int) -> bool:
        """Asks the kernel until the access is granted or refused."""
        if status not in _GRANTED and access == READ and self._writes_what_it_reads():
            access = WRITE
        before = self._out[OUT_PFN] if status == NO_RIGHT else -1
        for _ in range(_ATTEMPTS):
            if status in _GRANTED:
                if before >= 0 and before != self._out[OUT_PFN] and self._ram.code_frames[before]:
                    self.flush()  # a copy of code: the emulator must not find the translation of the original
                self._grant(addr, access, status, entry)
                return True
            if status == RESERVED:
                raise PagewalkError(f"corrupted page table: the walk for {addr & _WORD - 1:#x} met a reserved bit")
            if self.before_fault(addr, access):
                status = self._fill(addr, access, entry)
                continue
            refused = self._is_refused(addr, access, status)
            self.after_fault()
            if refused:
                self.fault = (addr, access, status)
                return False
            mm = self._mm
            assert mm is not None
            if mm.tlb_gen != self._gen or mm.pgd_pfn != self.state[STATE_ROOT]:
                self._gen = mm.tlb_gen
                self.state[STATE_ROOT] = mm.pgd_pfn
                self.flush()
            if self._ram.stale_code:
                self._forget_stale_code()
            status = self._fill(addr, access, entry)
        raise PagewalkError(
            f"a fault at {addr & _WORD - 1:#x} was served {_ATTEMPTS} times, "
            "but the page table does not grant the access"
        )

    def _grant(self, addr: int, access: int, status: int, entry: int) -> None:
        """The TLB may have the entry: what is due before it gets it."""
        out = self._out
        shift = self._page_shift
        page = addr >> shift
        if status == filling.FLUSH:
            self.flush()
            filling.claim(page, out, self._owners, self._ram.code_frames)
        pfn = out[OUT_PFN]
        if self._pages is not None and not self._claim_page(self._pages, pfn, page, self.flushes):
            self.flush()
            self._claim_page(self._pages, pfn, page, self.flushes)
        if access == FETCH and status != OK:
            self._on_new_code(addr, self._ram.bytes[pfn << shift : (pfn + 1) << shift])
        write_entry(entry, pfn << shift, out[OUT_RIGHTS])

    def _fill(self, addr: int, access: int, entry: int) -> int:
        """The fill, called from here: compiled where it can be."""
        if self._compiled is not None:
            self._compiled(self._engine, addr, access + _FIRST_KIND, entry, self.state_address)
            return self.state[STATE_STATUS]
        if self.state[STATE_WINDOW] and access == FETCH:
            write_entry(entry, addr & WINDOW_MASK, RIGHT_READ | RIGHT_EXECUTE)
            return OK
        self.state[STATE_FILLS] += 1
        if self.state[STATE_FILLS] == self._compile_after:
            self.wants_machine_code = True
            emu_stop(self._engine)
        ram = self._ram
        root = self.state[STATE_ROOT]
        out = self._out
        if self.state[STATE_PKRU]:
            self._format[FORMAT_PKRU] = ctypes.c_uint32.from_address(self.state[STATE_PKRU]).value
        status = filling.fill(
            ram.quads, self._nr_words, self._format, root, addr, access, out, self._owners, ram.code_frames,
            self.state[STATE_PEEK],
        )  # fmt: skip
        if self.state[STATE_PKRU] and status in _GRANTED:
            keys.close(self._format, out)
        if status == OK:
            write_entry(entry, out[OUT_PFN] << self._page_shift, out[OUT_RIGHTS])
        return status

    # What an architecture has of its own.

    def _plain(self, addr: int) -> int:
        """``addr`` as the page table has it."""
        return addr

    def _fill_special(self, addr: int, entry: int) -> bool:
        """Fills the entry of an address that no page table knows; False for all others."""
        return False

    def _is_refused(self, addr: int, access: int, status: int) -> bool:
        """Asks the kernel; True where it does not let the access go ahead."""
        return not self._on_fault(addr, access)

    def _writes_what_it_reads(self) -> bool:
        """Whether the instruction that is loading now will store to the same place, and faults as a store does."""
        return False


def write_entry(entry: int, paddr: int, rights: int) -> None:
    """struct uc_tlb_entry."""
    words = (ctypes.c_int64 * 2).from_address(entry)
    words[0] = paddr
    words[1] = rights
