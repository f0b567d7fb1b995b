"""Whose pages a trace's accesses are, and which of them go: address spaces and CPUs, followed through the events.

A page is (address space, page number). A TLB is one CPU's, so its stacks are a group for each CPU, and an owner is an
address space on a CPU; RAM is one group, and an owner is an address space.

Differs: a forked child's pages are its own, though frames are shared until somebody writes; so are pages of files that
several address spaces map.
"""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from pagewalk.trace import events as ev

__all__ = ["Family", "Owners"]

_ALL: Final = 1 << 58  # no page number is beyond it
_FREEING: Final = (4, 9, 21, 24)  # MADV_DONTNEED, _REMOVE, _PAGEOUT, _DONTNEED_LOCKED


class Family(Protocol):
    """What follows pages of one size: ``stack.Stacks``, or a sample of them."""

    @property
    def nr_bytes(self) -> int:
        """Memory that it takes."""

    def own(self, owner: int, group: int) -> None:
        """The owner's pages are in this group."""

    def feed(self, pages: npt.NDArray[np.int64], count: int, owner: int) -> int:
        """The owner uses these pages, of the smallest size, in order."""

    def drop(self, owner: int, first: int, last: int) -> None:
        """Pages of this family's size are gone."""

    def move(self, owner: int, first: int, last: int, distance: int) -> None:
        """Pages have other numbers, higher by ``distance``."""

    def clear(self, owner: int) -> None:
        """The owner's group is empty."""


class Owners:
    """What the families are told besides accesses.

    families     with the page size of each, bytes
    per_cpu      each CPU has stacks of its own (TLB); else all share one (RAM)
    asid         pages of other address spaces stay when a CPU changes to another one
    page_size    of the recorded machine, bytes
    one_space    tasks that no event has introduced share one address space; else each has its own
    """

    def __init__(
        self,
        families: Sequence[tuple[Family, int]],
        *,
        per_cpu: bool,
        asid: bool,
        one_space: bool,
        page_size: int = 4096,
    ) -> None:
        self._families = families
        self._page = page_size
        self._per_cpu = per_cpu
        self._asid = asid
        self._one_space = one_space
        self._spaces: dict[int, int] = {}  # of each task
        self._users: dict[int, int] = {}  # tasks of each space
        self._brk: dict[int, int] = {}  # end of the heap of each space
        self._nr_spaces = 0
        self._cpus: dict[int, int] = {}  # group of each CPU
        self._loaded: dict[int, int] = {}  # space of each CPU
        self._owners: dict[int, dict[int, int]] = {}  # of each space, by group
        self._nr_owners = 0

    def of(self, task: int, cpu: int) -> int:
        """The owner of what ``task`` accesses on ``cpu`` from here on."""
        space = self._space(task)
        group = self._cpus.setdefault(cpu, len(self._cpus)) if self._per_cpu else 0
        owner = self._owner(group, space)
        if not self._asid and self._loaded.get(group, space) != space:
            for family, _ in self._families:
                family.clear(owner)
        self._loaded[group] = space
        return owner

    def apply(self, event: ev.Event) -> None:
        """What an event does to pages."""
        space = self._space(event.task)
        if isinstance(event, ev.Mmap | ev.Munmap):
            self._drop(space, event.addr, event.length)
        elif isinstance(event, ev.Mprotect):
            if self._per_cpu:  # an entry has rights, a frame has none
                self._drop(space, event.addr, event.length)
        elif isinstance(event, ev.Mremap):
            self._mremap(space, event)
        elif isinstance(event, ev.Madvise):
            if event.advice in _FREEING:
                self._drop(space, event.addr, event.length)
        elif isinstance(event, ev.Brk):
            before = self._brk.get(space, event.start)
            self._brk[space] = event.addr
            end = (event.addr + self._page - 1) & -self._page
            self._drop(space, end, before - end)
        elif isinstance(event, ev.Fork):
            self._leave(event.child)
            if event.shares_mm:
                self._join(event.child, space)
            else:
                child = self._space(event.child, own=True)
                if space in self._brk:
                    self._brk[child] = self._brk[space]
        elif isinstance(event, ev.Exec):
            self._leave(event.task)
            self._space(event.task, own=True)
        elif isinstance(event, ev.Exit):
            self._leave(event.task)

    def _space(self, task: int, *, own: bool = False) -> int:
        space = self._spaces.get(task)
        if space is None:
            if self._one_space and not own:
                space = 0
                self._nr_spaces = max(1, self._nr_spaces)
            else:
                space = self._nr_spaces
                self._nr_spaces += 1
            self._join(task, space)
        return space

    def _join(self, task: int, space: int) -> None:
        self._spaces[task] = space
        self._users[space] = self._users.get(space, 0) + 1

    def _leave(self, task: int) -> None:
        """A task has its address space no longer; the pages go with the last one."""
        space = self._spaces.pop(task, None)
        if space is None:
            return
        self._users[space] -= 1
        if self._users[space] == 0:
            self._each(space, lambda family, size, owner: family.drop(owner, -_ALL, _ALL))
            self._owners.pop(space, None)

    def _owner(self, group: int, space: int) -> int:
        owners = self._owners.setdefault(space, {})
        owner = owners.get(group)
        if owner is None:
            owner = owners[group] = self._nr_owners
            self._nr_owners += 1
            for family, _ in self._families:
                family.own(owner, group)
        return owner

    def _each(self, space: int, change: Callable[[Family, int, int], None]) -> None:
        """Calls ``change(family, page size, owner)`` for every owner that is this address space."""
        for owner in self._owners.get(space, {}).values():
            for family, size in self._families:
                change(family, size, owner)

    def _drop(self, space: int, addr: int, length: int) -> None:
        """Nothing is mapped in a range: TLB entries that reach into it go, and frames that lie in it as a whole."""
        if length <= 0:
            return

        def change(family: Family, size: int, owner: int) -> None:
            family.drop(owner, *self._pages(addr, length, size))

        self._each(space, change)

    def _pages(self, addr: int, length: int, size: int) -> tuple[int, int]:
        """The first and the last page of a range that go with it."""
        if self._per_cpu:
            return addr // size, (addr + length - 1) // size
        return -(-addr // size), (addr + length) // size - 1

    def _mremap(self, space: int, event: ev.Mremap) -> None:
        """TLB entries go; frames go with their pages to the new place, where they can."""
        if event.new_addr == event.addr:
            self._drop(space, event.addr + event.new_length, event.length - event.new_length)
            return
        if self._per_cpu:
            self._drop(space, event.addr, event.length)
            return
        self._drop(space, event.new_addr, event.new_length)
        kept = min(event.length, event.new_length)
        distance = event.new_addr - event.addr

        def change(family: Family, size: int, owner: int) -> None:
            if distance % size == 0:
                family.move(owner, *self._pages(event.addr, kept, size), distance // size)

        self._each(space, change)
        self._drop(space, event.addr, event.length)
