"""Random operations: the same sequence natively and in the model, and the shortest one that shows a difference.

A batch is a seed, a number of operations and a mode; the program c/operations.c makes the operations, carries them out
and prints what can be seen. Each operation is drawn for itself, so that any subset of them is a script.
"""

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pagewalk.conform.both import Outcome, compile_program, run_kernel, run_model, work_folder
from pagewalk.errors import ConfigError

__all__ = ["Batch", "Script", "batches", "compare", "first_difference", "shrink"]

OPERATIONS_A_BATCH = 1000
_NAME = re.compile(rb"^(\d+)\.(\d+): ", re.MULTILINE)
_HEADER = "# pagewalk conform"
_BATCH = re.compile(r"batch (\d+) (\d+) (fork|plain)( wide)?(?: memory\.max=(\d+))?\s*")


@dataclass(frozen=True)
class Batch:
    """``count`` operations of ``seed``; with ``fork`` some of them make families of processes.

    ``wide`` is the vocabulary of today; without it the operations are those that the first scripts were cut from.
    With ``memory_max`` both sides run in a memory cgroup of that many bytes.
    """

    seed: int
    count: int
    fork: bool
    wide: bool = True
    memory_max: int = 0

    @property
    def mode(self) -> str:
        """As a script has it."""
        words = ["fork" if self.fork else "plain", *(["wide"] if self.wide else [])]
        return " ".join([*words, *([f"memory.max={self.memory_max}"] if self.memory_max else [])])

    def argv(self, folder: Path, chosen: list[tuple[int, int]] | None) -> list[str]:
        """The command; ``chosen`` are the only operations to be carried out, by process and number."""
        command = [compile_program("operations", "-static", "-no-pie")]
        if self.fork:
            command.append("fork")
        command.append("conform")
        if self.wide:
            command.append("wide")
        if chosen is not None:
            (folder / "only").write_text("".join([f"{who} {number}\n" for who, number in chosen]))
            command.append(f"only={folder / 'only'}")
        work = folder / "files"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        return [*command, str(work), str(self.seed), str(self.count)]


@dataclass(frozen=True)
class Script:
    """A batch cut down to some operations; ``text`` is what they are, for people."""

    batch: Batch
    chosen: list[tuple[int, int]]
    text: list[str]

    def write(self, path: Path) -> None:
        """As a file that ``read`` takes."""
        lines = [_HEADER, f"batch {self.batch.seed} {self.batch.count} {self.batch.mode}"]
        for (who, number), text in zip(self.chosen, self.text, strict=True):
            lines.append(f"{who} {number}  # {text}")
        path.write_text("\n".join(lines) + "\n")

    @staticmethod
    def read(path: Path) -> "Script":
        """Raises ConfigError for a file that is no script."""
        try:
            lines = path.read_text().splitlines()
        except OSError as error:
            raise ConfigError(f"conform: cannot read {path}: {error.strerror}") from None
        batch = _BATCH.fullmatch(lines[1]) if len(lines) > 1 and lines[0].startswith(_HEADER) else None
        if batch is None:
            raise ConfigError(
                f"conform: expected a script ({_HEADER}, then batch SEED COUNT fork|plain [wide] [memory.max=BYTES]) "
                f"in {path}"
            )
        chosen, text = [], []
        for number, line in enumerate(lines[2:], 3):
            front, _, comment = line.partition("#")
            if not front.strip():
                continue
            parts = front.split()
            if len(parts) != 2 or not all(part.isdigit() for part in parts):
                raise ConfigError(f"conform: expected WHO NUMBER in line {number} of {path}, got {line!r}")
            chosen.append((int(parts[0]), int(parts[1])))
            text.append(comment.strip())
        seed, count, mode, wide, limit = batch.groups()
        return Script(Batch(int(seed), int(count), mode == "fork", bool(wide), int(limit or 0)), chosen, text)


def batches(operations: int, seed: int, memory_max: int = 0) -> Iterator[Batch]:
    """Batches of ``operations`` in all, every second one with families."""
    number = 0
    while operations > 0:
        count = min(OPERATIONS_A_BATCH, operations)
        yield Batch(seed * 1_000_003 + number, count, bool(number % 2), memory_max=memory_max)
        operations -= count
        number += 1


