"""32-bit programs: the same output, status and address space natively and in pagewalk; and on 32-bit kernels."""

import subprocess
from pathlib import Path

import pytest
from harness import ENV, check, compile_c, need, new_work, run_both

pytestmark = [pytest.mark.linux]

# Headers where Debian keeps them when the package that links them is not installed.
M32 = ("-m32", "-idirafter", "/usr/include/x86_64-linux-gnu", "-lpthread", "-lrt", "-lm")

# Programs of this folder that mean the same in 32 bits.
BOTH_WIDTHS = (
    "advice_calls", "exec_probe", "faults", "file_calls", "fork_smaps", "initial_stack", "ipc_calls", "jit", "jumps",
    "kpage_flags", "limit_calls", "loads", "lock_calls", "malloc_stress", "mmap_calls", "mmapcopy", "overflow",
    "pi_futexes", "pipe_calls", "posix_timers", "proc_self", "pthread_locks", "pthread_more", "range_calls", "sorting",
    "stdio_files", "strings", "thread_signals", "unix_oob", "vdso", "waits",
)  # fmt: skip
QUICK = ("faults", "mmap_calls", "waits", "thread_signals")


@pytest.fixture(scope="module", autouse=True)
def works() -> None:
    """Skips where 32-bit programs can be neither made nor run."""
    gcc = need("gcc")
    probe = Path(new_work()) / "probe"
    source = "int main(void) { return 42; }"
    for link in ((), ("-static",)):
        made = subprocess.run(
            [gcc, "-m32", *link, "-x", "c", "-", "-o", str(probe)], input=source, text=True, capture_output=True
        )
        if made.returncode:
            pytest.skip("gcc -m32 cannot link here: needs lib32gcc-dev and libc6-dev-i386")
    try:
        ran = subprocess.run([str(probe)])
    except OSError as error:
        pytest.skip(f"the running kernel does not run 32-bit programs: {error}")
    if ran.returncode != 42:
        pytest.skip("the running kernel does not run 32-bit programs")


def narrow(name: str, link: str = "static") -> str:
    """A program of this folder for i386."""
    return compile_c(name, link, flags=M32)


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in BOTH_WIDTHS]
)
def test_programs_of_both_widths(name: str) -> None:
    check([narrow(name), "{work}"], aslr=False, work={}, cwd="{work}", warm=1)


@pytest.mark.parametrize("link", ["static", "dynamic", "pie"])
def test_structures_of_32_bit_programs(link: str) -> None:
    check([narrow("narrow_calls", link)], work={}, cwd="{work}")


@pytest.mark.parametrize("arch", ["x86_pae", "x86_32"])
def test_a_32_bit_kernel_answers_as_the_64_bit_one_does(arch: str) -> None:
    check([narrow("narrow_calls", "dynamic")], work={}, cwd="{work}", options=["--arch", arch, "--ram", "1G"])


def test_ways_into_the_kernel_and_thread_areas() -> None:
    check([narrow("narrow_entry")])


@pytest.mark.parametrize("arch", ["x86_64", "x86_pae"])
def test_sysenter(arch: str) -> None:
    """The modelled CPU is one of Intel's; the running kernel's need not be."""
    _, ours = run_both([narrow("narrow_entry"), "sysenter"], options=["--arch", arch, "--ram", "1G"])
    assert (ours.status, ours.stdout.splitlines()[-1]) == (0, b"sysenter 1")


def test_a_64_bit_program_makes_32_bit_calls() -> None:
    check([compile_c("narrow_from_wide")])


@pytest.mark.parametrize("link", ["static", "static-pie", "dynamic", "pie"])
def test_the_address_space_is_the_running_kernels(link: str) -> None:
    check([narrow("narrow_maps", link)], aslr=False)


@pytest.mark.parametrize("option", ["-3", "-L", "--uname-2.6"])
def test_personalities(option: str) -> None:
    """setarch inside: 3 GiB, the legacy layout, and a 64-bit program that executes a 32-bit one."""
    check([need("setarch"), "i686", "-R", option, narrow("narrow_maps", "dynamic")], aslr=False)


@pytest.mark.parametrize(
    ("split", "stack_end"), [("3G", "c0000000"), ("2G", "80000000"), ("1G", "40000000"), ("3G_OPT", "b0000000")]
)
def test_the_address_space_of_a_32_bit_kernel(split: str, stack_end: str) -> None:
    options = ["--arch", "x86_32", "--ram", "256M", "--set", f"vmsplit={split}"]
    _, ours = run_both([narrow("narrow_maps")], aslr=False, options=options)
    lines = ours.stdout.decode().splitlines()
    assert ours.status == 0
    assert lines[0].startswith("08048000-")
    stack = next(line for line in lines if line.endswith("[stack]"))
    assert stack.split()[0].endswith(f"-{stack_end}")
    assert "machine i686" in lines
    assert "segments 73 7b 7b 7b 0" in lines


def test_a_program_of_the_other_width_is_refused_by_a_32_bit_kernel() -> None:
    _, ours = run_both(["/bin/true"], options=["--arch", "x86_pae", "--ram", "256M"], env=ENV)
    assert ours.status == 126
    assert b"another architecture (x86-64); this machine is 32-bit x86" in ours.stderr
