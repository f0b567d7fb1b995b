"""Memory policies of every mode: a program's answers and its pages' places, as booted machines with three nodes gave
them (tests/golden/numa: numa_policies.c as init of Debian's kernels)."""

import difflib
import shutil
import subprocess
from pathlib import Path

import pytest

from pagewalk import Machine
from pagewalk.check import check_machine

pytestmark = [
    pytest.mark.linux,
    pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed"),
]

SOURCE = Path(__file__).parent / "numa_policies.c"
GOLDEN = sorted((Path(__file__).parent.parent / "golden" / "numa").glob("amd64-*.txt"))
DISTANCES = ((10, 15, 30), (15, 10, 20), (30, 20, 10))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("numa") / "policies"
    subprocess.run(["gcc", "-O1", "-static", "-o", str(path), str(SOURCE)], check=True)
    return path


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda path: path.stem)
def test_policies_are_those_of_the_booted_kernel(
    golden: Path, program: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    linux = golden.stem.partition("-")[2]
    with Machine(nodes=("256M", "512M", "256M"), distances=DISTANCES, linux=linux) as machine:
        assert machine.run([str(program)]).status == 0
        check_machine(machine)
    ours = capfd.readouterr().out.splitlines()
    real = golden.read_text().splitlines()
    assert len(real) > 250
    assert list(difflib.unified_diff(real, ours, "booted", "model", lineterm="", n=1)) == []
