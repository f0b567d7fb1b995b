"""The CPU: system calls, faults, traps, code that changes, and being stopped. No kernel: rig.py's page table."""

import os
import struct
import subprocess
import sys
import threading
import time

import pytest
from rig import CODE, DATA, STACK, Rig, assemble

from pagewalk.errors import PagewalkError
from pagewalk.kernel.cpu import (
    ACCESS_FETCH,
    ACCESS_READ,
    ACCESS_WRITE,
    EXIT_FAULT,
    EXIT_INT80,
    EXIT_STOPPED,
    EXIT_SYSCALL,
    EXIT_TRAP,
)
from pagewalk.kernel.ptrace import REG_NAMES

pytestmark = pytest.mark.quick

NON_CANONICAL = 0x4000_0000_0000_0000


@pytest.fixture
def rig() -> Rig:
    return Rig()


def granting(rig: Rig, rights: str = "rwd"):
    """An ``on_fault`` that maps whatever is asked for."""

    def on_fault(addr: int, access: int) -> bool:
        rig.map(addr, rights)
        return True

    return on_fault


def registers(rig: Rig) -> dict[str, int]:
    return {name: getattr(rig.regs, name) for name in REG_NAMES}


# System calls and registers.


def test_a_system_call_comes_back_behind_the_instruction_with_rcx_and_r11_as_hardware_leaves_them(rig: Rig) -> None:
    rig.load("mov eax, 39; syscall")
    assert rig.run() == EXIT_SYSCALL
    assert rig.regs.rax == 39
    assert rig.regs.rip == CODE + 7
    assert rig.regs.rcx == rig.regs.rip
    assert rig.regs.r11 == rig.regs.eflags == 0x202


def test_every_register_goes_in_and_comes_out(rig: Rig) -> None:
    rig.load("syscall")
    names = [name for name in REG_NAMES if name not in ("rip", "eflags", "rcx", "r11", "fs_base", "gs_base")]
    for at, name in enumerate(names):
        setattr(rig.regs, name, -1 - at * 0x1111_1111_1111)
    rig.regs.fs_base = 0x7FFF_F7FF_0000
    rig.regs.gs_base = 0x1234_0000
    rig.regs.eflags = 0x202 | 0x8D5  # CF PF AF ZF SF OF
    before = registers(rig)
    assert rig.run() == EXIT_SYSCALL
    for name in [*names, "fs_base", "gs_base", "eflags"]:
        assert getattr(rig.regs, name) == before[name], name


def test_what_the_kernel_changed_between_two_runs_is_loaded(rig: Rig) -> None:
    rig.load("syscall; mov rbx, rax; syscall")
    rig.run()
    rig.regs.rax = -38
    rig.run()
    assert rig.regs.rbx == -38


def test_fs_relative_access_uses_fs_base(rig: Rig) -> None:
    rig.load("mov rax, fs:[0x10]; syscall")
    rig.map(DATA, "r")
    rig.put(DATA + 0x18, (77).to_bytes(8, "little"))
    rig.regs.fs_base = DATA + 8
    assert rig.run() == EXIT_SYSCALL
    assert rig.regs.rax == 77


def test_syscall_as_the_last_instruction_of_a_page_before_a_hole(rig: Rig) -> None:
    rig.load("syscall", CODE + 4094)
    assert rig.run() == EXIT_SYSCALL
    assert rig.regs.rip == CODE + 4096
    assert rig.faults == []


# Faults.


def test_a_refused_load_says_the_exact_address_and_leaves_rip_at_the_instruction(rig: Rig) -> None:
    rig.load("mov ebx, 5; nop; mov rcx, [rax + 3]; mov ebx, 6; syscall")
    rig.regs.rax = DATA + 0x120
    assert rig.run() == EXIT_FAULT
    assert (rig.cpu.addr, rig.cpu.access) == (DATA + 0x123, ACCESS_READ)
    assert rig.cpu.error_code == 4
    assert rig.regs.rip == CODE + 6
    assert rig.regs.rbx == 5
    assert rig.faults == [(DATA, ACCESS_READ)]


def test_a_served_fault_goes_on_as_if_nothing_had_happened(rig: Rig) -> None:
    rig.load("mov [rax], rbx; mov rdx, [rax]; syscall")
    rig.regs.rax, rig.regs.rbx = DATA + 8, 0x1122
    rig.on_fault = granting(rig)
    assert rig.run() == EXIT_SYSCALL
    assert rig.regs.rdx == 0x1122
    assert rig.faults == [(DATA, ACCESS_WRITE)]
    assert rig.get(DATA + 8, 2) == b"\x22\x11"


def test_a_fault_in_the_kernel_half_is_asked_with_a_negative_address(rig: Rig) -> None:
    rig.load("mov rax, [rbx]; syscall")
    rig.regs.rbx = -0x1000 + 0x10
    assert rig.run() == EXIT_FAULT
    assert rig.faults == [(-0x1000, ACCESS_READ)]
    assert rig.cpu.addr == -0x1000 + 0x10


