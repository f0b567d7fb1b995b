"""The arm64 CPU and what the kernel has of its own for it, with instructions written out: no compiler is needed."""

import io
import os
import re
import struct
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile

from pagewalk import Machine
from pagewalk.cpu.arm64_setup import Arm64Engine
from pagewalk.kernel.cpufeature_arm64 import ID_REGISTERS, emulate_mrs, features, hwcaps
from pagewalk.kernel.ptrace_arm64 import Arm64Regs
from pagewalk.kernel.sigframe_arm64 import FRAME_SIZE, find_fpsimd, fpsimd_context, fpsimd_image, sigframe_size
from pagewalk.kernel.syscall.names_arm64 import NAMES_ARM64
from pagewalk.kernel.syscall.table import SYSCALLS
from pagewalk.kernel.syscall.table_arm64 import SYSCALLS_ARM64
from pagewalk.kernel.vdso_arm64 import VdsoTextArm64
from pagewalk.kernel.vdso_image import build_image

BASE = 0x40_0000
SVC, RET, NOP = 0xD400_0001, 0xD65F_03C0, 0xD503_201F


def movz(register: int, value: int, shift: int = 0) -> int:
    """mov x, #value << shift."""
    return 0xD280_0000 | (shift // 16) << 21 | value << 5 | register


def call(number: int) -> list[int]:
    """A system call, arguments being in place."""
    return [movz(8, number), SVC]


def program(path: Path, words: list[int], machine: int = 183) -> str:
    """A static ELF program of one segment, which may be written too, that begins with ``words``."""
    code = struct.pack(f"<{len(words)}I", *words)
    size = 120 + len(code)
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, BASE + 120, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    header += struct.pack("<IIQQQQQQ", 1, 7, 0, BASE, BASE, size, size + 4096, 0x1_0000)
    path.write_bytes(header + code)
    path.chmod(0o755)
    return str(path)


def run(path: Path, words: list[int], **settings: Any) -> Any:
    """What becomes of it on a small machine."""
    with Machine(arch="arm64", ram="64M", aslr=False, **settings) as machine:
        return machine.run([program(path / "prog", words)], env={}, cwd=str(path), timeout=60)


@pytest.fixture
def place() -> Any:
    """A directory that programs of the machine see: /tmp is private to them."""
    import shutil
    import tempfile

    found = Path(tempfile.mkdtemp(prefix="pagewalk-arm64-", dir="/var/tmp"))
    yield found
    shutil.rmtree(found, ignore_errors=True)


def test_a_program_exits_with_its_status(place: Path) -> None:
    assert run(place, [movz(0, 42), *call(94)]).status == 42


@pytest.mark.parametrize("va_bits", [39, 48])
def test_a_program_runs_with_either_size_of_address(place: Path, va_bits: int) -> None:
    words = [movz(0, 7), 0xF81F_0FE0, 0xF841_07E0, *call(94)]  # str x0, [sp, #-16]!; ldr x0, [sp], #16
    assert run(place, words, va_bits=va_bits).status == 7


@pytest.mark.parametrize(
    ("word", "signal"),
    [
        (0x0000_0000, 4),  # udf
        (0xD538_1000, 4),  # mrs x0, sctlr_el1
        (0xD508_871F, 4),  # tlbi vmalle1
        (0xD400_0003, 4),  # smc #0
        (0xD69F_03E0, 4),  # eret
        (0xD420_0000, 5),  # brk #0
        (0xF940_0000, 11),  # ldr x0, [x0]
        (0xF900_001F, 11),  # str xzr, [x0]
        (0xD61F_0000, 11),  # br x0
    ],
)
def test_what_a_program_may_not_do_ends_it(place: Path, word: int, signal: int) -> None:
    assert run(place, [movz(0, 0), word, movz(0, 1), *call(94)]).signal == signal


def test_a_misaligned_exclusive_load_and_program_counter_are_bus_errors(place: Path) -> None:
    assert run(place, [movz(1, 0x40, 16), 0x9100_0421, 0xC85F_7C20]).signal == 7  # add x1, x1, #1; ldxr x0, [x1]
    assert run(place, [movz(1, 0x40, 16), 0x9100_0821, 0xD61F_0020]).signal == 7  # add x1, x1, #2; br x1


def test_a_pointer_with_a_tag_is_followed(place: Path) -> None:
    words = [0x1000_0081, 0xF2E0_0001 | 0xAA00 << 5, 0xB940_0020, *call(94), 33]  # adr x1, .+16; movk; ldr w0, [x1]
    words[0] = 0x1000_0001 | 5 << 5  # adr x1, 20 bytes on
    assert run(place, words).status == 33


def test_an_id_register_is_read_and_a_hidden_field_is_zero(place: Path) -> None:
    """ID_AA64ISAR0_EL1's CRC32 field is 1; RNDR is not offered."""
    read = 0xD538_0600
    assert run(place, [read, 0xD350_4C00, *call(94)]).status == 1  # ubfx x0, x0, #16, #4
    assert run(place, [read, 0xD37C_FC00, *call(94)]).status == 0  # lsr x0, x0, #60


def test_an_undefined_id_register_reads_as_zero_and_others_are_not_emulated() -> None:
    assert emulate_mrs(0xD538_0600) == (0, ID_REGISTERS[6, 0])
    assert emulate_mrs(0xD538_07E3) == (3, 0)  # S3_0_C0_C7_7
    assert emulate_mrs(0xD538_0020) is None  # S3_0_C0_C0_1
    assert emulate_mrs(0xD538_0120) is None  # CRm 1 is 32-bit's
    assert emulate_mrs(0xD518_0600) is None  # MSR


def test_no_field_offers_more_than_the_emulator_has() -> None:
    import ctypes
    import mmap

    ram = mmap.mmap(-1, 1 << 20)
    engine = Arm64Engine(ctypes.addressof(ctypes.c_char.from_buffer(ram)), 1 << 20, 4096)
    assert engine.monitor
    assert engine.fault_address
    for crm, op2 in ((6, 0), (6, 1)):
        ours, theirs = ID_REGISTERS[crm, op2], engine._read((0, crm, 3, 0, op2))
        assert all(ours >> shift & 15 <= theirs >> shift & 15 for shift in range(0, 64, 4))
    assert engine._read((0, 0, 3, 0, 0)) == ID_REGISTERS[0, 0]


def test_hwcaps_follow_from_the_registers() -> None:
    names = dict(features())
    low, high = hwcaps()
    assert {"fp", "asimd", "atomics", "aes", "crc32", "cpuid"} <= names.keys()
    assert not {"sve", "paca", "rng", "bti"} & names.keys()
    assert low == sum(1 << at for at in names.values() if at < 64)
    assert high == sum(1 << at - 64 for at in names.values() if at >= 64)


def test_system_calls_are_x86_64s_functions_by_name() -> None:
    assert SYSCALLS_ARM64[64] is SYSCALLS[1]  # write
    assert SYSCALLS_ARM64[93] is SYSCALLS[60]  # exit
    assert SYSCALLS_ARM64[435] is SYSCALLS[435]
    assert (NAMES_ARM64[56], NAMES_ARM64[220], NAMES_ARM64[260], NAMES_ARM64[293]) == (
        "openat",
        "clone",
        "wait4",
        "rseq",
    )
    assert SYSCALLS_ARM64[244] is None


def test_names_are_those_of_the_header() -> None:
    header = Path("/usr/aarch64-linux-gnu/include/asm-generic/unistd.h")
    if not header.exists():
        pytest.skip("no headers for arm64 (linux-libc-dev-arm64-cross)")
    found = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", header.read_text())
    theirs = {int(number): name for name, number in found if int(number) < 403 and name != "arch_specific_syscall"}
    theirs[79] = "newfstatat"  # which is what programs with 64-bit longs call it
    # From 403 to 423 stand the times of 32-bit programs.
    assert {number: name for number, name in NAMES_ARM64.items() if number < 403} == theirs


def test_open_flags_change_places_and_come_back() -> None:
    with Machine(arch="arm64", ram="64M") as machine:
        abi = machine.kernel.abi
        for theirs, ours in ((0o40000, 0o200000), (0o100000, 0o400000), (0o200000, 0o40000), (0o400000, 0o100000)):
            assert abi.open_flags(theirs | 0o2102) == ours | 0o2102
            assert abi.open_flags(abi.open_flags(theirs | 0o2000000)) == theirs | 0o2000000


def test_a_floating_point_record_comes_back_from_a_frame() -> None:
    image = os.urandom(520) + bytes(8)
    record = fpsimd_context(image)
    end = bytes(8)
    assert fpsimd_image(record) == image
    assert find_fpsimd(record + end) == record
    assert find_fpsimd(struct.pack("<IIQ", 0x4553_5201, 16, 5) + record + end) == record
    assert find_fpsimd(end) is None
    assert find_fpsimd(record + record + end) is None
    assert find_fpsimd(record[:16]) is None
    assert find_fpsimd(struct.pack("<II", 0x1234, 16) + bytes(8) + record + end) is None
    assert (FRAME_SIZE, sigframe_size()) == (4688, 4720)


def test_a_frame_may_not_raise_the_privilege_level() -> None:
    regs = Arm64Regs()
    regs.pstate = 0x6000_0000
    assert regs.valid_user_regs()
    assert regs.pstate == 0x6000_0000
    for pstate in (0x6000_0005, 0x6000_0010, 0x6000_03C0):
        regs.pstate = pstate
        assert not regs.valid_user_regs()
        assert regs.pstate == 0x6000_0000


def test_the_vdso_is_an_elf_file_with_versioned_functions() -> None:
    text = VdsoTextArm64(4096)
    image = build_image(text)
    elf = ELFFile(io.BytesIO(image))
    assert elf["e_machine"] == "EM_AARCH64"
    names = {symbol.name: symbol["st_value"] for symbol in elf.get_section_by_name(".dynsym").iter_symbols()}
    assert {"__kernel_rt_sigreturn", "__kernel_clock_gettime", "__kernel_gettimeofday", "LINUX_2.6.39"} <= names.keys()
    assert names["__kernel_rt_sigreturn"] == text.sigreturn
    assert struct.unpack_from("<II", image, text.sigreturn) == (movz(8, 139), SVC)


SIZES = [("16K", 36), ("16K", 47), ("16K", 48), ("16K", 52), ("64K", 42), ("64K", 48), ("64K", 52), ("4K", 52)]


@pytest.mark.parametrize(("granule", "va_bits"), SIZES)
def test_a_program_runs_with_pages_of_every_size(place: Path, granule: str, va_bits: int) -> None:
    words = [movz(0, 7), 0xF81F_0FE0, 0xF841_07E0, *call(94)]  # str x0, [sp, #-16]!; ldr x0, [sp], #16
    report = run(place, words, granule=granule, va_bits=va_bits).report
    assert report.status == 7
    size = {"4K": 4096, "16K": 16384, "64K": 65536}[granule]
    assert report.page_size == size
    assert all(
        mapping.start % size == mapping.end % size == mapping.resident % size == 0 for mapping in report.mappings
    )
    stack = report.mappings[-1]
    assert (stack.name, stack.resident) == ("[stack]", size)


@pytest.mark.parametrize("granule", ["4K", "16K", "64K"])
def test_code_that_is_written_anew_within_a_page_is_executed_anew(place: Path, granule: str) -> None:
    """The function at 0x401000, in the page of the code that writes it where pages are larger than 4 KiB, gives 5, then
    9: the exit status is 14."""
    words = [movz(1, 0x40, 16), 0xF282_0001, movz(3, RET & 0xFFFF), 0xF2A0_0003 | RET >> 16 << 5]
    for value in (5, 9):
        code = movz(0, value)
        words += [movz(2, code & 0xFFFF), 0xF2A0_0002 | code >> 16 << 5]
        words += [0xB900_0022, 0xB900_0423]  # str w2, [x1]; str w3, [x1, #4]
        words += [0xD50B_7B21, 0xD503_3B9F, 0xD50B_7521, 0xD503_3FDF]  # dc cvau, x1; dsb ish; ic ivau, x1; isb
        words += [0xD63F_0020]  # blr x1
        words += [0xAA00_03F3] if value == 5 else [0x8B13_0000]  # mov x19, x0; add x0, x0, x19
    assert run(place, [*words, *call(94)], granule=granule).status == 14


def test_a_page_that_is_not_there_is_told_by_its_exact_address(place: Path) -> None:
    """A load from the second 4 KiB of a page of 64 KiB behind the program's."""
    report = run(place, [movz(1, 0x50, 16), 0xF282_4681, 0xF940_0020], granule="64K")  # movk x1, #0x1234; ldr x0, [x1]
    assert report.signal == 11


@pytest.mark.parametrize("granule", ["16K", "64K"])
def test_modelled_tlbs_see_pages_of_the_machine(place: Path, granule: str) -> None:
    """Stores to 256 KiB, 4 KiB apart: each page is missed twice, before its fault and behind it."""
    words = [
        movz(0, 0), movz(1, 0), movz(2, 4, 16), movz(3, 3), movz(4, 0x22), movz(5, 0), movz(6, 0),
        0xAA02_03E1, movz(2, 3), movz(3, 0x22), 0x9280_0004, movz(5, 0), *call(222),  # mov x1, x2; mmap; x4 = -1
        movz(1, 0x40), 0xF900_001F, 0x9140_0400, 0xF100_0421, 0x54FF_FFA1,  # str xzr, [x0]; add 4096; subs; b.ne
        movz(0, 0), *call(94),
    ]  # fmt: skip
    report = run(place, words, granule=granule, tlb="l1d=512,l1i=512").report
    pages = 262144 // report.page_size
    assert report.status == 0
    assert report.tlb["data"] == {"lookups": 64 + pages, "hits": [64 - pages], "misses": 2 * pages}
