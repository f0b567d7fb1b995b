"""The OOM killer among the tasks: who is there, how one is killed, and how the others get their page.

The page allocator asks when reclaim has given up. The victim gets SIGKILL, and so does everybody who shares its memory.
Whoever waits for the page in a page fault takes the fault again, after the victim has had its turn to end; within a
system call, which cannot be left, the victim's memory is reaped at once. A process that Python drives ends at once.

Sources: Documentation/admin-guide/sysctl/vm.rst (panic_on_oom, oom_kill_allocating_task, oom_dump_tasks).

Mirrors: mm/oom_kill.c (out_of_memory, oom_kill_process, __oom_kill_process, pagefault_out_of_memory) (6.18)
Differs: a machine that Linux would let panic answers that the request failed; a process that Python drives and that is
    alone on its machine is not killed (it gets OutOfMemory and may free something itself).
"""

from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64

from pagewalk.kernel.exit import do_group_exit
from pagewalk.kernel.lmk import LowMemory
from pagewalk.kernel.oom_tasks import constrain, memcg_lines, oom_task, process_ended, total_swap_pages, totalpages
from pagewalk.kernel.signal_send import fatal_signal_pending, send_signal
from pagewalk.kernel.signal_types import SIGKILL, kernel_info
from pagewalk.kernel.task import TASK_KILLABLE, TASK_UNINTERRUPTIBLE
from pagewalk.kernel.timer import SleepTimer
from pagewalk.mm.gfp import ALLOC_NO_WATERMARKS, ALLOC_OOM, GFP_COMP, GFP_KERNEL, GFP_MOVABLE
from pagewalk.mm.memcontrol import MEMCG_OOM_GROUP_KILL, MEMCG_OOM_KILL, MemCgroup
from pagewalk.mm.mm_types import MmStruct
from pagewalk.mm.oom_kill import (
    CONSTRAINT_MEMCG,
    CONSTRAINT_NONE,
    OOM_SCORE_ADJ_MIN,
    OomControl,
    OomTask,
    select_bad_process,
)
from pagewalk.mm.oom_reaper import oom_reap_task_mm, reaped_line
from pagewalk.mm.oom_report import dump_header, dump_oom_summary, dump_tasks, kill_line, show_mem
from pagewalk.mm.oom_state import mem_info
from pagewalk.mm.reclaim_seam import OomKiller

if TYPE_CHECKING:
    from pagewalk.kernel.kernel import Kernel
    from pagewalk.kernel.task import Task
    from pagewalk.mm.page_alloc import Node

_PATIENCE: Final = 4  # turns that a victim has to end by itself
TICK_NS: Final = 4_000_000  # schedule_timeout_uninterruptible(1)
ALLOCATING_TASK: Final = "Out of memory (oom_kill_allocating_task)"


@final
class OomKill:
    """One kill: the victim as the table had it, who asked, what the kernel printed (``report``, the last line is the
    kill), and the points that it was chosen for."""

    def __init__(self, victim: OomTask, invoked_by: int, points: int, memcg: str, report: list[str]) -> None:
        self.victim = victim
        self.invoked_by = invoked_by
        self.points = points
        self.memcg = memcg
        self.report = report


