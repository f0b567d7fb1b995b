"""What one read or one touch of a cold file brings into the page cache, and its faults, equal the running kernel's."""

import harness
import pytest

pytestmark = [pytest.mark.linux, pytest.mark.slow]


def test_windows_marks_and_folios_are_the_kernels() -> None:
    """With the window that the device below the test's folder has."""
    harness.need_reference_kernel()
    harness.need_disk_file_system(harness.base())
    harness.check([harness.compile_c("readahead"), "{work}"], aslr=False, work={}, options=harness.device_options())
