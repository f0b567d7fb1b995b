"""The same call on a pagewalk process and on the naive twin, compared: result, faults, residency, contents, VMAs, and
every invariant of ``pagewalk.check``.

``Pair`` is what the state machine drives, and what a failing example's script can drive alone::

    pair = Pair()
    pair.mmap(0, 4, 3)
    pair.access(..., write=True, byte=7)

with PYTHONPATH=src:tests/property:tests/naive:tests/linux.
"""

import shutil
from typing import Any

import harness
from address_space import NaiveAddressSpace
from pages import MADV, Object

from pagewalk import Machine
from pagewalk.check import Broken, check_machine
from pagewalk.check.vmas import mergeable_neighbours
from pagewalk.fs.memfd import memfd_create
from pagewalk.mm import brk, madvise, mlock, mprotect, mremap, msync, munmap
from pagewalk.mm import mmap as mm_mmap
from pagewalk.mm import vma as flags
from pagewalk.mm.file import File
from pagewalk.mm.pgtable import pte_lookup
from pagewalk.mm.uaccess import user_paddr

FILE_PAGES = 20
MARKS = {
    flags.VM_GROWSDOWN: "gd", flags.VM_LOCKED: "lo", flags.VM_LOCKONFAULT: "lf", flags.VM_SEQ_READ: "seq",
    flags.VM_RAND_READ: "rand", flags.VM_DONTCOPY: "dc", flags.VM_DONTDUMP: "dd", flags.VM_WIPEONFORK: "wf",
    flags.VM_HUGEPAGE: "hg", flags.VM_NOHUGEPAGE: "nh", flags.VM_MERGEABLE: "mg", flags.VM_NORESERVE: "nr",
}  # fmt: skip
MAP_BITS = {"gd": 0x100, "lo": 0x2000, "nr": 0x4000, "nh": 0x20000}
START_BRK = 0x555555600


