"""Each call of the memory-management family answers as the running kernel does, for valid and for invalid arguments.

The programs print every call with its result, and their maps after each group of calls.
"""

from pathlib import Path

import harness
import pytest

pytestmark = [pytest.mark.linux]

PROGRAMS = {
    "mmap_calls": [],
    "range_calls": [],
    "advice_calls": [],
    "ipc_calls": [],
    "shm_lock": [],
    "psi_calls": [],
    "limit_calls": [],
    "file_calls": [],
    "numa_calls": [],
}


def groups(text: str) -> dict[str, str]:
    """The output, cut at its ``== name`` lines."""
    parts = ("== start\n" + text).split("== ")[1:]
    return dict(part.split("\n", 1) for part in parts)


@pytest.mark.parametrize("name", PROGRAMS)
def test_calls_answer_as_the_kernel_does(name: str) -> None:
    harness.need_reference_kernel()
    harness.need_disk_file_system(harness.base())
    program = harness.compile_c(name)
    theirs, ours = harness.run_both([program, "{work}", *PROGRAMS[name]], aslr=False, work={})
    assert theirs.status == 0
    native, model = groups(theirs.stdout.decode()), groups(ours.stdout.decode())
    wrong = [group for group in native if model.get(group) != native[group]]
    if wrong:
        shown = [
            f"== {group}\n" + harness.differences(native[group].encode(), model.get(group, "").encode(), limit=40)
            for group in wrong
        ]
        pytest.fail(
            f"{len(wrong)} of {len(native)} groups of {name} differ\n"
            + "\n".join(shown)[:20000]
            + f"\nstatus {ours.status}, stderr: {ours.stderr.decode()[-2000:]}",
            pytrace=False,
        )
    harness.assert_same([name], theirs, ours)


@pytest.mark.slow
def test_the_limit_on_the_number_of_mappings_holds() -> None:
    harness.need_reference_kernel()
    harness.check([harness.compile_c("limit_calls"), "{work}", "mappings"], aslr=False, work={})


def test_protection_keys_are_refused_where_the_cpu_has_none() -> None:
    if " pku " in Path("/proc/cpuinfo").read_text():
        pytest.skip("this CPU has protection keys")
    harness.check([harness.compile_c("pkey_calls")])
