"""RAM as a file: its shape, and volatility3's own page walks over it, from our roots."""

import io
import json
import os
import random
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from table_rig import Tables

from pagewalk import Machine
from pagewalk.arch import x86_32, x86_64, x86_pae
from pagewalk.arch.format import PageFormat
from pagewalk.arch.x86_64 import PRESENT, PSE, RW, USER
from pagewalk.errors import ConfigError
from pagewalk.hw.walker import NOT_PRESENT, PEEK, walk
from pagewalk.mm.memblock import firmware_map
from pagewalk.mm.ram import Ram
from pagewalk.view.dump_ram import NOTE_NAME, write_core, write_raw

PHDR = struct.Struct("<IIQQQQQQ")


def segments(file: Path) -> list[tuple[int, ...]]:
    with file.open("rb") as core:
        head = core.read(64)
        assert head[:7] == b"\x7fELF\x02\x01\x01"
        count = struct.unpack_from("<H", head, 56)[0]
        return [PHDR.unpack(core.read(PHDR.size)) for _ in range(count)]


def physical(file: Path, paddr: int, length: int) -> bytes:
    """Bytes of physical memory, through the program headers."""
    for kind, _, at, _, start, size, _, _ in segments(file):
        if kind == 1 and start <= paddr and paddr + length <= start + size:
            with file.open("rb") as core:
                core.seek(at + paddr - start)
                return core.read(length)
    raise AssertionError(f"{paddr:#x} is in no segment")


def test_a_core_has_a_segment_for_each_range_of_ram_and_holes_for_what_nobody_used(tmp_path: Path) -> None:
    core = tmp_path / "ram.core"
    with Machine(ram="4G") as machine:
        process = machine.spawn()
        addr = process.mmap("1M")
        process.write(addr + 0x1234, b"a needle in RAM")
        frame = process.explain(addr + 0x1234).frame
        assert frame is not None
        machine.dump_ram(core)
        root = int(machine.kernel.tasks()[-1].mm.pgd_pfn) << 12
        table = bytes(machine.system.ram.bytes[root : root + 4096])
    loads = [(start, size) for kind, _, _, _, start, size, _, _ in segments(core) if kind == 1]
    assert loads == [(first << 12, end - first << 12) for first, end in firmware_map("x86_64", 4 << 30)]
    assert physical(core, (frame.pfn << 12) + 0x234, 15) == b"a needle in RAM"
    assert physical(core, root, 4096) == table
    assert core.stat().st_size > 4095 << 20 > 64 * core.stat().st_blocks * 512
    kind, _, at, _, _, size, _, _ = segments(core)[0]
    assert kind == 4
    with core.open("rb") as file:
        file.seek(at)
        note = file.read(size)
    name_size, text_size, _ = struct.unpack_from("<III", note)
    assert note[12 : 12 + name_size] == NOTE_NAME + b"\0"
    about = json.loads(note[12 + (name_size + 3 & -4) :][:text_size])
    assert about["arch"] == "x86_64"
    assert f"{root:#x}" in [task["root"] for task in about["tasks"]]


def test_a_raw_image_has_each_byte_at_its_physical_address(tmp_path: Path) -> None:
    image = tmp_path / "ram.img"
    with Machine(ram="64M") as machine:
        process = machine.spawn()
        addr = process.mmap("64K")
        process.write(addr, b"needle")
        frame = process.explain(addr).frame
        assert frame is not None
        machine.dump_ram(image, format="raw")
    with image.open("rb") as file:
        file.seek(frame.pfn << 12)
        assert file.read(6) == b"needle"


@pytest.mark.parametrize("arch", ["x86_64", "x86_pae", "x86_32", "arm64", "riscv32"])
def test_the_file_is_the_whole_ram_with_the_kernels_tables(arch: str, tmp_path: Path) -> None:
    with Machine(arch=arch, ram="64M", swap="16M") as machine:
        process = machine.spawn()
        page = int(machine.system.page_size)
        addr = process.mmap("1M")
        process.touch(addr, "1M")
        process.fork().write(addr, b"child")
        process.madvise(addr + 8 * page, 8 * page, 21)  # MADV_PAGEOUT
        if machine.system.init_mm is not None:
            machine.kernel.write(machine.kernel.vmalloc(2 * page), b"kernel")
        machine.dump_ram(tmp_path / "raw", format="raw")
        machine.dump_ram(tmp_path / "core")
        with (tmp_path / "raw").open("rb") as raw:
            for first, end in machine.system.ranges():
                raw.seek(first * page)
                for at in range(first * page, end * page, 1 << 20):
                    size = min(1 << 20, end * page - at)
                    assert raw.read(size) == machine.system.ram.bytes[at : at + size]
        if machine.system.init_mm is not None:
            note = next(phdr for phdr in segments(tmp_path / "core") if phdr[0] == 4)
            with (tmp_path / "core").open("rb") as core:
                core.seek(note[2] + 12 + 12)
                root = int(json.loads(core.read(note[5] - 24).rstrip(b"\0"))["kernel_root"], 16)
            assert physical(tmp_path / "core", root, page) == machine.system.ram.bytes[root : root + page]
            assert any(physical(tmp_path / "core", root, page))


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    with Machine(ram="16M") as machine:
        with pytest.raises(ConfigError, match="cannot write"):
            machine.dump_ram(tmp_path / "no" / "such")
        with pytest.raises(ConfigError, match="elf or raw, got 'lime'"):
            machine.dump_ram(tmp_path / "x", format="lime")


