"""Scheduling classes and nice values: what is set and read back, compared with the running kernel."""

import os

import harness
import pytest

pytestmark = pytest.mark.linux


def test_classes_and_nice_values_are_the_kernels() -> None:
    harness.need_reference_kernel()
    if os.geteuid() != 0:
        pytest.skip("the superuser's part needs the superuser")
    program = harness.compile_c("scheduling")
    theirs = harness.native([program])
    if b"class 1 priority 5: -1 1" in theirs.stdout:
        pytest.skip("this kernel grants no real-time classes here")
    ours = harness.modelled([program], options=["--cpus", str(min(os.cpu_count() or 1, 64))])
    harness.assert_same([program], theirs, ours)
