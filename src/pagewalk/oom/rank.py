"""Who of a table dies: the kernel's choice, computed again, with what every process would have had."""

from dataclasses import dataclass, field
from typing import Any

from pagewalk.mm.oom_kill import (
    CONSTRAINT_NAMES,
    CONSTRAINT_NONE,
    UNKILLABLE,
    OomControl,
    OomTask,
    adjustment,
    oom_badness,
    proc_oom_score,
    select_bad_process,
    why_unkillable,
)
from pagewalk.oom.parse import OomReport

__all__ = ["Candidate", "Ranking", "rank", "rank_report"]

_NO_LIMIT_KB = 1 << 50  # what "max" comes out as, and anything near it


@dataclass
class Candidate:
    """One process and its place. ``badness`` is None where it cannot be chosen; ``why`` says why, or what the badness
    is made of. ``oom_score`` is that of /proc, None where the machine's size is not known (a cgroup's report)."""

    task: OomTask
    badness: int | None
    oom_score: int | None
    why: str


@dataclass
class Ranking:
    """Processes by the order in which they would be chosen, those who cannot be last.

    totalpages   what a thousandth of an oom_score_adj is a part of
    from_where   where that figure is from
    victim       the first, None where nobody can be killed
    kernel_chose pid of the report's own victim, -1 where it names none
    any_process  "oom_kill_allocating_task" where the kernel did not look for the largest
    """

    totalpages: int
    from_where: str
    candidates: list[Candidate]
    victim: OomTask | None
    report: OomReport | None = None
    kernel_chose: int = -1
    any_process: str = ""
    notes: list[str] = field(default_factory=list)

    def agrees(self) -> bool | None:
        """Whether the kernel chose the same; None where it is not known or did not look."""
        if self.kernel_chose < 0 or self.any_process:
            return None
        return self.victim is not None and self.victim.pid == self.kernel_chose

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        report = self.report
        found: dict[str, Any] = {
            "totalpages": self.totalpages,
            "totalpages_from": self.from_where,
            "victim": None if self.victim is None else {"pid": self.victim.pid, "name": self.victim.comm},
            "kernel_chose": self.kernel_chose if self.kernel_chose >= 0 else None,
            "agrees": self.agrees(),
            "notes": self.notes,
        }
        if report is not None:
            found["line"] = report.line
            found["invoked_by"] = report.comm
            found["gfp_mask"] = report.gfp_mask if report.comm is not None else None
            found["order"] = report.order if report.comm is not None else None
            found["constraint"] = CONSTRAINT_NAMES[report.constraint]
            found["memcg"] = report.memcg or None
        found["candidates"] = [
            {
                "rank": number if each.badness is not None else None,
                "pid": each.task.pid,
                "tgid": each.task.tgid,
                "name": each.task.comm,
                "uid": each.task.uid,
                "badness": each.badness,
                "oom_score": each.oom_score,
                "rss": each.task.rss,
                "swapents": each.task.swapents,
                "pgtables_bytes": each.task.pgtables_bytes,
                "oom_score_adj": each.task.oom_score_adj,
                "why": each.why,
            }
            for number, each in enumerate(self.candidates, 1)
        ]
        return found


def rank(tasks: list[OomTask], totalpages: int, from_where: str, *, machine: bool = True) -> Ranking:
    """The order in which ``tasks``, given in the order in which they were made, would be chosen one after another.
    ``machine``: ``totalpages`` are the machine's, not those of a cgroup or of some nodes."""
    places = {id(task): at for at, task in enumerate(tasks)}
    candidates = []
    for task in tasks:
        points = oom_badness(task, totalpages)
        score = proc_oom_score(points, max(totalpages, 1)) if machine else None
        if points == UNKILLABLE:
            candidates.append(Candidate(task, None, score, why_unkillable(task)))
        else:
            candidates.append(Candidate(task, points, score, explain(task, totalpages, points)))
    candidates.sort(
        key=lambda each: (each.badness is None, -(each.badness or 0), -places[id(each.task)])
    )  # of two that are equal the later one is chosen
    return Ranking(totalpages, from_where, candidates, select_bad_process(OomControl(totalpages), tasks))


