"""A memory cgroup of the running kernel, for a command that both sides run under the same limit.

Source: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst.
"""

import itertools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pagewalk.errors import ConfigError

__all__ = ["Hierarchy", "find_hierarchy", "limited"]

_numbers = itertools.count()
# A shell that enters the group, and then becomes the command: the group is the command's from its first page on.
_ENTER = 'echo $$ > "$0/cgroup.procs" && exec "$@"'


class Hierarchy:
    """A mounted hierarchy that has the memory controller: ``path``, and ``limit``, the name of its limit's file."""

    def __init__(self, path: Path, limit: str) -> None:
        self.path = path
        self.limit = limit


def find_hierarchy(mounts: str | None = None) -> Hierarchy:
    """Where groups with a memory limit can be made: version 2 where it has the controller, else version 1.

    mounts  the text of /proc/self/mounts, read where it is not given

    Raises ConfigError that says why there is none.
    """
    text = Path("/proc/self/mounts").read_text() if mounts is None else mounts
    why = "no cgroup file system with the memory controller is mounted"
    for _, place, kind, options, *_ in (line.split() for line in text.splitlines()):
        if kind == "cgroup2":
            enabled = Path(place) / "cgroup.subtree_control"
            if not enabled.exists() or "memory" not in enabled.read_text().split():
                continue
            found = Hierarchy(Path(place), "memory.max")
        elif kind == "cgroup" and "memory" in options.split(","):
            found = Hierarchy(Path(place), "memory.limit_in_bytes")
        else:
            continue
        if os.access(found.path, os.W_OK):
            return found
        why = f"{place} may not be written"
    raise ConfigError(f"conform: a memory cgroup is needed: {why}")


@contextmanager
def limited(command: list[str], memory_max: int) -> Iterator[list[str]]:
    """The command that runs ``command`` in a new group of ``memory_max`` bytes; the group is gone afterwards. Without a
    limit (0) the command itself."""
    if memory_max == 0:
        yield command
        return
    hierarchy = find_hierarchy()
    group = hierarchy.path / f"pagewalk-conform-{os.getpid()}-{next(_numbers)}"
    try:
        group.mkdir()
        (group / hierarchy.limit).write_text(str(memory_max))
    except OSError as error:
        raise ConfigError(f"conform: no memory cgroup could be made: {error.strerror}: {error.filename}") from None
    try:
        yield ["/bin/sh", "-c", _ENTER, str(group), *command]
    finally:
        for _ in range(50):  # the last process may still be on its way out
            try:
                group.rmdir()
                break
            except OSError:
                time.sleep(0.02)
