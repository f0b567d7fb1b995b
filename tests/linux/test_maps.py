"""Address spaces look as the kernel lays them out: maps, the initial stack, smaps, status, page maps; ASLR off."""

import re
from collections.abc import Mapping

import harness
import pytest
from harness import compile_c

pytestmark = [pytest.mark.linux]

LINKS = ["static", "static-pie", "pie", "dynamic"]
BIG = {"PATH": "/usr/bin", "EMPTY": "", **{f"VARIABLE_{i}": "x" * (i * 37 % 900) for i in range(200)}}
ENVIRONMENTS: dict[str, Mapping[str, str]] = {"usual": harness.ENV, "empty": {}, "one": {"A": "b"}, "big": BIG}


def without_device_and_inode(text: bytes) -> bytes:
    """Lines of maps, the device and the inode replaced; they are the host's own."""
    return re.sub(rb"(?m)^([0-9a-f]+-[0-9a-f]+ \S+ [0-9a-f]+) [0-9a-f]+:[0-9a-f]+ \d+( *)", rb"\1 ", text)


def compare(argv: list[str], env: Mapping[str, str] = harness.ENV) -> None:
    harness.need_reference_kernel()
    theirs, ours = harness.run_both(argv, aslr=False, env=env)
    assert theirs.status == 0
    assert theirs.stdout
    harness.assert_same(
        argv,
        harness.Outcome(theirs.status, without_device_and_inode(theirs.stdout), b""),
        harness.Outcome(ours.status, without_device_and_inode(ours.stdout), ours.stderr),
    )


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_cat_shows_the_maps_that_the_kernel_makes(env: str) -> None:
    compare(["/bin/cat", "/proc/self/maps"], ENVIRONMENTS[env])


@pytest.mark.parametrize(
    "tool", ["/usr/bin/head", "/usr/bin/sort", "/usr/bin/md5sum", "/usr/bin/python3", "/usr/bin/perl"]
)
def test_maps_of_other_programs(tool: str) -> None:
    arguments = {
        "/usr/bin/head": ["-n", "100", "/proc/self/maps"],
        "/usr/bin/python3": ["-I", "-S", "-c", "print(open('/proc/self/maps').read())"],
        "/usr/bin/perl": ["-e", "open(F, '/proc/self/maps'); print while <F>"],
    }
    harness.need(tool.rsplit("/", 1)[1])
    compare([tool, *arguments.get(tool, ["/proc/self/maps"])])


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_the_initial_stack(link: str, env: str) -> None:
    compare([compile_c("initial_stack", link), "one", "", "three words here"], ENVIRONMENTS[env])


@pytest.mark.parametrize("link", ["static", "pie"])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 15, 16, 17, 1000])
def test_argument_lists(link: str, count: int) -> None:
    compare([compile_c("initial_stack", link), *("a" * (i % 23) for i in range(count))])


@pytest.mark.slow
def test_an_argument_list_of_a_megabyte() -> None:
    compare([compile_c("initial_stack", "static"), *("b" * 1000 for _ in range(1000))])


@pytest.mark.parametrize("length", [131_071, 131_072])
def test_the_longest_argument(length: int) -> None:
    """MAX_ARG_STRLEN counts the byte at the end; the longer one does not start."""
    harness.need_reference_kernel()
    program = compile_c("initial_stack", "static")
    if length < 131_072:
        compare([program, "c" * length])
    else:
        with pytest.raises(OSError, match="Argument list too long"):
            harness.native([program, "c" * length])


def test_what_proc_says_of_a_process() -> None:
    harness.need_reference_kernel()
    harness.need_disk_file_system(harness.base())
    argv = [compile_c("proc_self"), "{work}"]
    theirs, ours = harness.run_both(argv, aslr=False, work={}, warm=1)
    assert theirs.status == 0
    harness.assert_same(argv, theirs, ours)


def test_randomised_addresses_differ_by_seed_and_repeat_with_it() -> None:
    harness.need_x86_64_linux()
    argv = ["/bin/cat", "/proc/self/maps"]
    runs = [harness.modelled(argv, options=["--seed", seed]).stdout for seed in ("1", "1", "2")]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]
    shape = [
        [re.sub(rb"^[0-9a-f]+-[0-9a-f]+", b"", line) for line in run.splitlines() if line] for run in (runs[0], runs[2])
    ]
    assert shape[0] == shape[1], "randomisation must move mappings, not change them"
