"""The report of the OOM killer, line by line as the kernel prints it.

A report is made of the figures that the kernel has: pages by use for each node and zone, free blocks by order, the
tasks. Sums, totals, units and the choice of the victim's line are computed here.

Sources: Documentation/admin-guide/mm/concepts.rst; Documentation/filesystems/proc.rst (meminfo, for the names).

Mirrors: mm/oom_kill.c (dump_header, dump_tasks, dump_oom_summary), mm/show_mem.c (6.1, 6.12, 6.18)
Differs: no call trace, no list of unreclaimable slab; the parts that a kernel's configuration adds (CMA, allocation
    profiling) appear where the state has them.
"""

from typing import Final, final

from pagewalk.mm.gfp_names import format_gfp
from pagewalk.mm.oom_kill import CONSTRAINT_NAMES, OomControl, OomTask

# The lines of Mem-Info that sum up all nodes: pages by use.
GLOBAL_LINES: Final = (
    ("active_anon", "inactive_anon", "isolated_anon"),
    ("active_file", "inactive_file", "isolated_file"),
    ("unevictable", "dirty", "writeback"),
    ("slab_reclaimable", "slab_unreclaimable"),
    ("mapped", "shmem", "pagetables"),
    ("sec_pagetables", "bounce"),
    ("kernel_misc_reclaimable",),
    ("free", "free_pcp", "free_cma"),
)
# Where the sums come from another name on the node's line; what the zones sum up.
_NODE_NAMES: Final = {"isolated_anon": "isolated(anon)", "isolated_file": "isolated(file)"}
_OF_ZONES: Final = ("bounce", "free", "free_pcp", "free_cma")

NODE_FIELDS: Final = (
    "active_anon", "inactive_anon", "active_file", "inactive_file", "unevictable", "isolated(anon)", "isolated(file)",
    "mapped", "dirty", "writeback", "shmem", "shmem_thp", "shmem_pmdmapped", "anon_thp", "writeback_tmp",
    "kernel_stack", "pagetables", "sec_pagetables",
)  # fmt: skip
ZONE_FIELDS_6_1: Final = (
    "free", "boost", "min", "low", "high", "reserved_highatomic", "active_anon", "inactive_anon", "active_file",
    "inactive_file", "unevictable", "writepending", "present", "managed", "mlocked", "bounce", "free_pcp", "local_pcp",
    "free_cma",
)  # fmt: skip
ZONE_FIELDS_6_18: Final = (
    "free", "boost", "min", "low", "high", "reserved_highatomic", "free_highatomic", "active_anon", "inactive_anon",
    "active_file", "inactive_file", "unevictable", "writepending", "zspages", "present", "managed", "mlocked", "bounce",
    "free_pcp", "local_pcp", "free_cma",
)  # fmt: skip
_THP: Final = ("shmem_thp", "shmem_pmdmapped", "anon_thp")  # printed with a blank before the number by 6.1
_IN_KILOBYTES: Final = ("reserved_highatomic", "free_highatomic")  # printed with a capital K

TASKS_TITLE: Final = "Tasks state (memory values in pages):"
TASKS_HEADER_6_1: Final = (
    "[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name"
)  # fmt: skip
TASKS_HEADER_6_18: Final = (
    "[  pid  ]   uid  tgid total_vm      rss rss_anon rss_file rss_shmem pgtables_bytes swapents oom_score_adj name"
)


@final
class NodeState:
    """One memory node's line.

    kb                 the figures in KiB by the names of NODE_FIELDS; those that are not there are 0
    pages              what the node has no column for, in pages: slab_reclaimable, slab_unreclaimable,
                       kernel_misc_reclaimable, pagecache
    all_unreclaimable  kswapd has given up
    shown              it has a line: what was asked for may come from it
    """

    def __init__(self, nid: int) -> None:
        self.nid = nid
        self.kb: dict[str, int] = {}
        self.pages: dict[str, int] = {}
        self.all_unreclaimable = False
        self.shown = True


@final
class ZoneState:
    """One zone's lines.

    kb              the figures in KiB by the names of ZONE_FIELDS_*; those that are not there are 0
    lowmem_reserve  pages kept from allocations for each higher zone
    nr_free         free blocks by order
    page_kb         KiB of a page
    types           by order the letters of the migrate types that they have, such as "UM"
    shown           it has lines: what was asked for may come from it
    """

    def __init__(self, nid: int, name: str) -> None:
        self.nid = nid
        self.name = name
        self.kb: dict[str, int] = {}
        self.lowmem_reserve: list[int] = []
        self.nr_free: list[int] = []
        self.page_kb = 4
        self.types: list[str] = []
        self.shown = True


