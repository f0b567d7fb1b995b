"""Random programs under memory pressure: every page holds what was stored in it, every invariant holds after each step.

A failure names its seed; ``Pressure(seed, ...)`` and the number of steps replay it. PAGEWALK_STEPS and PAGEWALK_SEED
search longer and elsewhere than CI does.
"""

import os
from pathlib import Path

import pytest
from pressure_driver import FILE_PAGES, PAGE, Pressure
from pressure_machines import KINDS

STEPS = int(os.environ.get("PAGEWALK_STEPS", "1850"))  # a run of each kind of machine: 20 350 steps in CI
FIRST = int(os.environ.get("PAGEWALK_SEED", "0"))


@pytest.mark.parametrize("seed", range(FIRST, FIRST + len(KINDS)))
def test_random_programs_under_pressure_keep_their_contents(seed: int, work: Path) -> None:
    path = work / "file"
    path.write_bytes(bytes(FILE_PAGES * PAGE))
    state = Pressure(seed, str(path), [str(work)], kind=seed % len(KINDS))
    try:
        for _ in range(STEPS):
            state.step()
    except BaseException:
        print(f"seed {seed}, step {state.steps}: {KINDS[seed % len(KINDS)][0]}")
        raise
    vmstat = state.machine.system.vmstat
    assert vmstat.pswpout > STEPS // 10, "no pressure"
    state.close()
    for page, value in state.file.items():
        assert path.read_bytes()[page * PAGE : page * PAGE + 8] in (value, bytes(8))
