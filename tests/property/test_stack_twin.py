"""Stack distances against lists, and the misses that follow from them against caches of every size."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stack import NaiveCache, NaiveStack

from pagewalk.lab import stack_code
from pagewalk.lab.stack import Stacks


def accesses(seed: int, spread: int, length: int) -> np.ndarray[Any, Any]:
    """Pages: some again and again, some in a row, some far away."""
    rng = np.random.default_rng(seed)
    near = rng.integers(0, spread, length)
    walk = np.abs(np.cumsum(rng.integers(-1, 2, length))) % spread
    far = rng.integers(-(1 << 51), 1 << 51, length)
    return np.choose(rng.choice([0, 1, 1, 2], length, p=[0.5, 0.2, 0.28, 0.02]), [near, walk, far])


ACCESSES = st.builds(accesses, st.integers(0, 1 << 30), st.sampled_from([1, 3, 20, 150, 600]),
                     st.sampled_from([1, 30, 800]))  # fmt: skip
STEP = st.one_of(
    st.tuples(st.just("use"), st.integers(0, 2), ACCESSES),
    st.tuples(st.just("use"), st.integers(0, 2), ACCESSES),
    st.tuples(st.just("drop"), st.integers(0, 2), st.integers(-5, 400), st.sampled_from([0, 1, 7, 60, 1 << 30])),
    st.tuples(st.just("clear"), st.integers(0, 2)),
)


class Twin:
    """The fast stacks, lists, and caches of some sizes, for each set of each group."""

    SIZES = (1, 2, 3, 11, 12, 13, 14, 30, 64, 100, 200, 500)

    def __init__(self, sets: int, groups: tuple[int, int, int]) -> None:
        self.fast = Stacks(sets=sets)
        self.sets, self.groups = sets, groups
        for owner, group in enumerate(groups):
            self.fast.own(owner, group)
        self.slow: dict[tuple[int, int], NaiveStack] = {}
        self.caches: dict[tuple[int, int], list[NaiveCache]] = {}
        self.distances: dict[int, int] = {}
        self.cold = 0
        self.misses = dict.fromkeys(self.SIZES, 0)
        self.uses = 0

    def at(self, owner: int, page: int) -> tuple[NaiveStack, list[NaiveCache]]:
        key = (self.groups[owner], page % self.sets)
        if key not in self.slow:
            self.slow[key] = NaiveStack()
            self.caches[key] = [NaiveCache(size) for size in self.SIZES]
        return self.slow[key], self.caches[key]

    def use(self, owner: int, pages: np.ndarray[Any, Any]) -> None:
        self.fast.feed(pages, len(pages), owner)
        last = None
        for page in pages.tolist():
            stack, caches = self.at(owner, page)
            distance = stack.use((owner, page))
            for cache in caches:
                self.misses[cache.entries] += not cache.use((owner, page))
            if page == last:
                assert distance == 0
                continue  # is not counted: whoever feeds the stacks knows how many there are
            last = page
            self.uses += 1
            if distance < 0:
                self.cold += 1
            else:
                self.distances[distance] = self.distances.get(distance, 0) + 1

    def drop(self, owner: int, first: int, count: int) -> None:
        self.fast.drop(owner, first, first + count - 1)
        for key, stack in self.slow.items():
            if key[0] != self.groups[owner]:
                continue
            for page in [page for page in stack.pages if page is not None]:
                if page[0] == owner and first <= page[1] < first + count:
                    stack.drop(page)
                    for cache in self.caches[key]:
                        cache.drop(page)

    def clear(self, owner: int) -> None:
        self.fast.clear(owner)
        for key in [key for key in self.slow if key[0] == self.groups[owner]]:
            del self.slow[key], self.caches[key]

    def same(self) -> None:
        found = self.fast.distances()
        zero = dict(enumerate(found.tolist()))
        # A page that is used again first thing in a batch has distance 0 and may be counted or not.
        told = {distance: count for distance, count in zero.items() if count and distance}
        assert told == {distance: count for distance, count in self.distances.items() if distance}
        assert self.fast.cold == self.cold
        assert self.fast.nr_pages == sum(1 for stack in self.slow.values() for page in stack.pages if page)
        for size in self.SIZES:
            assert self.fast.cold + int(found[size:].sum()) == self.misses[size], size


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([1, 1, 1, 2, 3, 16]), st.sampled_from([(0, 0, 0), (0, 0, 1), (0, 1, 2)]),
       st.lists(STEP, min_size=1, max_size=12))  # fmt: skip
def test_distances_are_those_of_a_list(sets: int, groups: tuple[int, int, int], steps: list[tuple[Any, ...]]) -> None:
    twin = Twin(sets, groups)
    for name, *arguments in steps:
        getattr(twin, name)(*arguments)
        twin.same()


@pytest.mark.parametrize("sets", [1, 3])
@pytest.mark.parametrize("spread", [6, 12, 20, 90])
def test_single_pages_that_are_dropped_and_used_again(spread: int, sets: int) -> None:
    """Holes everywhere: in front, below it, above and below what is used next."""
    rng = np.random.default_rng(spread)
    twin = Twin(sets, (0, 0, 1))
    for number, choice in enumerate(rng.integers(0, 10, 1500).tolist()):
        page = int(rng.integers(0, spread))
        if choice < 2:
            twin.drop(int(rng.integers(0, 3)), page, 1)
        else:
            twin.use(int(rng.choice([0, 0, 0, 1, 2])), np.array([page]))
        if number % 100 == 99:
            twin.same()


def test_stacks_that_were_cleared_are_as_new() -> None:
    twin = Twin(1, (0, 0, 1))
    for _ in range(3):
        twin.use(0, np.arange(2500))
        twin.use(0, np.arange(2500)[::-1].copy())
        twin.use(2, np.arange(40))
        twin.clear(1)
        twin.use(0, np.arange(2500))
        twin.use(0, np.arange(0, 2500, 3))
    twin.same()


def test_pages_that_move_on_and_on_keep_their_places_and_take_no_more_room() -> None:
    stacks = Stacks()
    pages = np.arange(300)
    stacks.feed(pages, 300, 0)
    for step in range(100):
        stacks.move(0, step * 1000, step * 1000 + 299, 1000)
    assert (stacks.nr_pages, stacks.cold) == (300, 300)
    stacks.feed(pages + 100_000, 300, 0)
    assert stacks.cold == 300
    assert stacks.distances()[299] == 300
    assert stacks.nr_bytes < 1 << 19


def test_many_pages_and_many_compactions() -> None:
    rng = np.random.default_rng(5)
    twin = Twin(1, (0, 0, 0))
    for _ in range(4):
        twin.use(0, rng.integers(0, 3000, 3000))
        twin.drop(0, int(rng.integers(0, 2500)), 300)
    twin.same()
    assert twin.fast.nr_bytes < 2000 * twin.fast.nr_pages


def test_a_front_that_is_searched_is_a_few_pages() -> None:
    assert 4 <= stack_code.FRONT_PAGES <= 32
