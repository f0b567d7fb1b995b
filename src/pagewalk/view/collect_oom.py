"""What the report says of kills and of the memory cgroup that a run was in."""

from typing import TYPE_CHECKING

from pagewalk.mm.memcontrol import EVENT_NAMES, PAGE_COUNTER_MAX, MemCgroup
from pagewalk.view.report import CgroupRecord, OomRecord

if TYPE_CHECKING:
    from pagewalk.kernel.oom import OomKill

__all__ = ["cgroup_record", "oom_record"]


def cgroup_record(group: MemCgroup, page_size: int) -> CgroupRecord | None:
    """A group for the report; None for the root. ``page_size`` in bytes."""
    if group.parent is None:
        return None
    return CgroupRecord(
        path=group.path(),
        limit=None if group.max >= PAGE_COUNTER_MAX else int(group.max) * page_size,
        current=int(group.usage) * page_size,
        peak=int(group.watermark) * page_size,
        swap=int(group.swap_usage) * page_size,
        events=dict(zip(EVENT_NAMES, group.events, strict=False)),
    )


def oom_record(kill: "OomKill", page_size: int) -> OomRecord:
    """A kill for the report. ``page_size`` in bytes."""
    victim = kill.victim
    return OomRecord(
        pid=victim.tgid,
        name=victim.comm,
        invoked_by=kill.invoked_by,
        badness=kill.points,
        rss=victim.rss * page_size,
        swap=victim.swapents * page_size,
        page_tables=victim.pgtables_bytes,
        oom_score_adj=victim.oom_score_adj,
        cgroup=kill.memcg,
        message=kill.report[-1],
        report=kill.report,
    )
