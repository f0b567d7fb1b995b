"""Readers of other tools' traces: what they make of an example, which format a file is, and where it is malformed."""

import gzip
import lzma
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from trace_examples import CHAMPSIM, CSV, CSV_TITLES, DIN, DYNAMORIO, EXAMPLES, GEM5, LACKEY, PERF, Row, champsim

from pagewalk.cli import run_command
from pagewalk.errors import ConfigError, TraceError
from pagewalk.trace.format import FETCH, READ, WRITE, Batch, TraceSource
from pagewalk.trace.open import open_trace
from pagewalk.trace.readers.lackey import LackeyTrace


def rows(source: TraceSource) -> list[Row]:
    return [row for batch in source for row in zip(*(column.tolist() for column in batch.columns), strict=True)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "trace"


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_recognised_and_read(name: str, path: Path) -> None:
    kind, data, expected = EXAMPLES[name]
    path.write_bytes(data)
    source = open_trace(path)
    assert source.name == kind
    assert rows(source) == expected
    assert rows(source) == expected, "a second pass"
    assert source.skipped == 0


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress])
def test_a_compressed_trace_is_read_as_the_plain_one(name: str, compress: object, path: Path) -> None:
    _, data, expected = EXAMPLES[name]
    path.write_bytes(compress(data))  # type: ignore[operator]
    assert rows(open_trace(path)) == expected


def test_what_a_trace_says_of_itself(path: Path) -> None:
    path.write_bytes(LACKEY)
    info = open_trace(path).info
    assert (info.program, info.has_fetches, info.has_events) == ("ls -l /", True, False)
    path.write_bytes(DYNAMORIO)
    assert open_trace(path).info.page_size == 16384


SCHEDULED = b"""==7== Command: two
--7--   SCHED[1]:  acquired lock (thread_wrapper(starting new thread))
 L 1000,8
--7-- a warning of some kind
 S 1008,8
SYSCALL[7,1](56) sys_clone ( 3d0f00, 0x4a2a5f0, 0x4a2b990 )   clone(thread) --> [pre-success] Success(0x8)
--7--   SCHED[1]: releasing lock (VG_(scheduler:timeslice)) -> VgTs_Yielding
--7--   SCHED[2]:  acquired lock (thread_wrapper(starting new thread))
 S 2000,8
SYSCALL[7,2](9) sys_mmap ( 0x0, 8192, 3, 34, 4294967295, 0 ) --> [pre-success] Success(0x5000)
 L 5000,1
SYSCALL[7,1](61) ... [async] --> Success(0x9)
 L 1010,4
SYSCALL[7,2](60) exit( 0 ) --> [pre-success] Success(0x0)
SYSCALL[7,1](56) sys_clone ( 1200011, 0x0 )   clone(fork): process 7 created child 9
 --> [pre-success] Success(0x9)
 L 1018,4
--7--   SCHED[2]:  acquired lock (thread_wrapper(starting new thread))
 L 2008,4
"""


@pytest.mark.parametrize("repeated", [1, 60000])
def test_lackeys_threads_are_those_that_valgrind_says_it_runs(path: Path, repeated: int) -> None:
    """Also over several of the pieces in which a file is read."""
    path.write_bytes(SCHEDULED.replace(b" L 1000,8\n", b" L 1000,8\n" * repeated).replace(
        b" L 5000,1\n", b" L 5000,1\n" * repeated * 10))  # fmt: skip
    source = open_trace(path)
    for _ in range(2):
        found = rows(source)
        tasks = [row[3] for row in found]
        assert tasks == [0] * repeated + [0, 1] + [1] * repeated * 10 + [0, 0, 1]
        events = [event for batch in source for _, event in batch.events]
        assert [(event.kind, event.task) for event in events] == [("fork", 0), ("mmap", 1), ("exit", 1), ("fork", 0)]
        assert isinstance(source, LackeyTrace)
        assert source.nr_children == 1


NUMBERS = np.random.default_rng(1).integers(1, 1 << 40, 40000).tolist()
MANY = b"".join(b" L %x,8\n" % number for number in NUMBERS)

