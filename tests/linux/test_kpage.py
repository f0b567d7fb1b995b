"""/proc/kpageflags, kpagecount and kpagecgroup: the running kernel's words for pages that are known, and the model's
own state for all frames."""

import os
import struct
from collections.abc import Iterator

import harness
import pytest
from proc_rig import Proc

from pagewalk.fs.procfs.page import KPF_BUDDY, KPF_PGTABLE, KPF_RESERVED
from pagewalk.mm.page import PG_table

pytestmark = [pytest.mark.linux]


@pytest.fixture
def proc() -> Iterator[Proc]:
    harness.need_x86_64_linux()
    proc = Proc()
    yield proc
    proc.close()


def words(proc: Proc, name: str) -> list[int]:
    data = proc.read(f"/proc/{name}", 8 << 20)
    return list(struct.unpack(f"<{len(data) // 8}Q", data))


def test_known_pages_have_the_kernels_flags() -> None:
    harness.need_reference_kernel()
    if os.geteuid() != 0:
        pytest.skip("/proc/kpageflags needs root")
    harness.need_disk_file_system(harness.base())
    harness.check([harness.compile_c("kpage_flags"), "{work}/file"], aslr=False, work={})


def test_every_frame_has_a_word(proc: Proc) -> None:
    frames = proc.system.mem_map.max_pfn
    for name in ("kpagecount", "kpageflags", "kpagecgroup"):
        assert len(words(proc, name)) == frames
    assert proc.read("/proc/kpageflags", 8, frames * 8) == b""
    assert proc.read("/proc/kpageflags", 80, frames * 8 - 16) == proc.read("/proc/kpageflags", 16, frames * 8 - 16)


def test_free_frames_are_as_many_as_the_buddy_lists_have(proc: Proc) -> None:
    free = [word for word in words(proc, "kpageflags") if word >> KPF_BUDDY & 1]
    assert len(free) == proc.system.node.nr_free_pages()


def test_a_part_of_the_table_is_that_part_of_the_whole(proc: Proc) -> None:
    whole = proc.read("/proc/kpageflags", 8 << 20)
    for first in (0, 1, 255, 256, 4095, 5000, proc.system.mem_map.max_pfn - 700):
        assert proc.read("/proc/kpageflags", 8 * 600, first * 8) == whole[first * 8 : (first + 600) * 8]


def test_reserved_frames_are_those_that_no_zone_manages(proc: Proc) -> None:
    reserved = [pfn for pfn, word in enumerate(words(proc, "kpageflags")) if word >> KPF_RESERVED & 1]
    zones = proc.system.node.zones
    unmanaged = sum(zone.present_pages - zone.managed_pages for zone in zones)
    holes = 0x100 - 0x9F + 1  # frame 0, and those from 636 KiB to 1 MiB
    assert len(reserved) == unmanaged + holes + 1  # the zero page


def test_page_tables_are_told(proc: Proc) -> None:
    flags = words(proc, "kpageflags")
    tables = [pfn for pfn, word in enumerate(flags) if word >> KPF_PGTABLE & 1]
    assert len(tables) == proc.system.vmstat.nr_page_table_pages
    assert all(proc.system.page(pfn).flags & PG_table for pfn in tables)


def test_counts_add_up_to_what_is_mapped(proc: Proc) -> None:
    proc.spawn()
    for task in proc.kernel.tasks():
        proc.read(f"/proc/{task.pid}/mem", 1, int(task.mm.start_code))
    assert sum(words(proc, "kpagecount")) == sum(task.mm.get_mm_rss() for task in proc.kernel.tasks())
    assert max(words(proc, "kpagecount")) == 2


def test_only_a_capable_reader_gets_them(proc: Proc) -> None:
    for name in ("uid", "euid", "suid", "fsuid"):
        setattr(proc.task, name, 1000)
    proc.task.sync_cred()
    assert proc.try_read("/proc/kpageflags") == "open:EACCES"
