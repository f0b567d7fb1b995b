"""Protection keys in any order of calls, accesses and forks, against ``tests/naive/pkeys.py``, with every invariant
after each step; the hardware walk says of each page what the accesses find."""

import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from pkeys import Keys

from pagewalk import LinuxError, Machine, Map, Process, SegmentationFault
from pagewalk.check import check_machine
from pagewalk.hw.walker import FETCH, NO_KEY, PEEK, READ, RIGHT_READ, RIGHT_WRITE, WRITE, walk

EXAMPLES = int(os.environ.get("PAGEWALK_PKEYS_EXAMPLES", "60"))
BASE = 0x1000_0000
PAGE = 4096
PAGES = 8
MOST = 4

nth = st.integers(0, 99)
pages = st.integers(0, PAGES - 1)
counts = st.integers(1, PAGES)
rights = st.integers(0, 7)
keys = st.integers(0, 17)
bits = st.integers(0, 3)


def code_of(process: Process, addr: int, *, write: bool, byte: int = 0) -> int:
    """si_code of an access, 0 for none."""
    try:
        if write:
            process.write(addr, bytes([byte]))
        else:
            process.read(addr, 1)
    except SegmentationFault as fault:
        return fault.code
    return 0


class KeyedProcesses(RuleBasedStateMachine):
    """Up to ``MOST`` processes that descend from one."""

    tlb: str | None = None

    def __init__(self) -> None:
        super().__init__()
        self.machine = Machine(ram="32M", aslr=False, pku=True, tlb=self.tlb)
        self.family: list[tuple[Process, Keys]] = [(self.machine.spawn(), Keys())]

    @initialize(prot=st.sampled_from([3, 7]))
    def some_memory(self, prot: int) -> None:
        self.maps_at(0, 0, PAGES, prot)

    def teardown(self) -> None:
        self.machine.close()

    def chosen(self, who: int) -> tuple[Process, Keys]:
        return self.family[who % len(self.family)]

    def same(self) -> None:
        """Invariants, PKRU, and for each page its key in smaps' line and in its entry, and what a walk grants."""
        check_machine(self.machine)
        system = self.machine.system
        for process, twin in self.family:
            assert process.pkru == twin.pkru()
            mm = process._task.mm
            for page in range(PAGES):
                addr = BASE + page * PAGE
                vma = mm.vma_lookup(addr)
                known = twin.pages.get(page)
                assert (vma is None) == (known is None)
                if vma is None or known is None:
                    continue
                assert (vma.vm_flags & 7, vma.vm_flags >> 32 & 15) == (known[0], known[1])
                root = int(mm.pgd_pfn)
                if walk(system.ram, system.format, root, addr, PEEK).pfn < 0:
                    continue
                walked = walk(system.ram, system.format, root, addr, PEEK, pkru=process.pkru)
                assert walked.steps[-1].entry >> 59 & 15 == known[1]
                assert bool(walked.rights & RIGHT_READ) == (twin.access(page, write=False) == 0)
                assert not walked.rights & RIGHT_WRITE or twin.access(page, write=True) == 0

    @rule(who=nth, first=pages, count=counts, prot=rights)
    def maps(self, who: int, first: int, count: int, prot: int) -> None:
        self.maps_at(who, first, count, prot)
        self.same()

    def maps_at(self, who: int, first: int, count: int, prot: int) -> None:
        process, twin = self.chosen(who)
        count = min(count, PAGES - first)
        flags = Map.PRIVATE | Map.ANONYMOUS | Map.FIXED
        process.mmap(count * PAGE, prot, flags, addr=BASE + first * PAGE)
        twin.map(first, count, prot)

    @rule(who=nth, first=pages, count=st.integers(1, 2))
    def unmaps(self, who: int, first: int, count: int) -> None:
        process, twin = self.chosen(who)
        process.munmap(BASE + first * PAGE, min(count, PAGES - first) * PAGE)
        for page in range(first, min(first + count, PAGES)):
            twin.pages.pop(page, None)
        self.same()

    @rule(who=nth, asked=st.integers(0, 4))
    def allocates(self, who: int, asked: int) -> None:
        process, twin = self.chosen(who)
        expected = twin.alloc(asked)
        try:
            assert process.pkey_alloc(asked) == expected
        except LinuxError as error:
            assert -(error.errno or 0) == expected
        self.same()

    @rule(who=nth, key=keys)
    def frees(self, who: int, key: int) -> None:
        process, twin = self.chosen(who)
        expected = twin.free(key)
        assert self.error(process.pkey_free, key) == expected
        self.same()

    @rule(who=nth, first=pages, count=counts, prot=rights, key=st.one_of(st.none(), keys))
    def protects(self, who: int, first: int, count: int, prot: int, key: int | None) -> None:
        process, twin = self.chosen(who)
        count = min(count, PAGES - first)
        expected = twin.protect(first, count, prot, key)
        where = BASE + first * PAGE, count * PAGE
        if key is None:
            assert self.error(process.mprotect, *where, prot) == expected
        else:
            assert self.error(process.pkey_mprotect, *where, prot, key) == expected
        self.same()

    @rule(who=nth, key=st.integers(0, 15), asked=bits)
    def opens_or_closes(self, who: int, key: int, asked: int) -> None:
        process, twin = self.chosen(who)
        twin.set(key, asked)
        process.pkey_set(key, asked)
        self.same()

    @rule(who=nth, page=pages, byte=st.integers(1, 255))
    def writes(self, who: int, page: int, byte: int) -> None:
        process, twin = self.chosen(who)
        addr = BASE + page * PAGE
        expected = twin.access(page, write=True)
        mm = process._task.mm
        if expected == 4 and walk(mm.system.ram, mm.system.format, int(mm.pgd_pfn), addr, PEEK).pfn >= 0:
            status = walk(mm.system.ram, mm.system.format, int(mm.pgd_pfn), addr, WRITE, pkru=process.pkru).status
            assert status == NO_KEY
        assert code_of(process, addr, write=True, byte=byte) == expected
        if expected == 0:
            twin.pages[page][2] = byte
        self.same()

    @rule(who=nth, page=pages)
    def reads(self, who: int, page: int) -> None:
        process, twin = self.chosen(who)
        addr = BASE + page * PAGE
        expected = twin.access(page, write=False)
        assert code_of(process, addr, write=False) == expected
        if expected == 0:
            assert process.read(addr, 1)[0] == twin.pages[page][2]
        mm = process._task.mm
        for access in (READ, FETCH):
            status = walk(mm.system.ram, mm.system.format, int(mm.pgd_pfn), addr, access, pkru=process.pkru).status
            assert access == READ or status != NO_KEY
        self.same()

    @precondition(lambda self: len(self.family) < MOST)
    @rule(who=nth)
    def forks(self, who: int) -> None:
        process, twin = self.chosen(who)
        self.family.append((process.fork(), twin.child()))
        self.same()

    def error(self, call: object, *arguments: int) -> int:
        try:
            call(*arguments)  # type: ignore[operator]
        except LinuxError as error:
            return error.errno or 0
        return 0


class KeyedProcessesWithTlbs(KeyedProcesses):
    """The same on a machine whose TLBs are modelled."""

    tlb = "l1d=4x2,l1i=2,l2=8x2"


def run(machine: type[KeyedProcesses], examples: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )


def test_keys_do_what_a_naive_twin_does() -> None:
    run(KeyedProcesses, EXAMPLES)


def test_keys_do_so_behind_modelled_tlbs() -> None:
    run(KeyedProcessesWithTlbs, EXAMPLES // 3)
