"""The examples of docs/cgroups.md run, and print what it says."""

import re
from pathlib import Path
from typing import Any

import pytest

from pagewalk.check import check_machine
from pagewalk.fs.procfs.numa_maps import numa_maps_text

DOC = Path(__file__).parents[2] / "docs" / "cgroups.md"


def test_the_examples_run(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", DOC.read_text(), re.S)
    assert len(blocks) == 3
    found: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, str(DOC), "exec"), found)
        check_machine(found["machine"])
        said = capsys.readouterr().out
        if "zswap=True" in block:
            assert re.search(r"^Zswap: +1024 kB$", said, re.M) and re.search(r"^Zswapped: +4096 kB$", said, re.M)
            assert re.search(r"^zswpout 1024$", said, re.M) and re.search(r"^pswpout 0$", said, re.M)
        elif "cpuset_mems" in block:
            process, area = found["process"], found["area"]
            assert re.search(rf"(?m)^{area:x} default anon=1 .*N0=1 ", numa_maps_text(process._task.mm))
        else:
            current, peak, swap = (int(word) for word in said.split("\n")[0].split())
            assert current <= peak <= 24 << 20
            assert current <= (20 << 20) + (128 << 12)
            assert swap >= 9 << 20
            assert "True True" in said and "some avg10=" in said
        found["machine"].close()
