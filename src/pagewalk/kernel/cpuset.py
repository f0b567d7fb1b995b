"""What a change of a cpuset does to tasks: where they run, where their memory comes from, and that it follows them.

Sources: Documentation/admin-guide/cgroup-v2.rst, "Cpuset"; Documentation/admin-guide/mm/numa_memory_policy.rst, "Memory
Policies and cpusets".

Mirrors: kernel/cgroup/cpuset.c (cpuset_attach_task, cpuset_update_tasks_nodemask, cpuset_migrate_mm) (6.18)
Differs: pages move at once, not when a worker gets to it.
"""

from typing import TYPE_CHECKING

from pagewalk.mm.cpuset import cpuset_of, effective_cpus, effective_mems, task_mems
from pagewalk.mm.mbind import do_migrate_pages
from pagewalk.mm.mem_cgroup import MemCgroup
from pagewalk.mm.mempolicy import mpol_rebind_mm, mpol_rebind_policy

if TYPE_CHECKING:
    from pagewalk.kernel.kernel import Kernel
    from pagewalk.kernel.task import Task


def set_task_cpus(task: "Task", cpus: int) -> None:
    """set_cpus_allowed_ptr: what sched_setaffinity(2) asked for, as far as the cpuset has it; else all that it has."""
    task.cpus_allowed = task.user_cpus & cpus or cpus
    sched = task.kernel.sched
    if task.cpus_allowed >> task.cpu & 1:
        return
    if task is task.kernel.current_task():
        sched.migrate(task)
    else:
        sched.move_queued(task)


def change_mems(kernel: "Kernel", task: "Task", old: int, new: int, rebind: int) -> None:
    """A task's nodes become ``new``: policies follow, and, once for each address space, its pages. ``rebind``: the
    nodes that policies of mappings are fitted to."""
    task.mems_allowed = task_mems(kernel.system, kernel.system.memcg.groups[task.memcg])
    task.mempolicy = mpol_rebind_policy(task.mempolicy, new)
    if not task.is_leader() or task.mm.mm_users <= 0:
        return
    mpol_rebind_mm(task.mm, rebind)
    if new != old:
        tree = kernel.system.memcg
        tree.unbound = True
        do_migrate_pages(task.mm, old, new, move_all=True)
        tree.unbound = False


def update_cpuset(kernel: "Kernel", group: MemCgroup, cpus: int, mems: int, enabled: bool | None = None) -> None:
    """Gives a group another ``cpus`` and ``mems``, or (``enabled``) its children cpusets of their own or none; all
    tasks below follow."""
    system = kernel.system
    below = group.subtree()
    before = {each.ident: (effective_cpus(system, each), effective_mems(system, each)) for each in below}
    group.cpus, group.mems = cpus, mems
    if enabled is not None:
        group.subtree_cpuset = enabled
        for child in group.children.values():
            child.cpus = child.mems = 0
    system.memcg.cpusets = any(each.mems for each in system.memcg.all_groups())
    groups = system.memcg.groups
    for each in below:
        now = (effective_cpus(system, each), effective_mems(system, each))
        was = before[each.ident]
        if now == was:
            continue
        for task in [task for task in kernel.tasks() if not task.is_ended() and groups[task.memcg] is each]:
            if now[1] != was[1]:
                change_mems(kernel, task, was[1], now[1], cpuset_of(each).mems)
            if now[0] != was[0]:
                set_task_cpus(task, now[0])


def attach_cpuset(kernel: "Kernel", task: "Task", old: MemCgroup, new: MemCgroup) -> None:
    """A task has come from one group to another."""
    system = kernel.system
    was, now = effective_mems(system, old), effective_mems(system, new)
    if was != now:
        change_mems(kernel, task, was, now, now)
    cpus = effective_cpus(system, new)
    if cpus != effective_cpus(system, old):
        set_task_cpus(task, cpus)
