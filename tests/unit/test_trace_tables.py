"""What is told of page tables: as text, and as the changes between two looks at random tables, applied to a copy."""

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagewalk.config import Config
from pagewalk.errors import ConfigError
from pagewalk.hw.tlb_presets import preset
from pagewalk.machine import Machine
from pagewalk.process import Process
from pagewalk.trace import events as ev
from pagewalk.trace import native
from pagewalk.trace.follow import can_follow
from pagewalk.trace.followed_spaces import FollowedSpaces
from pagewalk.trace.format import Batch, TraceInfo
from pagewalk.trace.native import NativeTrace, NativeWriter
from pagewalk.trace.record_tables import TableWatch
from pagewalk.trace.replay import replay
from pagewalk.trace.table_text import MARKS, SAME, TABLE, UP, Run, parse_runs, runs_text

RUNS = st.builds(
    Run,
    level=st.integers(-1, 4),
    page=st.integers(0, (1 << 52) - 1),
    count=st.integers(1, 8192),
    kind=st.sampled_from([SAME, UP]),
    word=st.integers(-(1 << 63), (1 << 63) - 1),
)


@given(st.lists(RUNS, max_size=5))
def test_runs_are_read_back_as_they_were_written(runs: list[Run]) -> None:
    more = [*runs, Run(1, 512, 1, TABLE), Run(-1, 7, 3, MARKS, 0x62, -(1 << 63))]
    assert list(parse_runs(runs_text(more))) == more


def test_text_is_short() -> None:
    assert runs_text([Run(-1, 0x7F3A2C010, 16, UP, 0x8000000012345067 - (1 << 64))]) == "7f3a2c010:16>8000000012345067"
    assert runs_text([Run(-1, 0x5624, 3, SAME), Run(2, 0x200, 1, TABLE)]) == "5624:3= 2@200+"


@pytest.mark.parametrize("text", ["5624", "x=", "5=g", "5:=", "-1=", "5=1/", "5=1 6", "5=12345678901234567"])
def test_text_that_is_none_is_told_in_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match="expected entries of a page table such as 5624:3="):
        list(parse_runs(text))


