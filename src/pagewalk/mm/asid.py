"""Address-space ids as arm64 gives them out: one for an address space on all CPUs, until they are used up.

An id is good for a generation. When none is free, a new generation begins: every CPU drops all its entries before it
runs anything else, the address spaces that are running keep their ids (a thread of theirs may be in user mode on
another CPU), and the others get new ones when they run next.

Sources: Arm Architecture Reference Manual, D8.16 (TLB maintenance, ASIDs); the kernel's own comments on its ASID
algorithm.

Mirrors: arch/arm64/mm/context.c (check_and_switch_context, new_context, flush_context) (6.18)
Differs: no pinned ids; no second id for kernel page-table isolation.
"""

from typing import final


@final
class AsidAllocator:
    """The ids of a machine.

    bits         of an id; 0 is nobody's; where more CPUs run something than that allows, an id more for each
    nr_cpus      that there are at least; others are added as they first run something
    generation   counts roll-overs, from 1 on
    ids          by address space (``MmStruct.ident``): (generation, id)
    active       what each CPU runs, as the ``ident`` of an address space; 0 for none
    reserved     what each CPU ran when the generation began
    pending      CPUs that must drop all entries before they run anything
    """

    def __init__(self, bits: int, nr_cpus: int) -> None:
        self.count = max(1 << bits, nr_cpus + 2)  # nobody's, those that run, and one more
        self.generation = 1
        self.ids: dict[int, tuple[int, int]] = {}
        self.used: set[int] = set()
        self.next_id = 1
        self.active: list[int] = [0] * nr_cpus
        self.reserved: list[int] = [0] * nr_cpus
        self.pending: set[int] = set()
        self.rollovers = 0

    def check_and_switch(self, cpu: int, ident: int) -> tuple[int, bool]:
        """Address space ``ident`` is to run on ``cpu``: its id, and whether that CPU drops all its entries first."""
        while cpu >= len(self.active):
            self.active.append(0)
            self.reserved.append(0)
            self.count = max(self.count, len(self.active) + 2)
        known = self.ids.get(ident)
        if known is None or known[0] != self.generation:
            asid = self.new_context(ident, known)
            known = (self.generation, asid)
            self.ids[ident] = known
        flush = cpu in self.pending
        self.pending.discard(cpu)
        self.active[cpu] = ident
        return known[1], flush

    def new_context(self, ident: int, known: tuple[int, int] | None) -> int:
        """An id of the present generation: the old one where that is reserved or still free, else the next free one."""
        if known is not None:
            if ident in self.reserved:
                return known[1]
            if known[1] not in self.used:
                self.used.add(known[1])
                return known[1]
        found = self.find_free()
        if found == 0:
            self.flush_context()
            if known is not None and ident in self.reserved:
                return known[1]
            found = self.find_free()
        self.used.add(found)
        self.next_id = found + 1
        return found

    def find_free(self) -> int:
        """The first free id from the one that was given out last; 0 where all are used from there on."""
        candidate = self.next_id
        while candidate < self.count:
            if candidate not in self.used:
                return candidate
            candidate += 1
        return 0

    def flush_context(self) -> None:
        """A new generation: only what runs keeps its id."""
        self.generation += 1
        self.rollovers += 1
        self.next_id = 1
        self.used = set()
        for cpu, ident in enumerate(self.active):
            if ident:  # a CPU that has run nothing since the last roll-over keeps what was reserved then
                self.reserved[cpu] = ident
            if self.reserved[cpu] in self.ids:
                self.used.add(self.ids[self.reserved[cpu]][1])
            self.active[cpu] = 0
            self.pending.add(cpu)
