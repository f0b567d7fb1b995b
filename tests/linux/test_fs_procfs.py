"""Texts of /proc have the running kernel's labels, order and columns, and agree with the model's state."""

import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import harness
import pytest
from proc_rig import Proc

from pagewalk.fs.fcntl import AT_FDCWD, O_RDONLY, O_RDWR, O_WRONLY
from pagewalk.fs.open import do_openat
from pagewalk.fs.stat_at import do_readlinkat
from pagewalk.mm.uaccess import copy_to_user

pytestmark = [pytest.mark.linux]


@pytest.fixture(scope="module")
def proc() -> Iterator[Proc]:
    if not Path("/bin/true").exists():
        pytest.skip("needs /bin/true")
    proc = Proc()
    yield proc
    proc.close()


def need(release: str = "6.18") -> None:
    if not os.uname().release.startswith(release):
        pytest.skip(f"needs Linux {release} to compare with, this is {os.uname().release}")


def labels(text: str) -> list[str]:
    return [line.split(":")[0] for line in text.splitlines()]


def columns(text: str) -> list[tuple[str, int]]:
    """(label, length) of the lines that end in a right-aligned size."""
    return [(line.split(":")[0], len(line)) for line in text.splitlines() if line.endswith(" kB")]


@pytest.mark.parametrize("name", ["status", "limits"])
def test_labels_come_in_the_kernels_order(proc: Proc, name: str) -> None:
    need()
    native = Path(f"/proc/self/{name}").read_text()
    assert labels(re.sub(r"(?m)  .*$", "", proc.text(name))) == labels(re.sub(r"(?m)  .*$", "", native))


@pytest.mark.parametrize("name", ["status", "smaps_rollup"])
def test_sizes_stand_in_the_kernels_columns(proc: Proc, name: str) -> None:
    need()
    assert columns(proc.text(name)) == columns(Path(f"/proc/self/{name}").read_text())


def test_limits_are_as_wide(proc: Proc) -> None:
    need()
    ours, theirs = proc.text("limits").splitlines(), Path("/proc/self/limits").read_text().splitlines()
    assert [len(line) for line in ours] == [len(line) for line in theirs]


def test_smaps_has_one_block_for_each_mapping_in_the_kernels_layout(proc: Proc) -> None:
    need()
    text = proc.text("smaps")
    block = r"Size:.*?VmFlags: [a-z ]*\n"
    ours, theirs = re.findall(block, text, re.S), re.findall(block, Path("/proc/self/smaps").read_text(), re.S)
    assert len(ours) == proc.task.mm.map_count() + 1
    assert columns(ours[0]) == columns(theirs[0])
    assert {tuple(labels(each)) for each in ours} == {tuple(labels(each)) for each in theirs}


def test_maps_names_start_in_the_kernels_column(proc: Proc) -> None:
    for line in proc.text("maps").splitlines():
        match = re.fullmatch(
            r"[0-9a-f]+-[0-9a-f]+ [r-][w-][x-][sp] [0-9a-f]{8,} [0-9a-f]{2,}:[0-9a-f]{2,} \d+ +(\S.*)?", line
        )
        assert match is not None, line
        if match[1]:
            assert line.index(match[1]) == 73, line


def test_smaps_adds_up_to_rollup_statm_and_status(proc: Proc) -> None:
    rss = sum(int(size) for size in re.findall(r"(?m)^Rss: +(\d+) kB", proc.text("smaps")))
    assert rss == int(re.findall(r"Rss: +(\d+)", proc.text("smaps_rollup"))[0])
    assert rss == int(re.findall(r"VmRSS:\s+(\d+)", proc.text("status"))[0])
    assert rss == int(proc.text("statm").split()[1]) * 4
    assert int(proc.text("statm").split()[0]) * 4 == int(re.findall(r"VmSize:\s+(\d+)", proc.text("status"))[0])


def test_stat_has_52_columns_and_says_what_status_says(proc: Proc) -> None:
    fields = proc.text("stat").rsplit(") ", 1)[1].split()
    assert len(fields) == 50
    assert len(Path("/proc/self/stat").read_text().rsplit(") ", 1)[1].split()) == 50
    assert int(fields[21]) == proc.task.mm.get_mm_rss()
    assert int(fields[20]) == proc.task.mm.total_vm << 12


