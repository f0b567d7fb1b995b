"""Reclaim policies: those of docs/reclaim.md as they stand there, and what every policy must keep."""

import re
from pathlib import Path
from typing import Any

import pytest
from mm_rig import PAGE, small_machine

from pagewalk import ConfigError, Machine
from pagewalk.check import check_machine
from pagewalk.mm.lru_names import LRU_ACTIVE_ANON, LRU_INACTIVE_ANON
from pagewalk.mm.lruvec import ReclaimPolicy
from pagewalk.mm.rmap import folio_referenced
from pagewalk.mm.vmscan import try_to_free_memory

DOC = Path(__file__).parents[2] / "docs" / "reclaim.md"


def documented() -> dict[str, Any]:
    """The classes that the document defines; its blocks are run."""
    found: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", DOC.read_text(), re.S):
        exec(compile(block, "docs/reclaim.md", "exec"), found)
        if "machine" in found:
            found.pop("machine").close()
    return found


@pytest.mark.parametrize("policy", ["lru", "mglru", "Fifo", "Clock"])
def test_contents_survive_under_every_policy(policy: str) -> None:
    chosen = policy if policy.islower() else documented()[policy]
    with small_machine(ram="64M", swap="64M", reclaim_policy=chosen) as machine:
        process = machine.spawn()
        pages = machine.system.totalram_pages * 3 // 2
        area = process.mmap(pages * PAGE)
        for page in range(pages):
            process.write(area + page * PAGE, b"%010d" % page)
        check_machine(machine)
        for page in range(pages):
            assert process.read(area + page * PAGE, 10) == b"%010d" % page
        assert machine.system.vmstat.pswpout > pages // 4
        assert machine.system.vmstat.pgsteal_anon > pages // 4


def kept_of_the_used(policy: Any) -> int:
    """How many of 256 pages, the first to come and the only ones used lately, half a machine's reclaim leaves."""
    with small_machine(ram="64M", swap="64M", reclaim_policy=policy) as machine:
        process = machine.spawn()
        pages = machine.system.totalram_pages * 3 // 4
        area = process.mmap(pages * PAGE)
        process.touch(area, pages * PAGE)
        for lru in (LRU_INACTIVE_ANON, LRU_ACTIVE_ANON):
            for page in machine.system.node.lruvec.all_pages(lru):
                folio_referenced(page)
        process.touch(area, 256 * PAGE, write=False)
        assert try_to_free_memory(machine.system, pages // 2) >= pages // 2
        return sum(process.mincore(area, 256 * PAGE))


def test_policies_that_see_accesses_keep_what_is_used_and_fifo_does_not() -> None:
    found = documented()
    assert kept_of_the_used(found["Fifo"]) == 0
    for policy in ("lru", "mglru", found["Clock"]):
        assert kept_of_the_used(policy) == 256


def test_a_policy_is_a_reclaim_policy() -> None:
    with pytest.raises(ConfigError, match="expected lru, mglru or a ReclaimPolicy, got 'lfu'"):
        Machine(reclaim_policy="lfu")
    with pytest.raises(ConfigError, match="expected a subclass of ReclaimPolicy"):
        Machine(reclaim_policy=lambda mem_map: object())
    with pytest.raises(NotImplementedError, match="shrink"):
        machine = Machine(ram="64M", swap="64M", reclaim_policy=ReclaimPolicy)
        process = machine.spawn()
        process.touch(process.mmap("24M"), "24M")
