"""vm.overcommit_memory=2: what is promised, and what is refused."""

import os

import harness
import pytest

pytestmark = [pytest.mark.linux]


def test_strict_overcommit_refuses_what_the_kernel_refuses() -> None:
    """mmap of all kinds, mprotect, mremap, brk, fork and shmget near CommitLimit. The program sets the sysctl of the
    running kernel for a moment, with a limit far above what anybody else uses."""
    if not os.access("/proc/sys/vm/overcommit_memory", os.W_OK):
        pytest.skip("vm.overcommit_memory cannot be set")
    with open("/proc/sys/vm/overcommit_memory") as file:
        if file.read().strip() != "0":
            pytest.skip("vm.overcommit_memory is not at its default")
    harness.check([harness.compile_c("overcommit")])
