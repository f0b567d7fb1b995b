"""What is global in Linux's mm/: RAM, the node with its zones, sysctls, counters, and who is running.

Mirrors: mm/mm_init.c, mm/util.c (6.18)
Differs: an object rather than globals, so that one program can have many machines.
"""

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64

from pagewalk.arch import select
from pagewalk.arch.zone_limits import max_page_order, pageblock_order
from pagewalk.config import Config
from pagewalk.errors import ConfigError
from pagewalk.mm.current import Current
from pagewalk.mm.file import AddressSpace
from pagewalk.mm.gfp import GFP_PGTABLE
from pagewalk.mm.init_mm import InitMm, has_kernel_map
from pagewalk.mm.kernel_stack import KernelStacks
from pagewalk.mm.lru import ClassicLru
from pagewalk.mm.lruvec import ReclaimPolicy
from pagewalk.mm.memblock import regions_of
from pagewalk.mm.memcontrol import MemCgroupTree
from pagewalk.mm.mglru import Mglru
from pagewalk.mm.mm_init import all_ranges, build_zones
from pagewalk.mm.numa import build_nodes, distance_matrix
from pagewalk.mm.page import MemMap, Page, PG_reserved
from pagewalk.mm.page_alloc import Node
from pagewalk.mm.psi import Psi
from pagewalk.mm.ram import Ram
from pagewalk.mm.slab import SlabCaches
from pagewalk.mm.swapfile import Swap
from pagewalk.mm.tlb_flush import TlbFlusher
from pagewalk.mm.vmstat import VmStat
from pagewalk.mm.watermarks import init_per_zone_wmark_min
from pagewalk.mm.zswap import Zswap
from pagewalk.mm.zswap_6_1 import Zswap61

if TYPE_CHECKING:
    from pagewalk.mm.mm_types import MmStruct

_SIZE_MAX: Final = 0xFFFF_FFFF_FFFF_FFFF


def make_policy(config: Config, mem_map: MemMap, node: Node) -> ReclaimPolicy:
    """The reclaim policy that is configured, for the lists of one node. Raises ConfigError."""
    if config.reclaim_policy == "lru":
        policy: ReclaimPolicy = ClassicLru(mem_map)
    elif config.reclaim_policy == "mglru":
        policy = Mglru(mem_map)
    else:
        made: object = config.reclaim_policy(mem_map)
        if not isinstance(made, ReclaimPolicy):
            raise ConfigError(f"reclaim_policy: expected a subclass of ReclaimPolicy, got {config.reclaim_policy!r}")
        policy = made
    policy.io_cost_only = config.linux == "6.1"
    starts = [zone.zone_start_pfn for zone in node.zonelist_here] + [0, 0]
    policy.set_bounds(starts[0], starts[1])
    return policy


