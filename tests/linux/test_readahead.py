"""What one read or one touch of a cold file brings into the page cache, and its faults, equal the running kernel's."""

import os
from pathlib import Path

import harness
import pytest

pytestmark = [pytest.mark.linux, pytest.mark.slow]

MODELLED_KB = 128


def test_windows_marks_and_folios_are_the_kernels() -> None:
    harness.need_reference_kernel()
    harness.need_disk_file_system(harness.base())
    device = harness.base().stat().st_dev
    setting = Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb")
    if not setting.exists() or int(setting.read_text()) != MODELLED_KB:
        pytest.skip(f"{setting} is not {MODELLED_KB}, which is what the model reads ahead")
    harness.check([harness.compile_c("readahead"), "{work}"], aslr=False, work={})
