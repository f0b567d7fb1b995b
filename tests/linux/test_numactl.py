"""numactl and numastat, unmodified, on a machine with nodes that the command line describes."""

import re
import shutil
from pathlib import Path

import pytest

from pagewalk import Machine
from pagewalk.check import check_machine
from pagewalk.config import Config
from pagewalk.settings import read_config

pytestmark = [
    pytest.mark.linux,
    pytest.mark.skipif(shutil.which("numactl") is None, reason="numactl is not installed"),
]

MACHINE = """
nodes = ["128M", "256M", "128M"]
distances = [[10, 15, 30], [15, 10, 20], [30, 20, 10]]
cpus = 3
cpu_nodes = [0, 1, 2]
"""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    path = tmp_path / "machine.toml"
    path.write_text(MACHINE)
    return Config(**read_config(path))


def told(config: Config, capfd: pytest.CaptureFixture[str], *command: str) -> str:
    """What a command prints; it has to succeed."""
    with Machine(config) as machine:
        assert machine.run(list(command), program=shutil.which(command[0])).status == 0
        check_machine(machine)
    return capfd.readouterr().out


def test_the_hardware_is_what_the_file_says(config: Config, capfd: pytest.CaptureFixture[str]) -> None:
    text = told(config, capfd, "numactl", "--hardware")
    assert "available: 3 nodes (0-2)" in text
    assert [line.split(": ")[1].strip() for line in text.splitlines() if " cpus:" in line] == ["0", "1", "2"]
    rows = [line.split()[1:] for line in text.splitlines() if re.match(r"  \d:", line)]
    assert rows == [["10", "15", "30"], ["15", "10", "20"], ["30", "20", "10"]]
    sizes = [int(word) for word in re.findall(r"node \d size: (\d+) MB", text)]
    assert sizes[1] == 256 and sizes[0] <= 128 and sizes[2] <= 128


def test_a_bound_program_has_its_memory_on_that_node(config: Config, capfd: pytest.CaptureFixture[str]) -> None:
    text = told(config, capfd, "numactl", "--membind=1", "cat", "/proc/self/numa_maps")
    anonymous = [line for line in text.splitlines() if " anon=" in line]
    assert len(anonymous) >= 5
    for line in anonymous:
        assert re.search(r"^[0-9a-f]+ bind:1 .*N1=\d+ kernelpagesize_kB=4$", line)
        assert " N0=" not in line and " N2=" not in line
    shown = told(config, capfd, "numactl", "--membind=1", "numactl", "--show")
    assert "policy: bind" in shown and "membind: 1 \n" in shown


def test_interleaving_takes_every_node_in_turn(config: Config, capfd: pytest.CaptureFixture[str]) -> None:
    text = told(config, capfd, "numactl", "--interleave=0,2", "cat", "/proc/self/numa_maps")
    anonymous = "\n".join([line for line in text.splitlines() if " anon=" in line])  # libc's pages were there before
    pages = {nid: sum(int(n) for n in re.findall(rf" N{nid}=(\d+)", anonymous)) for nid in range(3)}
    assert text.count(" interleave:0,2") == len(text.splitlines())
    assert pages[1] == 0 and pages[0] > 5 and abs(pages[0] - pages[2]) <= pages[0] / 2


def test_a_program_on_a_nodes_cpu_allocates_there(config: Config, capfd: pytest.CaptureFixture[str]) -> None:
    text = told(config, capfd, "numactl", "--cpunodebind=2", "cat", "/proc/self/numa_maps", "/proc/self/status")
    heap = next(line for line in text.splitlines() if " heap " in line)
    assert heap.split()[1] == "default" and " N2=" in heap and " N0=" not in heap
    assert "Cpus_allowed_list:\t2\n" in text and "Mems_allowed_list:\t0-2\n" in text
    stat = told(config, capfd, "numastat")
    hits = next(line.split()[1:] for line in stat.splitlines() if line.startswith("numa_hit"))
    assert len(hits) == 3 and int(hits[0]) > 0


def test_numastat_counts_a_process_node_by_node(config: Config, capfd: pytest.CaptureFixture[str]) -> None:
    text = told(config, capfd, "sh", "-c", "numactl --membind=2 sh -c 'numastat -p $$; :'")
    total = next(line.split()[1:] for line in text.splitlines() if line.startswith("Total"))
    assert float(total[2]) > 0 and float(total[3]) == pytest.approx(sum(float(word) for word in total[:3]), abs=0.03)
