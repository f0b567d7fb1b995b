"""A program in the model, on a machine with as much memory for it as the real kernel had.

``python -m bench.uml.model RAM_KB MIN_FREE_KB PROGRAM...`` runs one, in a process of its own.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from bench.uml.kernel import SWAP_BYTES, figures

__all__ = ["one", "run"]

EMPTY = {"patterns": ["cyclic", "1", "1"], "groups": ["high", "1", "1", "0"]}  # arguments that take hardly any memory
START = 4 << 30  # RAM begins here: all of it is one zone, Normal, as user-mode Linux has it


def usable(found: Mapping[str, int]) -> int:
    """KiB that a pattern could have: free pages, also those on the CPUs' lists, and those of files, less what was kept
    for urgent requests."""
    return found["memfree_kb"] + found["pcp_kb"] + found["cache_kb"] - found["reserved_kb"]


def run(root: Path, program: list[str], kernel: Mapping[str, int]) -> dict[str, int]:
    """What a program below ``root``, with its arguments, printed on a machine as large as that of ``kernel``, the same
    program's figures (within a page or two)."""
    wanted = usable(kernel)
    ram_kb = wanted
    name = str(root / program[0])
    for _ in range(3):  # what the machine itself and the program's start take depends on the size only slightly
        ram_kb += wanted - usable(one([name, *EMPTY[program[0]]], ram_kb, kernel["min_free_kbytes"]))
    return one([name, *program[1:]], ram_kb, kernel["min_free_kbytes"])


def one(command: list[str], ram_kb: int, min_free_kb: int) -> dict[str, int]:
    """A run on a machine of ``ram_kb``."""
    words = [sys.executable, "-m", "bench.uml.model", str(ram_kb), str(min_free_kb), *command]
    done = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    if done.returncode:
        raise RuntimeError(f"the model's run of {' '.join(command)} failed: {done.stderr.strip()[-400:]}")
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
        watermark_boost_factor=0,
        zswap_ratio=2.2,  # what LZO makes of a page of groups.c: 1,857 bytes (memory.stat: zswap, zswapped)
        aslr=False,
        warm=False,
    )
    return machine.run(sys.argv[3:], env={}, cwd=os.path.dirname(sys.argv[3])).status


if __name__ == "__main__":
    sys.exit(main())
