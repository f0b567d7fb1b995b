"""Caches of the kernel's own objects: what tasks, address spaces and mappings cost beside their page tables.

A slab is a block of 2**order frames that holds objects of one size. Its order is chosen so that it holds enough of them
and wastes little (``calculate_order``). Frames are taken from the page allocator as objects come and given back as they
go; which slab an object lies in is not modelled, so slabs are as full as they can be.

Sources: proc_slabinfo(5), slabinfo(5); object sizes as /proc/slabinfo of a 6.18 kernel has them (x86-64).

Mirrors: mm/slub.c (calculate_order, new_slab, discard_slab), mm/slab_common.c (slabinfo) (6.18)
Differs: no per-CPU slabs; dentries and inodes are counted while somebody uses them, and those of ext4 stand for the
    host's files; what drivers allocate is not counted; sizes are those of x86-64 on every architecture; where no frame
    is free without waiting, objects are counted without one.
"""

from typing import Final, final

from mypy_extensions import i64

from pagewalk.mm.gfp import GFP_NOWARN, GFP_RECLAIMABLE
from pagewalk.mm.page import Page, PG_slab
from pagewalk.mm.page_alloc import Node

SLUB_MAX_ORDER: Final = 3
_MAX_OBJS_PER_SLAB: Final = 32767
_MIN_PARTIAL: Final = 5
_MAX_PARTIAL: Final = 10

# name: bytes of an object, in the order of /proc/slabinfo.
OBJECT_SIZES: Final = (
    ("ext4_inode_cache", 1128), ("sock_inode_cache", 832), ("proc_inode_cache", 696), ("shmem_inode_cache", 752),
    ("filp", 192), ("inode_cache", 624), ("dentry", 192), ("vm_area_struct", 192), ("files_cache", 704),
    ("signal_cache", 1152), ("sighand_cache", 2112), ("task_struct", 5888), ("anon_vma_chain", 64), ("anon_vma", 104),
    ("pid", 192), ("mm_struct", 1600),
)  # fmt: skip

# Caches whose objects the kernel can let go of (SLAB_RECLAIM_ACCOUNT).
RECLAIMABLE: Final = (
    "ext4_inode_cache", "sock_inode_cache", "proc_inode_cache", "shmem_inode_cache", "inode_cache", "dentry",
)  # fmt: skip


def get_order(size: int, page_size: int) -> int:
    """The order of the smallest block that holds ``size`` bytes."""
    return max((size - 1) // page_size, 0).bit_length()


def calculate_order(size: int, cpus: int, page_size: int = 4096) -> int:
    """The order of a slab of objects of ``size`` bytes.

    It is to hold 4 * (log2 of the CPUs + 2) objects, as far as 8 pages can, and to waste at most a sixteenth; where no
    order up to 3 does, an eighth, a quarter, half; larger objects have a slab of their own.
    """
    most = max((page_size << SLUB_MAX_ORDER) // size, 1)
    wanted = min(4 * (cpus.bit_length() + 1), most)
    least = get_order(wanted * size, page_size)
    if (page_size << least) // size > _MAX_OBJS_PER_SLAB:
        return get_order(size * _MAX_OBJS_PER_SLAB, page_size) - 1
    fraction = 16
    while fraction > 1:
        order = least
        while order <= SLUB_MAX_ORDER:
            slab = page_size << order
            if slab % size <= slab // fraction:
                return order
            order += 1
        fraction //= 2
    return get_order(size, page_size)


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

    def __init__(self, name: str, size: int, node: Node, cpus: int) -> None:
        page_size = int(node.ram.page_size)
        self.name = name
        self.size = size
        self.reclaimable = name in RECLAIMABLE
        self.node = node
        self.order = calculate_order(size, cpus, page_size)
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
    """The caches of a machine."""

    def __init__(self, node: Node, cpus: int) -> None:
        sizes = dict(OBJECT_SIZES)
        self.ext4_inode_cache = KmemCache("ext4_inode_cache", sizes["ext4_inode_cache"], node, cpus)
        self.sock_inode_cache = KmemCache("sock_inode_cache", sizes["sock_inode_cache"], node, cpus)
        self.proc_inode_cache = KmemCache("proc_inode_cache", sizes["proc_inode_cache"], node, cpus)
        self.shmem_inode_cache = KmemCache("shmem_inode_cache", sizes["shmem_inode_cache"], node, cpus)
        self.filp = KmemCache("filp", sizes["filp"], node, cpus)
        self.inode_cache = KmemCache("inode_cache", sizes["inode_cache"], node, cpus)
        self.dentry = KmemCache("dentry", sizes["dentry"], node, cpus)
        self.vm_area_struct = KmemCache("vm_area_struct", sizes["vm_area_struct"], node, cpus)
        self.files_cache = KmemCache("files_cache", sizes["files_cache"], node, cpus)
        self.signal_cache = KmemCache("signal_cache", sizes["signal_cache"], node, cpus)
        self.sighand_cache = KmemCache("sighand_cache", sizes["sighand_cache"], node, cpus)
        self.task_struct = KmemCache("task_struct", sizes["task_struct"], node, cpus)
        self.anon_vma_chain = KmemCache("anon_vma_chain", sizes["anon_vma_chain"], node, cpus)
        self.anon_vma = KmemCache("anon_vma", sizes["anon_vma"], node, cpus)
        self.pid = KmemCache("pid", sizes["pid"], node, cpus)
        self.mm_struct = KmemCache("mm_struct", sizes["mm_struct"], node, cpus)

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
