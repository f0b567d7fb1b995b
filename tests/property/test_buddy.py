"""The buddy allocator under random requests: the invariants hold after each, and everything merges again at the end."""

from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pagewalk import Config
from pagewalk.check import check_all
from pagewalk.mm.gfp import GFP_DMA, GFP_HIGHUSER_MOVABLE
from pagewalk.mm.system import System

if TYPE_CHECKING:
    from pagewalk.mm.page import Page

STEPS = 50


class BuddyCalls(RuleBasedStateMachine):
    """alloc_pages and free_pages on a machine of 16 MiB."""

    def __init__(self) -> None:
        super().__init__()
        self.system = System(Config(ram="16M"))
        self.node = self.system.node
        self.held: list[tuple[Page, int]] = []
        self.free_at_start = self.free()

    def free(self) -> int:
        return self.node.nr_free_pages() + sum(int(zone.pcp.count) for zone in self.system.zones)

    @rule(order=st.integers(0, 10), count=st.integers(1, 40), gfp=st.sampled_from([GFP_HIGHUSER_MOVABLE, GFP_DMA]))
    def alloc(self, order: int, count: int, gfp: int) -> None:
        for _ in range(count):
            before = self.free()
            page = self.node.alloc_pages(gfp, order)
            if page is None:
                assert self.free() == before
                assert f"order {order}" in self.node.last_failure
                return
            assert page.pfn % (1 << order) == 0
            assert page.refcount == 1
            assert self.free() == before - (1 << order)
            taken = range(int(page.pfn), int(page.pfn) + (1 << order))
            assert all(other.pfn + (1 << size) <= taken.start or other.pfn >= taken.stop for other, size in self.held)
            self.held.append((page, order))

    @rule(which=st.lists(st.integers(0, 10000), min_size=1, max_size=40))
    def free_some(self, which: list[int]) -> None:
        for nth in which:
            if self.held:
                page, _ = self.held.pop(nth % len(self.held))
                self.node.put_page(page)

    @rule()
    def drain(self) -> None:
        self.node.drain_all_pages()
        assert all(zone.pcp.count == 0 for zone in self.system.zones)

    @invariant()
    def all_holds(self) -> None:
        check_all(self.system, [], held=self.held)

    def teardown(self) -> None:
        for page, _ in self.held:
            self.node.put_page(page)
        self.held = []
        self.node.drain_all_pages()
        check_all(self.system, [])
        assert self.free() == self.free_at_start


BuddyCalls.TestCase.settings = settings(
    max_examples=20, stateful_step_count=STEPS, deadline=None, derandomize=True, database=None
)
TestBuddyCalls = BuddyCalls.TestCase


def test_after_everything_is_freed_the_blocks_are_those_of_an_unused_machine() -> None:
    unused, used = System(Config(ram="16M")), System(Config(ram="16M"))
    pages = []
    while (page := used.node.alloc_page(0)) is not None:
        pages.append(page)
    for page in pages[::2] + pages[1::2]:
        used.node.put_page(page)
    used.node.drain_all_pages()
    unused.node.drain_all_pages()
    for ours, theirs in zip(used.zones, unused.zones, strict=True):
        assert [ours.nr_free(order) for order in range(11)] == [theirs.nr_free(order) for order in range(11)]