@final
class System:
    """One machine's memory.

    regions             where RAM is, and on which node
    ram, mem_map        RAM, its struct pages
    zones               every zone of every node, by node and index
    nodes, distances    the nodes, and how far they are from each other; ``node`` is that of the CPU that runs
    min_free_kbytes     vm.min_free_kbytes; user_min_free_kbytes: what somebody wrote there, -1 where nobody has
    format, layout      the page-table format and the address-space layout of the architecture
    page_shift, page_size, page_mask  the format's: PAGE_SHIFT, PAGE_SIZE, PAGE_MASK
    swap                swap areas and the swap cache
    zswap               the cache of compressed pages in front of swap
    swap_latency_ns     what a task waits for a page from swap
    page_cluster        vm.page-cluster (``config_changed``)
    psi                 time lost for want of memory
    mmlist              address spaces that may have swap entries, by ident
    shmem_swaplist      objects of shared memory that may have pages in swap, by id
    dirty_spaces        files that may have dirty pages, by id
    current             the running task
    vmstat              counters
    zero_pfn            the frame that every untouched anonymous page reads
    totalram_pages      managed frames of all zones
    slab, stacks        caches of the kernel's own objects; its stacks
    has_policies        somebody has set a NUMA policy
    node_weights        turns of each node in weighted interleaving
    vm_committed_as     pages promised to processes (Committed_AS)
    memcg               the memory cgroups
    random              the machine's only source of randomness
    on_uaccess          called with the address space, the address and READ or WRITE when the kernel itself takes a
                        fault in user memory, or marks a page Accessed or Dirty
    on_flush            called with the address space, the first address and the end of each flush
    tlb_flusher         who tells the modelled TLBs, None where there are none
    init_mm             the kernel's page table, None where that is not modelled
    linux               the release as a number: 618 of "6.18"
    linux_6_1           the kernel is one of 6.1; split_rss: it counts resident pages late (mm/split_rss.py)
    pku                 the CPU has protection keys, and the kernel uses them; foreign_access: the user memory that is
                        being reached counts as another process's, also where it is the caller's (FOLL_REMOTE)
    gdt_pfn             frame of the GDT that 32-bit programs load segments from, -1 while there was none
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        granule = int(config.granule)
        self.format = select.page_format(config.arch, config.levels, granule, config.va_bits)
        self.page_shift: i64 = self.format.page_shift
        self.page_size: i64 = self.format.page_size
        self.page_mask: i64 = self.format.page_mask
        self.layout = select.layout(config.arch, config.levels, granule, config.va_bits, config.vmsplit)
        self.random = random.Random(config.seed)
        self.vmstat = VmStat()
        self.regions = regions_of(config)
        max_pfn = max([region.end for region in self.regions])
        self.ram = Ram(max_pfn << int(self.page_shift), int(self.format.entry_shift), int(self.page_shift))
        self.mem_map = MemMap(
            max_pfn,
            pageblock_order(config.arch, int(self.page_shift)),
            max_order=max_page_order(config.arch, int(self.page_shift)),
            flatmem=config.memory_model == "flat",
        )
        self.zones = build_zones(config, self.regions, self.mem_map, config.linux)
        self.min_free_kbytes = init_per_zone_wmark_min(self.zones, config, config.linux)
        self.user_min_free_kbytes = config.min_free_kbytes
        given = [list(row) for row in config.distances] or None
        self.distances = distance_matrix(config.nr_nodes, given)
        self.nodes = build_nodes(config, self.zones, self.distances, self.mem_map, self.ram, self.vmstat)
        self.node = self.nodes[0]
        for node in self.nodes:
            node.lruvec = make_policy(config, self.mem_map, node)
            node.lruvec.node_id = node.node_id
            node.lruvecs = [node.lruvec]
            node.one_lruvec = len(self.nodes) == 1
        self.swap = Swap(self.node, self.vmstat)
        self.psi = Psi()
        self.swap_latency_ns: i64 = config.swap_latency_us * 1000
        self.page_cluster: i64 = config.page_cluster
        self.mmlist: dict[int, MmStruct] = {}
        self.shmem_swaplist: dict[int, AddressSpace] = {}
        self.dirty_spaces: dict[int, AddressSpace] = {}
        self.current = Current()
        self.totalram_pages = sum([zone.managed_pages for zone in self.zones])
        self.vm_committed_as: i64 = 0
        self.has_policies = False
        self.slab = SlabCaches(self.node, config)
        self.stacks = KernelStacks(self.node, config.arch)
        self.node_weights = [1] * len(self.nodes)
        zero = self.node.alloc_page(GFP_PGTABLE)
        if zero is None:
            raise ConfigError(f"ram: the kernel and its struct pages leave no page of {self.ram.size >> 20} MiB")
        zero.flags |= PG_reserved
        self.zero_pfn: i64 = zero.pfn
        self.memcg = MemCgroupTree(self)
        for node in self.nodes:
            node.memcg = self.memcg
        self.zswap = Zswap61(self) if config.linux == "6.1" else Zswap(self)
        self.swap.zswap = self.zswap
        self.nr_mms = 0
        self.gdt_pfn = -1
        self.on_uaccess: Callable[[MmStruct, int, int], None] | None = None
        self.tlb_flusher: TlbFlusher | None = None
        self.on_flush: Callable[[MmStruct, int, int], None] | None = None
        self.nr_shmem_inodes = 0
        major, _, minor = config.linux.partition(".")
        self.linux: i64 = 100 * int(major) + int(minor)
        self.pku = config.pku
        self.foreign_access = False
        self.linux_6_1 = config.linux == "6.1"
        self.split_rss = self.linux_6_1
        self.init_mm: InitMm | None = InitMm(self) if has_kernel_map(config.arch) else None

    def config_changed(self) -> None:
        """A sysctl has been written: what is kept of the configuration at hand is read anew."""
        self.page_cluster = self.config.page_cluster

    def add_lruvecs(self, ident: int, parent: int) -> None:
        """The memory cgroup ``ident`` has been made below ``parent``: every node gets lists for it."""
        for node in self.nodes:
            above = node.lruvecs[parent]
            lruvec = make_policy(self.config, self.mem_map, node)
            lruvec.node_id = node.node_id
            lruvec.memcg = ident
            lruvec.parent = above
            above.children.append(lruvec)
            if ident == len(node.lruvecs):
                node.lruvecs.append(lruvec)
            else:
                node.lruvecs[ident] = lruvec
            node.one_lruvec = False

    def remove_lruvecs(self, ident: int, parent: int) -> None:
        """A memory cgroup is gone, and its lists, which are empty; what they have counted goes on with its parent's."""
        for node in self.nodes:
            lruvec = node.lruvecs[ident]
            above = node.lruvecs[parent]
            above.children.remove(lruvec)
            for kind in range(2):
                above.refaulted_pages[kind] += lruvec.refaulted_pages[kind]
                above.activated[kind] += lruvec.activated[kind]
                above.restored[kind] += lruvec.restored[kind]

    def memstall(self, ns: i64) -> None:
        """The running task has lost ``ns`` nanoseconds for want of memory: the machine counts it, and its groups. All
        is lost where nobody else could run meanwhile."""
        killer = self.node.reclaim.killer
        tree = self.memcg
        group = tree.groups[self.current.memcg]
        while group.parent is not None:
            group.psi.memstall(ns, not killer.others_run(group))
            group = group.parent
        self.psi.memstall(ns, not killer.others_run(tree.root))

    def page_state(self, lru: int) -> int:
        """Pages of one list of all nodes and groups (global_node_page_state)."""
        return sum([node.page_state(lru) for node in self.nodes])

    def ranges(self) -> list[tuple[int, int]]:
        """Where RAM is, as (first, end) frames."""
        return all_ranges(self.regions)

    def page(self, pfn: i64) -> Page:
        """pfn_to_page."""
        return self.mem_map.page(pfn)

    def page_align(self, size: i64) -> i64:
        """PAGE_ALIGN: up to the next page, up to the signed word's end."""
        return (size + self.page_size - 1) & self.page_mask

    def page_align_size_t(self, size: i64) -> int:
        """PAGE_ALIGN of an unsigned 64-bit number, which may wrap to 0."""
        return ((int(size) & _SIZE_MAX) + int(self.page_size) - 1) & int(self.page_mask) & _SIZE_MAX

    def nr_pages(self, size: i64) -> i64:
        """Pages that ``size`` bytes take, from 0 to the signed word's end less a page."""
        return (size + self.page_size - 1) >> self.page_shift