def test_run_leaves_the_ram_of_the_program(tmp_path: Path) -> None:
    echo = shutil.which("echo")
    if echo is None:
        pytest.skip("needs an echo program")
    core = tmp_path / "echo.core"
    done = subprocess.run(
        [sys.executable, "-m", "pagewalk", "run", "-q", "--ram", "64M", "--dump-ram", str(core), "--", echo, "needle"],
        capture_output=True,
        check=True,
    )
    assert done.stdout == b"needle\n"
    assert b"needle\0" in core.read_bytes()
    failed = subprocess.run(
        [sys.executable, "-m", "pagewalk", "run", "--dump-ram", str(tmp_path / "no" / "x"), "--", echo],
        capture_output=True,
        text=True,
    )
    assert failed.returncode == 125
    assert "--dump-ram: cannot write" in failed.stderr


# volatility3 walks our tables from our roots, in our files.


def volatility(path: Path, kind: str, root: int, raw: bool) -> Any:
    """An Intel layer of volatility3 over a dump."""
    pytest.importorskip("volatility3", reason="volatility3 is not installed (a dev dependency)")
    from volatility3.framework import contexts, interfaces
    from volatility3.framework.layers import elf, intel, physical

    context = contexts.Context()

    def layer(cls: Any, name: str, **config: Any) -> Any:
        for key, value in config.items():
            context.config[interfaces.configuration.path_join(name, key)] = value
        made = cls(context, name, name)
        context.add_layer(made)
        return made

    layer(physical.FileLayer, "file", location=path.as_uri())
    if not raw:
        layer(elf.Elf64Layer, "elf", base_layer="file")
    cls = {"32": intel.Intel, "pae": intel.IntelPAE, "32e": intel.Intel32e}[kind]
    return layer(cls, "intel", memory_layer="file" if raw else "elf", page_map_offset=root)


def their_translation(layer: Any, addr: int) -> int | None:
    from volatility3.framework import exceptions

    try:
        found: int = layer.translate(addr)[0]
    except exceptions.InvalidAddressException:
        return None
    return found


def test_volatility_reads_a_programs_memory_out_of_our_dump(tmp_path: Path) -> None:
    with Machine(ram="64M") as machine:
        process = machine.spawn()
        addr = process.mmap("1M")
        process.write(addr + 0x5004, b"the same bytes")
        machine.dump_ram(tmp_path / "ram.core")
        root = int(machine.kernel.tasks()[-1].mm.pgd_pfn) << 12
    layer = volatility(tmp_path / "ram.core", "32e", root, raw=False)
    assert layer.read(addr + 0x5004, 14) == b"the same bytes"
    assert their_translation(layer, addr) is None


@pytest.mark.parametrize("raw", [False, True], ids=["core", "raw"])
@pytest.mark.parametrize(
    ("fmt", "kind"),
    [(x86_32.page_format(), "32"), (x86_pae.page_format(), "pae"), (x86_64.page_format(4), "32e")],
    ids=["32", "pae", "32e"],
)
def test_volatility_translates_as_the_walker_does(fmt: PageFormat, kind: str, raw: bool, tmp_path: Path) -> None:
    rng = random.Random(f"{kind} {raw}")
    ram = Ram(2 << 30)
    tables = Tables(ram, fmt)
    last = len(fmt.levels) - 1
    addrs = []
    for _ in range(60):
        depth = rng.choice([last, last, last - 1, *([1] if kind == "32e" else [])])
        shift = fmt.levels[depth].shift
        addr = 0
        for level in fmt.levels[: depth + 1]:
            addr |= rng.choice([0, 1, 2, 3, 100, 511, 1023]) % (1 << level.nr_bits) << level.shift
        paddr = rng.randrange(1 << 26, ram.size) & -(1 << shift)
        entry = paddr | PRESENT | rng.choice([0, RW, USER, RW | USER]) | (PSE if depth != last else 0)
        tables.map(addr, entry & ~PRESENT if rng.random() < 0.2 else entry, depth)
        addrs += [addr | rng.randrange(1 << shift) for _ in range(3)]
    path = tmp_path / "ram"
    ranges, frames = [(0, 0x100), (0x100, ram.size >> 12)], range(tables.next_frame)
    if raw:
        write_raw(os.fspath(path), ram, ranges, frames)
    else:
        write_core(os.fspath(path), ram, ranges, frames, "x86_64", {})
    layer = volatility(path, kind, 1 << 12, raw)
    outcomes = set()
    for addr in [*addrs, *[rng.randrange(1 << (32 if kind != "32e" else 47)) for _ in range(20)]]:
        signed = addr - (1 << 48) if kind == "32e" and addr >> 47 else addr
        walked = walk(ram, fmt, 1, signed, PEEK)
        ours = (walked.pfn << 12) + (addr & 4095) if walked.pfn >= 0 else None
        assert walked.pfn >= 0 or walked.status == NOT_PRESENT
        theirs = their_translation(layer, addr if signed >= 0 else signed & (1 << 64) - 1)
        assert theirs == ours, f"{addr:#x}: {walked}"
        outcomes.add(walked.shift)
    assert outcomes >= {0, *[level.shift for level in fmt.levels if level.can_leaf]}


def test_a_dump_is_read_by_other_tools(tmp_path: Path) -> None:
    elffile = pytest.importorskip("elftools.elf.elffile", reason="pyelftools is not installed")
    ram = Ram(16 << 20)
    ram.bytes[0x5000:0x5004] = b"here"
    write_core(os.fspath(tmp_path / "core"), ram, [(1, 4096)], [5], "arm64", {"a": 1})
    elf = elffile.ELFFile(io.BytesIO((tmp_path / "core").read_bytes()))
    assert (elf["e_type"], elf["e_machine"]) == ("ET_CORE", "EM_AARCH64")
    load = next(segment for segment in elf.iter_segments() if segment["p_type"] == "PT_LOAD")
    assert load.data()[0x4000:0x4004] == b"here"
