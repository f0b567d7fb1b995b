"""Reclaim against a real kernel with 64 MiB and a swap device: Debian's user-mode Linux, one short pattern."""

from pathlib import Path

import harness
import pytest
from bench.uml import model
from bench.uml.kernel import Missing, UserModeLinux
from bench.uml.table import rows


def test_a_cycle_over_more_than_ram_swaps_as_a_real_kernel_does(work: Path) -> None:
    harness.need("linux.uml")
    harness.need("mkfs.ext4")
    pattern = ["patterns", "cyclic", "16000", "3"]
    try:
        kernel = UserModeLinux(work).run(pattern)
    except Missing as missing:
        pytest.skip(str(missing))
    ours = model.run(work / "root", pattern, kernel)
    judged = [row for row in rows("cyclic", kernel, ours) if row.judged]
    assert len(judged) >= 5 and [row for row in judged if not row.within] == []
