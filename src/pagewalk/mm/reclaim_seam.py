"""What the page allocator asks of reclaim: one object, ``node.reclaim``, that reclaim replaces with its own.

The allocator (mm/page_alloc.py) calls these methods on its slow path alone, in this order: ``wake_kswapd`` for every
zone of the zonelist when no zone is above its low mark; ``memalloc`` to learn whether the caller may go below the min
mark; ``try_to_free_pages``; ``reclaimable_pages`` to decide on another round; ``out_of_memory``. The methods here do
nothing: a machine without reclaim has nothing to give back.

Mirrors: mm/vmscan.c (wakeup_kswapd, try_to_free_pages, zone_reclaimable_pages), mm/oom_kill.c (out_of_memory) (6.18)
Differs: an object with methods, so that a machine may be put together without reclaim.
"""

from typing import TYPE_CHECKING, Final

from mypy_extensions import i64, mypyc_attr

if TYPE_CHECKING:
    from pagewalk.mm.memcontrol import MemCgroup
    from pagewalk.mm.page_alloc import Node
    from pagewalk.mm.zone import Zone

DEFAULT_SWAPPINESS: Final = -2


class OomKiller:
    """Who kills when reclaim cannot help: the kernel's side of it is kernel/oom.py. This one kills nobody."""

    def out_of_memory(self, node: "Node", gfp: i64, order: i64) -> bool:
        """See ``ReclaimSeam.out_of_memory``."""
        return False

    def memalloc(self) -> i64:
        """See ``ReclaimSeam.memalloc``: ALLOC_OOM where the running task is being killed."""
        return 0

    def reclaiming(self) -> None:
        """Memory is being reclaimed: what looks at such times (Android's low memory killers) does."""

    def must_fail(self) -> bool:
        """The running task is being killed (task_is_dying), or has to let a victim end first: no use in reclaiming."""
        return False

    def may_exceed(self) -> bool:
        """A victim of the group is about to end: the running system call's charges go through, whatever the limit."""
        return False

    def throttle(self, ns: i64) -> None:
        """The running task is to wait before it goes on with its program: its memory cgroup is above memory.high."""

    def others_run(self, group: "MemCgroup") -> bool:
        """Another task of a group or below it could run now while the running one waits."""
        return False

    def memcg_out_of_memory(self, group: "MemCgroup", gfp: i64, order: i64) -> bool:
        """A memory cgroup's limit is hit and it has nothing to give back; the answer is as ``out_of_memory``'s."""
        return False


@mypyc_attr(allow_interpreted_subclasses=True)
class ReclaimSeam:
    """What the allocator asks for. Override any of these; pages are counted in units of 4 KiB.

    killer  whom ``out_of_memory`` and ``memalloc`` ask; a subclass that overrides these two calls them here
    """

    def __init__(self) -> None:
        self.killer = OomKiller()

    def wake_kswapd(self, zone: "Zone", gfp: i64, order: i64, highest_zoneidx: i64) -> None:
        """``zone`` (of node ``zone.node_id``) is below its low mark for a request of ``order`` that may use zones up to
        index ``highest_zoneidx``. Called once for each zone of the zonelist, the preferred zone first, whenever an
        allocation enters the slow path (and again before each of its rounds). Here: nobody makes room for whole blocks,
        so the boost that asks for it ends."""
        zone.watermark_boost = 0

    def memalloc(self, gfp: i64) -> i64:
        """The extra rights of who asks: 0 none, ``ALLOC_OOM`` for a task that is being killed for want of memory, or
        ``ALLOC_NO_WATERMARKS`` for reclaim's own allocations (PF_MEMALLOC)."""
        return self.killer.memalloc()

    def try_to_free_pages(self, node: "Node", gfp: i64, order: i64) -> i64:
        """Direct reclaim for a request that starts at ``node``: how many pages were freed, 0 for no progress. It may
        allocate itself (``memalloc`` must then answer ALLOC_NO_WATERMARKS, so that it is not entered again)."""
        return 0

    def try_to_free_mem_cgroup_pages(self, group: "MemCgroup", nr_pages: i64, swappiness: int) -> i64:
        """Reclaim of pages that are charged to a memory cgroup or to one below it: how many were freed; -1 where it has
        none on any list. ``swappiness``: DEFAULT_SWAPPINESS for a limit; else somebody asks for it (memory.reclaim):
        vm.swappiness (-1), 0 to 200, or 201 for anonymous pages alone."""
        return 0

    def reclaiming(self) -> bool:
        """Reclaim is under way: what is asked for is its own."""
        return False

    def reclaimable_pages(self, zone: "Zone") -> i64:
        """Pages of ``zone`` that could be reclaimed at best (zone_reclaimable_pages)."""
        return 0

    def hopeless(self, node: "Node") -> bool:
        """kswapd has given up on the node (the report's all_unreclaimable)."""
        return False

    def out_of_memory(self, node: "Node", gfp: i64, order: i64) -> bool:
        """The rounds are used up. True: something was or is being killed, and the request is tried again (or
        fails at once where the caller itself is the victim, as ``memalloc`` then says); False: the request fails."""
        return self.killer.out_of_memory(node, gfp, order)
