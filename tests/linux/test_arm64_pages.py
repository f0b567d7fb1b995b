"""arm64 programs on machines with pages of 16 and 64 KiB. What Debian's 6.18 arm64-16k kernel said to the same static
programs (under QEMU, -cpu max, 2 GiB, files on tmpfs, classic LRU, THP madvise) is in tests/golden/arm64-16k."""

import json
import subprocess
from pathlib import Path

import harness
import pytest
from harness import modelled, need
from test_arm64 import arm64

from pagewalk.cli import run_command

pytestmark = [pytest.mark.linux]

GOLDEN = Path(__file__).parents[1] / "golden" / "arm64-16k"

# The programs that print sizes and addresses of pages, and what they are given.
PRINT_PAGES = {"page_sizes": "", "fork_smaps": "file", "thp_eligible": "file", "overcommit": "", "pipe_calls": "."}
# Programs that say the same with every size of pages, as the 4K and 16K kernels have confirmed.
ALIKE = ("epoll_calls", "event_files", "pi_futexes", "thread_ends", "thread_signals", "posix_timers", "lock_calls")
QUICK = ("page_sizes", "fork_smaps", "thread_signals")


def some_slow(names: "tuple[str, ...] | dict[str, str]") -> list[object]:
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]


def on_pages(size: str, *more: str) -> tuple[str, ...]:
    return ("--arch", "arm64", "--granule", size, "--ram", "2G", *more)


def placed(work: Path, name: str) -> str:
    harness.fill(work, {})
    place = work / "prog"
    place.write_bytes(Path(arm64(name)).read_bytes())
    place.chmod(0o755)
    return str(place)


@pytest.mark.parametrize("name", some_slow(PRINT_PAGES))
def test_prints_what_a_16k_kernel_prints(name: str, work: Path) -> None:
    program = placed(work, name)
    given = PRINT_PAGES[name]
    arguments = [str(work / given) if given != "." else str(work)] if given else []
    options = on_pages("16K", "--set", "va_bits=52")
    run = modelled([program, *arguments], aslr=False, rw=[str(work)], options=options)
    assert (run.status, run.stderr) == (0, b"")
    assert run.stdout.decode().replace(str(work), "/tmp/w") == (GOLDEN / f"{name}.txt").read_text()


@pytest.mark.parametrize("size", ["16K", "64K"])
@pytest.mark.parametrize("name", some_slow(ALIKE))
def test_prints_what_it_prints_with_4k_pages(name: str, size: str, work: Path) -> None:
    program = placed(work, name)
    arguments = [str(work)] if name == "lock_calls" else []
    small, large = (
        modelled([program, *arguments], aslr=False, rw=[str(work)], options=on_pages(each)) for each in ("4K", size)
    )
    assert (large.status, large.stdout, large.stderr) == (small.status, small.stdout, small.stderr)
    assert small.stdout


def test_64k_pages_are_what_16k_ones_are_four_times_as_large(work: Path) -> None:
    """What the program counts in pages is the same, what it counts in bytes four times as much. Only fault-around is
    for 64 KiB in any case: one page."""
    program = placed(work, "page_sizes")
    lines = modelled([program], aslr=False, options=on_pages("64K")).stdout.decode().splitlines()
    golden = (GOLDEN / "page_sizes.txt").read_text().splitlines()
    assert lines[0] == "page 65536 auxv 65536 sysconf 65536"
    start = next(at for at, line in enumerate(golden) if line.startswith("first stores"))
    end = next(at for at, line in enumerate(golden) if line.startswith("beyond"))
    ours = lines[lines.index(golden[start]) :]
    for line, expected in zip(ours, golden[start:end], strict=False):
        words = expected.split()
        if words[-1] == "kB":
            assert line.split() == [words[0], str(4 * int(words[1])), "kB"]
        else:
            assert line == expected.replace("(fault-around): 17", "(fault-around): 64")
    assert "huge page 536870912" in lines
    for shift in (21, 29, 34):  # contiguous pages, a middle-table entry, contiguous ones of these
        assert f"pages of 2**{shift}: ENOMEM" in lines
    assert "argument of 2097151: Argument list too long" in lines  # more than a quarter of the stack's limit


@pytest.mark.parametrize("size", ["16K", "64K"])
def test_contents_survive_swap(size: str, work: Path) -> None:
    """More memory than the group may have: pages come back from swap as they were; sorting says whether."""
    program = placed(work, "malloc_stress")
    report = work / "report.json"
    options = on_pages(size, "--memory-max", "2M", "--swap", "256M", "--json", str(report))
    run = modelled([program], rw=[str(work)], options=options)
    assert run.status == 0, run.stderr
    assert run.stdout == modelled([program]).stdout
    data = json.loads(report.read_text())
    assert data["swap"]["swapped_out"] > 10
    assert data["swap"]["swapped_in"] > 10
    assert data["page_size"] == {"16K": 16384, "64K": 65536}[size]
    assert data["major"] > 10
    assert data["rss"]["peak"] % data["page_size"] == 0


@pytest.mark.parametrize("size", ["16K", "64K"])
def test_a_dynamic_program_finds_its_loader(size: str, work: Path) -> None:
    compiler = need("aarch64-linux-gnu-gcc")
    root = Path("/usr/aarch64-linux-gnu")
    if not (root / "lib/ld-linux-aarch64.so.1").exists():
        pytest.skip("no C library for arm64")
    harness.fill(work, {"x.c": b'#include <stdio.h>\nint main(void) { printf("hello\\n"); return 7; }\n'})
    linked = ["-Wl,-dynamic-linker=" + str(root / "lib/ld-linux-aarch64.so.1"), "-Wl,-rpath=" + str(root / "lib")]
    subprocess.run([compiler, "-O1", *linked, "-o", str(work / "x"), str(work / "x.c")], check=True, timeout=60)
    run = modelled([str(work / "x")], options=on_pages(size, "--maps"), quiet=False)
    assert (run.status, run.stdout) == (7, b"hello\n")


def test_the_command_takes_the_page_size_of_a_machine(capfd: pytest.CaptureFixture[str]) -> None:
    program = arm64("sorting")
    assert run_command(["run", "-q", "--granule", "32K", "--arch", "arm64", "--", program]) == 125
    assert "expected a granule of 4096, 16384 or 65536 bytes, got 32768" in capfd.readouterr().err
    assert run_command(["run", "-q", "--granule", "64K", "--", program]) == 0  # arm64 follows from the program
