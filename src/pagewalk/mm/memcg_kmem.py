"""The kernel's own memory, charged to whom it is for: objects of its caches, kernel stacks.

Objects are charged by the byte, with 8 bytes each for the note of whose they are; of the last page that was charged for
them what is left waits for the next ones. A task's stack is four pages.

Mirrors: mm/memcontrol.c (obj_cgroup_charge, memcg_kmem_charge_page), kernel/fork.c (memcg_charge_kernel_stack) (6.18)
Differs: what is left of a page is kept for each group, not for the one that a CPU charged last; AnonVmas of an
    address space are charged to the group that its task had when it was made, after a move too; what comes to be in
    the midst of a change is charged even above ``max``, and the task pays on its way out.
"""

from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

from pagewalk.mm.gfp import GFP_ACCOUNT, GFP_KERNEL

if TYPE_CHECKING:
    from pagewalk.mm.mem_cgroup import MemCgroup
    from pagewalk.mm.memcontrol import MemCgroupTree

OBJECT_NOTE: Final = 8  # sizeof(struct slabobj_ext)


def charge_object(tree: "MemCgroupTree", group: "MemCgroup", size: i64) -> None:
    """An object of ``size`` bytes is the group's. Nothing is reclaimed for it here: where that takes the group above a
    limit, the running task sees to it before it goes on."""
    group.slab_bytes += size + OBJECT_NOTE
    charge_bytes(tree, group, size + OBJECT_NOTE)


def uncharge_object(tree: "MemCgroupTree", group: "MemCgroup", size: i64) -> None:
    """The object is gone."""
    group.slab_bytes -= size + OBJECT_NOTE
    uncharge_bytes(tree, group, size + OBJECT_NOTE)


def charge_bytes(tree: "MemCgroupTree", group: "MemCgroup", size: i64) -> None:
    """obj_cgroup_charge of ``size`` bytes."""
    group.kmem_bytes += size
    short: i64 = pages_for(tree, group.kmem_bytes) - group.kmem_paid
    if short <= 0:
        return
    group.kmem_paid += short
    if not tree.stock[tree.system.current.cpu].consume(group.ident, short):
        if group.over_limit(short) is not None:
            tree.system.current.memcg_over_max = True
        group.add(short)


def uncharge_bytes(tree: "MemCgroupTree", group: "MemCgroup", size: i64) -> None:
    """They are gone."""
    group.kmem_bytes -= size
    excess: i64 = group.kmem_paid - pages_for(tree, group.kmem_bytes)
    if excess > 0:
        group.kmem_paid -= excess
        give_back(tree, group, excess)


def pages_for(tree: "MemCgroupTree", nr_bytes: i64) -> i64:
    """Pages that so many bytes take."""
    return (nr_bytes + tree.system.page_size - 1) >> tree.system.page_shift


def charge_stack(tree: "MemCgroupTree", group: "MemCgroup") -> bool:
    """A new task's kernel stack; False where a limit forbids it and nothing helps."""
    nr_pages: i64 = stack_pages(tree)
    if not tree.charge(group, nr_pages, GFP_KERNEL | GFP_ACCOUNT):
        return False
    group.stack_pages += nr_pages
    return True


def uncharge_stack(tree: "MemCgroupTree", group: "MemCgroup") -> None:
    """The task needs its stack no more."""
    nr_pages: i64 = stack_pages(tree)
    group.stack_pages -= nr_pages
    give_back(tree, group, nr_pages)


def stack_pages(tree: "MemCgroupTree") -> i64:
    """Pages of a kernel stack."""
    return tree.system.stacks.pages_each


def give_back(tree: "MemCgroupTree", group: "MemCgroup", nr_pages: i64) -> None:
    """Pages of the kernel's are not uncharged at once: the next charge takes them."""
    if group.online:
        tree.stock[tree.system.current.cpu].refill(group.ident, nr_pages)
    else:
        group.sub(nr_pages)
        tree.release(group)