def test_a_store_to_a_read_only_page_is_a_protection_fault(rig: Rig) -> None:
    rig.load("mov rax, [rbx]; mov [rbx], rax; syscall")
    rig.map(DATA, "r")
    rig.regs.rbx = DATA + 16
    assert rig.run() == EXIT_FAULT
    assert (rig.cpu.addr, rig.cpu.access, rig.cpu.error_code) == (DATA + 16, ACCESS_WRITE, 7)
    assert rig.faults == [(DATA, ACCESS_WRITE)]


def test_a_supervisor_page_is_not_for_programs(rig: Rig) -> None:
    rig.load("mov rax, [rbx]; syscall")
    rig.map(DATA)
    rig.ram.words[rig.entry_index(DATA)] &= ~4
    rig.regs.rbx = DATA
    assert rig.run() == EXIT_FAULT
    assert rig.cpu.error_code == 5


def test_fetching_from_a_page_without_execute_right_faults_at_the_target(rig: Rig) -> None:
    rig.load("jmp rax")
    rig.map(DATA, "rw")
    rig.regs.rax = DATA + 0x10
    assert rig.run() == EXIT_FAULT
    assert (rig.cpu.addr, rig.cpu.access, rig.regs.rip) == (DATA + 0x10, ACCESS_FETCH, DATA + 0x10)
    assert rig.cpu.error_code == 0x15


def test_a_jump_to_null_is_a_fetch_fault_at_zero(rig: Rig) -> None:
    rig.load("xor eax, eax; call rax")
    rig.map(STACK - 4096, "rwd")
    rig.regs.rsp = STACK
    assert rig.run() == EXIT_FAULT
    assert (rig.cpu.addr, rig.cpu.access, rig.regs.rip) == (0, ACCESS_FETCH, 0)
    assert rig.regs.rsp == STACK - 8


@pytest.mark.parametrize(
    "instruction",
    [
        "mov [rax], rbx",
        "movups [rax], xmm0",
        "push rbx",
        "call .+5",
        "fstp tbyte ptr [rax]",
        "xchg [rax], rbx",
        "add [rax], rbx",
    ],
)
def test_an_access_across_two_pages_writes_nothing_when_the_second_faults(rig: Rig, instruction: str) -> None:
    rig.load(f"{instruction}; syscall")
    rig.map(DATA, "rwd")
    rig.put(DATA + 4000, b"\xa5" * 96)
    rig.regs.rax, rig.regs.rbx, rig.regs.rsp = DATA + 4093, 0x1234567890, DATA + 4093 + 8
    assert rig.run() == EXIT_FAULT
    assert rig.get(DATA + 4000, 96) == b"\xa5" * 96
    assert (rig.cpu.addr, rig.regs.rip, rig.regs.rsp) == (DATA + 4096, CODE, DATA + 4101)
    rig.map(DATA + 4096, "rwd")
    rig.mm.tlb_gen += 1
    if instruction.startswith("call"):
        rig.regs.rip = CODE
    assert rig.run() == EXIT_SYSCALL
    assert rig.get(DATA + 4093, 8) != b"\xa5" * 8


def test_a_string_move_stops_in_the_middle_and_goes_on_from_there(rig: Rig) -> None:
    rig.load("rep movsb; syscall")
    rig.map(DATA, "r")
    rig.map(DATA + 4096, "r")
    rig.put(DATA + 100, bytes(range(200)) * 20)
    to = DATA + 0x10_0000
    rig.map(to, "rwd")
    rig.regs.rsi, rig.regs.rdi, rig.regs.rcx = DATA + 100, to + 1000, 4000
    assert rig.run() == EXIT_FAULT
    assert (rig.cpu.addr, rig.cpu.access) == (to + 4096, ACCESS_WRITE)
    assert (rig.regs.rdi, rig.regs.rcx, rig.regs.rip) == (to + 4096, 4000 - 3096, CODE)
    assert rig.regs.rsi == DATA + 100 + 3096
    rig.on_fault = granting(rig)
    assert rig.run() == EXIT_SYSCALL
    assert rig.get(to + 1000, 4000) == (bytes(range(200)) * 20)[:4000]


def test_rep_stos_over_many_fresh_pages_faults_once_each(rig: Rig) -> None:
    rig.load("rep stosq; syscall")
    rig.on_fault = granting(rig)
    rig.regs.rdi, rig.regs.rcx, rig.regs.rax = DATA, 8 * 512, 0x77
    assert rig.run() == EXIT_SYSCALL
    assert rig.faults == [(DATA + 4096 * at, ACCESS_WRITE) for at in range(8)]


