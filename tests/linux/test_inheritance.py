"""What a process has set, and what of it threads, children and programs that it starts find."""

import harness
import pytest
from harness import check, compile_c

pytestmark = [pytest.mark.linux]


@pytest.fixture(autouse=True)
def reference() -> None:
    harness.need_reference_kernel()


@pytest.mark.parametrize("link", ["static", "dynamic"])
def test_fork_vfork_clone_threads_and_execve_keep_and_reset_what_the_kernel_does(link: str) -> None:
    """Signals, timers, stacks, lists, prctl values, locks, descriptors, limits, ids: each is shown on every side."""
    check([compile_c("inheritance", link=link, flags=["-pthread"]), "{work}"], work={})
