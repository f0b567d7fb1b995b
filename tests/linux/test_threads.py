"""Threads: the locks that they wait for, how they are cancelled and end, and the signals that reach one of them."""

import harness
import pytest
from harness import check, compile_c

pytestmark = [pytest.mark.linux]


@pytest.fixture(autouse=True)
def reference() -> None:
    harness.need_reference_kernel()


def test_futexes_with_priority_inheritance_are_handed_over_as_in_the_kernel() -> None:
    """FUTEX_LOCK_PI and its family by raw calls: the word after each, deadlocks, owners that die, requeueing."""
    check([compile_c("pi_futexes", flags=["-pthread"])])


def test_waiting_for_many_futexes_and_the_futex2_calls() -> None:
    check([compile_c("futex_calls", flags=["-pthread"])])


@pytest.mark.parametrize("link", ["static", "dynamic"])
def test_locks_whose_owner_dies_and_locks_between_processes(link: str) -> None:
    """Robust, process-shared and priority-inheriting mutexes, condition variables, barriers and rwlocks of glibc."""
    check([compile_c("pthread_locks", link=link, flags=["-pthread"])])


@pytest.mark.parametrize("link", ["static", "dynamic"])
def test_threads_end_by_cancellation_by_exec_and_with_their_process(link: str) -> None:
    """Also the leader that ends first, and set*id, which glibc carries to every thread by a signal."""
    check([compile_c("thread_ends", link=link, flags=["-pthread"])])


def test_system_v_semaphores() -> None:
    """Values and errors, who waits and in which order they go on, what is undone when a process ends."""
    check([compile_c("sem_calls", flags=["-pthread"])])


@pytest.mark.parametrize("link", ["static", "dynamic"])
def test_keys_names_attributes_clocks_and_handlers_of_threads(link: str) -> None:
    check([compile_c("pthread_more", link=link, flags=["-pthread"])])


def test_signals_reach_the_thread_in_the_order_and_number_of_the_kernel() -> None:
    """Queued signals and their values, who of several threads gets one, sigwait, RLIMIT_SIGPENDING."""
    check([compile_c("thread_signals", flags=["-pthread"])])
