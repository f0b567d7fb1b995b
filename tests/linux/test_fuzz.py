"""A random sequence of memory-management calls and accesses prints the same natively and in pagewalk."""

import os

import harness
import pytest

pytestmark = [pytest.mark.linux, pytest.mark.slow]

USUAL = "1 2 3 4 5 6 7 8 9 10 11 12 15 35 44 115 119"  # the last five differed once
SEEDS = [int(seed) for seed in os.environ.get("PAGEWALK_FUZZ_SEEDS", USUAL).split()]
COUNT = os.environ.get("PAGEWALK_FUZZ_COUNT", "1500")


FORK_SEEDS = [int(seed) for seed in os.environ.get("PAGEWALK_FORK_SEEDS", "1 2 3 4 5 6 8 16").split()]
FORK_COUNT = os.environ.get("PAGEWALK_FORK_COUNT", "300")


@pytest.mark.parametrize("seed", SEEDS)
def test_random_calls_do_what_the_kernel_does(seed: int) -> None:
    compare([harness.compile_c("operations"), "{work}", str(seed), COUNT])


@pytest.mark.parametrize("seed", FORK_SEEDS)
def test_random_calls_in_a_family_of_processes_do_what_the_kernel_does(seed: int) -> None:
    compare([harness.compile_c("operations"), "fork", "{work}", str(seed), FORK_COUNT])


def compare(argv: list[str]) -> None:
    """Both runs, and where they part."""
    harness.need_reference_kernel()
    harness.need_disk_file_system(harness.base())
    theirs, ours = harness.run_both(argv, aslr=False, work={})
    assert theirs.status == 0
    if ours.stdout != theirs.stdout:
        native, model = theirs.stdout.decode().splitlines(), ours.stdout.decode("utf-8", "replace").splitlines()
        same = 0
        while same < min(len(native), len(model)) and native[same] == model[same]:
            same += 1
        shown = [f"  {line}" for line in native[max(0, same - 12) : same]]
        shown += [f"- {line}" for line in native[same : same + 6]]
        shown += [f"+ {line}" for line in model[same : same + 6]]
        pytest.fail(
            f"the first difference is in line {same + 1} of {len(native)} (- native, + pagewalk)\n"
            + "\n".join(shown)
            + f"\nagain: {' '.join(argv)}\nstatus {ours.status}\n{ours.stderr.decode()[-1500:]}",
            pytrace=False,
        )
    harness.assert_same(argv, theirs, ours)
