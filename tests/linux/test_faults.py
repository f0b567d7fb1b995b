"""Page-fault counts, as getrusage(2) gives them, equal the running kernel's for one operation after the other."""

import harness
import pytest

pytestmark = [pytest.mark.linux, pytest.mark.slow]


@pytest.fixture(scope="module")
def counts() -> tuple[harness.Outcome, harness.Outcome]:
    """What faults.c counted natively and in pagewalk, addresses not randomised (fault-around depends on them)."""
    harness.need_reference_kernel()
    harness.need_disk_file_system(harness.base())
    program = harness.compile_c("faults")
    return harness.run_both([program, "{work}", "cold"], aslr=False, work={}, warm=1)


def counted(outcome: harness.Outcome) -> dict[str, str]:
    lines = outcome.stdout.decode().splitlines()
    return dict(line.rsplit(": ", 1) for line in lines)


def test_every_measurement_is_made_in_both(counts: tuple[harness.Outcome, harness.Outcome]) -> None:
    theirs, ours = counts
    assert theirs.status == 0, theirs.stdout[-200:]
    assert (ours.status, list(counted(ours))) == (0, list(counted(theirs))), ours.stderr.decode()[-2000:]


def test_minor_and_major_faults_equal_the_kernels(counts: tuple[harness.Outcome, harness.Outcome]) -> None:
    theirs, ours = (counted(outcome) for outcome in counts)
    assert len(theirs) > 250
    wrong = [
        f"{name}: native {count} (minor major), pagewalk {ours.get(name, 'missing')}"
        for name, count in theirs.items()
        if ours.get(name) != count
    ]
    if wrong:
        pytest.fail(f"{len(wrong)} of {len(theirs)} differ\n" + "\n".join(wrong), pytrace=False)
