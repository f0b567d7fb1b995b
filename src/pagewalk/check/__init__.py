"""Named invariants of the modelled memory: one function each, its docstring the invariant.

``check_all(system, mms)`` runs them and raises ``Broken`` at the first that does not hold. They look at everything and
change nothing; a machine with thousands of touched pages takes some tens of milliseconds.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from pagewalk.check import counts, frames, lru, swap, tables, tlbs, vmas
from pagewalk.check.census import Broken, Census, require
from pagewalk.mm.file import AddressSpace
from pagewalk.mm.mm_types import MmStruct
from pagewalk.mm.page import Page
from pagewalk.mm.system import System

if TYPE_CHECKING:
    from pagewalk.machine import Machine

__all__ = ["INVARIANTS", "Broken", "Census", "check_all", "check_machine"]

INVARIANTS: tuple[Callable[[Census], None], ...] = (
    vmas.vmas_are_sorted_disjoint_and_aligned,
    vmas.page_prot_follows_the_flags,
    vmas.anon_vmas_are_linked_both_ways,
    vmas.files_know_the_vmas_that_map_them,
    tables.entries_lie_within_vmas,
    tables.rights_do_not_exceed_the_vmas,
    tables.a_writable_entry_may_be_written,
    tables.an_exclusive_page_is_mapped_once,
    tables.mapped_pages_belong_to_the_object_of_their_vma,
    tables.rmap_and_page_tables_agree,
    tables.guard_entries_are_of_anonymous_or_file_memory,
    tables.tables_are_counted_and_needed,
    frames.free_lists_are_well_linked,
    frames.no_two_free_buddies_are_unmerged,
    frames.each_frame_has_one_owner,
    frames.free_counts_equal_a_recount,
    frames.references_equal_the_users_of_a_frame,
    counts.rss_equals_the_entries,
    counts.slab_objects_equal_a_recount,
    counts.mapped_counts_equal_the_vmas,
    counts.committed_memory_equals_the_promises,
    counts.vmstat_equals_a_recount,
    counts.dirty_sets_hold_cached_pages,
    counts.folios_are_whole,
    counts.cgroup_usage_equals_the_charged_frames,
    lru.lru_lists_are_well_linked,
    lru.a_page_is_on_one_list,
    lru.locked_pages_are_unevictable,
    swap.swap_counts_equal_the_references,
    swap.slots_are_accounted,
    swap.swap_cache_and_pages_agree,
    swap.exclusive_swap_entries_are_alone,
    swap.address_spaces_with_swap_entries_are_known,
)


def check_all(
    system: System,
    mms: Iterable[MmStruct],
    *,
    spaces: Iterable[AddressSpace] = (),
    held: Iterable[tuple[Page, int]] = (),
) -> None:
    """Runs every invariant. ``mms``: all address spaces that exist; ``spaces`` and ``held`` as in ``Census``."""
    census = Census(system, mms, spaces, held)
    for invariant in INVARIANTS:
        invariant(census)


def check_machine(machine: "Machine") -> None:
    """Runs every invariant on a machine between two calls of its processes."""
    mms = {task.mm.ident: task.mm for task in machine.kernel.tasks() if task.mm.mm_users > 0}
    spaces = [segment.mapping() for segment in machine.kernel.shm.segments.values()]
    check_all(machine.system, mms.values(), spaces=spaces)
    check_tasks(machine)
    if machine.tlb is not None:
        tlbs.a_tlb_entry_equals_the_page_table_or_a_flush_is_pending(machine.tlb, mms.values())


def check_tasks(machine: "Machine") -> None:
    """The caches of tasks, and of what they share, count what there is."""
    tasks = machine.kernel.tasks()
    found = {
        "task_struct": len(tasks),
        "pid": len(tasks),
        "signal_cache": len({id(task.signal) for task in tasks}),
        "sighand_cache": len({id(task.sighand) for task in tasks}),
        "files_cache": len({id(task.files) for task in tasks if task.files.count > 0}),
    }
    counts = machine.system.slab.counts()
    for name, recount in found.items():
        require(counts[name] == recount, "slab objects equal a recount", f"{name}: {counts[name]}, found {recount}")
