"""Traces made up and broken: what was written is read back, and whatever is broken is one of our own errors."""

import gzip
import lzma
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trace_examples import CHAMPSIM, CSV, CSV_TITLES, DIN, DYNAMORIO, GEM5, LACKEY, PERF

from pagewalk.errors import PagewalkError
from pagewalk.trace.events import (
    EVENT_TYPES,
    Brk,
    Event,
    Exec,
    Exit,
    Fault,
    File,
    Flush,
    Fork,
    Frames,
    Free,
    Lazy,
    Madvise,
    Mlock,
    Mlockall,
    Mmap,
    Mprotect,
    Mremap,
    Msync,
    Munmap,
    Tables,
    Touch,
)
from pagewalk.trace.events import Switch as SwitchEvent
from pagewalk.trace.format import Batch, TraceInfo, TraceSource
from pagewalk.trace.native import NativeTrace, NativeWriter
from pagewalk.trace.open import FORMATS, open_trace

TRIES = settings(deadline=None, max_examples=60)  # the first use of a reader compiles it

word = st.integers(-(1 << 63), (1 << 63) - 1)
size = st.integers(0, (1 << 47) - 1)
tid = st.integers(0, (1 << 31) - 1)
who: dict[str, Any] = {"task": tid, "cpu": st.integers(0, 255)}
ENTRIES = st.sampled_from(["", "0@0+ 1@0+ 2@0+ 400:3>8000000000803067", "5~40/20", "-", "0:"])
PAGES = st.sampled_from(["", "0", "0-3,7", "2=5,9", "0-999999999999", "3-1", "a"])
events: st.SearchStrategy[Event] = st.one_of(
    st.builds(
        Mmap, **who, addr=word, length=size, prot=st.integers(0, 7), flags=tid, name=st.text(), offset=size,
        inferred=st.booleans(), file=st.integers(0, 3), size=size, pages=PAGES, backed=st.booleans(), warm=size,
        large=st.booleans(),
    ),
    st.builds(Mlock, **who, addr=word, length=size, flags=st.integers(0, 3), failed=st.integers(0, 40)),
    st.builds(Mlockall, **who, flags=st.integers(0, 7)),
    st.builds(Msync, **who, addr=word, length=size, flags=st.integers(0, 7)),
    st.builds(File, **who, file=st.integers(0, 3), size=size, pages=PAGES, gone=PAGES, warm=size, synced=st.booleans()),
    st.builds(Frames, **who, addr=word, pfn=size, count=size, ahead=st.booleans()),
    st.builds(Munmap, **who, addr=word, length=size),
    st.builds(Mprotect, **who, addr=word, length=size, prot=st.integers(0, 7)),
    st.builds(Mremap, **who, addr=word, length=size, new_addr=word, new_length=size, flags=st.integers(0, 7)),
    st.builds(Madvise, **who, addr=word, length=size, advice=st.integers(0, 25)),
    st.builds(Brk, **who, addr=word, start=word),
    st.builds(Fork, **who, child=tid, shares_mm=st.booleans(), space=tid),
    st.builds(Exec, **who, name=st.text(), space=tid),
    st.builds(Exit, **who),
    st.builds(Touch, **who, addr=word, write=st.booleans()),
    st.builds(Fault, **who, addr=word, access=st.integers(0, 2)),
    st.builds(SwitchEvent, **who, previous=tid),
    st.builds(Tables, **who, space=tid, entries=ENTRIES, minor=size, major=size, ahead=st.integers(0, 3)),
    st.builds(Flush, **who, space=tid, addr=word, length=size, ahead=st.integers(0, 3)),
    st.builds(Lazy, **who),
    st.builds(Free, **who, space=tid),
)  # fmt: skip


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    accesses = draw(
        st.lists(st.tuples(word, st.integers(0, 2), st.integers(1, 65535), tid, st.integers(0, 255)), max_size=30)
    )
    positions = draw(st.lists(st.integers(0, len(accesses)), max_size=5).map(sorted))
    found = [(at, draw(events)) for at in positions]
    columns = zip(*accesses, strict=True) if accesses else ([], [], [], [], [])
    addr, kind, sizes, task, cpu = columns
    return Batch.of(np.array(addr, np.int64), kind, sizes, task, cpu, found, draw(st.integers(0, 1 << 40)))


