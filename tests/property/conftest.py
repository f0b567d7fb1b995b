"""What the tests here import lies beside them, with the naive twin, and with the tests against the kernel."""

import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / name) for name in ("property", "naive", "linux")]