@final
class KernelOom(OomKiller):
    """The killer of one machine.

    enabled   False: requests just fail (oom_killer_disable)
    kills     all there were
    log       what the kernel has printed, all reports one after the other
    panic     why nobody was killed where Linux would have stopped the machine, "" where it would not
    yielding  a task whose fault has failed and that has not left its program yet: it gets nothing until it has
    retry     the last failed page fault is to be taken again
    """

    def __init__(self, kernel: "Kernel") -> None:
        super().__init__()
        self.kernel = kernel
        self.enabled = True
        self.kills: list[OomKill] = []
        self.log: list[str] = []
        self.panic = ""
        self.retry = False
        self.turns = 0
        self.yielding: Task | None = None
        self.low_memory = LowMemory(kernel)
        self.reserves = False

    # What the allocator asks.

    def memalloc(self) -> i64:
        """A victim may use half of the reserve; a system call that waits for a victim all of it."""
        if self.reserves:
            return ALLOC_NO_WATERMARKS
        task = self.kernel.current_task()
        if task is None or not task.mm.oom_victim:
            return 0
        cpu = self.kernel.cpu  # a victim's program gets no page any more: it would go on
        return 0 if task.stack is not None and cpu is not None and cpu.in_program() else ALLOC_OOM

    def out_of_memory(self, node: "Node", gfp: i64, order: i64) -> bool:
        """Kills somebody, or waits for who is dying. True: the request is to be tried again."""
        task = self.kernel.current_task()
        self.retry = False
        if task is None or not self.enabled or self.must_fail():
            return False
        mask = int(gfp | GFP_COMP) if gfp & GFP_MOVABLE else int(gfp)
        oc = OomControl(totalpages(self.kernel), mask, int(order))
        constrain(self.kernel, oc, task, int(node.nodemask), int(node.cpuset))
        return self.kill_for(task, oc, self.candidates())

    def must_fail(self) -> bool:
        """See ``OomKiller.must_fail``."""
        task = self.kernel.current_task()
        if task is None:
            return False
        if self.yielding is task:
            cpu = self.kernel.cpu
            if cpu is not None and cpu.in_program():
                self.retry = True
                return True
            self.yielding = None
        return task.mm.oom_victim or fatal_signal_pending(task)

    def may_exceed(self) -> bool:
        """See ``OomKiller.may_exceed``."""
        return self.reserves

    def memcg_out_of_memory(self, group: MemCgroup, gfp: i64, order: i64) -> bool:
        """See ``OomKiller.memcg_out_of_memory``."""
        task = self.kernel.current_task()
        self.retry = False
        if task is None or not self.enabled:
            return False
        oc = OomControl(max(int(group.get_max(total_swap_pages(self.kernel))), 1), GFP_KERNEL, int(order))
        oc.memcg = group.path()
        oc.constraint = CONSTRAINT_MEMCG
        return self.kill_for(task, oc, self.candidates(group))

    def throttle(self, ns: i64) -> None:
        """See ``OomKiller.throttle``. A process that Python drives has nothing to wait with; its group's
        ``throttled_ns`` says how long it would have been."""
        task = self.kernel.current_task()
        if task is None or task.stack is None:
            return
        task.throttle_ns += int(ns)
        cpu = self.kernel.cpu
        if cpu is not None and cpu.in_program():
            cpu.stop()

    def others_run(self, group: MemCgroup) -> bool:
        """See ``OomKiller.others_run``."""
        groups = self.kernel.system.memcg.groups
        for rq in self.kernel.sched.rqs:
            for task in rq.queue:
                if group.parent is None or group.contains(groups[task.memcg]):
                    return True
        return False

    def settle(self, task: "Task") -> None:
        """A task of a memory cgroup goes back to its program: it pays for what its group has too much of, and sleeps
        where that is above memory.high (schedule_timeout_killable)."""
        self.kernel.system.memcg.settle()
        if task.throttle_ns == 0:
            return
        wait_ns = task.throttle_ns
        task.throttle_ns = 0
        if fatal_signal_pending(task):
            return
        sched = self.kernel.sched
        timer = SleepTimer(task)
        sched.timers.add(timer, self.kernel.monotonic_ns() + wait_ns)
        sched.sleep(task, TASK_KILLABLE, "mem_cgroup_handle_over_high")
        sched.timers.cancel(timer)

    def reclaiming(self) -> None:
        """See ``OomKiller.reclaiming``."""
        if self.enabled:
            self.low_memory.scan()

    def low_memory_kill(self, victim: OomTask, message: str) -> None:
        """One of Android's killers has chosen."""
        task = self.kernel.current_task()
        self.log.append(message)
        self.kills.append(OomKill(victim, 0 if task is None else task.pid, 0, "", [message]))
        self.kill_sharers(self.kernel.tasks_by_pid[victim.pid].mm)

    # The kill.

    def kill_for(self, task: "Task", oc: OomControl, tasks: list[OomTask]) -> bool:
        """Kills one of ``tasks`` for a request of ``task``; True where it is to be tried again."""
        self.yielding = None
        if task.mm.oom_victim or fatal_signal_pending(task):
            task.mm.oom_victim = True  # task_will_free_mem: it is about to go anyway
            return False
        if task.stack is None and len({id(other.mm) for other in self.kernel.tasks() if other.mm.mm_users > 0}) == 1:
            return False
        if self.panics(oc):
            self.print_report(oc, task, tasks, None, self.panic)
            return False
        victim = self.choose(task, oc, tasks)
        if victim is None:
            if oc.waiting:
                return self.wait_for_victim(task)
            if not oc.memcg:
                self.panic = "Out of memory and no killable processes"
            self.print_report(oc, task, tasks, None, "Out of memory and no killable processes...")
            return False
        by_turn = self.kernel.system.config.oom_kill_allocating_task and not oc.memcg and victim.pid == task.tgid
        why = ALLOCATING_TASK if by_turn else ""
        lines = self.print_report(oc, task, tasks, victim, why)
        self.kills.append(OomKill(victim, task.pid, oc.chosen_points, oc.memcg, lines))
        whole = self.oom_group(oc, victim)
        self.kill_process(victim.pid)
        if whole is not None:
            self.kill_group(oc, task, whole)
        self.turns = 0
        if task.mm.oom_victim:
            return False
        return self.wait_for_victim(task)

    def panics(self, oc: OomControl) -> bool:
        """check_panic_on_oom."""
        setting = self.kernel.system.config.panic_on_oom
        if setting == 2 or (setting == 1 and oc.constraint == CONSTRAINT_NONE):
            kind = "compulsory" if setting == 2 else "system-wide"
            self.panic = f"Kernel panic - not syncing: Out of memory: {kind} panic_on_oom is enabled"
            return True
        return False

    def choose(self, task: "Task", oc: OomControl, tasks: list[OomTask]) -> OomTask | None:
        """Who asks, where the administrator wants that and it may be killed; else the largest."""
        if self.kernel.system.config.oom_kill_allocating_task and not oc.memcg:
            for candidate in tasks:
                if (
                    candidate.tgid == task.tgid
                    and not candidate.unkillable
                    and candidate.oom_score_adj != OOM_SCORE_ADJ_MIN
                ):
                    oc.chosen_points = 0
                    return candidate
        return select_bad_process(oc, tasks)

    def print_report(
        self, oc: OomControl, task: "Task", tasks: list[OomTask], victim: OomTask | None, why: str
    ) -> list[str]:
        """dump_header, and the lines that name the victim, or why there is none; they go to the kernel's log too."""
        config = self.kernel.system.config
        lines = [dump_header(oc, task.comm, task.oom_score_adj, config.linux)]
        lines += self.memory_lines(oc)
        if config.oom_dump_tasks:
            lines += dump_tasks([each for each in tasks if oc.eligible(each)], config.linux)
        if victim is not None:
            lines.append(dump_oom_summary(oc, victim, oc.cpuset))
            lines.append(kill_line(oc, victim, why))
        else:
            lines.append(why)
        self.log += lines
        return lines

    def memory_lines(self, oc: OomControl) -> list[str]:
        """What there was of memory: the machine's, or the cgroup's."""
        group = self.kernel.system.memcg.find(oc.memcg) if oc.memcg else None
        if group is not None:
            return memcg_lines(self.kernel, group)
        nodes = oc.nodemask if oc.nodemask != -1 else oc.mems_allowed
        return show_mem(mem_info(self.kernel.system, oc.gfp_mask, nodes), self.kernel.system.config.linux)

    def kill_process(self, pid: int) -> None:
        """SIGKILL for the process and for all that share its memory."""
        victim = self.kernel.tasks_by_pid[pid]
        self.kernel.system.vmstat.oom_kill += 1
        self.kernel.system.memcg.groups[victim.memcg].event(MEMCG_OOM_KILL)
        self.kill_sharers(victim.mm)

    def kill_sharers(self, mm: MmStruct) -> None:
        """All processes that use an address space."""
        mm.oom_victim = True
        for other in self.kernel.tasks():
            if other.mm is mm and other.is_leader() and not process_ended(other):
                self.kill_task(other)

    def oom_group(self, oc: OomControl, victim: OomTask) -> MemCgroup | None:
        """The largest group around the victim, within what ran out, that wants to go as a whole."""
        tree = self.kernel.system.memcg
        domain = tree.find(oc.memcg) if oc.memcg else tree.root
        found: MemCgroup | None = None
        at: MemCgroup | None = tree.groups[self.kernel.tasks_by_pid[victim.pid].memcg]
        while at is not None and at.parent is not None:
            if at.oom_group:
                found = at
            if at is domain:
                break
            at = at.parent
        return found

    def kill_group(self, oc: OomControl, task: "Task", group: MemCgroup) -> None:
        """All tasks of a group that may be killed."""
        group.event(MEMCG_OOM_GROUP_KILL)
        self.log.append(f"Tasks in {group.path()} are going to be killed due to memory.oom.group set")
        for entry in self.candidates(group):
            if entry.oom_score_adj != OOM_SCORE_ADJ_MIN and not entry.unkillable:
                line = kill_line(oc, entry)
                self.log.append(line)
                if not entry.victim:  # who was chosen is killed, and told of, once more
                    self.kills.append(OomKill(entry, task.pid, 0, oc.memcg, [self.log[-2], line]))
                self.kill_process(entry.pid)

    def kill_task(self, task: "Task") -> None:
        """One process. Python's own processes have nobody to take a signal: they end here, but for the one that asks,
        which ends when its call comes back."""
        if task.stack is not None:
            send_signal(task, kernel_info(SIGKILL))
        elif task is not self.kernel.current_task():
            self.end_task(task)

    def end_task(self, task: "Task") -> None:
        """A process that Python drives ends, and its memory is freed."""
        current = self.kernel.system.current
        self.kernel.system.current = task
        task.keep_mm = False
        do_group_exit(task, SIGKILL)
        self.kernel.system.current = current

    def message_of(self, pid: int) -> str:
        """What the kernel printed when it killed the process; "" where it shared a victim's memory."""
        for kill in self.kills:
            if kill.victim.tgid == pid:
                return kill.report[-1]
        return "its memory was a victim's"

    # Waiting.

    def wait_for_victim(self, task: "Task") -> bool:
        """Somebody is to end. A page fault fails and is taken again after the others' turn; a system call gets what
        the victim has that is private, or the reserve."""
        dying = [mm for mm in self.dying() if not mm.oom_skip]
        if not dying:
            return True  # it has ended already
        cpu = self.kernel.cpu
        if task.stack is not None and cpu is not None and cpu.in_program() and self.turns < _PATIENCE:
            self.retry = True
            self.yielding = task
            return False
        freed = 0
        for mm in dying:
            freed += oom_reap_task_mm(mm)
            owners = [other.signal.leader for other in self.kernel.tasks() if other.mm is mm]
            self.log.append(reaped_line(owners[0].pid, owners[0].comm, mm))
        if freed > 0:
            return True
        if task.stack is not None and not self.reserves and (cpu is None or not cpu.in_program()):
            self.reserves = True  # until the system call is over
            return True
        return False

    def pause(self, task: "Task") -> None:
        """A task whose fault is to be taken again sleeps for a tick, so that victims have their turn."""
        self.turns += 1
        self.yielding = None
        sched = self.kernel.sched
        timer = SleepTimer(task)
        sched.timers.add(timer, (self.kernel.monotonic_ns() // TICK_NS + 2) * TICK_NS)  # on a tick, as everybody's
        sched.sleep(task, TASK_UNINTERRUPTIBLE, "out_of_memory")
        sched.timers.cancel(timer)
        for other in sched.rqs[task.cpu].queue:
            if other.min_flt < task.min_flt:  # a fair scheduler lets those go first who have had less
                sched.schedule(task)
                break

    def dying(self) -> list[MmStruct]:
        """Address spaces of victims that are still there."""
        found: list[MmStruct] = []
        for task in self.kernel.tasks():
            if task.mm.oom_victim and task.mm.mm_users > 0 and not task.is_ended() and task.mm not in found:
                found.append(task.mm)
        return found

    def take_retry(self, task: "Task") -> bool:
        """pagefault_out_of_memory: whether a fault that found no frame is no end: the task is dying, or the fault is
        taken again."""
        retry = self.retry
        self.retry = False
        return retry or task.mm.oom_victim or fatal_signal_pending(task)

    # Who there is.

    def candidates(self, group: MemCgroup | None = None) -> list[OomTask]:
        """All processes, or those of a cgroup and of the cgroups below it, in the order in which they were made."""
        groups = self.kernel.system.memcg.groups
        found: list[OomTask] = []
        for task in self.kernel.tasks():
            if task.is_leader() and (group is None or group.contains(groups[task.memcg])):
                entry = oom_task(task)
                if entry is not None:
                    found.append(entry)
        return found