def content(source: TraceSource | list[Batch]) -> tuple[list[Any], list[tuple[int, Event]], int]:
    """All accesses, the events with their positions in the whole, the instructions."""
    rows: list[Any] = []
    found: list[tuple[int, Event]] = []
    instructions = 0
    for batch in source:
        found += [(len(rows) + at, event) for at, event in batch.events]
        rows += zip(*(column.tolist() for column in batch.columns), strict=True)
        instructions += batch.instructions
    return rows, found, instructions


MADE = (
    Brk, Exec, Exit, Fault, File, Flush, Fork, Frames, Free, Lazy, Madvise, Mlock, Mlockall, Mmap, Mprotect, Mremap,
    Msync, Munmap, SwitchEvent, Tables, Touch,
)  # fmt: skip


def test_every_kind_of_event_is_tried() -> None:
    assert set(MADE) == set(EVENT_TYPES.values())


@TRIES
@given(
    st.lists(batches(), max_size=4),
    st.builds(TraceInfo, source=st.text(), program=st.text(), seed=st.none() | word, has_events=st.booleans()),
)
def test_what_was_written_is_read_back(written: list[Batch], info: TraceInfo) -> None:
    path = scratch()
    with NativeWriter(path, info) as writer:
        for batch in written:
            writer.write(batch)
    source = NativeTrace(path)
    assert source.info == info
    assert content(source) == content(written)


def scratch() -> Path:
    """A file of this process; Hypothesis does not take fixtures that live shorter than a run."""
    return SCRATCH[0] / "trace"


SCRATCH: list[Path] = []


@pytest.fixture(autouse=True, scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    SCRATCH[:] = [tmp_path_factory.mktemp("fuzz")]


def broken(data: bytes) -> st.SearchStrategy[bytes]:
    """``data`` with some bytes changed, taken out, put in, repeated, or cut off."""
    at = st.integers(0, len(data))
    piece = st.binary(max_size=8) | st.sampled_from([b"\n", b",", b" ", b"0x", b"\xff" * 8, b"9" * 25, b"\r", b"\0"])
    edit = st.tuples(at, st.integers(0, 6), piece)

    def apply(edits: list[tuple[int, int, bytes]]) -> bytes:
        result = data
        for start, length, what in edits:
            result = result[:start] + what + result[start + length :]
        return result

    return st.lists(edit, min_size=1, max_size=6).map(apply)


SOUND = {
    "lackey": LACKEY, "din": DIN, "csv": CSV, "csv with titles": CSV_TITLES, "gem5": GEM5, "dynamorio": DYNAMORIO,
    "perf": PERF, "champsim": CHAMPSIM,
}  # fmt: skip


@pytest.mark.parametrize("name", SOUND)
@TRIES
@given(data=st.data())
def test_a_broken_trace_raises_our_own_errors_only(name: str, data: st.DataObject) -> None:
    text = data.draw(broken(SOUND[name]))
    compress = data.draw(st.sampled_from([None, gzip.compress, lzma.compress]))
    path = scratch()
    if compress is not None:
        text = data.draw(broken(compress(text)))
    path.write_bytes(text)
    for lenient in (False, True):
        for kind in ("", name.split()[0]):
            try:
                source = open_trace(path, format=kind, lenient=lenient)
                for batch in source:
                    assert len({len(column) for column in batch.columns}) == 1
                    assert batch.kind.max(initial=0) <= 2
                    assert batch.size.min(initial=1) >= 1
            except PagewalkError as error:
                assert "\n" not in str(error)
                assert kind == "" or not lenient or compress is not None, "lenient skips whatever is malformed"


@TRIES
@given(text=st.binary(max_size=300), kind=st.sampled_from(["", *FORMATS]), lenient=st.booleans())
def test_rubbish_raises_our_own_errors_only(text: bytes, kind: str, lenient: bool) -> None:
    path = scratch()
    path.write_bytes(text)
    try:
        list(open_trace(path, format=kind, lenient=lenient))
    except PagewalkError as error:
        assert "\n" not in str(error)


@TRIES
@given(data=st.data())
def test_a_broken_native_trace_is_told_or_whole(data: st.DataObject) -> None:
    sound = [Batch.of(np.arange(50) * 64, events=[(3, Brk(task=1, addr=8192, start=4096))], instructions=7)]
    path = scratch()
    with NativeWriter(path, TraceInfo(program="x")) as writer:
        writer.write(sound[0])
    path.write_bytes(data.draw(broken(path.read_bytes())))
    for lenient in (False, True):
        try:
            source = open_trace(path, lenient=lenient)
            found = content(source)
            assert found == content(sound) or lenient or source.name != "native"
        except PagewalkError as error:
            assert "\n" not in str(error)
