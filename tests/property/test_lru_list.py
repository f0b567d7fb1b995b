"""A list of reclaim against a Python list, and the slots of a swap area against sets."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagewalk.mm.lruvec import LruList
from pagewalk.mm.page import Page
from pagewalk.mm.swap_area import SwapArea
from pagewalk.mm.swap_slot import SWAPFILE_CLUSTER

STEP = st.tuples(st.sampled_from(["add", "add", "add_tail", "delete", "delete", "take"]), st.integers(0, 400))


def check(rows: LruList, twin: list[Page]) -> None:
    """The oldest page of ``twin`` comes first."""
    assert rows.pages() == twin[::-1]
    assert rows.nr_pages == len(twin)
    assert rows.last() is (twin[0] if twin else None)
    assert rows.nr_below == len([page for page in twin if page.pfn < rows.bound])
    assert rows.nr_lowest == len([page for page in twin if page.pfn < rows.lowest_bound])
    assert all(rows.row[page.lru_at - rows.base] is page for page in twin)


@pytest.mark.quick
@given(st.lists(STEP, max_size=60), st.integers(0, 300), st.integers(0, 2**32))
def test_a_list_of_reclaim_is_a_list(steps: list[tuple[str, int]], filled: int, seed: int) -> None:
    order = random.Random(seed)
    pages = [Page(pfn) for pfn in range(400)]
    order.shuffle(pages)
    rows = LruList("test")
    rows.bound, rows.lowest_bound = 200, 50
    twin: list[Page] = []
    for page in pages[:filled]:
        rows.add(page)
        twin.append(page)
    free = pages[filled:]
    for what, number in steps:
        if what == "take":
            taken = rows.take(number)
            assert taken == twin[:number]
            del twin[:number]
            free += taken
        elif what == "delete":
            for _ in range(number // 4 if twin else 0):
                if twin:
                    page = twin.pop(order.randrange(len(twin)))
                    rows.delete(page)
                    free.append(page)
        else:
            for _ in range(number // 8 if free else 0):
                if free:
                    page = free.pop()
                    if what == "add":
                        rows.add(page)
                        twin.append(page)
                    else:
                        rows.add_tail(page)
                        twin.insert(0, page)
        check(rows, twin)
        assert len(rows.row) <= 4 * len(twin) + 300, "places are wasted"


class Slots:
    """Which slot is next, by sets: within the current cluster upwards, then a free cluster, then one with holes."""

    def __init__(self, nr_slots: int) -> None:
        self.nr_slots = nr_slots
        self.used = {0}
        self.free = list(range(1, -(-nr_slots // SWAPFILE_CLUSTER)))
        self.holes = [0]
        self.current = -1
        self.next = 0

    def range_of(self, cluster: int) -> range:
        """The slots of a cluster."""
        return range(cluster * SWAPFILE_CLUSTER, min((cluster + 1) * SWAPFILE_CLUSTER, self.nr_slots))

    def alloc(self) -> int:
        """The next slot, or -1."""
        while True:
            if self.current >= 0:
                for slot in range(self.next, self.range_of(self.current).stop):
                    if slot not in self.used:
                        self.used.add(slot)
                        self.next = slot + 1
                        return slot
                if any(slot not in self.used for slot in self.range_of(self.current)):
                    self.holes.append(self.current)
                self.current = -1
            waiting = self.free or self.holes
            if not waiting:
                return -1
            self.current = waiting.pop(0)
            self.next = self.current * SWAPFILE_CLUSTER

    def release(self, slot: int) -> None:
        """The slot is free."""
        cluster = slot // SWAPFILE_CLUSTER
        was_full = self.used.issuperset(self.range_of(cluster))
        self.used.discard(slot)
        if cluster == self.current:
            return
        if self.used.isdisjoint(self.range_of(cluster)):
            if cluster in self.holes:
                self.holes.remove(cluster)
            self.free.append(cluster)
        elif was_full:
            self.holes.append(cluster)


@pytest.mark.parametrize("nr_slots", [2, 512, 513, 1500, 2048])
def test_slots_are_given_out_cluster_by_cluster(nr_slots: int) -> None:
    order = random.Random(nr_slots)
    area = SwapArea(0, "/dev/test", nr_slots, -2, 12)
    twin = Slots(nr_slots)
    mine: list[int] = []
    for phase in range(30):
        for _ in range(order.randrange(nr_slots)):
            slot = area.alloc_slot()
            assert slot == twin.alloc()
            if slot >= 0:
                mine.append(slot)
        assert sorted(mine) == area.used_slots()
        assert area.inuse_pages == len(mine)
        order.shuffle(mine)
        for _ in range(order.randrange(len(mine) + 1) if phase % 3 else len(mine)):
            slot = mine.pop()
            area.free_slot(slot)
            twin.release(slot)
    area.close()