@pytest.mark.parametrize(
    "instruction",
    [
        "add qword ptr [rax], 1", "lock xadd [rax], rbx", "lock cmpxchg [rax], rbx", "xchg [rax], bl",
        "inc dword ptr [rax]",
        "not byte ptr [rax]", "shl word ptr [rax], 3", "bts qword ptr [rax], 5", "lock bts [rax], ecx",
        "shld [rax], rbx, cl",
        "lock cmpxchg16b [rax]", "sbb [r8 + rcx*8], r9d", "fs xor byte ptr [rax], 1", "neg qword ptr [rip + 0x1000]",
    ],
)  # fmt: skip
def test_read_modify_write_of_an_absent_page_is_one_write_fault(rig: Rig, instruction: str) -> None:
    rig.load(f"{instruction}; syscall")
    rig.regs.rax = rig.regs.r8 = DATA
    rig.on_fault = granting(rig)
    assert rig.run() == EXIT_SYSCALL
    assert [access for _, access in rig.faults] == [ACCESS_WRITE]


@pytest.mark.parametrize(
    "instruction",
    [
        "cmp [rax], rbx",
        "test byte ptr [rax], 1",
        "bt qword ptr [rax], 3",
        "mul qword ptr [rax]",
        "push [rax]",
        "movups xmm0, [rax]",
        "lodsb",
    ],
)
def test_an_instruction_that_only_loads_is_a_read_fault(rig: Rig, instruction: str) -> None:
    rig.load(f"{instruction}; syscall")
    rig.map(STACK - 4096, "rwd")
    rig.regs.rax = rig.regs.rsi = DATA
    rig.regs.rsp = STACK
    rig.on_fault = granting(rig)
    assert rig.run() == EXIT_SYSCALL
    assert [access for _, access in rig.faults] == [ACCESS_READ]


@pytest.mark.parametrize("instruction", ["lock cmpxchg [rax], rbx", "lock xadd [rax], rbx", "add [rax], rbx"])
def test_read_modify_write_on_a_copy_on_write_page_sees_the_copy(rig: Rig, instruction: str) -> None:
    rig.load(f"mov rsi, [rax]; {instruction}; mov rdx, [rax]; syscall")
    old = rig.map(DATA, "r")
    rig.put(DATA, (41).to_bytes(8, "little"))

    def copy(addr: int, access: int) -> bool:
        new = rig.frame()
        rig.ram.copy_page(new, old)
        rig.map(addr, "rwd", new)
        rig.mm.tlb_gen += 1
        return True

    rig.on_fault = copy
    rig.regs.rax, rig.regs.rbx = DATA, 1
    if "cmpxchg" in instruction:
        rig.load("mov rsi, [rdi]; mov eax, 41; lock cmpxchg [rdi], rbx; mov rdx, [rdi]; syscall")
        rig.regs.rdi, rig.regs.rbx = DATA, 42
    assert rig.run() == EXIT_SYSCALL
    assert rig.regs.rdx == 42
    assert rig.faults == [(DATA, ACCESS_WRITE)]
    assert rig.ram.words[old << 9] == 41


def test_a_load_from_a_clean_page_leaves_the_first_store_to_set_dirty(rig: Rig) -> None:
    rig.load("mov rbx, [rax]; syscall; mov [rax], rbx; syscall")
    rig.map(DATA, "rw")
    rig.regs.rax = DATA
    rig.run()
    assert rig.pte(DATA) & 0x60 == 0x20
    rig.regs.rax = DATA
    rig.run()
    assert rig.pte(DATA) & 0x60 == 0x60
    assert rig.faults == []


def test_a_fault_in_the_middle_of_a_block_has_exact_registers_and_flags(rig: Rig) -> None:
    rig.load("mov ebx, 1; add ebx, 2; stc; mov ecx, 9; mov rdx, [rax]; xor ebx, ebx; clc; syscall")
    rig.regs.rax = DATA
    assert rig.run() == EXIT_FAULT
    assert (rig.regs.rbx, rig.regs.rcx, rig.regs.eflags & 1) == (3, 9, 1)
    assert assemble("mov rdx, [rax]") == rig.get(rig.regs.rip, 3)


def test_straight_code_into_a_hole_is_carried_out_up_to_the_hole(rig: Rig) -> None:
    rig.load("mov byte ptr [rax], 1; mov ebx, 7" + "; nop" * 8, CODE + 4096 - 16)
    rig.map(DATA, "rwd")
    rig.regs.rax = DATA
    assert rig.run() == EXIT_FAULT
    assert (rig.cpu.addr, rig.cpu.access, rig.regs.rip) == (CODE + 4096, ACCESS_FETCH, CODE + 4096)
    assert rig.regs.rbx == 7
    assert rig.get(DATA, 1) == b"\x01"
    assert rig.regs.eflags & 0x100 == 0


def test_a_fault_before_the_hole_comes_first(rig: Rig) -> None:
    rig.load("mov byte ptr [rax], 1; mov ebx, 7" + "; nop" * 8, CODE + 4096 - 16)
    rig.regs.rax = DATA
    assert rig.run() == EXIT_FAULT
    assert (rig.cpu.addr, rig.cpu.access, rig.regs.rip) == (DATA, ACCESS_WRITE, CODE + 4096 - 16)


def test_an_instruction_across_two_pages_whose_second_page_is_missing(rig: Rig) -> None:
    rig.load("nop; mov rbx, 0x1122334455667788", CODE + 4096 - 4)
    rig.ram.words[rig.entry_index(CODE + 4096)] = 0
    assert rig.run() == EXIT_FAULT
    assert (rig.cpu.addr, rig.cpu.access, rig.regs.rip) == (CODE + 4096, ACCESS_FETCH, CODE + 4096 - 3)


