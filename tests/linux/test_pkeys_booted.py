"""A program that asks everything about protection keys answers as on kernels that ran on a CPU with them.

The golden files are what ``programs/pkeys.c`` printed on booted machines (QEMU 7.2, TCG, a CPU with PKU and XSAVE and
without AVX: ``-cpu Skylake-Server,-avx,-avx2,-avx512f,-avx512dq,-avx512cd,-avx512bw,-avx512vl,-mpx``), as the child of
an init that did nothing else. The host's CPU need not have keys.
"""

from pathlib import Path

import harness
import pytest

pytestmark = [pytest.mark.linux]

GOLDEN = Path(__file__).parents[1] / "golden"
NARROW = ("-m32", "-idirafter", "/usr/include/x86_64-linux-gnu")


def says(program: str, *options: str) -> str:
    outcome = harness.modelled([program], options=["--set", "pku=1", *options])
    assert (outcome.status, outcome.stderr) == (0, b"")
    return outcome.stdout.decode()


def equal(ours: str, name: str) -> None:
    theirs = (GOLDEN / name).read_text()
    assert ours == theirs, harness.differences(theirs.encode(), ours.encode())


@pytest.mark.parametrize(
    "options",
    [(), ("--tlb", "zen4"), ("--tlb", "skylake-sp,marks=hardware"), ("--cpus", "3"), ("--set", "linux=6.12")],
)
def test_a_program_sees_keys_as_on_a_booted_kernel(options: tuple[str, ...]) -> None:
    equal(says(harness.compile_c("pkeys"), *options), "pkeys_x86_64.txt")


def test_so_does_one_that_runs_without_machine_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGEWALK_INTERPRETED", "1")
    equal(says(harness.compile_c("pkeys")), "pkeys_x86_64.txt")


def test_a_signal_finds_keys_as_linux_6_1_leaves_them() -> None:
    equal(says(harness.compile_c("pkeys"), "--set", "linux=6.1"), "pkeys_x86_64_linux-6.1.txt")


def test_a_32_bit_program_sees_keys_as_on_a_booted_kernel() -> None:
    equal(says(harness.compile_c("pkeys", flags=NARROW)), "pkeys_i386.txt")


def test_the_cpu_says_that_it_has_keys_only_where_that_is_configured() -> None:
    program = harness.compile_c("pkeys_cpuid")
    shown = harness.modelled([program], options=["--set", "pku=1"]).stdout.decode().splitlines()
    assert shown == [
        "pku 1 ospke 1 xsave 1 osxsave 1", "xcr0 0x203 size 2696 2696 pkru at 2688 8", "flags xsave pku ospke",
        "xsave and xrstor of pkru: 0x55555550",
    ]  # fmt: skip
    plain = harness.modelled([program]).stdout.decode().splitlines()
    assert plain == ["pku 0 ospke 0 xsave 0 osxsave 0", "flags"]


@pytest.mark.parametrize("tlb", ["zen3", "cortex-a76,coalesce=16", "skylake-sp,marks=hardware"])
def test_what_a_run_with_keys_counts_its_replay_counts(work: Path, tlb: str, capfd: pytest.CaptureFixture[str]) -> None:
    from test_replay_equal import differences

    assert differences(work, tlb, [harness.compile_c("pkeys")], "--set", "pku=1") == {}
