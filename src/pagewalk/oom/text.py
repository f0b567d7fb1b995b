"""A ranking for a person."""

from pagewalk.mm.oom_kill import CONSTRAINT_NAMES
from pagewalk.oom.rank import Ranking

__all__ = ["ranking_text"]


def ranking_text(found: Ranking, top: int, scores: dict[int, int] | None = None, title: str = "report") -> str:
    """The table and the verdict. ``scores``: the kernel's own oom_score by pid, a column of its own where given."""
    lines = []
    report = found.report
    if report is not None:
        who = (
            f"{report.comm} asked for {4 << max(report.order, 0)} KiB" if report.comm is not None else "table of tasks"
        )
        where = f", cgroup {report.memcg}" if report.memcg else ""
        lines.append(f"{title} (line {report.line}): {who}, {CONSTRAINT_NAMES[report.constraint]}{where}")
    lines.append(f"{found.totalpages} pages in all ({found.from_where}): oom_score_adj 1 is {found.totalpages // 1000}")
    kernel = "  kernel" if scores is not None else ""
    lines.append(f"rank {'pid':>8} {'badness':>10} {'score':>6}{kernel} {'adj':>5}  name")
    shown = found.candidates if top == 0 else found.candidates[:top]
    for number, each in enumerate(shown, 1):
        badness = "-" if each.badness is None else str(each.badness)
        place = "-" if each.badness is None else str(number)
        score = "-" if each.oom_score is None else str(each.oom_score)
        own = "" if scores is None else f"{scores.get(each.task.pid, '-'):>8}"
        lines.append(
            f"{place:>4} {each.task.pid:>8} {badness:>10} {score:>6}{own} {each.task.oom_score_adj:>5}  "
            f"{each.task.comm}: {each.why}"
        )
    if len(shown) < len(found.candidates):
        lines.append(f"     and {len(found.candidates) - len(shown)} more (--top 0 lists all)")
    lines += [f"note: {note}" for note in found.notes]
    lines.append(verdict(found))
    return "\n".join(lines) + "\n"


def verdict(found: Ranking) -> str:
    """Who dies, and whether the kernel says so too."""
    if found.victim is None:
        return "nobody can be killed: the kernel would panic"
    text = f"dies: {found.victim.comm} ({found.victim.pid})"
    if found.any_process:
        return f"{text}; the kernel killed {found.kernel_chose}, who asked ({found.any_process})"
    agrees = found.agrees()
    if agrees is None:
        return text
    return f"{text}, as the kernel chose" if agrees else f"{text}; the kernel chose {found.kernel_chose}"
