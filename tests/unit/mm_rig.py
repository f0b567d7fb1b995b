"""What the tests of mm/ share: a small machine, and page-sized words for its processes."""

import contextlib
from collections.abc import Iterator
from typing import Any

from pagewalk import LinuxError, Machine, Process
from pagewalk.check import check_machine

PAGE = 4096
MB = 1 << 20
RW, RO, NONE = 3, 1, 0


@contextlib.contextmanager
def small_machine(**settings: Any) -> Iterator[Machine]:
    """A machine of 32 MiB without randomisation; every invariant holds when it is left."""
    machine = Machine(**{"ram": "32M", "aslr": False, **settings})
    try:
        yield machine
        check_machine(machine)
    finally:
        machine.close()


def error_of(call: Any, *args: Any, **kwargs: Any) -> int:
    """The errno that a call fails with, 0 where it does not."""
    try:
        call(*args, **kwargs)
    except LinuxError as error:
        assert error.errno is not None
        return error.errno
    return 0


def faults_of(process: Process, call: Any, *args: Any, **kwargs: Any) -> int:
    """Minor faults that a call costs."""
    before = process.minor_faults
    call(*args, **kwargs)
    return process.minor_faults - before


def ranges(process: Process) -> list[str]:
    """The maps' lines, cut to range and rights; without the vsyscall page, which is no mapping of the process's own."""
    return [" ".join(line.split()[:2]) for line in process.maps().splitlines() if "[vsyscall]" not in line]
