"""arm64 programs in pagewalk: what a program prints that hangs on no architecture is what the running kernel says to
the same program on x86-64; what is arm64's own is compared with qemu-user, or with what the architecture documents."""

import json
import subprocess
from pathlib import Path

import harness
import pytest
from harness import assert_same, compile_c, modelled, native, need

pytestmark = [pytest.mark.linux]

COMPILER = "aarch64-linux-gnu-gcc"

# Programs that print the same on both architectures, and whether they want a work directory.
ALIKE = {
    "contend": False, "epoll_calls": False, "event_files": False, "fork_smaps": True, "futex_calls": False,
    "inotify_calls": True, "interrupted_calls": True, "lock_calls": True, "lock_table": True, "malloc_stress": False,
    "overcommit": False, "overflow": False, "pi_futexes": False, "posix_timers": False, "pthread_more": False,
    "sorting": False, "strings": False, "thp_eligible": True, "thread_ends": False, "thread_signals": False,
    "unix_calls": True, "unix_oob": False, "unix_table": True,
}  # fmt: skip
QUICK = ("futex_calls", "thread_signals", "lock_calls", "fork_smaps", "unix_oob", "strings")
FLAGS = ["-pthread", "-lm"]


def arm64(name: str) -> str:
    """The program, static, for arm64; skips without the cross compiler and its static C library."""
    need(COMPILER)
    if not Path("/usr/aarch64-linux-gnu/lib/libc.a").exists():
        pytest.skip("no static C library for arm64 (libc6-dev-arm64-cross)")
    return compile_c(name, flags=FLAGS, compiler=COMPILER)


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in ALIKE]
)
def test_prints_what_the_same_program_prints_natively(name: str, work: Path) -> None:
    wide, ours = compile_c(name, flags=FLAGS), arm64(name)
    outcomes = []
    for program in (wide, ours):
        harness.fill(work, {})
        place = work / "prog"
        place.write_bytes(Path(program).read_bytes())
        place.chmod(0o755)
        arguments = [str(work / "file") if name in ("fork_smaps", "thp_eligible") else str(work)] if ALIKE[name] else []
        argv = [str(place), *arguments]
        run = native(argv, aslr=False) if program == wide else modelled(argv, aslr=False, rw=[str(work)])
        outcomes.append(harness.Outcome(run.status, run.stdout, run.stderr))
    assert_same([name], *outcomes)


@pytest.mark.parametrize("name", ["floats", "jumps", "arm64_tags"])
def test_prints_what_qemu_prints(name: str) -> None:
    """Default NaNs are positive, char is unsigned, addresses have tags here: another architecture prints something
    else."""
    program = arm64(name)
    qemu = need("qemu-aarch64")
    done = subprocess.run([qemu, program], capture_output=True, timeout=120, env=harness.ENV)
    ours = modelled([program])
    assert (ours.status, ours.stdout) == (done.returncode, done.stdout)


def test_calls_that_change_mappings_take_tags_from_every_program() -> None:
    """Documentation/arch/arm64/tagged-address-abi.rst; qemu-user asks for the prctl there too."""
    program = arm64("arm64_tags")
    asked, cleared = (modelled([program, *more]).stdout.decode().splitlines() for more in ([], ["cleared"]))
    at, then = asked.index("mprotect: 0 0"), cleared.index("mprotect: 0 0")
    assert cleared[then - 2 : then] == ["clear: 0 0", "write: -1 14"]
    assert cleared[then:] == asked[at:]


