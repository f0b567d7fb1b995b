"""A trace is written and read in memory that does not grow with its length."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import resource, sys
from pathlib import Path
import numpy as np
from pagewalk.trace.format import BATCH, Batch, TraceInfo
from pagewalk.trace.infer import infer_mappings
from pagewalk.trace.native import NativeTrace, NativeWriter

path = Path(sys.argv[1])
def work(count):
    random = np.random.default_rng(1)
    with NativeWriter(path, TraceInfo()) as writer:
        for _ in range(count):
            writer.write(Batch.of(random.integers(0, 1 << 22, BATCH)))
    assert infer_mappings(NativeTrace(path)).nr_pages == 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
few = work(4)
many = work(40)
print(many - few)
"""


def test_ten_million_accesses_take_no_more_memory_than_one_million(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "trace.pwt")]
    grown = int(subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout)
    assert grown < 16 << 10, f"{grown} KiB more"