def explain(task: OomTask, totalpages: int, points: int) -> str:
    """What a badness is made of."""
    words = [f"{task.rss} rss"]
    if task.swapents:
        words.append(f"+ {task.swapents} swap")
    words.append(f"+ {task.pgtables_bytes // (task.page_kb << 10)} page tables")
    if task.oom_score_adj:
        extra = adjustment(task.oom_score_adj, totalpages)
        words.append(f"{'-' if extra < 0 else '+'} {abs(extra)} for oom_score_adj {task.oom_score_adj}")
    return f"{' '.join(words)} = {points} pages"


def report_totalpages(report: OomReport, ram_pages: int, swap_pages: int) -> tuple[int, str]:
    """What there was to be had, and where that is from. ``ram_pages``, ``swap_pages``: given by the user, -1 for
    not."""
    if ram_pages >= 0:
        return ram_pages + max(swap_pages, 0), "--ram" + (" and --swap" if swap_pages >= 0 else "")
    mem = report.mem
    kb = report.page_kb
    if report.memcg_limit_kb >= 0:
        swap = max(swap_pages, 0)
        if swap_pages < 0 and 0 <= report.memcg_swap_kb < _NO_LIMIT_KB:
            swap = report.memcg_swap_kb // kb
        elif swap_pages < 0 and 0 <= report.memsw_limit_kb < _NO_LIMIT_KB:
            swap = max(report.memsw_limit_kb - report.memcg_limit_kb, 0) // kb
        elif swap_pages < 0:
            swap = sum([task.swapents for task in report.tasks])
        return max(report.memcg_limit_kb // kb + swap, 1), f"the limit of the cgroup {report.memcg}".rstrip()
    if mem is not None and mem.zones:
        swap = swap_pages if swap_pages >= 0 else mem.total_swap_kb // kb
        if report.constraint != CONSTRAINT_NONE:
            nodes = report.nodemask if report.nodemask != -1 else report.mems_allowed
            present = sum([zone.kb.get("present", 0) for zone in mem.zones if nodes >> zone.nid & 1]) // kb
            return present + swap, "the nodes that were allowed"
        return mem.managed_pages() + swap, "the report's zones and swap"
    used = sum([task.pages() for task in report.tasks])
    return max(used, 1), "an estimate: all that the table's processes use (--ram gives the true size)"


def rank_report(report: OomReport, ram_pages: int = -1, swap_pages: int = -1) -> Ranking:
    """The ranking of a report's table. ``ram_pages``, ``swap_pages`` replace what the report says, -1 for not."""
    totalpages, from_where = report_totalpages(report, ram_pages, swap_pages)
    for task in report.tasks:
        task.oom_skip = task.pid in report.reaped
    found = rank(report.tasks, totalpages, from_where, machine=report.constraint == CONSTRAINT_NONE)
    found.report = report
    if report.selected_pid >= 0:
        found.kernel_chose = report.selected_pid
    elif report.summary_pid >= 0:
        found.kernel_chose = report.summary_pid
    elif report.killed:
        found.kernel_chose = report.killed[0].pid
    for killed in report.killed:
        if "oom_kill_allocating_task" in killed.message:
            found.any_process = "oom_kill_allocating_task"
    if report.panic:
        found.notes.append("the kernel killed nobody: " + report.panic.partition(": ")[2])
    if from_where.startswith("an estimate") and found.victim is not None:
        note_estimate(found, report.tasks)
    return found


def note_estimate(found: Ranking, tasks: list[OomTask]) -> None:
    """Whether a larger machine would have chosen somebody else."""
    others: list[str] = []
    for factor in (2, 4, 16, 64, 1024):
        victim = rank(tasks, found.totalpages * factor, "").victim
        if victim is not None and victim is not found.victim and victim.comm not in others:
            others.append(
                f"{victim.comm} ({victim.pid}) from {found.totalpages * factor * tasks[0].page_kb >> 10} MiB on"
            )
            break
    found.notes += [f"on a larger machine the choice may differ: {text}" for text in others]