def test_an_exception_in_the_fault_handler_is_raised_by_run_and_the_program_can_go_on(rig: Rig) -> None:
    rig.load("mov ebx, 3; mov [rax], rbx; syscall")
    rig.regs.rax = DATA

    def broken(addr: int, access: int) -> bool:
        raise KeyError("a kernel bug")

    rig.on_fault = broken
    with pytest.raises(KeyError, match="a kernel bug"):
        rig.run()
    assert (rig.regs.rip, rig.regs.rbx) == (CODE + 5, 3)
    rig.on_fault = granting(rig)
    assert rig.run() == EXIT_SYSCALL
    assert rig.get(DATA, 1) == b"\x03"


def test_a_kernel_that_grants_nothing_is_an_error_and_no_endless_loop(rig: Rig) -> None:
    rig.load("mov rbx, [rax]; syscall")
    rig.regs.rax = DATA
    rig.on_fault = lambda addr, access: True
    with pytest.raises(PagewalkError, match="0x600000 was served 16 times"):
        rig.run()


def test_a_reserved_bit_in_the_table_is_named(rig: Rig) -> None:
    rig.load("mov rbx, [rax]; syscall")
    rig.map(DATA, "r", pfn=1 << 35)
    rig.regs.rax = DATA
    with pytest.raises(PagewalkError, match=r"corrupted page table.*0x600000"):
        rig.run()


# The TLB follows the page table.


def test_an_unmapped_page_is_gone_once_tlb_gen_has_grown(rig: Rig) -> None:
    rig.load("mov rbx, [rax]; syscall; jmp .-5")
    rig.map(DATA, "r")
    rig.regs.rax = DATA
    assert rig.run() == EXIT_SYSCALL
    rig.unmap(DATA)
    rig.regs.rax = DATA
    assert rig.run() == EXIT_FAULT


def test_rights_that_a_fault_takes_away_elsewhere_are_gone_at_the_next_instruction(rig: Rig) -> None:
    rig.load("mov rbx, [rax]; mov rcx, [rdx]; mov rbx, [rax]; syscall")
    rig.map(DATA, "r")
    rig.regs.rax, rig.regs.rdx = DATA, DATA + 4096

    def swap(addr: int, access: int) -> bool:
        if addr == DATA:
            return False
        rig.unmap(DATA)
        rig.map(addr, "r")
        return True

    rig.on_fault = swap
    assert rig.run() == EXIT_FAULT
    assert rig.cpu.addr == DATA
    assert rig.regs.rip == CODE + 6


def test_two_address_spaces_take_turns(rig: Rig) -> None:
    rig.load("mov rbx, [rax]; syscall; jmp .-5")
    rig.map(DATA, "r")
    rig.put(DATA, b"one     ")
    other = Rig()
    other.ram, other._cpu = rig.ram, rig.cpu
    other.next_pfn = rig.next_pfn + 100
    other.mm.pgd_pfn = other.frame()
    other.load("mov rbx, [rax]; syscall; jmp .-5")
    other.map(DATA, "r")
    other.put(DATA, b"two     ")
    for _ in range(3):
        for space, text in ((rig, b"one     "), (other, b"two     ")):
            space.regs.rax = DATA
            assert space.run() == EXIT_SYSCALL
            assert space.regs.rbx.to_bytes(8, "little") == text


def test_huge_leaves_and_five_levels() -> None:
    rig = Rig(levels=5, size=2 << 30)
    high = 0x00AB_CDEF_0000_0000 & -(1 << 30)
    rig.map(high, "rwd", pfn=1 << 18, shift=30)
    rig.map(DATA & -(1 << 21), "rwd", pfn=1 << 17, shift=21)
    rig.load("mov [rax], rbx; mov rdx, [rdi]; syscall", 0x10_0000)
    rig.regs.rax, rig.regs.rbx, rig.regs.rdi = high + 0x1234_5678, 99, DATA + 8
    rig.ram.words[(1 << 17 << 9) + ((DATA + 8 & (1 << 21) - 1) >> 3)] = 55
    assert rig.run() == EXIT_SYSCALL
    assert rig.ram.words[((1 << 30) + 0x1234_5678) >> 3] == 99
    assert rig.regs.rdx == 55


# Code that changes.


def test_code_that_the_kernel_rewrites_is_translated_anew(rig: Rig) -> None:
    rig.load("mov eax, 1; syscall")
    assert rig.run() == EXIT_SYSCALL
    assert rig.regs.rax == 1
    rig.load("mov eax, 2; syscall")
    assert rig.run() == EXIT_SYSCALL
    assert rig.regs.rax == 2
    assert rig.ram.stale_code == []