def leaves(mm: object, machine: Machine) -> dict[int, int]:
    """Address and word of each entry of the last level that is present, found by a walk of all tables."""
    system, found = machine.system, {}
    fmt, words = system.format, system.ram.words

    def look(level: int, pfn: int, base: int) -> None:
        start = pfn << int(fmt.table_shift)
        count = 1 << fmt.levels[level].nr_bits
        if level == 0:
            count = min(count, -(-int(system.layout.task_size) // fmt.levels[0].size))
        for at, word in enumerate(words[start : start + count].tolist()):
            addr = base + (at << fmt.levels[level].shift)
            if not fmt.present.test(word):
                continue
            if level + 1 == len(fmt.levels):
                found[addr] = word
            else:
                look(level + 1, int(fmt.pfn(word)), addr)

    look(0, int(mm.pgd_pfn), 0)  # type: ignore[attr-defined]
    return found


PAGE = 4096
steps = st.lists(
    st.tuples(
        st.sampled_from(
            ["map", "unmap", "write", "read", "protect", "allow", "drop", "move", "hardware", "free", "fork"]
        ),
        st.integers(0, 30),
        st.integers(1, 600),
    ),
    max_size=14,
)


def act(process: Process, what: str, at: int, count: int, base: int) -> None:
    """One thing that a program, or the hardware, may do."""
    addr, length = base + at * 100 * PAGE, count * PAGE
    mm = process._task.mm
    fmt, words = mm.system.format, mm.system.ram.words
    if what == "map":
        process.mmap(length, 3, 0x32, addr=addr)
    elif what == "unmap":
        process.munmap(addr, length)
    elif what in ("write", "read"):
        for page in range(0, length, 3 * PAGE):
            if mm.vma_lookup(addr + page) is not None and mm.vma_lookup(addr + page).vm_flags & 2:
                process.write(addr + page, b"x") if what == "write" else process.read(addr + page, 1)
    elif what == "hardware":  # marks that walks leave, of which nobody is told
        for vma in mm.vmas_in(addr, addr + length):
            for page in native_pages(vma):
                words[page] = fmt.accessed.set(words[page])
                if fmt.write.test(words[page]):
                    words[page] = fmt.dirty.set(words[page])
                    if fmt.rdonly:
                        words[page] = fmt.sync_rdonly(words[page])
    elif mm.find_vma_intersection(addr, addr + length) is not None:
        for vma in mm.vmas_in(addr, addr + length):
            start, end = max(int(vma.vm_start), addr), min(int(vma.vm_end), addr + length)
            if what == "protect":
                process.mprotect(start, end - start, 1)
            elif what == "allow":
                process.mprotect(start, end - start, 3)
            elif what == "drop":
                process.madvise(start, end - start, 4)
            elif what == "free":
                process.madvise(start, end - start, 8)
            elif what == "move" and start == vma.vm_start:
                process.mremap(start, end - start, end - start, 3, base + 9000 * PAGE + at * PAGE)
                break


def native_pages(vma: object) -> list[int]:
    """Places in RAM of the entries of a mapping that are there."""
    from pagewalk.mm.pgtable import present_ptes, pte_lookup

    return [int(pte_lookup(vma.vm_mm, addr)) for addr in present_ptes(vma, vma.vm_start, vma.vm_end)]  # type: ignore[arg-type, attr-defined]


@pytest.mark.parametrize("arch", ["x86_64", "x86_pae", "x86_32", "arm64", "riscv64"])
@settings(deadline=None, max_examples=25)
@given(actions=steps)
def test_a_copy_that_is_told_of_changes_stays_one(arch: str, actions: list[tuple[str, int, int]]) -> None:
    """Marks of the hardware are the copy's own affair, so it gets them too; all else it has from the events."""
    config = Config(arch=arch, ram="128M", aslr=False)
    with Machine(config) as machine, Machine(config) as other:
        followed, tables = FollowedSpaces(other), other.system.vmstat.nr_page_table_pages
        process = machine.spawn()
        watch = TableWatch(machine.system, lambda mm, start, end: None)
        processes = [process]
        watch.add(process._task.mm)
        machine.system.current = process._task
        for what, at, count in actions:
            if what == "fork":
                child = processes[-1].fork()
                tell(watch, followed)
                parent = processes[-1]._task.mm
                followed.apply(ev.Exec(task=1, space=parent.ident))
                followed.apply(ev.Fork(task=1, child=2, space=child._task.mm.ident))
                watch.fork(parent, child._task.mm)
                processes.append(child)
            else:
                act(processes[at % len(processes)], what, at, count, 0x1000_0000)
                if what == "hardware":
                    copy_marks(processes[at % len(processes)]._task.mm, machine, followed)
                for each in processes:
                    watch.called(each._task.mm, anything=what in ("protect", "allow", "move"))
            tell(watch, followed)
            for each in processes:
                mm = each._task.mm
                assert leaves(followed._space(mm.ident).mm, other) == leaves(mm, machine)
        for each in processes:
            followed.apply(ev.Free(task=0, space=each._task.mm.ident))
        assert other.system.vmstat.nr_page_table_pages == tables
        assert followed.resident_pages() == 0
        watch.close()


def tell(watch: TableWatch, followed: FollowedSpaces) -> None:
    """What has changed goes to the copy, as text."""
    for mm, runs in watch.changes():
        followed.apply(ev.Tables(task=0, space=mm.ident, entries=runs_text(runs)))


def copy_marks(mm: object, machine: Machine, followed: FollowedSpaces) -> None:
    """The copy's hardware does what the machine's has done."""
    from pagewalk.mm.pgtable import pte_lookup

    theirs = followed._space(mm.ident).mm  # type: ignore[attr-defined]
    for addr, word in leaves(mm, machine).items():
        index = int(pte_lookup(theirs, addr))
        if index >= 0 and theirs.system.format.present.test(theirs.system.ram.words[index]):
            theirs.system.ram.words[index] = word


def test_entries_of_tables_that_nobody_has_told_of_have_tables() -> None:
    """A trace that has lost a batch is replayed as far as it goes."""
    with Machine(Config(ram="64M", aslr=False)) as machine:
        followed = FollowedSpaces(machine)
        followed.apply(ev.Tables(task=1, space=3, entries="7f3358596:2>80000001008b4067"))
        found = leaves(followed._space(3).mm, machine)
        assert sorted(found) == [0x7F3358596000, 0x7F3358597000]
        assert followed.resident_pages() == 2


def test_only_a_machine_like_the_recorded_one_is_followed() -> None:
    recorded = json.dumps(dataclasses.asdict(Config(ram="200M")), default=str)
    info = TraceInfo(extra={"tables": "1", "config": recorded})
    assert can_follow(info, Config(ram="200M"))
    assert can_follow(info, Config(ram="200M", aslr=False, seed=5)), "the trace has the addresses"
    assert not can_follow(info, Config())
    assert not can_follow(info, Config(ram="200M", fault_around_bytes=4096))
    assert not can_follow(info, Config(ram="200M", reclaim_policy="mglru"))
    assert not can_follow(TraceInfo(extra={"config": recorded}), Config(ram="200M")), "it does not tell of tables"
    assert not can_follow(TraceInfo(extra={"tables": "1", "config": "5"}), Config())
    assert not can_follow(None, Config())


def test_traces_of_version_4_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "old.pwt"
    events: list[tuple[int, ev.Event]] = [
        (0, ev.Mmap(task=1, addr=0x10000, length=8192, prot=3, flags=0x22)),
        (0, ev.Frames(task=1, addr=0x10000, pfn=5, count=2, ahead=True)),
    ]
    monkeypatch.setattr(native, "VERSION", 4)
    monkeypatch.setattr(native, "_deflated", lambda text: text)
    with NativeWriter(old, TraceInfo(source="pagewalk run", has_events=True, has_mappings=True)) as writer:
        writer.write(Batch.of([0x10000, 0x11000], 1, task=1, events=events))
    monkeypatch.undo()
    trace = NativeTrace(old)
    assert [event for batch in trace for event in batch.events] == events
    report = replay(trace, preset("none"))
    assert (report.minor, report.follows) == (2, False)
