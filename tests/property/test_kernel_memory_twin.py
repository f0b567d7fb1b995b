"""vmalloc, vmap, kmap and kmap_local in any order: contents, disjoint areas, users of slots, no frame lost."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from kernel_memory import Twin

from pagewalk import Machine
from pagewalk.errors import PagewalkError
from pagewalk.mm.page import Page

SLOTS = 6  # so few that they are all in use now and then


def free_frames(machine: Machine) -> int:
    """Of the zones, and of the CPUs' own lists."""
    return machine.system.node.nr_free_pages() + sum(int(zone.pcp.count) for zone in machine.system.zones)


class KernelMemoryTwin(RuleBasedStateMachine):
    """One machine and its twin."""

    @initialize(arch=st.sampled_from(["x86_64", "x86_pae", "x86_32"]))
    def start(self, arch: str) -> None:
        self.machine = Machine(arch=arch, ram="1536M", cpus=2)
        self.kernel = self.machine.kernel
        self.wide = arch == "x86_64"
        self.twin = Twin(local={0: [], 1: []})
        self.pages: dict[int, Page] = {}
        self.vmaps: dict[int, list[int]] = {}
        self.slots_used: set[int] = set()
        self.counter = 0
        highmem = self.kernel.highmem()
        if not self.wide:  # the other slots have users for ever
            for slot in range(SLOTS, highmem.areas.last_pkmap):
                highmem.pkmap_count[slot] = 2
        init_mm = self.machine.system.init_mm
        assert init_mm is not None
        self.init_mm = init_mm
        self.free = free_frames(self.machine)

    def text(self) -> bytes:
        """Contents that no page had before."""
        self.counter += 1
        return b"text %d" % self.counter

    @rule(nr_pages=st.integers(1, 9), modules=st.booleans())
    def vmalloc(self, nr_pages: int, modules: bool) -> None:
        addr = (self.kernel.module_alloc if modules else self.kernel.vmalloc)(nr_pages * 4096 - 5)
        self.twin.add_area(addr, nr_pages)
        for at in range(nr_pages):
            self.twin.areas[addr >> 12][at] = text = self.text()
            self.kernel.write(addr + at * 4096, text)

    @precondition(lambda self: set(self.twin.areas) - set(self.vmaps))
    @rule(data=st.data())
    def vfree(self, data: st.DataObject) -> None:
        first = data.draw(st.sampled_from(sorted(set(self.twin.areas) - set(self.vmaps))))
        self.kernel.vfree(first << 12)
        self.twin.remove_area(first << 12)
        with pytest.raises(PagewalkError, match="not-present page"):
            self.kernel.read(first << 12, 1)

    @rule(highmem=st.booleans())
    def alloc_page(self, highmem: bool) -> None:
        page = self.kernel.alloc_page(highmem=highmem)
        assert int(page.pfn) not in self.pages
        self.pages[int(page.pfn)] = page
        self.twin.contents[int(page.pfn)] = b""

    @precondition(lambda self: self.pages)
    @rule(data=st.data())
    def kmap(self, data: st.DataObject) -> None:
        pfn = data.draw(st.sampled_from(sorted(self.pages)))
        if not self.kernel.highmem().is_highmem(pfn):
            assert self.kernel.kmap(pfn) == self.init_mm.areas.page_offset + (pfn << 12)
            return
        if not self.twin.kmap(pfn, SLOTS):
            with pytest.raises(BlockingIOError):
                self.kernel.kmap(pfn)
            return
        addr = self.kernel.kmap(pfn)
        assert self.kernel.read(addr, len(self.twin.contents[pfn])) == self.twin.contents[pfn]
        self.twin.contents[pfn] = text = self.text()
        self.kernel.write(addr, text)

    @precondition(lambda self: self.twin.users)
    @rule(data=st.data())
    def kunmap(self, data: st.DataObject) -> None:
        pfn = data.draw(st.sampled_from(sorted(self.twin.users)))
        self.kernel.kunmap(pfn)
        self.twin.kunmap(pfn)

    @precondition(lambda self: self.pages)
    @rule(data=st.data(), cpu=st.integers(0, 1))
    def kmap_local(self, data: st.DataObject, cpu: int) -> None:
        pfn = data.draw(st.sampled_from(sorted(self.pages)))
        stack = self.twin.local[cpu]
        if not self.kernel.highmem().is_highmem(pfn) or len(stack) >= 16:
            return
        addr = self.kernel.kmap_local(pfn, cpu)
        stack.append(pfn)
        assert self.kernel.read(addr, len(self.twin.contents[pfn])) == self.twin.contents[pfn]

    @rule(cpu=st.integers(0, 1))
    def kunmap_local(self, cpu: int) -> None:
        stack = self.twin.local[cpu]
        if stack:
            stack.pop()
            addr = self.kernel.highmem().local_address(cpu, len(stack))
            self.kernel.kunmap_local(addr, cpu)

    @precondition(lambda self: self.pages)
    @rule(data=st.data())
    def vmap(self, data: st.DataObject) -> None:
        pfns = data.draw(st.lists(st.sampled_from(sorted(self.pages)), min_size=1, max_size=4))
        addr = self.kernel.vmap(pfns)
        self.twin.add_area(addr, len(pfns))
        self.vmaps[addr >> 12] = pfns

    @precondition(lambda self: self.vmaps)
    @rule(data=st.data())
    def vunmap(self, data: st.DataObject) -> None:
        first = data.draw(st.sampled_from(sorted(self.vmaps)))
        self.kernel.vunmap(first << 12)
        self.twin.remove_area(first << 12)
        del self.vmaps[first]

    @invariant()
    def contents_are_where_they_belong(self) -> None:
        if not hasattr(self, "twin"):
            return
        for first, pages in self.twin.areas.items():
            pfns = self.vmaps.get(first)
            for at, text in enumerate(pages):
                expected = self.twin.contents[pfns[at]] if pfns else text
                assert self.kernel.read((first + at) << 12, len(expected)) == expected
            with pytest.raises(PagewalkError, match="not-present page"):  # the guard
                self.kernel.read((first + len(pages)) << 12, 1)

    @invariant()
    def no_frame_is_lost(self) -> None:
        if not hasattr(self, "twin"):
            return
        taken = sum(len(pages) for first, pages in self.twin.areas.items() if first not in self.vmaps)
        tables = self.init_mm.nr_tables
        assert free_frames(self.machine) == self.free - taken - len(self.pages) - tables

    @invariant()
    def slots_have_their_users(self) -> None:
        if not hasattr(self, "twin") or self.wide:
            return
        highmem = self.kernel.highmem()
        found = {pfn: highmem.pkmap_count[slot] - 1 for pfn, slot in highmem.slot_of.items()}
        assert {pfn: users for pfn, users in found.items() if users} == self.twin.users


TestKernelMemory = KernelMemoryTwin.TestCase
TestKernelMemory.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
