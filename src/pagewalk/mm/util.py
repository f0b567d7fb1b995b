"""Promises of memory: how much may be committed.

Mirrors: mm/util.c (__vm_enough_memory, vm_commit_limit) (6.18)
Differs: no huge pages in the limit yet.
"""

from mypy_extensions import i64

from pagewalk.mm.system import System

OVERCOMMIT_GUESS = 0
OVERCOMMIT_ALWAYS = 1
OVERCOMMIT_NEVER = 2


def vm_commit_limit(system: System) -> int:
    """CommitLimit in pages."""
    config = system.config
    if config.overcommit_kbytes:
        return ((config.overcommit_kbytes << 10) >> int(system.page_shift)) + int(system.swap.total_swap_pages)
    return system.totalram_pages * config.overcommit_ratio // 100 + int(system.swap.total_swap_pages)


def vm_enough_memory(system: System, pages: i64) -> bool:
    """Whether ``pages`` more may be promised, by vm.overcommit_memory: 0 refuses only what is larger than the
    machine, 1 nothing, 2 what does not stay below CommitLimit (1/32 of RAM, at most 8 MiB, kept for root; 1/32 of the
    mm, at most 128 MiB, for recovery)."""
    mode = system.config.overcommit_memory
    if mode == OVERCOMMIT_ALWAYS:
        return True
    if mode == OVERCOMMIT_GUESS:
        return pages <= system.totalram_pages + system.swap.total_swap_pages
    allowed: i64 = vm_commit_limit(system)
    reserve: i64 = system.totalram_pages // 32  # what vm.admin_reserve_kbytes and user_reserve_kbytes are at most
    if not system.current.capable:
        allowed -= min(reserve, (8 << 20) >> int(system.page_shift))
    allowed -= min(system.current.total_vm() // 32, min(reserve, (128 << 20) >> int(system.page_shift)))
    return system.vm_committed_as + pages < allowed


def vm_acct_memory(system: System, pages: i64) -> None:
    """Promises ``pages``."""
    system.vm_committed_as += pages


def vm_unacct_memory(system: System, pages: i64) -> None:
    """Takes a promise back."""
    system.vm_committed_as -= pages
