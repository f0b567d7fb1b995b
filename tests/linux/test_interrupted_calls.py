"""System calls that a signal interrupts: which fail with EINTR, which go on, which go on only under SA_RESTART."""

import harness
import pytest
from harness import check, compile_c

pytestmark = [pytest.mark.linux]


def test_every_call_that_blocks_is_interrupted_and_restarted_as_in_the_kernel() -> None:
    """Sixty calls, each with a handler, with a handler under SA_RESTART, and stopped and continued; what time is
    left; and that a call which goes on still ends in its time."""
    harness.need_reference_kernel()
    check([compile_c("interrupted_calls", flags=["-pthread"]), "{work}"], work={})