def test_a_frame_that_held_code_and_is_used_again_at_another_address(rig: Rig) -> None:
    rig.load("mov eax, 1; syscall")
    rig.run()
    pfn = (rig.pte(CODE) & rig.fmt.pfn_mask) >> 12
    rig.unmap(CODE)
    rig.ram.frame_changed(pfn)
    rig.map(CODE + 0x10_0000, "rx", pfn)
    rig.put(CODE + 0x10_0000, assemble("mov eax, 3; syscall"))
    rig.regs.rip = CODE + 0x10_0000
    assert rig.run() == EXIT_SYSCALL
    assert rig.regs.rax == 3


def test_many_stale_frames_at_once(rig: Rig) -> None:
    rig.load("mov eax, 1; syscall")
    rig.run()
    for pfn in range(2000, 5000):
        rig.ram.code_frames[pfn] = 1
        rig.ram.frame_changed(pfn)
    rig.load("mov eax, 2; syscall")
    assert rig.run() == EXIT_SYSCALL
    assert rig.regs.rax == 2


def test_code_that_becomes_stale_inside_a_fault_is_forgotten_before_the_next_block(rig: Rig) -> None:
    rig.load("mov eax, 1; ret", CODE + 4096)
    rig.load("call rbp; mov ecx, [rdi]; call rbp; syscall")
    rig.map(STACK - 4096, "rwd")
    rig.regs.rsp, rig.regs.rbp, rig.regs.rdi = STACK, CODE + 4096, DATA

    def rewrite(addr: int, access: int) -> bool:
        rip = rig.regs.rip
        rig.load("mov eax, 2; ret", CODE + 4096)
        rig.regs.rip = rip
        rig.map(addr, "r")
        return True

    rig.on_fault = rewrite
    assert rig.run() == EXIT_SYSCALL
    assert rig.regs.rax == 2


def test_a_program_that_writes_the_code_ahead_of_it(rig: Rig) -> None:
    rig.map(CODE, "rwx")
    rig.load("mov byte ptr [rip + 1], 9; mov eax, 1; syscall")
    rig.put(CODE, assemble("mov byte ptr [rip + 1], 9; mov eax, 1; syscall"))
    assert rig.run() == EXIT_SYSCALL
    assert rig.regs.rax == 9


def test_a_jit_that_writes_and_executes_one_page_again_and_again(rig: Rig) -> None:
    rig.load("1: mov byte ptr [rbx + 1], cl; call rbx; add rdx, rax; dec ecx; jnz 1b; syscall")
    rig.map(STACK - 4096, "rwd")
    rig.map(DATA, "rwx")
    rig.put(DATA, assemble("mov eax, 0; ret"))
    rig.regs.rsp, rig.regs.rbx, rig.regs.rcx = STACK, DATA, 100
    assert rig.run() == EXIT_SYSCALL
    assert rig.regs.rdx == sum(range(101))


def test_a_jit_that_writes_through_one_address_and_executes_through_another(rig: Rig) -> None:
    rig.load("1: mov byte ptr [rsi + 1], cl; call rbx; add rdx, rax; dec ecx; jnz 1b; syscall")
    rig.map(STACK - 4096, "rwd")
    frame = rig.map(DATA, "rx")
    rig.map(DATA + 0x10_0000, "rwd", frame)
    rig.put(DATA, assemble("mov eax, 0; ret"))
    rig.regs.rsp, rig.regs.rbx, rig.regs.rsi, rig.regs.rcx = STACK, DATA, DATA + 0x10_0000, 100
    assert rig.run() == EXIT_SYSCALL
    assert rig.regs.rdx == sum(range(101))


@pytest.mark.parametrize("flushed", [True, False])
def test_code_patched_through_copy_on_write_runs_from_the_copy(rig: Rig, flushed: bool) -> None:
    """The old frame's translation must not be found by its address, whether or not the kernel asks for a flush."""
    rig.load("1: call rbx; add rdx, rax; mov byte ptr [rbx + 1], 5; dec ecx; jnz 1b; syscall")
    rig.map(STACK - 4096, "rwd")
    old = rig.map(DATA, "rx")
    rig.put(DATA, assemble("mov eax, 1; ret"))

    def copy(addr: int, access: int) -> bool:
        new = rig.frame()
        rig.ram.copy_page(new, old)
        rig.map(addr, "rwxd", new)
        rig.mm.tlb_gen += flushed
        return True

    rig.on_fault = copy
    rig.regs.rsp, rig.regs.rbx, rig.regs.rcx = STACK, DATA, 3
    assert rig.run() == EXIT_SYSCALL
    assert rig.regs.rdx == 1 + 5 + 5


# Traps.


