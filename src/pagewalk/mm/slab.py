"""Caches of the kernel's own objects: what tasks, address spaces and mappings cost beside their page tables.

A slab is a block of 2**order frames that holds objects of one size. Its order is chosen so that it holds enough of them
and wastes little (``calculate_order``). Frames are taken from the page allocator as objects come and given back as they
go; which slab an object lies in is not modelled, so slabs are as full as they can be.

Sources: proc_slabinfo(5), slabinfo(5); Documentation/mm/slab.rst (slab_min_order and the like).

Mirrors: mm/slub.c (calculate_order, new_slab, discard_slab), mm/slab_common.c (slabinfo) (6.18, 6.1)
Differs: no per-CPU slabs; dentries and inodes are counted while somebody uses them, and those of ext4 stand for the
    host's files; what drivers allocate is not counted; where no frame is free without waiting, objects are counted
    without one.
"""

from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64

from pagewalk.mm.gfp import GFP_NOWARN, GFP_RECLAIMABLE
from pagewalk.mm.page import Page, PG_slab
from pagewalk.mm.page_alloc import Node
from pagewalk.mm.slab_sizes import RECLAIMABLE, object_sizes

if TYPE_CHECKING:
    from pagewalk.config import Config

SLUB_MAX_ORDER: Final = 3
_MAX_OBJS_PER_SLAB: Final = 32767
_MIN_PARTIAL: Final = 5
_MAX_PARTIAL: Final = 10


