"""What /sys/devices/system/node says of each node.

Mirrors: drivers/base/node.c (6.18)
Differs: tasks' stacks and what is written to files and swap are node 0's.
"""

from pagewalk.mm.cpuset import mask_text
from pagewalk.mm.mempolicy import node_list
from pagewalk.mm.mm_init import node_of_cpu
from pagewalk.mm.show_mem import added_up, all_zone_stats, node_stats
from pagewalk.mm.system import System
from pagewalk.mm.vmstat_names import NODE_STATS, NUMA_STATS, ZONE_STATS, of_release

# meminfo's rows behind MemUsed: name, the counters that make it up, and its unit ("p": pages, "k": KiB).
_MEMINFO = (
    ("SwapCached", "nr_swapcached", "p"), ("Active", "nr_active_anon nr_active_file", "p"),
    ("Inactive", "nr_inactive_anon nr_inactive_file", "p"), ("Active(anon)", "nr_active_anon", "p"),
    ("Inactive(anon)", "nr_inactive_anon", "p"), ("Active(file)", "nr_active_file", "p"),
    ("Inactive(file)", "nr_inactive_file", "p"), ("Unevictable", "nr_unevictable", "p"), ("Mlocked", "nr_mlock", "p"),
    ("Dirty", "nr_dirty", "p"), ("Writeback", "nr_writeback", "p"), ("FilePages", "nr_file_pages", "p"),
    ("Mapped", "nr_mapped", "p"), ("AnonPages", "nr_anon_pages", "p"), ("Shmem", "nr_shmem", "p"),
    ("KernelStack", "nr_kernel_stack", "k"), ("PageTables", "nr_page_table_pages", "p"), ("SecPageTables", "", "p"),
    ("NFS_Unstable", "", "p"), ("Bounce", "", "p"), ("WritebackTmp", "", "p"),
    ("KReclaimable", "nr_slab_reclaimable", "p"), ("Slab", "nr_slab_reclaimable nr_slab_unreclaimable", "p"),
    ("SReclaimable", "nr_slab_reclaimable", "p"), ("SUnreclaim", "nr_slab_unreclaimable", "p"),
    ("AnonHugePages", "nr_anon_transparent_hugepages", "h"), ("ShmemHugePages", "nr_shmem_hugepages", "p"),
    ("ShmemPmdMapped", "nr_shmem_pmdmapped", "p"), ("FileHugePages", "nr_file_hugepages", "p"),
    ("FilePmdMapped", "nr_file_pmdmapped", "p"),
)  # fmt: skip


def node_counters(system: System, nid: int) -> dict[str, int]:
    """Counters of one node: of its zones, added up, and its own."""
    zones = added_up([stats for key, stats in all_zone_stats(system).items() if key[0] == nid])
    return zones | node_stats(system, nid)


def node_meminfo(system: System, nid: int) -> str:
    """nodeN/meminfo."""
    kb = int(system.page_size) >> 10
    counters = node_counters(system, nid)
    total = sum([zone.managed_pages for zone in system.zones if zone.node_id == nid]) * kb
    free = counters.get("nr_free_pages", 0) * kb
    rows = [("MemTotal", total), ("MemFree", free), ("MemUsed", total - free)]
    for name, sources, unit in _MEMINFO:
        value = sum([counters.get(source, 0) for source in sources.split()])
        scale = 1 if unit == "k" else kb if unit == "p" else kb << int(system.mem_map.block_order)
        rows.append((name, value * scale))
    lines = [f"Node {nid} {name + ':':<15} {value:8d} kB\n" for name, value in rows]
    return "".join(lines) + "".join(
        [f"Node {nid} {name}: {0:5d}\n" for name in ("HugePages_Total", "HugePages_Free", "HugePages_Surp")]
    )


def node_numastat(system: System, nid: int) -> str:
    """nodeN/numastat."""
    counters = node_counters(system, nid)
    names = ("numa_hit", "numa_miss", "numa_foreign", "interleave_hit", "local_node", "other_node")
    return "".join([f"{name} {counters[stat]}\n" for name, stat in zip(names, NUMA_STATS, strict=True)])


def node_vmstat(system: System, nid: int) -> str:
    """nodeN/vmstat."""
    counters = node_counters(system, nid)
    linux = system.config.linux
    arch = system.config.arch
    names = of_release(ZONE_STATS + NUMA_STATS, linux, arch) + of_release(NODE_STATS, linux, arch)
    return "".join([f"{name} {counters.get(name, 0)}\n" for name in names])


def node_distance(system: System, nid: int) -> str:
    """nodeN/distance."""
    return " ".join([str(each) for each in system.distances[nid]]) + "\n"


def cpus_of_node(system: System, nid: int) -> int:
    """The CPUs of a node, as a mask."""
    mask = 0
    for cpu in range(system.config.cpus):
        if node_of_cpu(cpu, system.config) == nid:
            mask |= 1 << cpu
    return mask


def node_cpulist(system: System, nid: int) -> str:
    """nodeN/cpulist."""
    return node_list(cpus_of_node(system, nid)) + "\n"


def node_cpumap(system: System, nid: int) -> str:
    """nodeN/cpumap."""
    return mask_text(cpus_of_node(system, nid), system.config.cpus) + "\n"


def nodes_online(system: System) -> str:
    """online and possible."""
    return node_list((1 << len(system.nodes)) - 1) + "\n"


def nodes_with_cpu(system: System) -> str:
    """has_cpu."""
    return node_list(sum([1 << nid for nid in range(len(system.nodes)) if cpus_of_node(system, nid)])) + "\n"


def nodes_having_memory(system: System) -> str:
    """has_memory."""
    return node_list(sum([1 << int(nid) for nid in {int(z.node_id) for z in system.zones if z.present_pages}])) + "\n"


def nodes_having_normal_memory(system: System) -> str:
    """has_normal_memory: memory that the kernel has addresses for."""
    low = {int(zone.node_id) for zone in system.zones if zone.present_pages and not zone.is_highmem}
    return node_list(sum([1 << nid for nid in low])) + "\n"
