"""What processes wait for: pipes, epoll, AF_UNIX sockets, timers, signals and processes as files, locks."""

import harness
import pytest
from harness import check, compile_c

pytestmark = [pytest.mark.linux]


@pytest.fixture(autouse=True)
def reference() -> None:
    harness.need_reference_kernel()


def test_epoll() -> None:
    check([compile_c("epoll_calls")])


def test_timers_signals_and_processes_as_files() -> None:
    check([compile_c("event_files")])


def test_locks() -> None:
    check([compile_c("lock_calls"), "{work}"], work={})


def test_pipes_and_fifos() -> None:
    check([compile_c("pipe_calls"), "{work}"], work={})


def test_unix_sockets() -> None:
    check([compile_c("unix_calls"), "{work}"], work={})


def test_posix_timers() -> None:
    check([compile_c("posix_timers")])