@final
class HugePages:
    """The huge pages of one size of a node."""

    def __init__(self, nid: int, size_kb: int) -> None:
        self.nid = nid
        self.size_kb = size_kb
        self.total = 0
        self.free = 0
        self.surp = 0


@final
class MemInfo:
    """What ``Mem-Info`` is made of. A kernel without NUMA names no node on the lines of a zone.

    pages  figures of the whole machine in pages, where they are not sums over ``nodes`` and ``zones``
    swapcache_pages, free_swap_kb, total_swap_kb  of all swap areas
    cma_reserved, hwpoisoned  pages, -1 where the kernel does not count them
    """

    def __init__(self) -> None:
        self.numa = True
        self.thp = True
        self.nodes: list[NodeState] = []
        self.zones: list[ZoneState] = []
        self.huge: list[HugePages] = []
        self.pages: dict[str, int] = {}
        self.swapcache_pages = 0
        self.free_swap_kb = 0
        self.total_swap_kb = 0
        self.cma_reserved = -1
        self.hwpoisoned = 0

    def page_kb(self) -> int:
        """KiB of a page."""
        return self.zones[0].page_kb if self.zones else 4

    def managed_pages(self) -> int:
        """totalram_pages: RAM that the allocator was given."""
        return self.zone_pages("managed")

    def node_pages(self, name: str) -> int:
        """A figure summed over the nodes, in pages."""
        if name in self.pages:
            return self.pages[name]
        column = _NODE_NAMES.get(name, name)
        kb = self.page_kb()
        return sum([node.pages[name] if name in node.pages else node.kb.get(column, 0) // kb for node in self.nodes])

    def high_pages(self) -> int:
        """RAM that the kernel has no addresses for; where there is high memory, MOVABLE is, too."""
        if "high" in self.pages:
            return self.pages["high"]
        names = [zone.name for zone in self.zones]
        above = ("HighMem", "Movable") if "HighMem" in names else ()
        return sum([zone.kb.get("present", 0) for zone in self.zones if zone.name in above]) // self.page_kb()

    def zone_pages(self, name: str) -> int:
        """A figure summed over the zones, in pages."""
        if name in self.pages:
            return self.pages[name]
        return sum([zone.kb.get(name, 0) for zone in self.zones]) // self.page_kb()


def show_mem(info: MemInfo, linux: str) -> list[str]:
    """The lines from "Mem-Info:" on."""
    lines = ["Mem-Info:"]
    for number, names in enumerate(GLOBAL_LINES):
        words = []
        for name in names:
            value = info.zone_pages(name) if name in _OF_ZONES else info.node_pages(name)
            words.append(f"{name}:{value}")
        lines.append(("" if number == 0 else " ") + " ".join(words))
    shown = [zone for zone in info.zones if zone.shown]
    lines += [node_line(node, info.thp, linux) for node in info.nodes if node.shown]
    for zone in shown:
        lines += zone_lines(zone, info.numa, linux)
    lines += [free_area_line(zone, info.numa) for zone in shown]
    for huge in info.huge:
        lines.append(
            f"Node {huge.nid} hugepages_total={huge.total} hugepages_free={huge.free} hugepages_surp={huge.surp} "
            f"hugepages_size={huge.size_kb}kB"
        )
    lines.append(f"{info.node_pages('pagecache')} total pagecache pages")
    lines.append(f"{info.swapcache_pages} pages in swap cache")
    lines.append(f"Free swap  = {info.free_swap_kb}kB")
    lines.append(f"Total swap = {info.total_swap_kb}kB")
    present = info.zone_pages("present")
    lines.append(f"{present} pages RAM")
    lines.append(f"{info.high_pages()} pages HighMem/MovableOnly")
    lines.append(f"{present - info.managed_pages()} pages reserved")
    if info.cma_reserved >= 0:
        lines.append(f"{info.cma_reserved} pages cma reserved")
    if info.hwpoisoned >= 0:
        lines.append(f"{info.hwpoisoned} pages hwpoisoned")
    return lines


def node_line(node: NodeState, thp: bool, linux: str) -> str:
    """A node's figures in KiB."""
    words = [f"Node {node.nid}"]
    for name in NODE_FIELDS:
        if (name in _THP and not thp) or (name == "writeback_tmp" and linux == "6.18"):
            continue
        blank = " " if name in _THP and linux == "6.1" else ""
        words.append(f"{name}:{blank}{node.kb.get(name, 0)}kB")
    words.append(f"all_unreclaimable? {'yes' if node.all_unreclaimable else 'no'}")
    if linux == "6.18":
        words.append(f"Balloon:{node.kb.get('Balloon', 0)}kB")
    return " ".join(words)


def zone_name(zone: ZoneState, numa: bool) -> str:
    """How the lines of a zone begin."""
    return f"Node {zone.nid} {zone.name}" if numa else zone.name


def zone_lines(zone: ZoneState, numa: bool, linux: str) -> list[str]:
    """A zone's figures in KiB, and what it keeps from higher zones' allocations."""
    words = [zone_name(zone, numa)]
    for name in ZONE_FIELDS_6_18 if linux == "6.18" else ZONE_FIELDS_6_1:
        unit = "KB" if name in _IN_KILOBYTES else "kB"
        words.append(f"{name}:{zone.kb.get(name, 0)}{unit}")
    reserve = " ".join([str(pages) for pages in zone.lowmem_reserve])
    return [" ".join(words), f"lowmem_reserve[]: {reserve}"]


def free_area_line(zone: ZoneState, numa: bool) -> str:
    """A zone's free blocks by order, with their migrate types, and what they make."""
    words = [f"{zone_name(zone, numa)}:"]
    total = 0
    for order, count in enumerate(zone.nr_free):
        total += count << order
        words.append(f"{count}*{zone.page_kb << order}kB")
        if count:
            words.append(f"({zone.types[order]})")
    return " ".join(words) + f" = {total * zone.page_kb}kB"


def dump_header(oc: OomControl, comm: str, oom_score_adj: int, linux: str) -> str:
    """The first line: whose request started the killer."""
    flags = format_gfp(oc.gfp_mask, linux)
    return (
        f"{comm} invoked oom-killer: gfp_mask={oc.gfp_mask:#x}({flags}), order={oc.order}, "
        f"oom_score_adj={oom_score_adj}"
    )


def dump_tasks(tasks: list[OomTask], linux: str) -> list[str]:
    """The table of tasks: who could be killed, and who is protected; init and kernel threads are not in it."""
    lines = [TASKS_TITLE, TASKS_HEADER_6_1 if linux == "6.1" else TASKS_HEADER_6_18]
    for task in tasks:
        if not task.unkillable:
            lines.append(task_line(task, linux))
    return lines


def task_line(task: OomTask, linux: str) -> str:
    """One row."""
    parts = ""
    if linux != "6.1":
        parts = f"{max(task.rss_anon, 0):>8} {max(task.rss_file, 0):>8} {max(task.rss_shmem, 0):>9} "
    return (
        f"[{task.pid:>7}] {task.uid:>5} {task.tgid:>5} {task.total_vm:>8} {task.rss:>8} {parts}"
        f"{task.pgtables_bytes:>8} {task.swapents:>8}         {task.oom_score_adj:>5} {task.comm}"
    )


def node_list(mask: int) -> str:
    """A mask of nodes or CPUs as "0-2,5"; "" for none."""
    words: list[str] = []
    at = 0
    while mask >> at:
        if mask >> at & 1:
            start = at
            while mask >> (at + 1) & 1:
                at += 1
            words.append(str(start) if start == at else f"{start}-{at}")
        at += 1
    return ",".join(words)


def dump_oom_summary(oc: OomControl, victim: OomTask, cpuset: str = "/") -> str:
    """The line that says what ran out and who is to die."""
    nodes = "(null)" if oc.nodemask == -1 else node_list(oc.nodemask)
    where = f"oom_memcg={oc.memcg}" if oc.memcg else "global_oom"
    return (
        f"oom-kill:constraint={CONSTRAINT_NAMES[oc.constraint]},nodemask={nodes},cpuset={cpuset},"
        f"mems_allowed={node_list(oc.mems_allowed)},{where},task_memcg={victim.memcg},task={victim.comm},"
        f"pid={victim.pid},uid={victim.uid}"
    )


def kill_line(oc: OomControl, victim: OomTask, why: str = "") -> str:
    """The last line: what the victim had. ``why`` is the killer's message where it is not the usual one."""
    page_kb = victim.page_kb
    message = why or ("Memory cgroup out of memory" if oc.memcg else "Out of memory")
    return (
        f"{message}: Killed process {victim.pid} ({victim.comm}) total-vm:{victim.total_vm * page_kb}kB, "
        f"anon-rss:{max(victim.rss_anon, 0) * page_kb}kB, file-rss:{max(victim.rss_file, 0) * page_kb}kB, "
        f"shmem-rss:{max(victim.rss_shmem, 0) * page_kb}kB, UID:{victim.uid} "
        f"pgtables:{victim.pgtables_bytes >> 10}kB oom_score_adj:{victim.oom_score_adj}"
    )
