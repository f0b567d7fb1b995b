"""Who is killed when memory runs out: the badness of a process, and the choice among many.

A process's badness is what its end would free (resident pages, swap entries, page tables), shifted by its
``oom_score_adj``: each unit is a thousandth of all memory that could be had (``totalpages``). The largest one dies.

Sources: proc_pid_oom_score(5), proc_pid_oom_score_adj(5); Documentation/filesystems/proc.rst, section 3.1.

Mirrors: mm/oom_kill.c (oom_badness, oom_evaluate_task, select_bad_process), fs/proc/base.c (proc_oom_score) (6.18)
Differs: nothing.
"""

from typing import Final, final

OOM_SCORE_ADJ_MIN: Final = -1000
OOM_SCORE_ADJ_MAX: Final = 1000
UNKILLABLE: Final = -(1 << 63)  # LONG_MIN: the badness of who is never chosen
ORIGIN: Final = (1 << 63) - 1  # LONG_MAX: of who asked to go first (swapoff)

CONSTRAINT_NONE: Final = 0
CONSTRAINT_CPUSET: Final = 1
CONSTRAINT_MEMORY_POLICY: Final = 2
CONSTRAINT_MEMCG: Final = 3
CONSTRAINT_NAMES: Final = ("CONSTRAINT_NONE", "CONSTRAINT_CPUSET", "CONSTRAINT_MEMORY_POLICY", "CONSTRAINT_MEMCG")


@final
class OomTask:
    """What the killer looks at of one process; memory in pages, as in the report's table of tasks.

    rss_anon, rss_file, rss_shmem  the parts of ``rss``; -1 where they are not known
    pgtables_bytes  page tables
    page_kb         KiB of a page
    uid, comm       of the thread that was found with the address space
    memcg           path of its memory cgroup
    nodes           mask of the memory nodes that its memory policy lets it use; -1: all of them
    mems            mask of those that its cpuset has; -1: all
    unkillable      init, a kernel thread
    oom_skip        its memory has been reaped already, or is not to be looked at (MMF_OOM_SKIP)
    in_vfork        it uses its parent's address space for the moment
    victim          it was chosen before and has not ended (tsk_is_oom_victim)
    origin          it wants to be chosen first
    """

    def __init__(self, pid: int, comm: str) -> None:
        self.pid = pid
        self.tgid = pid
        self.uid = 0
        self.comm = comm
        self.total_vm = 0
        self.rss = 0
        self.rss_anon = -1
        self.rss_file = -1
        self.rss_shmem = -1
        self.pgtables_bytes = 0
        self.page_kb = 4
        self.swapents = 0
        self.oom_score_adj = 0
        self.memcg = "/"
        self.nodes = -1
        self.mems = -1
        self.unkillable = False
        self.oom_skip = False
        self.in_vfork = False
        self.victim = False
        self.origin = False

    def __repr__(self) -> str:
        return f"<OomTask {self.pid} ({self.comm}): {self.pages()} pages, adj {self.oom_score_adj}>"

    def pages(self) -> int:
        """What its end would free, as far as the killer counts it."""
        return self.rss + self.swapents + self.pgtables_bytes // (self.page_kb << 10)


def adjustment(oom_score_adj: int, totalpages: int) -> int:
    """Pages that ``oom_score_adj`` (-1000 to 1000) adds to a process: that many thousandths of ``totalpages``, where a
    thousandth is rounded down first."""
    return oom_score_adj * (totalpages // 1000)


def oom_badness(task: OomTask, totalpages: int) -> int:
    """The badness in pages (it may be negative); UNKILLABLE where the process may not be killed."""
    if task.unkillable or task.oom_score_adj == OOM_SCORE_ADJ_MIN or task.oom_skip or task.in_vfork:
        return UNKILLABLE
    return task.pages() + adjustment(task.oom_score_adj, totalpages)


def why_unkillable(task: OomTask) -> str:
    """Why the badness is UNKILLABLE, in a few words; "" where it is not."""
    if task.unkillable:
        return "init or a kernel thread"
    if task.oom_score_adj == OOM_SCORE_ADJ_MIN:
        return "oom_score_adj -1000"
    if task.oom_skip:
        return "reaped already"
    return "in vfork" if task.in_vfork else ""


def proc_oom_score(badness: int, totalpages: int) -> int:
    """What /proc/PID/oom_score shows for a badness: 0 for who is never chosen; 0 to 1333 otherwise, 666 for a process
    that uses nothing. ``totalpages``: RAM and swap of the machine, whatever the constraint."""
    if badness == UNKILLABLE:
        return 0
    scaled = badness * 1000
    share = scaled // totalpages if scaled >= 0 else -(-scaled // totalpages)
    points = (1000 + share) * 2
    return points // 3 if points >= 0 else -(-points // 3) & (1 << 64) - 1


@final
class OomControl:
    """struct oom_control: what ran out, for whom, and who was chosen.

    totalpages  what there is to be had: managed RAM and swap, or the limit of the cgroup, or of the allowed nodes
    constraint  CONSTRAINT_*
    nodemask    mask of the nodes of the memory policy that ran out; -1: none
    mems_allowed  the nodes that the cpuset of who asks has; cpuset: its name
    memcg       path of the cgroup whose limit was hit, "" for a machine-wide shortage
    gfp_mask, order  the request, as Linux numbers the flags; order -1: asked for by hand (SysRq-f)
    chosen, chosen_points  the answer of ``select_bad_process``; None: nobody can be killed
    waiting     somebody was chosen before and still has to end: nobody is chosen now
    """

    def __init__(self, totalpages: int, gfp_mask: int = 0, order: int = 0) -> None:
        self.totalpages = totalpages
        self.constraint = CONSTRAINT_NONE
        self.nodemask = -1
        self.mems_allowed = 1
        self.cpuset = "/"
        self.memcg = ""
        self.gfp_mask = gfp_mask
        self.order = order
        self.chosen: OomTask | None = None
        self.chosen_points = UNKILLABLE
        self.waiting = False

    def start(self) -> None:
        """Forgets an earlier answer. (Written out where it is asked for, it would stand for None to the compiler.)"""
        self.chosen = None
        self.chosen_points = UNKILLABLE
        self.waiting = False

    def eligible(self, task: OomTask) -> bool:
        """Whether the process has to do with what ran out: it may use one of the nodes, by its policy or by its cpuset
        (a cgroup's shortage looks at the cgroup's processes alone, and they are all eligible)."""
        if self.memcg != "":
            return True
        return task.nodes & self.nodemask != 0 if self.nodemask != -1 else task.mems & self.mems_allowed != 0


def evaluate_task(oc: OomControl, task: OomTask) -> bool:
    """Looks at one process; False where the search is over, because somebody is dying already."""
    if task.unkillable or not oc.eligible(task):
        return True
    if task.victim and oc.order != -1:
        if task.oom_skip:
            return True
        oc.waiting = True
        oc.chosen = None
        return False
    points = ORIGIN if task.origin else oom_badness(task, oc.totalpages)
    if points == UNKILLABLE or points < oc.chosen_points:
        return True
    oc.chosen = task
    oc.chosen_points = points
    return True


def select_bad_process(oc: OomControl, tasks: list[OomTask]) -> OomTask | None:
    """The process to be killed: the one with the largest badness, the later one of two that are equal. ``tasks`` are
    in the order in which they were made. None where there is none, or where ``oc.waiting``."""
    oc.start()
    for task in tasks:
        if not evaluate_task(oc, task):
            break
    return oc.chosen
