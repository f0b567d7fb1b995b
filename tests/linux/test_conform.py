"""The model against the running kernel, as ``pagewalk conform`` counts it."""

import os
import random
from pathlib import Path

import harness
import pytest

from pagewalk.conform import layouts
from pagewalk.conform.both import compile_program, run_kernel, run_model
from pagewalk.conform.memcg import find_hierarchy
from pagewalk.conform.operations import Batch, Script, first_difference, reduce, run_side
from pagewalk.conform.programs import STATIC
from pagewalk.conform.table import ENV, Conformance, one_program, run
from pagewalk.errors import ConfigError

pytestmark = [pytest.mark.linux, pytest.mark.slow]

OPERATIONS = int(os.environ.get("PAGEWALK_CONFORM_OPS", "20000"))
FIXED_SEED = 20260


@pytest.mark.parametrize("seed", [FIXED_SEED, random.SystemRandom().randrange(1 << 31)], ids=["fixed", "fresh"])
def test_random_operations_do_what_the_kernel_does(seed: int, tmp_path: Path) -> None:
    harness.need_reference_kernel()
    harness.need_disk_file_system(harness.base())
    found = run(OPERATIONS, seed, 1, ["operations"], tmp_path, lambda text: None)
    assert sum(area.cases for area in found.areas) == OPERATIONS
    assert found.different == 0, f"seed {seed}\n{found.table()}"


def test_operations_in_a_memory_cgroup_do_what_the_kernel_does(tmp_path: Path) -> None:
    """Of a size that is enough: the limit alone changes nothing."""
    harness.need_reference_kernel()
    harness.need_disk_file_system(harness.base())
    try:
        find_hierarchy()
    except ConfigError as why:
        pytest.skip(str(why))
    found = run(2000, FIXED_SEED, 1, ["operations"], tmp_path, lambda text: None, memory_max=4 << 20)
    assert found.different == 0, found.table()


@pytest.mark.parametrize("name", sorted(STATIC))
def test_a_static_program_takes_the_kernels_faults(name: str) -> None:
    """Of its whole life; its largest resident set and its maps at exit too."""
    harness.need_reference_kernel()
    harness.need_disk_file_system(harness.base())
    source = harness.PROGRAMS / f"{name}.c"
    program = compile_program(name, "-static", "-no-pie", "-lm", source=source)
    assert one_program(name, [program, *STATIC[name]], static=True) == (name, "")


@pytest.mark.parametrize(("name", "argv"), list(layouts.fixed_cases()), ids=lambda value: str(value)[:60])
def test_a_layout_is_the_kernels_line_for_line(name: str, argv: list[str]) -> None:
    harness.need_reference_kernel()
    theirs, ours = run_kernel(argv, env=ENV), run_model(argv, env=ENV)
    assert ours.stdout.decode() == theirs.stdout.decode()
    assert ours.status == theirs.status == 0


def test_random_bases_move_in_the_kernels_steps() -> None:
    harness.need_reference_kernel()
    kernel = layouts.random_bases("PIE", "kernel", 60)
    model = layouts.random_bases("PIE", "model", 60)
    assert {what: base.granularity for what, base in model.items()} == {
        what: base.granularity for what, base in kernel.items()
    }
    for what, base in kernel.items():
        assert abs(base.entropy - model[what].entropy) <= 2, what


@pytest.mark.parametrize("path", sorted(Path(__file__).parent.glob("conform/*.script")), ids=lambda path: path.stem)
def test_what_has_once_differed_stays_equal(path: Path) -> None:
    harness.need_reference_kernel()
    harness.need_disk_file_system(harness.base())
    script = Script.read(path)
    theirs, ours = run_side(script, "kernel"), run_side(script, "model")
    assert ours.same(theirs), first_difference(theirs.stdout, ours.stdout)


def test_a_script_survives_being_written_and_read(tmp_path: Path) -> None:
    script = Script(Batch(7, 100, True), [(0, 3), (4, 5)], ["mmap(...) = 0", "# odd"])
    script.write(tmp_path / "a.script")
    again = Script.read(tmp_path / "a.script")
    assert (again.batch, again.chosen) == (script.batch, script.chosen)


@pytest.mark.parametrize(
    "text", ["", "nothing", "# pagewalk conform\nbatch 1 2\n", "# pagewalk conform\nbatch 1 2 fork\nx\n"]
)
def test_a_file_that_is_no_script_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a").write_text(text)
    with pytest.raises(ConfigError, match="expected"):
        Script.read(tmp_path / "a")


def test_shrinking_keeps_what_matters() -> None:
    items = [(0, number) for number in range(100)]
    needed = {(0, 17), (0, 63)}
    assert reduce(items, lambda some: needed <= set(some), lambda: True) == sorted(needed)


def test_the_table_counts_what_differs() -> None:
    found = Conformance("6.18.0", "2026-01-01", 1)
    from pagewalk.conform.table import Area

    area = Area("operations")
    area.count(True, 500, "")
    area.count(False, 500, "0.1: munmap")
    found.areas.append(area)
    assert found.different == 1
    assert "| operations | 1000 | 500 | 1 |" in found.markdown()
    assert "0.1: munmap" in found.table()
