"""What the OOM killer sees of tasks and cgroups: the rows of its table, and how much there is in all.

Mirrors: mm/oom_kill.c (find_lock_task_mm, dump_task), mm/memcontrol.c (mem_cgroup_print_oom_meminfo) (6.18)
Differs: nothing.
"""

from typing import TYPE_CHECKING

from pagewalk.mm.cpuset import cpuset_of
from pagewalk.mm.memcg_stat import memory_stat, memory_stat_text
from pagewalk.mm.memcontrol import MemCgroup
from pagewalk.mm.mempolicy import MPOL_BIND, mems_allowed, nodes_with_memory
from pagewalk.mm.mm_types import MM_ANONPAGES, MM_FILEPAGES, MM_SHMEMPAGES, MM_SWAPENTS
from pagewalk.mm.oom_kill import (
    CONSTRAINT_CPUSET,
    CONSTRAINT_MEMORY_POLICY,
    OomControl,
    OomTask,
    oom_badness,
    proc_oom_score,
)

if TYPE_CHECKING:
    from pagewalk.kernel.kernel import Kernel
    from pagewalk.kernel.task import Task


def process_ended(leader: "Task") -> bool:
    """All threads have ended."""
    return leader.signal.live == 0


def find_lock_task_mm(leader: "Task") -> "Task | None":
    """A thread of the process that still has the address space; None where none has."""
    for thread in leader.signal.threads:
        if not thread.is_ended() and thread.mm.mm_users > 0:
            return thread
    return None


def oom_task(leader: "Task") -> OomTask | None:
    """A process as the killer sees it; None where it has no memory any more."""
    task = find_lock_task_mm(leader)
    if task is None:
        return None
    mm = task.mm
    rss = mm.rss_stat
    entry = OomTask(task.pid, task.comm)
    entry.tgid = task.tgid
    entry.uid = task.uid
    entry.total_vm = int(mm.total_vm)
    entry.rss = mm.get_mm_rss()
    entry.rss_anon = rss[MM_ANONPAGES]
    entry.rss_file = rss[MM_FILEPAGES]
    entry.rss_shmem = rss[MM_SHMEMPAGES]
    entry.pgtables_bytes = mm.pgtables_bytes()
    entry.page_kb = int(mm.system.page_size) >> 10
    entry.swapents = rss[MM_SWAPENTS]
    entry.oom_score_adj = task.oom_score_adj
    entry.oom_skip = mm.oom_skip
    entry.memcg = task.kernel.system.memcg.groups[task.memcg].path()
    entry.victim = mm.oom_victim
    policy = task.mempolicy
    if policy is not None and policy.mode == MPOL_BIND:
        entry.nodes = int(policy.nodes)
    entry.mems = mems_allowed(task.kernel.system, task)
    parent = leader.vfork_parent
    entry.in_vfork = parent is not None and parent.mm is mm
    return entry


def constrain(kernel: "Kernel", oc: OomControl, task: "Task", nodemask: int, cpuset: int) -> None:
    """constrained_alloc: a request of ``task`` that may use some of the nodes alone, by a policy (``nodemask``) or its
    cpuset, counts those."""
    system = kernel.system
    nodes = (1 << len(system.nodes)) - 1
    group = cpuset_of(system.memcg.groups[task.memcg])
    oc.cpuset = group.name or "/"
    oc.mems_allowed = mems_allowed(system, task) if group.parent is not None else nodes
    if nodemask & nodes != nodes:
        oc.constraint = CONSTRAINT_MEMORY_POLICY
        oc.nodemask = short = nodemask & nodes
    elif nodes_with_memory(system) & ~cpuset:
        oc.constraint = CONSTRAINT_CPUSET
        short = oc.mems_allowed
    else:
        return
    oc.totalpages = total_swap_pages(kernel)
    for zone in system.zones:
        if short >> int(zone.node_id) & 1:
            oc.totalpages += zone.present_pages


def totalpages(kernel: "Kernel") -> int:
    """totalram_pages and all swap."""
    return max(kernel.system.totalram_pages + total_swap_pages(kernel), 1)


def total_swap_pages(kernel: "Kernel") -> int:
    """Pages of all swap areas."""
    return int(kernel.system.swap.total_swap_pages)


def memcg_lines(kernel: "Kernel", group: MemCgroup) -> list[str]:
    """mem_cgroup_print_oom_meminfo: a cgroup's part of the report."""
    kb = int(kernel.system.page_size) >> 10  # of a page
    lines = [
        f"memory: usage {group.usage * kb}kB, limit {group.max * kb}kB, failcnt {group.failcnt}",
        f"swap: usage {group.swap_usage * kb}kB, limit {group.swap_max * kb}kB, failcnt {group.swap_failcnt}",
        f"Memory cgroup stats for {group.path()}:",
    ]
    stat = memory_stat(kernel.system, group, kernel.memcg_faults(group))
    return lines + memory_stat_text(stat, kernel.system.config.linux).splitlines()


def task_oom_score(task: "Task") -> int:
    """What /proc/PID/oom_score shows."""
    entry = oom_task(task.signal.leader)
    if entry is None:
        return 0
    total = totalpages(task.kernel)
    return proc_oom_score(oom_badness(entry, total), total)
