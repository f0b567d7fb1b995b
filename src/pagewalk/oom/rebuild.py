"""A report written anew from what was read of it: every sum, total, unit and choice is computed, not copied."""

from typing import Final

from pagewalk.mm.oom_kill import OomControl, select_bad_process
from pagewalk.mm.oom_report import dump_header, dump_oom_summary, dump_tasks, kill_line, show_mem
from pagewalk.oom.parse import OomReport
from pagewalk.oom.rank import report_totalpages

ALLOCATING_TASK: Final = "(oom_kill_allocating_task)"

__all__ = ["rebuild"]


def rebuild(report: OomReport) -> list[str]:
    """The lines that the kernel would print for the report's machine (without call trace and cgroup statistics)."""
    totalpages, _ = report_totalpages(report, -1, -1)
    oc = OomControl(totalpages, report.gfp_mask, report.order)
    oc.constraint = report.constraint
    oc.mems_allowed = report.mems_allowed
    oc.nodemask = report.nodemask
    oc.memcg = report.memcg
    lines: list[str] = []
    if report.comm is not None:
        lines.append(dump_header(oc, report.comm, report.oom_score_adj, report.linux))
    if report.mem is not None:
        lines += show_mem(report.mem, report.linux)
    lines += dump_tasks(report.tasks, report.linux)
    victim = select_bad_process(oc, report.tasks)
    why = next((killed.message for killed in report.killed if killed.message.endswith(ALLOCATING_TASK)), "")
    if why:
        victim = next((task for task in report.tasks if task.pid == report.killed[0].pid), victim)
    if report.panic:
        lines.append(report.panic)
    elif victim is not None:
        lines.append(dump_oom_summary(oc, victim, report.cpuset))
        lines.append(kill_line(oc, victim, why))
    return lines