def test_pagemap_agrees_with_the_page_table(proc: Proc) -> None:
    """Present pages are as many as smaps counts, and every frame is told to a capable reader."""
    present = 0
    for vma in proc.task.mm.vmas:
        count = int(vma.nr_pages())
        data = proc.read("/proc/self/pagemap", count * 8, (int(vma.vm_start) >> 12) * 8)
        assert len(data) == count * 8
        for word in struct.unpack(f"<{count}Q", data):
            if word >> 63:
                page = proc.system.page(word & (1 << 55) - 1)
                present += page.pfn != proc.system.zero_pfn
                assert bool(word >> 56 & 1) == (page.mapcount == 1)
    assert present == proc.task.mm.get_mm_rss()
    assert proc.read("/proc/self/pagemap", 80, 0) == bytes(80)


def test_mem_reads_and_writes_past_the_rights_of_a_mapping(proc: Proc) -> None:
    mm = proc.task.mm
    text = next(vma for vma in mm.vmas if vma.vm_flags & 4 and vma.vm_file is not None)
    address = int(text.vm_start)
    before = proc.read("/proc/self/mem", 4, address)
    assert not copy_to_user(mm, address, b"\xcc")
    file = do_openat(proc.task.fs, proc.task.files, AT_FDCWD, "/proc/self/mem", O_RDWR, 0)
    assert not isinstance(file, int)
    assert file.write(b"\xcc", address) == 1
    assert file.read(4, address) == b"\xcc" + before[1:]
    assert isinstance(file.read(1, 0), int)
    file.put()


def test_strings_of_the_process(proc: Proc) -> None:
    assert proc.read("/proc/self/cmdline") == b"true\0\0two words\0"
    assert proc.read("/proc/self/environ") == b"A=b\0"
    assert proc.text("comm") == "true\n"
    auxv = proc.read("/proc/self/auxv")
    assert auxv.endswith(bytes(16))
    assert dict(zip(*[iter(struct.unpack(f"<{len(auxv) // 8}Q", auxv))] * 2, strict=True))[6] == 4096
    link = do_readlinkat(proc.task.fs, proc.task.files, AT_FDCWD, "/proc/self/exe")
    assert link == os.path.realpath("/bin/true")


@pytest.mark.parametrize("name", ["meminfo", "vmstat", "zoneinfo", "buddyinfo", "version", "uptime", "loadavg", "stat"])
def test_texts_of_the_machine_look_like_the_kernels(proc: Proc, name: str) -> None:
    """The same labels, numbers aside, in the same order."""
    need()

    def shape(text: str) -> list[str]:
        return list(dict.fromkeys(re.split(r"[:\s\d]", line.strip())[0] for line in text.splitlines()))

    ours, theirs = shape(proc.read(f"/proc/{name}").decode()), shape(Path(f"/proc/{name}").read_text())
    assert [label for label in theirs if label in ours] == ours


def test_oom_score_adj_moves_the_score(proc: Proc) -> None:
    assert 666 <= int(proc.text("oom_score")) < 700
    file = do_openat(proc.task.fs, proc.task.files, AT_FDCWD, "/proc/self/oom_score_adj", O_WRONLY, 0)
    assert not isinstance(file, int)
    assert file.write(b"-1000\n") == 6
    assert proc.text("oom_score") == "0\n"
    assert proc.text("oom_adj") == "-17\n"
    assert isinstance(file.write(b"1001"), int)
    assert file.write(b"1001") < 0
    file.write(b"0")
    file.put()


def test_what_is_not_modelled_does_not_exist(proc: Proc) -> None:
    for path in ("/proc/kcore", "/proc/1", "/sys/class", "/proc/sys/net"):
        assert do_openat(proc.task.fs, proc.task.files, AT_FDCWD, path, O_RDONLY, 0) == -2, path


def test_cpuinfo_is_what_the_cpu_itself_says(proc: Proc) -> None:
    """A program asks CPUID; /proc/cpuinfo adds only what Linux sets by itself."""
    harness.need_x86_64_linux()
    asked = harness.modelled([harness.compile_c("cpuid")])
    assert asked.status == 0, asked.stderr.decode()
    facts, flags = [], set()
    for line in asked.stdout.decode().splitlines():
        if line.startswith("flag "):
            flags.add(line[5:])
        else:
            facts.append(line)
    text = proc.read("/proc/cpuinfo").decode()
    for fact in facts:
        name = next(label for label in ("vendor_id", "cpuid level", "cpu family", "model name", "model", "stepping") if
                    fact.startswith(label))  # fmt: skip
        shown = re.findall(rf"(?m)^{name}\s*: (.*)$", text)
        assert shown == [fact[len(name) + 1 :]], fact
    told = set(re.findall(r"(?m)^flags\s*: (.*)$", text)[0].split())
    assert flags <= told
    assert told - flags == {"constant_tsc", "rep_good", "nopl", "cpuid", "arat"}
