"""Events that no machine has recorded: a replay carries out what it can, and says what it cannot in one line."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pagewalk.config import Config
from pagewalk.errors import PagewalkError
from pagewalk.hw.tlb_parse import parse_tlb
from pagewalk.machine import Machine
from pagewalk.trace import events as ev
from pagewalk.trace.follow import Following
from pagewalk.trace.format import Batch
from pagewalk.trace.replay import replay

word = st.one_of(
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.integers(0, 40).map(lambda page: 0x10000 + page * 4096),
    st.sampled_from([0, -4096, (1 << 47) - 4096, 1 << 47, (1 << 63) - 1, -(1 << 63)]),
)
length = st.one_of(st.integers(0, 40).map(lambda pages: pages * 4096), word)
number = st.integers(0, 3)
pages = st.sampled_from(["", "0", "0-3,7", "2=5,9", "0-999999999999", "3-1", "5=900000000", "a"])
who: dict[str, Any] = {"task": number, "cpu": number}
events: st.SearchStrategy[ev.Event] = st.one_of(
    st.builds(ev.Mmap, **who, addr=word, length=length, prot=word | st.integers(0, 7), flags=word | st.integers(0, 63),
              name=st.sampled_from(["", "/", "/bin/true", "[vdso]", "[stack]", "/SYSV0", "\0"]), offset=length,
              file=number, size=length, pages=pages, backed=st.booleans(), warm=length),
    st.builds(ev.Munmap, **who, addr=word, length=length),
    st.builds(ev.Mprotect, **who, addr=word, length=length, prot=word | st.integers(0, 7)),
    st.builds(ev.Mremap, **who, addr=word, length=length, new_addr=word, new_length=length, flags=number),
    st.builds(ev.Madvise, **who, addr=word, length=length, advice=st.integers(0, 110) | word),
    st.builds(ev.Mlock, **who, addr=word, length=length, flags=number | word),
    st.builds(ev.Mlockall, **who, flags=st.integers(0, 9) | word),
    st.builds(ev.Msync, **who, addr=word, length=length, flags=st.integers(0, 9) | word),
    st.builds(ev.File, **who, file=number, size=length, pages=pages, gone=pages, warm=length, synced=st.booleans()),
    st.builds(ev.Frames, **who, addr=word, pfn=length, count=number | word, ahead=st.booleans()),
    st.builds(ev.Brk, **who, addr=word, start=word),
    st.builds(ev.Fork, **who, child=number, shares_mm=st.booleans()),
    st.builds(ev.Exec, **who),
    st.builds(ev.Exit, **who),
    st.builds(ev.Touch, **who, addr=word, write=st.booleans()),
    st.builds(ev.Fault, **who, addr=word, access=st.integers(-1, 3)),
    st.builds(ev.Switch, **who, previous=number),
)  # fmt: skip

entry = st.sampled_from(["", "8000000000045067", "45067", "ffffffffffffffff", "63", "1", "8000000100000225"])
small = st.integers(0, 600)
run = st.one_of(
    st.builds(lambda page, count, word: f"{page:x}:{count}>{word or 1}", small, small, entry),
    st.builds(lambda page, word: f"{page:x}={word}", small, entry),
    st.builds(lambda page, count: f"{page:x}:{count}~60/3", small, small),
    st.builds(lambda level, word: f"{level}@0={word}", st.integers(0, 6), entry),
    st.sampled_from(["0@0+ 1@0+ 2@0+", "2@200+", "0@0=", "1@8000000+", "3@0+", "a:", "fffffffffffff:9=", "~"]),
)  # fmt: skip
entries = st.lists(run, max_size=4).map(lambda runs: " ".join(["0@0+ 1@0+ 2@0+", *runs]))
kernel_events: st.SearchStrategy[ev.Event] = st.one_of(
    st.builds(ev.Tables, **who, space=number, entries=entries, ahead=number, minor=number),
    st.builds(ev.Flush, **who, space=number, addr=word, length=length, ahead=number),
    st.builds(ev.Lazy, **who),
    st.builds(ev.Free, **who, space=number),
    st.builds(ev.Fork, **who, child=number, shares_mm=st.booleans(), space=number),
    st.builds(ev.Exec, **who, space=number),
    events,
)


@settings(deadline=None, max_examples=80)
@given(st.lists(st.tuples(st.integers(0, 6), events), max_size=10), st.lists(word, min_size=6, max_size=6))
def test_any_events_are_carried_out_or_told(found: list[tuple[int, ev.Event]], addrs: list[int]) -> None:
    found.sort(key=lambda item: item[0])
    batch = Batch.of(addrs, [0, 1, 2, 0, 1, 2], [8, 4096, 65535, 1, 2, 3], events=found)
    try:
        report = replay([batch], parse_tlb("zen3"), Config(ram="64M", aslr=False))
    except PagewalkError as error:
        assert "\n" not in str(error)
    else:
        assert report.accesses == 6
        assert report.counters.lookups >= report.counters.misses


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.tuples(st.integers(0, 6), kernel_events), max_size=10),
    st.lists(st.integers(0, 600 * 4096) | word, min_size=6, max_size=6),
)
def test_whatever_a_kernel_is_said_to_have_done_is_followed_or_told(
    found: list[tuple[int, ev.Event]], addrs: list[int]
) -> None:
    found.sort(key=lambda item: item[0])
    batch = Batch.of(addrs, [0, 1, 2, 0, 1, 2], [8, 4096, 65535, 1, 2, 3], events=found)
    with Machine(Config(ram="64M", aslr=False)) as machine:
        followed = Following(machine, parse_tlb("zen3,coalesce=8"))
        tables = machine.system.vmstat.nr_page_table_pages
        try:
            followed.feed(batch)
            assert followed.finish().accesses == 6
            spaces = {getattr(event, "space", 0) for _, event in found} | {-task for task in range(4)}
            last = [(0, ev.Free(task=0, space=space)) for space in sorted(spaces)]
            followed.feed(
                Batch.of([], events=last)
            )  # what was told ahead of a fault that never came is carried out too
        except PagewalkError as error:
            assert "\n" not in str(error)
        else:
            assert machine.system.vmstat.nr_page_table_pages == tables, "every table is given back"
        finally:
            followed.close()
