"""What the page allocator asks of memory cgroups: one object, ``node.memcg``, that mm/memcontrol.py replaces.

A request with ``GFP_ACCOUNT`` (a page of a program, of a file, a page table) is charged to the running task's group
before a frame is looked for, and uncharged when the frame is freed. Nothing is asked while there is no group but the
root.

Mirrors: include/linux/memcontrol.h (mem_cgroup_charge, __memcg_kmem_charge_page) (6.18)
Differs: the running task's group is charged, also for a page of somebody else's address space.
"""

from mypy_extensions import i64


class MemcgSeam:
    """A machine without groups.

    enabled  there are groups: charges are asked for
    cpusets  some group asks for nodes of its own
    """

    def __init__(self) -> None:
        self.enabled = False
        self.cpusets = False

    def try_charge(self, gfp: i64, order: i64) -> i64:
        """The id of the group that now has 2**order pages more, 0 for the root, -1 where its limit forbids it."""
        return 0

    def uncharge(self, ident: i64, nr_pages: i64) -> None:
        """The group has so many pages less."""

    def mems_allowed(self) -> i64:
        """The nodes that the running task may use, as a mask; -1: all."""
        return -1

    def kmem_group(self) -> i64:
        """The id of the group that the kernel's own objects for the running task are charged to, 0 for the root."""
        return 0

    def charge_object(self, ident: i64, size: i64) -> None:
        """A group other than the root's has an object of the kernel's more."""

    def uncharge_object(self, ident: i64, size: i64) -> None:
        """The object is gone."""

    def try_charge_swap(self, ident: i64, entry: i64) -> bool:
        """The group has the swap slot ``entry``; False where it may not have more. ``entry`` -1: there was no slot."""
        return True

    def get_nr_swap_pages(self, ident: i64) -> i64:
        """Swap slots that the group may still have (mem_cgroup_get_nr_swap_pages)."""
        return 0

    def uncharge_swap(self, entry: i64) -> None:
        """The slot is free."""
