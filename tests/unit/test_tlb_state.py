"""Address-space ids: who finds his TLB entries again."""

from pagewalk import Machine
from pagewalk.mm.mm_types import MmStruct, mm_alloc
from pagewalk.mm.tlb import CR3_NOFLUSH, TLB_NR_DYN_ASIDS, TlbState


def address_spaces(count: int) -> list[MmStruct]:
    system = Machine(ram="64M").system
    made = [mm_alloc(system) for _ in range(count)]
    return [mm for mm in made if mm is not None]


def test_an_address_space_that_comes_back_finds_its_entries() -> None:
    tlb = TlbState(pcid=True)
    first, second = address_spaces(2)
    assert tlb.switch_mm(first)
    assert tlb.switch_mm(second)
    assert not tlb.switch_mm(first)
    assert (tlb.nr_switches, tlb.nr_kept, tlb.nr_flushes) == (3, 1, 2)


def test_rights_lost_meanwhile_cost_the_entries() -> None:
    tlb = TlbState(pcid=True)
    first, second = address_spaces(2)
    tlb.switch_mm(first)
    tlb.switch_mm(second)
    first.flush_tlb_range(0, 4096)
    assert tlb.switch_mm(first)
    assert not tlb.switch_mm(first)


def test_a_seventh_address_space_takes_the_oldest_tag() -> None:
    tlb = TlbState(pcid=True)
    spaces = address_spaces(TLB_NR_DYN_ASIDS + 1)
    for mm in spaces:
        assert tlb.switch_mm(mm)
    assert not tlb.switch_mm(spaces[1])
    assert tlb.switch_mm(spaces[0])


def test_without_pcids_every_change_is_a_flush() -> None:
    tlb = TlbState(pcid=False)
    first, second = address_spaces(2)
    assert tlb.switch_mm(first)
    assert tlb.switch_mm(second)
    assert tlb.switch_mm(first)
    assert tlb.cr3(noflush=False) == first.pgd_pfn << 12


def test_cr3_names_the_table_the_tag_and_whether_to_keep_entries() -> None:
    tlb = TlbState(pcid=True)
    first, second = address_spaces(2)
    tlb.switch_mm(first)
    tlb.switch_mm(second)
    assert tlb.cr3(noflush=False) == second.pgd_pfn << 12 | 2
    assert tlb.cr3(noflush=True) == CR3_NOFLUSH | second.pgd_pfn << 12 | 2