def compare(batch: Batch, chosen: list[tuple[int, int]] | None = None) -> tuple[Outcome, Outcome]:
    """(the kernel's outcome, the model's)."""
    folder = work_folder()
    try:
        theirs = run_kernel(batch.argv(folder, chosen), memory_max=batch.memory_max)
        ours = run_model(batch.argv(folder, chosen), rw=str(folder), memory_max=batch.memory_max)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return theirs, ours


def run_side(script: Script, side: str) -> Outcome:
    """A script on one side: "kernel" or "model"."""
    folder = work_folder()
    try:
        argv = script.batch.argv(folder, script.chosen)
        limit = script.batch.memory_max
        if side == "kernel":
            return run_kernel(argv, memory_max=limit)
        return run_model(argv, rw=str(folder), memory_max=limit)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def first_difference(theirs: bytes, ours: bytes, lines: int = 4) -> str:
    """Where two outputs part: some lines before, - the kernel's, + the model's."""
    one, other = theirs.decode("utf-8", "replace").splitlines(), ours.decode("utf-8", "replace").splitlines()
    at = 0
    while at < min(len(one), len(other)) and one[at] == other[at]:
        at += 1
    shown = [f"  {line}" for line in one[max(0, at - lines) : at]]
    shown += [f"- {line}" for line in one[at : at + lines]] + [f"+ {line}" for line in other[at : at + lines]]
    return "\n".join(shown)


def shrink(batch: Batch, theirs: Outcome, ours: Outcome, trials: int = 80) -> Script:
    """The shortest script that still differs, found by leaving operations out; ``trials`` pairs of runs at most."""
    chosen = executed(theirs, ours)
    left = trials

    def differs(some: list[tuple[int, int]]) -> bool:
        nonlocal left
        left -= 1
        one, other = compare(batch, some)
        return not one.same(other)

    if not differs(chosen):
        chosen = [(int(who), int(number)) for who, number in _NAME.findall(theirs.stdout)]
    chosen = reduce(chosen, differs, lambda: left > 0)
    one, _ = compare(batch, chosen)
    return Script(batch, chosen, describe(one.stdout, chosen))


def executed(theirs: Outcome, ours: Outcome) -> list[tuple[int, int]]:
    """The operations up to the first line that differs, the one that prints it included."""
    same = 0
    limit = min(len(theirs.stdout), len(ours.stdout))
    while same < limit and theirs.stdout[same : same + 4096] == ours.stdout[same : same + 4096]:
        same += 4096
    while same < limit and theirs.stdout[same] == ours.stdout[same]:
        same += 1
    end = theirs.stdout.find(b"\n", same)
    text = theirs.stdout[: end + 1 if end >= 0 else len(theirs.stdout)]
    return [(int(who), int(number)) for who, number in _NAME.findall(text)]


def reduce(
    items: list[tuple[int, int]], differs: Callable[[list[tuple[int, int]]], bool], may_go_on: Callable[[], bool]
) -> list[tuple[int, int]]:
    """Delta debugging: halves, then smaller parts are left out as long as the difference stays."""
    parts = 2
    while len(items) > 1 and may_go_on():
        size = max(1, len(items) // parts)
        for start in range(0, len(items), size):
            fewer = items[:start] + items[start + size :]
            if not may_go_on():
                break
            if fewer and differs(fewer):
                items = fewer
                parts = max(2, parts - 1)
                break
        else:
            if size == 1:
                break
            parts = min(len(items), parts * 2)
    return items


def describe(output: bytes, chosen: list[tuple[int, int]]) -> list[str]:
    """What each operation is, from what the program printed."""
    texts: dict[tuple[int, int], str] = {}
    for line in output.decode("utf-8", "replace").splitlines():
        match = re.match(r"(\d+)\.(\d+): (.*)", line)
        if match:
            texts[int(match[1]), int(match[2])] = match[3]
    return [texts.get(name, "") for name in chosen]
