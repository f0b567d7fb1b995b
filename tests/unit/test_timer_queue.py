"""The machine's timers: order, cancelling, timers that add timers."""

import random

import pytest

from pagewalk.kernel.timer import NEVER, Timer, TimerQueue

pytestmark = pytest.mark.quick


class Noting(Timer):
    """Notes its name when it fires."""

    def __init__(self, name: str, notes: list[str]) -> None:
        super().__init__()
        self.name = name
        self.notes = notes

    def fire(self, now_ns: int) -> None:
        self.notes.append(self.name)


def test_timers_fire_by_time_and_then_in_the_order_in_which_they_came() -> None:
    queue, notes = TimerQueue(), list[str]()
    for name, when in (("late", 30), ("first", 10), ("second", 10), ("middle", 20)):
        queue.add(Noting(name, notes), when)
    assert queue.next_deadline() == 10
    assert queue.run_expired(9) == 0
    assert queue.run_expired(20) == 3
    assert notes == ["first", "second", "middle"]
    assert queue.next_deadline() == 30


def test_a_cancelled_timer_is_as_if_it_had_never_been() -> None:
    queue, notes = TimerQueue(), list[str]()
    timer = Noting("gone", notes)
    queue.add(timer, 5)
    assert queue.cancel(timer)
    assert not queue.cancel(timer)
    assert queue.next_deadline() == NEVER
    assert queue.run_expired(100) == 0
    assert notes == []


def test_adding_a_queued_timer_moves_it() -> None:
    queue, notes = TimerQueue(), list[str]()
    timer = Noting("moved", notes)
    queue.add(timer, 5)
    queue.add(timer, 50)
    assert queue.run_expired(49) == 0
    assert queue.run_expired(50) == 1
    assert notes == ["moved"]
    assert not timer.queued


def test_a_timer_that_adds_itself_in_the_past_fires_once_a_call() -> None:
    queue = TimerQueue()

    class Eager(Timer):
        count = 0

        def fire(self, now_ns: int) -> None:
            Eager.count += 1
            queue.add(self, 0)

    queue.add(Eager(), 0)
    assert queue.run_expired(10) == 1
    assert queue.run_expired(10) == 1
    assert Eager.count == 2
    assert queue.next_deadline() == 0


def test_a_timer_may_cancel_another_of_the_same_time() -> None:
    queue, notes = TimerQueue(), list[str]()
    victim = Noting("victim", notes)

    class Killer(Timer):
        def fire(self, now_ns: int) -> None:
            queue.cancel(victim)

    queue.add(Killer(), 10)
    queue.add(victim, 10)
    assert queue.run_expired(10) == 1
    assert notes == []


def test_random_requests_against_a_dictionary() -> None:
    rng = random.Random(7)
    queue, notes = TimerQueue(), list[str]()
    timers = [Noting(str(i), notes) for i in range(20)]
    due: dict[str, int] = {}
    now = 0
    for _ in range(5000):
        timer = rng.choice(timers)
        what = rng.random()
        if what < 0.5:
            when = now + rng.randrange(1, 50)
            queue.add(timer, when)
            due[timer.name] = when
        elif what < 0.7:
            assert queue.cancel(timer) == (timer.name in due)
            due.pop(timer.name, None)
        else:
            now += rng.randrange(10)
            notes.clear()
            queue.run_expired(now)
            assert sorted(notes) == sorted(name for name, when in due.items() if when <= now)
            due = {name: when for name, when in due.items() if when > now}
        assert queue.next_deadline() == min(due.values(), default=NEVER)
        assert queue.nr_queued == len(due)
