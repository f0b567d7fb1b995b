"""One swap area: which of its slots are used, how often, and what they hold.

Slots are given out within a cluster until that is full, then from a cluster that is free, then from one that has holes.

Mirrors: mm/swapfile.c (cluster_alloc_swap_entry), include/linux/swap.h (struct swap_info_struct) (6.18)
Differs: one cluster is current for all CPUs; orders above 0 are not given out; counts above 254 lie in a dictionary
    rather than on continuation pages.
"""

from math import ceil
from typing import Final, final

from mypy_extensions import i64

from pagewalk.mm.page import Page
from pagewalk.mm.swap_contents import SwapContents

SWAPFILE_CLUSTER_SHIFT: Final = 9
SWAPFILE_CLUSTER: Final = 1 << SWAPFILE_CLUSTER_SHIFT
_MANY: Final = 255


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
    map          uses of each slot by page tables and shared memory; 255: see ``more``
    ratio        of a device in RAM (zram): how many pages fit into a frame, compressed; 0 of a disk
    stored       pages that it holds, those of zeros not counted; ``stored_at``: their slots; ``frames``: what they take
                 of RAM
    contents     what the slots hold
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
        self.map = bytearray(nr_slots)
        self.more: dict[int, int] = {}
        self.ratio = 0.0
        self.stored: i64 = 0
        self.stored_at: set[int] = set()
        self.frames: list[Page] = []
        self.used = bytearray(nr_slots)
        self.used[0] = 1
        self.contents = SwapContents(nr_slots, page_shift)
        nr_clusters = (nr_slots + SWAPFILE_CLUSTER - 1) // SWAPFILE_CLUSTER
        self.cluster_count: list[int] = [0] * nr_clusters
        self.cluster_count[0] = 1  # the header
        self.free_clusters: dict[int, None] = dict.fromkeys(range(1, nr_clusters))
        self.nonfull_clusters: dict[int, None] = {0: None}
        self.current: i64 = -1
        self.next: i64 = 0

    def __repr__(self) -> str:
        return f"<SwapArea {self.name}: {self.inuse_pages} of {self.pages} pages used>"

    def cluster_end(self, cluster: i64) -> i64:
        """The slot behind a cluster's last one."""
        end: i64 = (cluster + 1) * SWAPFILE_CLUSTER
        last: i64 = self.max
        return end if end < last else last

    def alloc_slot(self) -> i64:
        """A free slot, used from now on; -1 where there is none."""
        if self.swapoff:
            return -1
        while True:
            if self.current >= 0:
                found = self.scan_cluster(self.current)
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
            self.next = self.current * SWAPFILE_CLUSTER

    def scan_cluster(self, cluster: i64) -> i64:
        """The next free slot of the current cluster, or -1."""
        end = self.cluster_end(cluster)
        found: i64 = self.next
        if found >= end:
            return -1
        if self.used[found]:  # in a cluster that was free the next slot is, too
            found = self.used.find(0, found, end)
            if found < 0:
                return -1
        self.next = found + 1
        self.used[found] = 1
        self.inuse_pages += 1
        self.cluster_count[cluster] += 1
        return found

    def leave_cluster(self) -> None:
        """Nothing is free behind the place where the current cluster stands; what is free before it is found later."""
        cluster = self.current
        self.current = -1
        if self.cluster_count[cluster] < self.cluster_end(cluster) - cluster * SWAPFILE_CLUSTER:
            self.nonfull_clusters[int(cluster)] = None

    def free_slot(self, offset: i64) -> None:
        """Nobody uses the slot any more."""
        self.used[offset] = 0
        self.inuse_pages -= 1
        if self.ratio and offset in self.stored_at:
            self.stored_at.discard(offset)
            self.stored -= 1
        self.contents.free(offset)
        cluster: i64 = offset >> SWAPFILE_CLUSTER_SHIFT
        count: i64 = self.cluster_count[cluster]
        self.cluster_count[cluster] = count - 1
        if cluster == self.current:
            return
        if count == 1:
            self.nonfull_clusters.pop(int(cluster), None)
            self.free_clusters[int(cluster)] = None
        elif count == self.cluster_end(cluster) - cluster * SWAPFILE_CLUSTER:  # it was full, and so in neither
            self.nonfull_clusters[int(cluster)] = None

    def frames_needed(self) -> int:
        """Frames that the compressed pages take."""
        return ceil(int(self.stored) / self.ratio)

    def count(self, offset: i64) -> i64:
        """Uses of a slot, the swap cache not counted."""
        count: i64 = self.map[offset]
        return self.more[offset] if count == _MANY else count

    def add_use(self, offset: i64) -> None:
        """One use more."""
        count: i64 = self.map[offset]
        if count < _MANY - 1:
            self.map[offset] = count + 1
        else:
            self.more[offset] = self.more.get(offset, _MANY - 1) + 1
            self.map[offset] = _MANY

    def drop_use(self, offset: i64) -> i64:
        """One use less; how many are left."""
        count: i64 = self.map[offset]
        assert count > 0, f"slot {offset} of {self.name} is not in use"
        if count < _MANY:
            self.map[offset] = count - 1
            return count - 1
        left = self.more[offset] - 1
        if left < _MANY:
            del self.more[offset]
            self.map[offset] = left
        else:
            self.more[offset] = left
        return left

    def close(self) -> None:
        """Gives the contents' memory back to the host."""
        self.contents.close()