class Pair:
    """One process twice. Addresses and lengths in pages, as the twin has them."""

    def __init__(self, ram: str = "32M", **settings: Any) -> None:
        self.work = harness.new_work()
        self.machine = Machine(ram=ram, aslr=False, rw=[str(self.work)], **settings)
        self.shift = int(self.machine.system.page_shift)
        page = 1 << self.shift
        (self.work / "file").write_bytes(b"".join(bytes([n + 1]) * page for n in range(FILE_PAGES)))
        self.start_brk = START_BRK >> self.shift - 12
        self.process = self.machine.spawn()
        self.task = self.process._task
        self.mm = self.task.mm
        self.mm.start_brk = self.mm.brk = self.start_brk << self.shift
        self.twin = NaiveAddressSpace(
            base=int(self.mm.mmap_base) >> self.shift, low=65536 >> self.shift,
            top=int(self.mm.task_size) >> self.shift, brk=self.start_brk,
            stack_limit=(8 << 20) >> self.shift, max_map_count=self.machine.config.max_map_count,
            huge=page >> 3, around=max(65536 >> self.shift, 1),
        )  # fmt: skip
        self.twin.has_table = lambda at: pte_lookup(self.mm, at << self.shift) >= 0
        memory = memfd_create(self.machine.system, "m", 2)
        assert isinstance(memory, File)
        assert memory.ftruncate(FILE_PAGES << self.shift) == 0
        self.files: list[File] = [self.process._open(str(self.work / "file"), writable=True), memory]
        self.objects = [
            Object("file", FILE_PAGES, shmem=False, data={n: n + 1 for n in range(FILE_PAGES)}),
            Object("memory", FILE_PAGES),
        ]
        self.known = {id(file.mapping): found for file, found in zip(self.files, self.objects, strict=True)}
        self.left_unmerged: set[int] = set()
        self.before = self.task.min_flt

    def close(self) -> None:
        """Ends the process; nothing may be left of it."""
        try:
            self.twin.munmap(0, 0)
            munmap.do_munmap(self.mm, 0, self.mm.task_size)
            check_machine(self.machine)
            assert self.mm.total_vm == 0
            assert sum(self.mm.nr_tables) == 1
        finally:
            for file in self.files:
                file.put()
            self.machine.close()
            shutil.rmtree(self.work, ignore_errors=True)

    # The calls, with everything compared after each.

    def mmap(
        self, addr: int, length: int, prot: int, shared: bool = False, file: int = -1, off: int = 0,
        fixed: bool = False, noreplace: bool = False, marks: tuple[str, ...] = (), populate: bool = False,
    ) -> int:  # fmt: skip
        bits = (1 if shared else 2) | (0 if file >= 0 else 0x20) | (0x10 if fixed else 0) | (0x8000 if populate else 0)
        bits |= (0x100000 if noreplace else 0) | sum(MAP_BITS[mark] for mark in marks)
        theirs = self.twin.mmap(
            addr, length, prot, shared, self.objects[file] if file >= 0 else None, off, fixed, noreplace,
            frozenset(marks), populate,
        )  # fmt: skip
        opened = self.files[file] if file >= 0 else None
        self.task_enters()
        ours = mm_mmap.vm_mmap(self.mm, opened, addr << self.shift, length << self.shift, prot, bits, off << self.shift)
        if ours >= 0 and theirs >= 0 and shared and file < 0:
            vma = self.mm.vma_lookup(ours)
            assert vma is not None and vma.vm_file is not None
            made = self.twin.pages[theirs].obj
            assert made is not None
            self.known[id(vma.vm_file.mapping)] = made
            self.keep = [*getattr(self, "keep", []), vma.vm_file.mapping]  # so that the id stays taken
        return self.compare(ours, theirs, in_pages=True)

    def munmap(self, addr: int, length: int) -> int:
        theirs = self.twin.munmap(addr, length)
        return self.compare(munmap.vm_munmap(self.mm, addr << self.shift, length << self.shift), theirs)

    def mprotect(self, addr: int, length: int, prot: int) -> int:
        theirs = self.twin.mprotect(addr, length, prot)
        self.task_enters()
        return self.compare(mprotect.mprotect(self.mm, addr << self.shift, length << self.shift, prot), theirs)

    def mremap(self, addr: int, old: int, new: int, maymove: bool = True, fixed: int = -1, keep: bool = False) -> int:
        bits = (1 if maymove else 0) | (2 if fixed >= 0 else 0) | (4 if keep else 0)
        theirs = self.twin.mremap(addr, old, new, maymove, fixed, keep)
        self.task_enters()
        ours = mremap.mremap(
            self.mm, addr << self.shift, old << self.shift, new << self.shift, bits, max(fixed, 0) << self.shift
        )
        return self.compare(ours, theirs, in_pages=True, may_leave=keep or ours < 0)

    def brk(self, new: int) -> int:
        theirs = self.twin.brk(new)
        self.task_enters()
        return self.compare(brk.brk(self.mm, new << self.shift), theirs, in_pages=True)

    def madvise(self, addr: int, length: int, advice: str) -> int:
        theirs = self.twin.madvise(addr, length, advice)
        self.task_enters()
        return self.compare(madvise.madvise(self.mm, addr << self.shift, length << self.shift, MADV[advice]), theirs)

    def mlock(self, addr: int, length: int, onfault: bool = False) -> int:
        theirs = self.twin.mlock(addr, length, onfault)
        self.task_enters()
        bits = flags.VM_LOCKED | (flags.VM_LOCKONFAULT if onfault else 0)
        return self.compare(mlock.mlock(self.mm, addr << self.shift, length << self.shift, bits), theirs)

    def munlock(self, addr: int, length: int) -> int:
        theirs = self.twin.munlock(addr, length)
        return self.compare(mlock.munlock(self.mm, addr << self.shift, length << self.shift), theirs)

    def msync(self, addr: int, length: int) -> int:
        theirs = self.twin.msync(addr, length)
        return self.compare(msync.msync(self.mm, addr << self.shift, length << self.shift, 4), theirs)

    def truncate(self, file: int, size: int) -> int:
        theirs = self.twin.truncate(self.objects[file], size)
        ours = self.files[file].ftruncate(size << self.shift)
        if file == 0:
            self.files[0].read(size << self.shift, 0)  # into the cache: what a file has grown by is not there yet
        return self.compare(ours, theirs)

    def access(self, at: int, write: bool, byte: int = 0) -> str:
        before = len(self.twin.pages)
        theirs = self.twin.access(at, write, byte)
        grew = len(self.twin.pages) > before  # a stack that reaches another one does not merge with it
        self.task_enters()
        paddr = int(user_paddr(self.mm, at << self.shift, 1 if write else 0))
        ours = "ok" if paddr >= 0 else {1: "maperr", 2: "accerr", 3: "bus"}.get(-paddr, "oom")
        if ours == theirs == "ok":
            ram = self.machine.system.ram.bytes
            if write:
                ram[paddr] = byte
            assert ram[paddr] == self.twin.load(at), f"page {at:#x} reads {ram[paddr]}, expected {self.twin.load(at)}"
        assert ours == theirs, f"access ended in {ours}, expected {theirs}"
        self.compare(0, 0, may_leave=grew)
        return ours

    # Comparing.

    def task_enters(self) -> None:
        self.machine.system.current = self.task

    def compare(self, ours: int, theirs: int, in_pages: bool = False, may_leave: bool = False) -> int:
        """Everything that the two say after a call."""
        ours = int(ours)
        expected = theirs << self.shift if in_pages and theirs >= 0 else theirs
        assert ours == expected, f"answered {ours:#x}, expected {expected:#x}"
        differs = self.twin.same_as(self.vmas())
        assert not differs, differs
        faults = self.task.min_flt - self.before
        assert faults == self.twin.faults, f"{faults} faults, expected {self.twin.faults}"
        assert self.task.maj_flt == 0
        rss = {kind: size >> self.shift for kind, size in self.process.rss.items()}
        assert rss == self.twin.rss(), f"resident {rss}, expected {self.twin.rss()}"
        check_machine(self.machine)
        unmerged = set(mergeable_neighbours(self.mm))
        if may_leave:
            self.left_unmerged |= unmerged
        self.left_unmerged &= unmerged
        lost = unmerged - self.left_unmerged - {self.start_brk << self.shift}
        if lost:
            raise Broken(f"no mergeable neighbours: {[hex(addr) for addr in lost]} in {self.mm.vmas}")
        return theirs

    def vmas(self) -> list[tuple[int, int, tuple[object, ...], int]]:
        """pagewalk's VMAs as the twin describes its own."""
        found = []
        for vma in self.mm.vmas:
            mapping = None if vma.vm_file is None else vma.vm_file.mapping
            marks = frozenset(name for bit, name in MARKS.items() if vma.vm_flags & bit)
            shared = bool(vma.vm_flags & flags.VM_MAYSHARE)
            kind = (int(vma.vm_flags) & 7, shared, None if mapping is None else self.known[id(mapping)], marks)
            found.append((int(vma.vm_start) >> self.shift, int(vma.vm_end) >> self.shift, kind, int(vma.vm_pgoff)))
        return found
