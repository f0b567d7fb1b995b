"""A pattern in the model, on a machine with as many free pages at its start as the real kernel had.

``python -m bench.uml.model RAM_KB MIN_FREE_KB PATTERN...`` runs one, in a process of its own.
"""

import os
import subprocess
import sys
from pathlib import Path

from bench.uml.kernel import SWAP_BYTES, figures

__all__ = ["run"]

START = 4 << 30  # RAM begins here: all of it is one zone, Normal, as user-mode Linux has it


def run(patterns: Path, arguments: list[str], free_kb: int, min_free_kb: int) -> dict[str, int]:
    """What ``patterns`` printed where MemFree was ``free_kb`` when it began (within a page or two)."""
    ram_kb = free_kb
    for _ in range(3):  # what the machine itself and the program's start take depends on the size only slightly
        found = one(patterns, ["cyclic", "1", "1"], ram_kb, min_free_kb)["memfree_kb"]
        ram_kb += free_kb - found
    return one(patterns, arguments, ram_kb, min_free_kb)


def one(patterns: Path, arguments: list[str], ram_kb: int, min_free_kb: int) -> dict[str, int]:
    """A run on a machine of ``ram_kb``."""
    command = [sys.executable, "-m", "bench.uml.model", str(ram_kb), str(min_free_kb), str(patterns), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    if done.returncode:
        raise RuntimeError(f"the model's run of {' '.join(arguments)} failed: {done.stderr.strip()[-400:]}")
    return figures(done.stdout)


def main() -> int:
    """One run; its output is the program's."""
    from pagewalk import Machine

    ram_kb, min_free_kb = int(sys.argv[1]), int(sys.argv[2])
    machine = Machine(
        linux="6.1",
        memory_map=[(START, START + ram_kb * 1024)],
        swap=SWAP_BYTES,
        min_free_kbytes=min_free_kb,
        aslr=False,
        warm=False,
    )
    return machine.run(sys.argv[3:], env={}, cwd=os.path.dirname(sys.argv[3])).status


if __name__ == "__main__":
    sys.exit(main())