MALFORMED = {
    "lackey": (LACKEY + b" L 12g4,8\n L 10,8\n", "line 9: expected ' L ADDR,SIZE' (or S, M; or 'I  ADDR,SIZE'), got"),
    "din": (DIN + b"7 1000\n0 10\n", "line 5: expected 'LABEL ADDR'"),
    "csv": (CSV + b"0x1000,q\n0x10,r\n", "line 4: expected 'addr,rw', got '0x1000,q'"),
    "csv with titles": (CSV_TITLES + b"1,2,r\n1,2,r,1,1,1\n", "line 5: expected '...,addr,rw,size,task,cpu'"),
    "gem5": (GEM5 + b"3,r\n3,r,1,1,1\n", "line 4: expected '[ID,]CMD,ADDR"),
    "dynamorio": (DYNAMORIO + b"junk\n 1 1: 5 read 1 byte(s) @ 0x10 by PC 0x1\n", "line 12: expected 'RECORD"),
    "perf": (PERF + b"junk\nsh 78 [000] 1.000003: page-faults: 10 1 main\n", "line 9: expected 'COMM PID"),
    "champsim": (
        CHAMPSIM + b"\xff" * 64 + champsim((5, [], [])),
        "offset 128: expected is_branch and branch_taken to be 0 or 1",
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_record_is_named_or_skipped_and_counted(name: str, path: Path) -> None:
    data, message = MALFORMED[name]
    path.write_bytes(data)
    with pytest.raises(TraceError) as caught:
        rows(open_trace(path))
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)
    lenient = open_trace(path, lenient=True)
    assert len(rows(lenient)) == len(EXAMPLES[name][2]) + 1
    assert lenient.skipped == 1


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress])
@pytest.mark.parametrize("data", [LACKEY + MANY, CHAMPSIM * 2 + champsim(*[(0x401000, [n], []) for n in NUMBERS])])
def test_a_truncated_compressed_file_is_named_or_read_as_far_as_it_goes(
    compress: object, data: bytes, path: Path
) -> None:
    whole = compress(data)  # type: ignore[operator]
    path.write_bytes(whole[: len(whole) - 20])
    with pytest.raises(TraceError, match=r"data are (truncated|corrupt) after \d+ bytes"):
        rows(open_trace(path))
    lenient = open_trace(path, lenient=True)
    assert len(rows(lenient)) > 1000
    assert lenient.skipped in (1, 2)  # and the record that is cut in two


def test_a_truncated_champsim_trace_names_its_offset(path: Path) -> None:
    path.write_bytes(CHAMPSIM[:-1])
    with pytest.raises(TraceError, match=r"offset 64: expected a record of 64 bytes \(63 are left\)"):
        rows(open_trace(path))


def test_a_line_without_an_end_does_not_take_all_memory(path: Path) -> None:
    path.write_bytes(CSV + b"x" * (9 << 20) + b"\n0x10,r\n")
    with pytest.raises(TraceError, match="line 4: "):
        rows(open_trace(path))
    lenient = open_trace(path, lenient=True)
    assert len(rows(lenient)) == 4
    assert lenient.skipped == 1


def test_what_is_no_trace_is_one_line(path: Path) -> None:
    with pytest.raises(TraceError, match="cannot be read: No such file"):
        open_trace(path)
    path.write_bytes(b"")
    with pytest.raises(TraceError, match="is empty"):
        open_trace(path)
    path.write_bytes(b"hello, world\n" * 9)
    with pytest.raises(TraceError, match="not a trace of a known kind"):
        open_trace(path)
    with pytest.raises(TraceError, match="directory"):
        open_trace(path.parent)
    with pytest.raises(ConfigError, match="--format: expected one of native, lackey"):
        open_trace(path, format="pin")


def test_a_batch_can_be_cut() -> None:
    batch = Batch.of([1, 2, 3, 4], kind=[0, 1, 0, 1])
    assert batch[1:3].addr.tolist() == [2, 3]
    assert batch[1:3].kind.tolist() == [1, 0]


