"""One swap area: which of its slots are used, and where a page that comes gets one.

Slots are given out within a cluster until that is full, then from a cluster that is free, then from one that has holes.

Mirrors: mm/swapfile.c (cluster_alloc_swap_entry), include/linux/swap.h (struct swap_info_struct) (6.18)
Differs: one cluster is current for all CPUs; orders above 0 are not given out.
"""

from math import ceil
from typing import final

from mypy_extensions import i64

from pagewalk.mm.page import Page
from pagewalk.mm.swap_contents import SwapContents
from pagewalk.mm.swap_slot import SLOT_MASK, SWAPFILE_CLUSTER, SWAPFILE_CLUSTER_SHIFT, SwapCluster, SwapSlot


@final
class SwapArea:
    """struct swap_info_struct.

    kind         its number: the type of its swap entries
    name         path, as /proc/swaps shows it
    partition    a block device rather than a file
    prio         of two areas the one with the higher priority is filled first
    rotational   read-ahead goes by the area's own order rather than by addresses
    synchronous  reading it is a copy, no I/O (zram): no read-ahead, and pages need not enter the swap cache
    max          slots, the header's (slot 0) included
    pages        usable slots
    inuse_pages  used slots
    ratio        of a device in RAM (zram): how many pages fit into a frame, compressed; 0 of a disk
    stored       pages that it holds, those of zeros not counted; ``stored_at``: their slots; ``frames``: what they take
                 of RAM
    contents     what the slots hold
    clusters     made when they are first used
    free_clusters, nonfull_clusters  those without a used slot, and those with some; a full one is in neither, and the
                 current one either
    current      the cluster that slots are given out from, and its number; -1 for none
    next         where in it the search goes on
    reclaim_at   the next cluster whose cached pages are asked for their slots
    swapoff      no slot is given out any more
    """

    def __init__(self, kind: int, name: str, nr_slots: int, prio: int, page_shift: int) -> None:
        self.kind = kind
        self.name = name
        self.partition = True
        self.prio = prio
        self.rotational = False
        self.synchronous = False
        self.max = nr_slots
        self.pages = nr_slots - 1
        self.inuse_pages: i64 = 0
        self.swapoff = False
        self.ratio = 0.0
        self.stored: i64 = 0
        self.stored_at: set[int] = set()
        self.frames: list[Page] = []
        self.contents = SwapContents(nr_slots, page_shift)
        nr_clusters = (nr_slots + SWAPFILE_CLUSTER - 1) // SWAPFILE_CLUSTER
        self.clusters: list[SwapCluster | None] = [None] * nr_clusters
        self.free_clusters: dict[int, None] = dict.fromkeys(range(1, nr_clusters))
        self.nonfull_clusters: dict[int, None] = {0: None}
        self.cluster = self.make_cluster(0)
        self.cluster.slots[0].used = True  # the header
        self.cluster.count = 1
        self.current: i64 = -1
        self.next: i64 = 0
        self.reclaim_at = 0

    def __repr__(self) -> str:
        return f"<SwapArea {self.name}: {self.inuse_pages} of {self.pages} pages used>"

    def make_cluster(self, number: i64) -> SwapCluster:
        """A cluster, with its slots where it was never used."""
        cluster = self.clusters[number]
        if cluster is None:
            left: i64 = self.max - number * SWAPFILE_CLUSTER
            cluster = SwapCluster(left if left < SWAPFILE_CLUSTER else SWAPFILE_CLUSTER)
            self.clusters[number] = cluster
        return cluster

    def slot(self, offset: i64) -> SwapSlot:
        """A slot that is, or was, in use."""
        cluster = self.clusters[offset >> SWAPFILE_CLUSTER_SHIFT]
        assert cluster is not None, f"slot {offset} of {self.name} was never used"
        return cluster.slots[offset & SLOT_MASK]

    def cached_pages(self) -> list[Page]:
        """The pages that the swap cache has for the slots, by slot."""
        return [page for cluster in self.clusters if cluster is not None for page in cluster.cached_pages()]

    def used_slots(self) -> list[int]:
        """The numbers of the used slots, the header's not among them; for reports and checks."""
        found: list[int] = []
        for number, cluster in enumerate(self.clusters):
            if cluster is not None and cluster.count:
                found += [number * SWAPFILE_CLUSTER + at for at, slot in enumerate(cluster.slots) if slot.used]
        return found[1:]  # the header's is the first one

    def alloc_slot(self) -> i64:
        """A free slot, used from now on; -1 where there is none."""
        if self.swapoff:
            return -1
        while True:
            if self.current >= 0:
                found = self.scan_cluster()
                if found >= 0:
                    return found
                self.leave_cluster()
            if self.free_clusters:
                self.current = next(iter(self.free_clusters))
                del self.free_clusters[int(self.current)]
            elif self.nonfull_clusters:
                self.current = next(iter(self.nonfull_clusters))
                del self.nonfull_clusters[int(self.current)]
            else:
                return -1
            self.cluster = self.make_cluster(self.current)
            self.next = 0

    def scan_cluster(self) -> i64:
        """The next free slot of the current cluster, or -1."""
        cluster = self.cluster
        found: i64 = cluster.next_free(self.next)
        if found == cluster.nr:
            return -1
        self.next = found + 1
        cluster.slots[found].used = True
        cluster.count += 1
        self.inuse_pages += 1
        return (self.current << SWAPFILE_CLUSTER_SHIFT) + found

    def leave_cluster(self) -> None:
        """Nothing is free behind the place where the current cluster stands; what is free before it is found later."""
        if self.cluster.count < self.cluster.nr:
            self.nonfull_clusters[int(self.current)] = None
        self.current = -1

    def free_slot(self, offset: i64) -> None:
        """Nobody uses the slot any more."""
        number: i64 = offset >> SWAPFILE_CLUSTER_SHIFT
        cluster = self.clusters[number]
        assert cluster is not None
        slot = cluster.slots[offset & SLOT_MASK]
        slot.used = False
        self.inuse_pages -= 1
        if self.ratio and offset in self.stored_at:
            self.stored_at.discard(offset)
            self.stored -= 1
        self.contents.free(slot)
        count = cluster.count
        cluster.count = count - 1
        if number == self.current:
            return
        if count == 1:
            self.nonfull_clusters.pop(int(number), None)
            self.free_clusters[int(number)] = None
        elif count == cluster.nr:  # it was full, and so in neither
            self.nonfull_clusters[int(number)] = None

    def frames_needed(self) -> int:
        """Frames that the compressed pages take."""
        return ceil(int(self.stored) / self.ratio)

    def close(self) -> None:
        """Gives the contents' memory back to the host."""
        self.contents.close()