@pytest.mark.parametrize(
    ("source", "vector", "error_code", "at"),
    [
        ("xor ecx, ecx; div ecx", 0, 0, 2),
        ("mov eax, -0x80000000; cdq; mov ecx, -1; idiv ecx", 0, 0, 11),
        ("nop; int3", 3, 0, 2),
        ("nop; .byte 0xcd, 3", 3, 0, 3),
        ("nop; .byte 0xcd, 4", 4, 0, 3),
        ("nop; .byte 0xf1", 1, 0, 2),
        ("nop; ud2", 6, 0, 1),
        ("nop; .byte 0x06", 6, 0, 1),
        ("nop; sysenter", 6, 0, 1),
        ("nop; int 6", 13, 6 << 3 | 2, 1),
        ("nop; int 13", 13, 13 << 3 | 2, 1),
        ("nop; int 1", 13, 1 << 3 | 2, 1),
        ("nop; int 0", 13, 2, 1),
        ("nop; hlt", 13, 0, 1),
        ("nop; cli", 13, 0, 1),
        ("nop; in al, dx; mov ebx, 5; nop; nop; jmp .", 13, 0, 1),
        ("nop; out dx, al", 13, 0, 1),
        ("nop; rdmsr", 13, 0, 1),
        ("nop; mov rax, cr3", 13, 0, 1),
        ("nop; mov cr3, rax", 13, 0, 1),
        ("nop; lgdt [rsp]", 13, 0, 1),
        ("nop; mov rax, [rdi]", 13, 0, 1),
        ("nop; mov [rdi], rax", 13, 0, 1),
        ("nop; rdpmc", 13, 0, 1),
        ("mov rsp, rdi; push rax", 12, 0, 3),
        ("mov rsp, rdi; call .", 12, 0, 3),
        ("mov rbp, rdi; mov rax, [rbp + 8]", 12, 0, 3),
        ("mov rbp, rdi; mov rax, [rbp + rcx*2]", 12, 0, 3),
        ("mov rsp, rdi; movups xmm0, [rsp]", 12, 0, 3),
        ("mov rbp, rdi; mov rax, fs:[rbp + 8]", 13, 0, 3),
        ("mov r13, rdi; mov rax, [r13 + 8]", 13, 0, 3),
        ("mov r12, rdi; mov rax, [r12 + 8]", 13, 0, 3),
        ("mov rcx, rdi; mov rax, [rcx*2 + 8]", 13, 0, 3),
        ("jmp rdi", 13, 0, None),
        ("fninit; push 0x372; fldcw [rsp]; fld1; fldz; fdivp; fwait", 16, 0, None),
    ],
)
def test_exceptions_have_their_vectors(rig: Rig, source: str, vector: int, error_code: int, at: int | None) -> None:
    rig.load(source)
    rig.map(STACK - 4096, "rwd")
    rig.regs.rsp, rig.regs.rdi, rig.regs.rbx = STACK - 64, NON_CANONICAL, 1
    assert rig.run() == EXIT_TRAP
    assert (rig.cpu.vector, rig.cpu.error_code) == (vector, error_code)
    assert rig.regs.rbx == 1
    if at is not None:
        assert rig.regs.rip == CODE + at


def test_int_0x80_is_a_system_call_of_its_own(rig: Rig) -> None:
    rig.load("mov eax, 20; int 0x80")
    assert rig.run() == EXIT_INT80
    assert (rig.regs.rax, rig.regs.rip) == (20, CODE + 7)


def test_a_trap_after_a_trap_keeps_its_vector(rig: Rig) -> None:
    """Two #GP would be a double fault, did the emulator not forget the first."""
    rig.map(STACK - 4096, "rwd")
    for _ in range(4):
        for source, vector in (("hlt", 13), ("xor ecx, ecx; div ecx", 0), ("ud2", 6), ("hlt", 13)):
            rig.load(source)
            rig.regs.rbx = 0x1234
            rig.regs.fs_base = 0x7000
            assert rig.run() == EXIT_TRAP
            assert rig.cpu.vector == vector
            assert (rig.regs.rbx, rig.regs.fs_base) == (0x1234, 0x7000)
    rig.load("movq xmm0, rbx; movq rax, xmm0; syscall")
    assert rig.run() == EXIT_SYSCALL
    assert rig.regs.rax == 0x1234


def test_single_step(rig: Rig) -> None:
    rig.load("mov eax, 1; mov ebx, 2; syscall")
    rig.regs.eflags |= 0x100
    for rip in (CODE + 5, CODE + 10):
        assert rig.run() == EXIT_TRAP
        assert (rig.cpu.vector, rig.regs.rip) == (1, rip)
        assert rig.regs.eflags & 0x100


def test_five_levels_have_a_wider_canonical_range() -> None:
    for levels, status in ((4, EXIT_TRAP), (5, EXIT_FAULT)):
        rig = Rig(levels=levels)
        rig.load("mov rax, [rdi]; syscall")
        rig.regs.rdi = 1 << 50
        assert rig.run() == status


# Floating point and vectors.

FILL_FPU = (
    "fninit; fldpi; fld1; fldl2e; fldz; fstp st(0); mov rax, 0x1122334455667788; movq xmm3, rax; movq xmm15, rax;"
    "pshufd xmm15, xmm15, 0x44; push 0x1fa0; ldmxcsr [rsp]; push 0x27f; fldcw [rsp];"
)


def fpu_rig() -> Rig:
    rig = Rig()
    rig.map(STACK - 4096, "rwd")
    rig.map(DATA, "rwd")
    rig.regs.rsp, rig.regs.rdi = STACK, DATA
    return rig


