"""What processes see of each other in /proc, as the running kernel shows it."""

import harness
import pytest

pytestmark = [pytest.mark.linux]


def test_children_inherit_and_parents_wait_as_natively() -> None:
    harness.need_reference_kernel()
    shell = harness.need("dash")
    harness.check([shell, str(harness.PROGRAMS / "proc_family.sh")])