SIGNALS = """\
read of nothing: signal 11 code 1 at area+262168, fault_address equal, fpsimd 528, class 0x24 write 0 status 0x4
write to nothing: signal 11 code 1 at area+262176, fault_address equal, fpsimd 528, class 0x24 write 1 status 0x4
write to read-only: signal 11 code 2 at area+393256, fault_address equal, fpsimd 528, class 0x24 write 1 status 0xc
read of PROT_NONE: signal 11 code 2 at area+524336, fault_address equal, fpsimd 528, class 0x24 write 0 status 0x4
read of null: signal 11 code 1 at 0x8, fault_address equal, fpsimd 528, class 0x24 write 0 status 0x4
call of data: signal 11 code 2 at area+0, fault_address equal, fpsimd 528, class 0x20 write 0 status 0xc
call of nothing: signal 11 code 1 at area+262144, fault_address equal, fpsimd 528, class 0x20 write 0 status 0x4
a pair across the end: signal 11 code 1 at area+262144, fault_address equal, fpsimd 528, class 0x24 write 1 status 0x4
atomic add to read-only: signal 11 code 2 at area+393224, fault_address equal, fpsimd 528, class 0x24 write 1 status 0xc
undefined: signal 4 code 1 at pc, fault_address 0, fpsimd 528
privileged register: signal 4 code 1 at pc, fault_address 0, fpsimd 528
privileged instruction: signal 4 code 1 at pc, fault_address 0, fpsimd 528
smc: signal 4 code 1 at pc, fault_address 0, fpsimd 528
brk: signal 5 code 1 at pc, fault_address 0, fpsimd 528
division by zero: 0 no signal
undefined, skipped: signal 4 code 1 at pc, fault_address 0, fpsimd 528
no signal
x20 0x2020 seen 0x2020, x21 0x2121, d9 0x1235, fpsr 0x1
sigaltstack of 5119: 12, of 65536: 0
on the alternate stack 1, flags 1 0, size 65536
frame 4560 176 288
lines of 64 and 64 bytes, zeroing 64 bytes, prohibited 0, crc32 1
zeroed 64 from 128
counter 1, frequency 1
"""


def test_signal_frames_and_exceptions() -> None:
    """Codes, addresses, ESR and records as Linux has them (qemu-user leaves some out); what a handler changes in the
    frame, the program has."""
    run = modelled([arm64("arm64_signals")], aslr=False)
    assert run.stdout.decode() == SIGNALS
    assert run.status == 0


def test_exclusive_and_atomic_instructions_of_four_threads() -> None:
    run = modelled([arm64("arm64_atomics"), "20000"], options=["--cpus", "2"])
    assert run.stdout == b"80000 80000 80000 80000 160000 80000\n"


def test_the_machine_follows_from_the_program(work: Path) -> None:
    """Without --arch; the report, the maps, the TLB model and a trace work as for any program."""
    json_file, trace = work / "report.json", work / "trace.pwt"
    options = ["--json", str(json_file), "--maps", "--tlb", "cortex-a76", "--record", str(trace)]
    run = modelled([arm64("sorting")], aslr=False, options=options)
    assert run.status == 0, run.stderr
    report = json.loads(json_file.read_text())
    assert report["machine"]["arch"] == "arm64"
    assert report["tlb"]
    assert b"[vdso]" in run.stderr
    assert b"[vvar_vclock]" not in run.stderr
    replayed = subprocess.run(
        [harness.sys.executable, "-m", "pagewalk", "replay", str(trace), "--tlb", "cortex-a76", "--json"],
        capture_output=True, text=True, env={**harness.os.environ, "PYTHONPATH": str(harness.SOURCES)},
    )  # fmt: skip
    assert replayed.returncode == 0, replayed.stderr
    again = json.loads(replayed.stdout)
    assert again["accesses"] > 1_000_000
    assert again["refused"] == 0
    assert again["by_cpu"] == report["tlb"]["by_cpu"]


def test_a_program_for_another_machine_is_refused_in_one_line() -> None:
    x86 = modelled(["/bin/true"], options=["--arch", "arm64"])
    assert (x86.status, x86.stderr.count(b"\n")) == (126, 1)
    assert b"x86-64" in x86.stderr
    arm = modelled([arm64("sorting")], options=["--arch", "x86_64"])
    assert (arm.status, arm.stderr.count(b"\n")) == (126, 1)
    assert b"AArch64" in arm.stderr
