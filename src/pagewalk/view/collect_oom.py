"""What the report says of kills and of the memory cgroup that a run was in."""

from typing import TYPE_CHECKING

from pagewalk.mm.memcontrol import EVENT_NAMES, PAGE_COUNTER_MAX, MemCgroup
from pagewalk.view.report import PAGE, CgroupRecord, OomRecord

if TYPE_CHECKING:
    from pagewalk.kernel.oom import OomKill

__all__ = ["cgroup_record", "oom_record"]


def cgroup_record(group: MemCgroup) -> CgroupRecord | None:
    """A group for the report; None for the root."""
    if group.parent is None:
        return None
    return CgroupRecord(
        path=group.path(),
        limit=None if group.max >= PAGE_COUNTER_MAX else int(group.max) * PAGE,
        current=int(group.usage) * PAGE,
        peak=int(group.watermark) * PAGE,
        swap=int(group.swap_usage) * PAGE,
        events=dict(zip(EVENT_NAMES, group.events, strict=False)),
    )


def oom_record(kill: "OomKill") -> OomRecord:
    """A kill for the report."""
    victim = kill.victim
    return OomRecord(
        pid=victim.tgid,
        name=victim.comm,
        invoked_by=kill.invoked_by,
        badness=kill.points,
        rss=victim.rss * PAGE,
        swap=victim.swapents * PAGE,
        page_tables=victim.pgtables_bytes,
        oom_score_adj=victim.oom_score_adj,
        cgroup=kill.memcg,
        message=kill.report[-1],
        report=kill.report,
    )