def test_save_is_what_fxsave_writes() -> None:
    rig = fpu_rig()
    rig.load(FILL_FPU + "fxsave64 [rdi]; syscall")
    assert rig.run() == EXIT_SYSCALL
    image = rig.get(DATA, 512)
    saved = rig.cpu.save()
    same = [slice(0, 5), slice(24, 28)] + [slice(32 + 16 * at, 42 + 16 * at) for at in range(8)] + [slice(160, 416)]
    for part in same:
        assert saved[part] == image[part], part


def test_restore_brings_back_what_save_saved() -> None:
    rig = fpu_rig()
    rig.load(FILL_FPU + "syscall; fxsave64 [rdi]; syscall")
    rig.run()
    saved = rig.cpu.save()
    rig.cpu.reset()
    assert rig.cpu.save() != saved
    rig.cpu.restore(saved)
    assert rig.cpu.save() == saved
    rig.run()
    assert rig.get(DATA, 512)[160:416] == saved[160:416]
    assert rig.get(DATA + 32, 10) == saved[32:42]


def test_reset_is_the_state_after_execve() -> None:
    rig = fpu_rig()
    rig.load(FILL_FPU + "syscall; fnstcw [rdi]; stmxcsr [rdi + 4]; fxam; fnstsw [rdi + 8]; movq rbx, xmm15; syscall")
    rig.run()
    rig.cpu.reset()
    rig.run()
    assert rig.get(DATA, 2) == b"\x7f\x03"
    assert rig.get(DATA + 4, 4) == b"\x80\x1f\x00\x00"
    assert rig.get(DATA + 9, 1)[0] & 0x45 == 0x41  # C3 and C0: empty
    assert rig.regs.rbx == 0


EXCEPTIONS = """
    mov eax, 1; cvtsi2sd xmm0, eax; xorps xmm1, xmm1; divsd xmm0, xmm1; stmxcsr [rdi]; mov ebx, [rdi]
    mov dword ptr [rdi], 0x1f80; ldmxcsr [rdi]; stmxcsr gs:[rdi]; mov r8d, [rdi]
    sqrtsd xmm2, xmm3; lea r12, [rdi + 8]; stmxcsr [r12]; mov edx, [r12]; syscall; jmp .
"""


@pytest.mark.parametrize("at", [CODE, CODE + 4096 - 20, CODE + 4096 - 21, CODE + 4096 - 22])
def test_exception_flags_of_sse_arithmetic_are_sticky_until_they_are_cleared(at: int) -> None:
    rig = fpu_rig()
    rig.load(EXCEPTIONS, at)
    minus_one = bytearray(rig.cpu.save())
    minus_one[160 + 48 : 160 + 56] = struct.pack("<d", -1.0)
    rig.cpu.restore(bytes(minus_one))
    assert rig.run() == EXIT_SYSCALL
    assert (rig.regs.rbx, rig.regs.r8, rig.regs.rdx) == (0x1F84, 0x1F80, 0x1F81)


def test_exception_flags_survive_being_saved_and_restored() -> None:
    rig = fpu_rig()
    rig.load("mov eax, 1; cvtsi2sd xmm0, eax; xorps xmm1, xmm1; divsd xmm0, xmm1; syscall; stmxcsr [rdi]; syscall")
    rig.run()
    saved = rig.cpu.save()
    assert saved[24:28] == b"\x84\x1f\0\0"
    rig.cpu.reset()
    assert rig.cpu.save()[24:28] == b"\x80\x1f\0\0"
    rig.cpu.restore(saved)
    rig.run()
    assert rig.get(DATA, 4) == b"\x84\x1f\0\0"


def test_sse_and_x87_work(rig: Rig) -> None:
    rig.load(
        "mov eax, 2; cvtsi2sd xmm0, eax; sqrtsd xmm0, xmm0; movq rbx, xmm0; crc32 ecx, al; popcnt rdx, rbx; syscall"
    )
    assert rig.run() == EXIT_SYSCALL
    assert rig.regs.rbx == 0x3FF6A09E667F3BCD
    assert rig.regs.rdx == bin(rig.regs.rbx).count("1")


def test_cpuid_offers_what_there_is_and_no_more(rig: Rig) -> None:
    rig.load("mov eax, 1; cpuid; mov r8, rcx; mov r9, rdx; mov eax, 7; xor ecx, ecx; cpuid; syscall")
    assert rig.run() == EXIT_SYSCALL
    for bit, name in (
        (0, "SSE3"),
        (1, "PCLMULQDQ"),
        (9, "SSSE3"),
        (13, "CX16"),
        (19, "SSE4.1"),
        (20, "SSE4.2"),
        (23, "POPCNT"),
    ):
        assert rig.regs.r8 >> bit & 1, name
    for bit, name in ((12, "FMA"), (27, "OSXSAVE"), (28, "AVX"), (30, "RDRAND")):
        assert not rig.regs.r8 >> bit & 1, name
    assert not rig.regs.rbx & (1 << 5 | 1 << 9 | 1 << 16), "AVX2, ERMS, AVX512F"
    assert rig.cpu.hwcap == rig.regs.r9