def get_order(size: int, page_size: int) -> int:
    """The order of the smallest block that holds ``size`` bytes."""
    return max((size - 1) // page_size, 0).bit_length()


@final
class SlabRule:
    """What decides the order of a slab.

    wanted       objects that it is to hold: slab_min_objects, 0: 4 * (log2 of the CPUs + 2)
    min_order, max_order  the boot parameters slab_min_order and slab_max_order
    release      before 6.7 fewer objects were preferred to a slab that wastes more than a quarter
    """

    def __init__(self, cpus: int, release: str = "6.18", page_size: int = 4096) -> None:
        self.wanted = 4 * (cpus.bit_length() + 1)
        self.min_order = 0
        self.max_order = SLUB_MAX_ORDER
        self.release = release
        self.page_size = page_size

    def configure(self, config: "Config") -> "SlabRule":
        """Takes what boot parameters say."""
        self.wanted = config.slab_min_objects or self.wanted
        self.min_order = config.slab_min_order
        self.max_order = max(config.slab_max_order, config.slab_min_order)
        return self

    def order_within(self, size: int, least: int, fraction: int) -> int:
        """The first order from ``least`` on that wastes at most that fraction of the slab; above max_order: none."""
        order = least
        while order <= self.max_order:
            slab = self.page_size << order
            if slab % size <= slab // fraction:
                return order
            order += 1
        return order

    def least_order(self, size: int, objects: int) -> int:
        """The order of a slab that holds so many objects."""
        return max(self.min_order, get_order(objects * size, self.page_size))

    def calculate_order(self, size: int) -> int:
        """The order of a slab of objects of ``size`` bytes.

        It is to hold the wanted objects, as far as max_order lets it, and to waste at most a sixteenth; where no order
        does, an eighth, a quarter, half; larger objects have a slab of their own.
        """
        most = (self.page_size << self.max_order) // size
        objects = min(self.wanted, max(most, 1))
        least = self.min_order if self.release == "6.1" else self.least_order(size, objects)
        if (self.page_size << least) // size > _MAX_OBJS_PER_SLAB:
            return get_order(size * _MAX_OBJS_PER_SLAB, self.page_size) - 1
        if self.release == "6.1":
            return self.order_before_6_7(size, objects if most else 0)
        for fraction in (16, 8, 4, 2):
            order = self.order_within(size, least, fraction)
            if order <= self.max_order:
                return order
        return get_order(size, self.page_size)

    def order_before_6_7(self, size: int, objects: int) -> int:
        """As ``calculate_order``, with fewer objects where a slab would waste more than a quarter."""
        while objects > 1:
            for fraction in (16, 8, 4):
                order = self.order_within(size, self.least_order(size, objects), fraction)
                if order <= self.max_order:
                    return order
            objects -= 1
        return self.least_order(size, 1)


def calculate_order(size: int, cpus: int, page_size: int = 4096) -> int:
    """The order of a slab as 6.18 chooses it by itself."""
    return SlabRule(cpus, page_size=page_size).calculate_order(size)


@final
class KmemCache:
    """struct kmem_cache.

    size, order, objects  bytes of an object; of a slab: log2 of its frames, how many objects it holds
    active                objects in use
    total                 objects that the slabs can hold
    slabs                 first pages of the slabs
    reclaimable           the kernel can let go of its objects: frames of MIGRATE_RECLAIMABLE, SReclaimable
    spare                 objects that may be free before a slab goes (min_partial slabs)
    """

    def __init__(self, name: str, size: int, node: Node, rule: SlabRule) -> None:
        page_size = int(node.ram.page_size)
        self.name = name
        self.size = size
        self.reclaimable = name in RECLAIMABLE
        self.node = node
        self.order = rule.calculate_order(size)
        self.objects: i64 = (page_size << self.order) // size
        self.active: i64 = 0
        self.total: i64 = 0
        self.slabs: list[Page] = []
        self.spare: i64 = self.objects * min(_MAX_PARTIAL, max(_MIN_PARTIAL, (size.bit_length() - 1) // 2))

    def __repr__(self) -> str:
        return f"<KmemCache {self.name}: {self.active} of {self.total} objects, {len(self.slabs)} slabs>"

    def alloc(self, memcg: i64 = 0) -> None:
        """An object comes to be, charged to a memory cgroup (SLAB_ACCOUNT; 0: the root)."""
        self.active += 1
        if memcg:
            self.node.memcg.charge_object(memcg, self.size)
        if self.active > self.total:
            self.grow()

    def free(self, memcg: i64 = 0) -> None:
        """An object goes that was charged to this memory cgroup."""
        self.active -= 1
        if memcg:
            self.node.memcg.uncharge_object(memcg, self.size)
        if self.total - self.active > self.spare:
            self.discard_slab()

    def grow(self) -> None:
        """new_slab: never waits, and never asks reclaim, in whose midst an object may come to be."""
        page = self.node.alloc_pages(GFP_NOWARN | GFP_RECLAIMABLE if self.reclaimable else GFP_NOWARN, self.order)
        if page is None:
            return
        page.flags |= PG_slab
        self.slabs.append(page)
        self.total += self.objects

    def discard_slab(self) -> None:
        """A slab that nobody needs goes back."""
        if not self.slabs:
            return
        page = self.slabs.pop()
        self.total -= self.objects
        page.flags &= ~PG_slab
        self.node.put_page(page)

    def nr_pages(self) -> int:
        """Frames of all its slabs."""
        return len(self.slabs) << self.order

    def line(self) -> str:
        """Its line of /proc/slabinfo."""
        total, slabs = max(int(self.total), int(self.active)), len(self.slabs)
        return (
            f"{self.name:<17} {self.active:6d} {total:6d} {self.size:6d} {self.objects:4d} {1 << self.order:4d}"
            f" : tunables {0:4d} {0:4d} {0:4d} : slabdata {slabs:6d} {slabs:6d} {0:6d}\n"
        )


@final
class SlabCaches:
    """The caches of a machine; ``page_size``: its pages, in bytes."""

    def __init__(self, node: Node, config: "Config") -> None:
        self.page_size = int(node.ram.page_size)
        sizes = object_sizes(config.arch, config.linux)
        rule = SlabRule(config.cpus, config.linux, self.page_size).configure(config)
        self.ext4_inode_cache = KmemCache("ext4_inode_cache", sizes["ext4_inode_cache"], node, rule)
        self.sock_inode_cache = KmemCache("sock_inode_cache", sizes["sock_inode_cache"], node, rule)
        self.proc_inode_cache = KmemCache("proc_inode_cache", sizes["proc_inode_cache"], node, rule)
        self.shmem_inode_cache = KmemCache("shmem_inode_cache", sizes["shmem_inode_cache"], node, rule)
        self.filp = KmemCache("filp", sizes["filp"], node, rule)
        self.inode_cache = KmemCache("inode_cache", sizes["inode_cache"], node, rule)
        self.dentry = KmemCache("dentry", sizes["dentry"], node, rule)
        self.vm_area_struct = KmemCache("vm_area_struct", sizes["vm_area_struct"], node, rule)
        self.files_cache = KmemCache("files_cache", sizes["files_cache"], node, rule)
        self.signal_cache = KmemCache("signal_cache", sizes["signal_cache"], node, rule)
        self.sighand_cache = KmemCache("sighand_cache", sizes["sighand_cache"], node, rule)
        self.task_struct = KmemCache("task_struct", sizes["task_struct"], node, rule)
        self.anon_vma_chain = KmemCache("anon_vma_chain", sizes["anon_vma_chain"], node, rule)
        self.anon_vma = KmemCache("anon_vma", sizes["anon_vma"], node, rule)
        self.pid = KmemCache("pid", sizes["pid"], node, rule)
        self.mm_struct = KmemCache("mm_struct", sizes["mm_struct"], node, rule)

    def all(self) -> list[KmemCache]:
        """Every cache, in the order of /proc/slabinfo."""
        return [
            self.ext4_inode_cache, self.sock_inode_cache, self.proc_inode_cache, self.shmem_inode_cache, self.filp,
            self.inode_cache, self.dentry, self.vm_area_struct, self.files_cache, self.signal_cache,
            self.sighand_cache, self.task_struct, self.anon_vma_chain, self.anon_vma, self.pid, self.mm_struct,
        ]  # fmt: skip

    def nr_pages(self) -> int:
        """Frames of all slabs."""
        return sum([cache.nr_pages() for cache in self.all()])

    def nr_reclaimable(self) -> int:
        """Frames of slabs whose objects the kernel can let go of (SReclaimable)."""
        return sum([cache.nr_pages() for cache in self.all() if cache.reclaimable])

    def inodes_of(self, fstype: str) -> "KmemCache | None":
        """Where a file system's inodes come from; None where all its files share one."""
        if fstype == "anon_inodefs":
            return None
        by_type = {
            "ext4": self.ext4_inode_cache, "sockfs": self.sock_inode_cache, "proc": self.proc_inode_cache,
            "tmpfs": self.shmem_inode_cache, "devtmpfs": self.shmem_inode_cache,
        }  # fmt: skip
        return by_type.get(fstype, self.inode_cache)

    def counts(self) -> dict[str, int]:
        """Objects in use by cache: what must come back when programs have ended."""
        return {cache.name: int(cache.active) for cache in self.all()}

    def slabinfo(self) -> str:
        """/proc/slabinfo."""
        return (
            "slabinfo - version: 2.1\n"
            "# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit> "
            "<batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>\n"
        ) + "".join([cache.line() for cache in self.all()])