ONLY_INSTRUCTIONS = b"""\
  thr 22253 61513.010832:   1 page-faults:  ffffffff81752b6a elf_load+0x28a ([kernel.kallsyms])
  thr 22253 61513.010896:   1 page-faults:      7fc293d847c9 _dl_start+0x59 (/usr/lib/ld-linux-x86-64.so.2)
"""
WITH_ADDRESSES = b"""\
  thr 22253 61513.010832:   1 page-faults:     561ccbe0f058 stdout+0x0 (/tmp/thr) ffffffff81752b6a elf_load+0x2 ([k])
  thr 22253 61513.010890:   1 page-faults:     7fc293d83b70 _start+0x0 (ld.so)     7fc293d83b70 _start+0x0 (ld.so)
  thr 22253 61513.010891:   1 page-faults:     7fc293d84000 [unknown] ([unknown])     7fc293d83b70 _start+0x0 (ld.so)
"""
WITH_CHAINS = b"""\
thr 22407 61516.710399:          1 page-faults:     559606cd0058 stdout@GLIBC_2.2.5+0x0 (/tmp/thr)
\tffffffff81752b6a elf_load+0x28a ([kernel.kallsyms])
\tffffffff8175320a load_elf_binary+0x66a ([kernel.kallsyms])

thr 22407 61516.710400:          1 page-faults:                0 [unknown] ([unknown])
\tffffffff81752b6a elf_load+0x28a ([kernel.kallsyms])

"""


def test_an_instruction_is_not_taken_for_what_it_accesses(tmp_path: Path) -> None:
    """perf 6.1 prints no data address by itself, although the samples have one."""
    file = tmp_path / "perf"
    file.write_bytes(ONLY_INSTRUCTIONS)
    with pytest.raises(
        TraceError, match=r"line 1: expected 'COMM PID .* \(perf record -d, perf script -F \+addr\), got"
    ):
        list(open_trace(file))
    lenient = open_trace(file, lenient=True)
    assert (sum(map(len, lenient)), lenient.skipped) == (0, 2)
    file.write_bytes(ONLY_INSTRUCTIONS.replace(b" ffffffff8", b" 10 ffffffff8"))
    with pytest.raises(TraceError, match="line 2: "):
        list(open_trace(file))


@pytest.mark.parametrize(
    ("text", "addrs"),
    [(WITH_ADDRESSES, [0x561CCBE0F058, 0x7FC293D83B70, 0x7FC293D84000]), (WITH_CHAINS, [0x559606CD0058])],
    ids=["symbols", "chains"],
)
def test_addresses_of_data_may_have_symbols(tmp_path: Path, text: bytes, addrs: list[int]) -> None:
    file = tmp_path / "perf"
    file.write_bytes(text)
    assert [addr for batch in open_trace(file) for addr in batch.addr.tolist()] == addrs


LAYOUTS = {
    "tid,time,event,addr": b" 6379 69549.06: page-faults:     7fb8642b82a0 \n",
    "event,addr": b"page-faults:     7fb8642b82a0 \n",
    "comm,tid,addr": b"             a b  6379     7fb8642b82a0 \n",
    "pid,tid,event,addr": b" 6379/6379  page-faults:     7fb8642b82a0 \n",
    "comm,time,addr": b"              ls 69549.060021:     7fb8642b82a0 \n",
    "comm,tid,time,addr,ip,sym": b"  ls  6379 69549.060021:     7fb8642b82a0 __sysconf     7fb8642b82a1 main\n",
    "comm,tid,misc,time,period,event,addr": b" ls  6379 U     69549.06:          1 page-faults:     7fb8642b82a0 \n",
}


@pytest.mark.parametrize("columns", LAYOUTS)
def test_perf_script_may_print_some_columns_only(columns: str, tmp_path: Path) -> None:
    file = tmp_path / "perf"
    file.write_bytes(b"# a comment\n" + LAYOUTS[columns] * 3)
    (batch,) = open_trace(file)
    assert batch.addr.tolist() == [0x7FB8642B82A0] * 3
    assert set(batch.task.tolist()) == {6379 if "tid" in columns else 0}
    file.write_bytes(LAYOUTS[columns] + b"  rubbish\n" + LAYOUTS[columns])
    with pytest.raises(TraceError, match="line 2: expected"):
        list(open_trace(file))


def test_perf_records_of_other_kinds_are_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "perf"
    file.write_bytes(b"""\
       perf-exec     0     0.000000: PERF_RECORD_COMM: perf-exec:6379/6379
              ls  6379 69549.06: PERF_RECORD_COMM exec: ls:6379/6379
 ls  6379 [001] 6.9: PERF_RECORD_MMAP2 6379/6379: [0x55e5922f7000(0x24000) @ 0x4000 fe:00 1 1]: r-xp /usr/bin/ls
 ls  6379 [001] 6.9:          1 page-faults:     7fb86414a000 [unknown] (/x)     7fb86414a000 [unknown] (/x)
 ls  6379 [001] 6.9: PERF_RECORD_EXIT(6379:6379):(6379:6379)
""")
    assert rows(open_trace(file)) == [(0x7FB86414A000, READ, 1, 6379, 1)]