# Being stopped.


@pytest.mark.parametrize("source", ["jmp .", "1: inc rax; jmp 1b", "1: mov [rdi], rax; call 2f; 2: pop rbx; jmp 1b"])
def test_stop_ends_a_loop_without_faults(rig: Rig, source: str) -> None:
    rig.load(source)
    rig.map(STACK - 4096, "rwd")
    rig.map(DATA, "rwd")
    rig.regs.rsp, rig.regs.rdi = STACK, DATA
    rig.cpu  # noqa: B018
    timer = threading.Timer(0.05, rig.cpu.stop)
    timer.start()
    begin = time.monotonic()
    assert rig.run() == EXIT_STOPPED
    assert time.monotonic() - begin < 5
    timer.join()


def test_stop_before_run_is_kept_for_it(rig: Rig) -> None:
    rig.load("jmp .")
    rig.cpu.stop()
    assert rig.run() == EXIT_STOPPED
    assert rig.regs.rip == CODE


def test_no_stop_is_lost_and_none_comes_twice(rig: Rig) -> None:
    """A stop at every moment around the start of a run, and system calls in between."""
    rig.load("mov ecx, 300; 1: dec ecx; jnz 1b; syscall; jmp .-11")
    wanted = 200
    done = threading.Event()

    def stopper() -> None:
        for at in range(wanted):
            time.sleep(0.0001 * (at % 5))
            rig.cpu.stop()
            while rig.cpu._stop_wanted:
                time.sleep(0)
        done.set()

    rig.run()
    thread = threading.Thread(target=stopper)
    thread.start()
    stopped = 0
    deadline = time.monotonic() + 30
    while not done.is_set() and time.monotonic() < deadline:
        if rig.run() == EXIT_STOPPED:
            stopped += 1
    thread.join(5)
    assert stopped == wanted


def test_stop_inside_a_fault_ends_the_run_soon(rig: Rig) -> None:
    rig.load("mov rax, [rdi]; jmp .")
    rig.regs.rdi = DATA

    def on_fault(addr: int, access: int) -> bool:
        rig.cpu.stop()
        rig.map(addr, "r")
        return True

    rig.on_fault = on_fault
    assert rig.run() == EXIT_STOPPED


# Big machines, and the ways to be without machine code.


def test_a_tebibyte_of_ram_costs_nothing_until_it_is_touched() -> None:
    rig = Rig(size=1 << 40)
    rig.map(DATA, "rwd", pfn=(1 << 28) - 1)
    rig.load("mov [rdi], rax; syscall")
    rig.regs.rdi, rig.regs.rax = DATA + 0xFF8, 0x55
    assert rig.run() == EXIT_SYSCALL
    assert rig.ram.words[(1 << 37) - 1] == 0x55


def test_interpreted_and_compiled_fills_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for interpreted in ("", "1"):
        monkeypatch.setenv("PAGEWALK_INTERPRETED", interpreted)
        rig = Rig()
        rig.load("1: mov [rdi], rcx; add rdi, 4096; loop 1b; mov rbx, [rsi]; lock inc qword ptr [rsi]; syscall; int3")
        for at in range(0, 20, 2):
            rig.map(DATA + 4096 * at, "rw")
        rig.on_fault = granting(rig, "rw")
        rig.regs.rdi, rig.regs.rcx, rig.regs.rsi = DATA, 20, DATA + 4096 * 40
        first = rig.run()
        table = bytes(rig.ram.bytes[: rig.next_pfn << 12])
        second = rig.run()
        results.append((first, second, rig.cpu.vector, registers(rig), rig.faults, table, rig.cpu.tlb_misses))
        assert (rig.cpu._mmu._compiled is None) == bool(interpreted)
    assert results[0] == results[1]


@pytest.mark.parametrize("compile_after", [1, 7, 50, 100, 10_000])
def test_machine_code_takes_over_in_the_middle_of_a_run(compile_after: int) -> None:
    rig = Rig(compile_after=compile_after)
    rig.load("1: mov [rdi], rcx; mov rdx, [rdi]; add rbx, rdx; add rdi, 4096; loop 1b; syscall; hlt")
    for at in range(0, 100, 2):
        rig.map(DATA + 4096 * at, "rw")
    rig.on_fault = granting(rig, "rw")
    rig.regs.rdi, rig.regs.rcx = DATA, 100
    assert rig.run() == EXIT_SYSCALL
    assert rig.regs.rbx == sum(range(101))
    assert len(rig.faults) == 50
    assert rig.cpu.tlb_misses == 151 if compile_after > 200 else rig.cpu.tlb_misses >= 101
    assert (rig.cpu._mmu._compiled is None) == (compile_after > 200 or bool(os.environ.get("PAGEWALK_INTERPRETED")))
    assert rig.run() == EXIT_TRAP
    assert rig.cpu.vector == 13


def test_importing_the_cpu_does_not_import_numba() -> None:
    script = "import sys, pagewalk.cpu.unicorn_x86, pagewalk.hw.walker; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
