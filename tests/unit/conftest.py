"""Fixtures of the tests of mm/."""

from collections.abc import Iterator

import pytest
from mm_rig import small_machine

from pagewalk import Machine, Process


@pytest.fixture
def machine() -> Iterator[Machine]:
    with small_machine() as made:
        yield made


@pytest.fixture
def process(machine: Machine) -> Process:
    return machine.spawn()
