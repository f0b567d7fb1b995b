"""Carrying out a script again, on either side."""

import sys
from pathlib import Path

from pagewalk.conform.operations import Script, first_difference, run_side

__all__ = ["replay_script"]


def replay_script(path: Path, side: str) -> int:
    """Prints what ``side`` ("kernel", "model", "both") shows; with both only where they part. 1 where they do."""
    script = Script.read(path)
    if side != "both":
        done = run_side(script, side)
        sys.stdout.buffer.write(done.stdout)
        sys.stdout.flush()
        return 0
    theirs, ours = run_side(script, "kernel"), run_side(script, "model")
    for (who, number), text in zip(script.chosen, script.text, strict=True):
        print(f"{who}.{number}: {text}")
    if theirs.same(ours):
        print("equal")
        return 0
    print(first_difference(theirs.stdout, ours.stdout))
    if theirs.status != ours.status:
        print(f"status {theirs.status} natively, {ours.status} in the model {ours.error}")
    return 1
