"""``pagewalk oom --live`` against what the kernel shows as oom_score."""

import os
from itertools import pairwise

import harness
import pytest

from pagewalk.oom.live import kernel_scores, live_ranking

pytestmark = pytest.mark.linux


def test_the_ranking_is_the_order_of_oom_score() -> None:
    for _ in range(3):  # processes come and go while they are read
        found = live_ranking()
        scores = kernel_scores([each.task for each in found.candidates])
        pairs = [(each, scores[each.task.pid]) for each in found.candidates if each.task.pid in scores]
        order = [score for _, score in pairs]
        apart = [
            (each.task.comm, each.oom_score, score) for each, score in pairs if abs((each.oom_score or 0) - score) > 1
        ]
        if not apart and all(a + 1 >= b for a, b in pairwise(order)):
            break
    assert len(pairs) >= 2
    assert not apart
    assert all(a + 1 >= b for a, b in pairwise(order))


@pytest.mark.skipif(os.getuid() != 0, reason="needs root: the program gives its rights up itself")
def test_what_may_be_written_to_oom_score_adj() -> None:
    """Numbers of every form, without capability; the old name; threads, sharers of memory, vforked children."""
    harness.need_reference_kernel()
    harness.check([harness.compile_c("oom_adj_calls", flags=["-pthread"])])
