"""Fixtures that several rooms of the tests share."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

for room in ("naive", "unit", "property", "linux", "golden"):  # helpers of one room that another uses
    sys.path.insert(0, str(Path(__file__).parent / room))
sys.path.append(str(Path(__file__).parents[1]))  # bench/ holds the comparison with user-mode Linux


@pytest.fixture
def work() -> Iterator[Path]:
    """A fresh directory outside /tmp, which both the host and a program in pagewalk see; removed afterwards."""
    import harness

    directory = harness.new_work()
    yield directory
    shutil.rmtree(directory, ignore_errors=True)