def test_dynamorio_prints_long_instructions_on_two_lines(path: Path) -> None:
    path.write_bytes(b"""\
          94          68:      296231 ifetch       8 byte(s) @ 0x0000000000401012 48 8d 34 25 00 20 40 lea    0x00402000
          94          68:      296231                                             00
------------------------------------------------------------
          95          69:   W1.T29623 ifetch      10 byte(s) @ 0x000000000040101a 48 b8 00 00 00 00 00 mov    $0x0
          95          69:   W1.T29623                                             00 00 00\r
          96          70:      296231 ifetch       2 byte(s) @ 0x0000000000401024 non-fetched instruction
          97          70:      296231 ifetch       2 byte(s) @ 0x0000000000401024 non-branch
View tool results:
              3 : total instructions
===========================================================================
Trace invariant checks passed
""")
    assert rows(open_trace(path)) == [
        (0x401012, FETCH, 8, 296231, 0), (0x40101A, FETCH, 10, 29623, 0), (0x401024, FETCH, 2, 296231, 0)
    ]  # fmt: skip
    path.write_bytes(path.read_bytes().replace(b"        00\n", b"        0x\n"))
    with pytest.raises(TraceError, match="line 2: expected"):
        rows(open_trace(path))


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        (b"addr,is_write\n16,False\n32,True\n48,false\n64,1\n80,0\n96,no\n", [READ, WRITE, READ, WRITE, READ, READ]),
        (b"write,addr,type\nTrue,16,read\nFalse,32,fetch\n", [READ, FETCH]),
        (b'"addr","rw","name"\n"16","w","a, b"\n32,r,"say ""x"""\n', [WRITE, READ]),
        (b"\xef\xbb\xbf# spreadsheet\naddr,rw\r\n0x10,w\r\n", [WRITE]),
        (b'\xef\xbb\xbf"0x10","w"\n0x20,r\n', [WRITE, READ]),
        (b"0x10,w,0x8\n", [WRITE]),
        (b"r,16,64,1,2\nu,0,0,1,3\nw,32,8,1,4\n", [READ, WRITE]),
    ],
)
def test_tables_as_other_programs_write_them(text: bytes, kinds: list[int], path: Path) -> None:
    path.write_bytes(text)
    found = rows(open_trace(path))
    assert [(row[0], row[1]) for row in found] == [(16 * (n + 1), kind) for n, kind in enumerate(kinds)]


def test_the_last_address_of_all_may_be_decimal(path: Path) -> None:
    path.write_bytes(b"18446744073709551615,r\n")
    assert rows(open_trace(path)) == [(-1, READ, 1, 0, 0)]
    path.write_bytes(b"16,r\n18446744073709551616,r\n")
    with pytest.raises(TraceError, match="line 2: "):
        rows(open_trace(path))


@pytest.mark.parametrize("kind", ["zstd", "lz4"])
def test_traces_that_zstd_or_lz4_have_compressed(kind: str, path: Path) -> None:
    buffer = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(buffer, kind) as stream:
        stream.write(LACKEY + MANY)
    whole = buffer.getvalue().to_pybytes()
    path.write_bytes(LACKEY + MANY)
    plain = rows(open_trace(path))
    path.write_bytes(whole)
    assert rows(open_trace(path)) == plain
    path.write_bytes(whole[:-9])
    with pytest.raises(TraceError, match=rf"the {kind} data are truncated after \d+ bytes"):
        rows(open_trace(path))
    lenient = open_trace(path, lenient=True)
    assert 1000 < len(rows(lenient)) <= len(plain)
    assert lenient.skipped in (1, 2)
    path.write_bytes(whole[:50] + bytes(99) + whole[149:])
    with pytest.raises(TraceError, match="compressed data are truncated or corrupt"):
        rows(open_trace(path))


def test_a_level_of_compression_is_none_of_csv(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_bytes(CSV)
    out = path.with_suffix(".csv")
    assert run_command(["trace", "convert", "--level", "9", str(path), str(out)]) == 125
    assert "--level: CSV is not compressed" in capsys.readouterr().err
    assert not out.exists()
    assert run_command(["trace", "convert", str(path), str(out)]) == 0
