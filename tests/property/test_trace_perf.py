"""perf script's lines: what machine code reads of them is what the regular expressions read."""

from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from pagewalk.trace.readers.perf import PerfTrace

SPACE = st.sampled_from([" ", "  ", "\t", "", "\r"])
COMM = st.sampled_from(["perl", "dd", "f00", "a b", "kworker/0:1", "x 12 [1] 3.5:", "", ":12", "#sh", "é"])
PID = st.sampled_from(["1", "12/13", "12/ 14", "2147483647", "2147483648", "99999999999", "x", "-1"])
CPU = st.sampled_from(["[000]", "[255]", "[256]", "[12345]", "", "[]"])
TIME = st.sampled_from(["1.5:", "12.000001:", "1:", "1.:", ".5:", "5.25"])
PERIOD = st.sampled_from(["", "1", "4000", "x"])
EVENT = st.sampled_from(["page-faults:", "cpu/mem-stores/P:", "cpu/MEM-STORES,ldlat=30/P:", "syscalls:sys_enter_write:",
                         "exceptions:page_fault_user:", "12:", ":", "stor:e:", "event"])  # fmt: skip
REST = st.sampled_from([
    "7f00 x", "0x7f00", "0", "ffffffffffffffff |OP STORE|LVL L1", "10000000000000000", "7f00|OP STORE", "7F00",
    "7f00 |OP LOAD|LVL", "address=0x7f00 ip=0x1 error_code=0x6", "address=0x7f00 ip=0x1 error_code=0x14 |OP STORE",
    "address=7f00 error_code=123456789", "address=7f00, error_code=2", "ip=1 address=0x7f00f error_code=2", "address=",
    "7f00 error_code=0x2", "address=0 error_code=7 z", "address=ff xerror_code=2", "7f00 a=b", "",
    "address=1 |OP STORE",
])  # fmt: skip
SAMPLE = st.builds(
    lambda parts, spaces: "".join(space + part for part, space in zip(parts, spaces, strict=True)),
    st.tuples(COMM, PID, CPU, TIME, PERIOD, EVENT, REST), st.lists(SPACE, min_size=7, max_size=7),
)  # fmt: skip
GOOD = st.builds(
    lambda *parts: "  ".join(parts), st.sampled_from(["perl", "dd", "a b"]), st.sampled_from(["1", "12/13"]),
    st.sampled_from(["[000]", "[255]"]), st.just("1.5:"), st.sampled_from(["", "1"]), EVENT, REST,
)  # fmt: skip
CHAIN = st.sampled_from(
    ["\t7f00 main+0x10 (/bin/x)", "  ffff operator: x", "  ffff", "  f00 \r", " zz main", "#", "  #"]
)
LINE = st.one_of(GOOD, GOOD, SAMPLE, CHAIN, st.just(""), st.text("a1 :.[]/=x|\t", max_size=30))


def plainly(path: Path, lines: list[bytes]) -> tuple[list[tuple[int, ...]], int]:
    """Every line through the regular expressions."""
    reader = PerfTrace(path, lenient=True)
    reader.chains = b"\n\t" in path.read_bytes()
    found = [reader.other_line(line, lambda: "a line") for line in lines]
    return [one for one in found if one is not None], reader.skipped


@settings(max_examples=400, deadline=None)
@example(["perl 1 [0] 1.5: 1 e: 7f00"])
@given(st.lists(LINE, min_size=1, max_size=12))
def test_machine_code_reads_what_the_expressions_read(tmp_path_factory: Any, texts: list[str]) -> None:
    path = tmp_path_factory.mktemp("perf") / "script.txt"
    lines = [text.encode() for text in texts]
    path.write_bytes(b"\n".join(lines) + b"\n")
    reader = PerfTrace(path, lenient=True)
    found = [row for batch in reader for row in zip(*(column.tolist() for column in batch.columns), strict=True)]
    assert (found, reader.skipped) == plainly(path, lines)


def test_most_samples_are_read_by_machine_code(tmp_path: Path) -> None:
    path = tmp_path / "script.txt"
    chain = "\t 5510 main+0x1 (/bin/perl)\n"
    lines = [f"   perl  {n} [001]  1.000{n}:   1 page-faults:  7f{n:06x} x (/bin/perl)\n{chain}\n" for n in range(1000)]
    path.write_text("".join(lines))
    reader = PerfTrace(path)
    reader.other_line = None  # type: ignore[assignment, method-assign]
    assert sum(map(len, reader)) == 1000
