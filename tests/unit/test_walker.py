"""The walk: rights and marks by level, huge leaves, ways to fail; compiled against interpreted; the fill; the cache."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rig import DATA, Rig

from pagewalk.arch.x86_64 import ACCESSED, DIRTY, NX, PRESENT, PSE, RW, USER, page_format
from pagewalk.hw.fill import FLUSH, NEW_CODE, claim, fill
from pagewalk.hw.walker import (
    FETCH,
    NO_RIGHT,
    NON_CANONICAL,
    NOT_PRESENT,
    OK,
    OUT_PFN,
    OUT_RIGHTS,
    OUT_WORDS,
    PEEK,
    READ,
    RESERVED,
    RIGHT_EXECUTE,
    RIGHT_READ,
    RIGHT_WRITE,
    WRITE,
    pack_format,
    walk,
    walk_table,
)
from pagewalk.mm.ram import Ram

pytestmark = pytest.mark.quick


@pytest.fixture
def rig() -> Rig:
    return Rig()


def look(rig: Rig, addr: int, access: int) -> int:
    return walk(rig.ram, rig.fmt, rig.mm.pgd_pfn, addr, access).status


def test_a_walk_reads_one_entry_at_each_level_and_says_where(rig: Rig) -> None:
    frame = rig.map(DATA, "rw")
    walked = walk(rig.ram, rig.fmt, rig.mm.pgd_pfn, DATA + 0x123, READ)
    assert walked.granted
    assert [step.level.name for step in walked.steps] == ["pgd", "pud", "pmd", "pte"]
    assert walked.steps[0].paddr == rig.mm.pgd_pfn * 4096
    assert walked.steps[-1].paddr == rig.entry_index(DATA) * 8
    assert all(step.entry == rig.ram.words[step.paddr >> 3] for step in walked.steps)
    assert (walked.pfn, walked.shift, walked.rights) == (frame, 12, RIGHT_READ | RIGHT_WRITE)


@pytest.mark.parametrize(
    ("rights", "granted"),
    [("r", {READ}), ("rw", {READ, WRITE}), ("rx", {READ, FETCH}), ("rwx", {READ, WRITE, FETCH})],
)
def test_the_leaf_grants_what_its_bits_say(rig: Rig, rights: str, granted: set[int]) -> None:
    rig.map(DATA, rights)
    for access in (READ, WRITE, FETCH):
        assert look(rig, DATA, access) == (OK if access in granted else NO_RIGHT)


@pytest.mark.parametrize("shift", [39, 30, 21])
@pytest.mark.parametrize(("bit", "lost"), [(RW, {WRITE}), (USER, {READ, WRITE, FETCH}), (NX, {FETCH})])
def test_every_level_must_grant_a_right(rig: Rig, shift: int, bit: int, lost: set[int]) -> None:
    rig.map(DATA, "rwx")
    rig.ram.words[rig.entry_index(DATA, shift)] ^= bit
    for access in (READ, WRITE, FETCH):
        assert look(rig, DATA, access) == (NO_RIGHT if access in lost else OK)


def test_accessed_is_set_on_the_way_and_dirty_in_the_leaf_by_a_write(rig: Rig) -> None:
    rig.map(DATA, "rw")
    entries = [rig.entry_index(DATA, level.shift) for level in rig.fmt.levels]
    walk(rig.ram, rig.fmt, rig.mm.pgd_pfn, DATA, PEEK)
    assert [rig.ram.words[at] & (ACCESSED | DIRTY) for at in entries] == [0, 0, 0, 0]
    walk(rig.ram, rig.fmt, rig.mm.pgd_pfn, DATA, READ)
    assert [rig.ram.words[at] & (ACCESSED | DIRTY) for at in entries] == [ACCESSED] * 4
    walk(rig.ram, rig.fmt, rig.mm.pgd_pfn, DATA, WRITE)
    assert [rig.ram.words[at] & (ACCESSED | DIRTY) for at in entries] == [ACCESSED] * 3 + [ACCESSED | DIRTY]


def test_a_refused_access_leaves_the_leaf_unmarked(rig: Rig) -> None:
    rig.map(DATA, "r")
    assert look(rig, DATA, WRITE) == NO_RIGHT
    assert rig.pte(DATA) & (ACCESSED | DIRTY) == 0


@pytest.mark.parametrize("shift", [39, 30, 21, 12])
def test_a_missing_entry_ends_the_walk_at_its_level(rig: Rig, shift: int) -> None:
    rig.map(DATA)
    rig.ram.words[rig.entry_index(DATA, shift)] &= ~PRESENT
    walked = walk(rig.ram, rig.fmt, rig.mm.pgd_pfn, DATA, READ)
    assert walked.status == NOT_PRESENT
    assert (walked.steps[-1].level.shift, walked.pfn, walked.rights, walked.shift) == (shift, -1, 0, 0)


@pytest.mark.parametrize(("shift", "levels"), [(21, 4), (30, 4), (21, 5), (30, 5)])
def test_a_huge_leaf_maps_its_whole_range(shift: int, levels: int) -> None:
    rig = Rig(levels, size=4 << 30)
    base = 0x55_4000_0000
    rig.map(base, "rw", pfn=1 << 18, shift=shift)
    for offset in (0, 4096, (1 << shift) - 1):
        walked = walk(rig.ram, rig.fmt, rig.mm.pgd_pfn, base + offset, WRITE)
        assert (walked.pfn, walked.shift) == ((1 << 18) + (offset >> 12), shift)


def test_a_leaf_where_none_may_be_is_refused(rig: Rig) -> None:
    rig.map(DATA)
    rig.ram.words[rig.entry_index(DATA, 39)] = 1 << 39 | PSE | PRESENT | USER
    assert look(rig, DATA, READ) == RESERVED


def test_a_misaligned_huge_leaf_is_refused(rig: Rig) -> None:
    rig.map(DATA, pfn=3, shift=21)
    assert look(rig, DATA, READ) == RESERVED


def test_a_frame_or_a_table_beyond_ram_is_refused(rig: Rig) -> None:
    rig.map(DATA, pfn=rig.ram.size >> 12)
    assert look(rig, DATA, READ) == RESERVED
    rig.ram.words[rig.entry_index(DATA, 21)] = (rig.ram.size >> 12) << 12 | PRESENT | USER
    assert look(rig, DATA, READ) == RESERVED


@pytest.mark.parametrize(("levels", "bits"), [(4, 48), (5, 57)])
def test_only_canonical_addresses_are_walked(levels: int, bits: int) -> None:
    rig = Rig(levels)
    half = 1 << bits - 1
    for addr in (half, half + 4096, -half - 1, 1 << 62, -(1 << 63)):
        walked = walk(rig.ram, rig.fmt, rig.mm.pgd_pfn, addr, READ)
        assert (walked.status, walked.steps) == (NON_CANONICAL, ())
    for addr in (half - 1, -half, -1, 0):
        assert look(rig, addr, READ) == NOT_PRESENT


def test_the_kernel_half_uses_the_upper_entries_of_the_root(rig: Rig) -> None:
    frame = rig.map(-4096 & (1 << 48) - 1, "r")
    walked = walk(rig.ram, rig.fmt, rig.mm.pgd_pfn, -4096 + 8, READ)
    assert (walked.pfn, walked.steps[0].paddr & 4095) == (frame, 511 * 8)


# Compiled and interpreted.


def numpy_words(ram: Ram) -> Any:
    numpy = pytest.importorskip("numpy")
    return numpy.frombuffer(ram.words, dtype=numpy.int64)


def compiled() -> Any:
    pytest.importorskip("numba")
    if os.environ.get("PAGEWALK_INTERPRETED"):
        pytest.skip("PAGEWALK_INTERPRETED is set")
    from pagewalk.hw import callbacks

    return callbacks


@pytest.mark.parametrize("levels", [4, 5])
def test_compiled_and_interpreted_walks_agree_on_random_tables(levels: int) -> None:
    callbacks = compiled()
    numpy = pytest.importorskip("numpy")
    one, two = Ram(1 << 20), Ram(1 << 20)
    array = numpy_words(two)
    packed = pack_format(page_format(levels))
    packed_array = numpy.array(packed, dtype=numpy.int64)
    flags = st.sampled_from([0, PRESENT, RW, USER, NX, PSE, ACCESSED, DIRTY])
    entry = st.builds(
        lambda frame, bits: frame << 12 | (PRESENT | RW | USER) ^ bits[0] ^ bits[1],
        st.integers(0, 300),
        st.tuples(flags, flags),
    )

    @settings(max_examples=300, deadline=None)
    @given(
        st.lists(st.tuples(st.integers(0, 255), st.sampled_from([0, 1, 255, 256, 511]), entry), max_size=40),
        st.one_of(st.integers(-(1 << 63), (1 << 63) - 1), st.sampled_from([0, 4096, 0x20_0000, -4096, 1 << 47])),
        st.sampled_from([READ, WRITE, FETCH, PEEK]),
    )
    def run(entries: list[tuple[int, int, int]], addr: int, access: int) -> None:
        for at in range(0, 1 << 20, 1 << 18):
            one.bytes[at : at + (1 << 18)] = bytes(1 << 18)
        for frame, index, word in entries:
            one.words[frame << 9 | index] = word
        two.bytes[:] = one.bytes
        out, out_array = [0] * OUT_WORDS, numpy.zeros(OUT_WORDS, dtype=numpy.int64)
        status = walk_table(one.words, 1 << 17, packed, 1, addr, access, out)
        assert callbacks.walk_table(array, 1 << 17, packed_array, 1, addr, access, out_array) == status
        assert out_array.tolist() == out
        assert one.bytes == two.bytes

    run()


# The fill: what the TLB of an emulator may hold.


class Filler:
    def __init__(self) -> None:
        self.rig = Rig(size=1 << 20)
        self.out = [0] * OUT_WORDS
        self.owners = [0] * 256
        self.code = bytearray(256)

    def __call__(self, addr: int, access: int) -> tuple[int, int]:
        rig = self.rig
        words, size = rig.ram.words, rig.ram.size >> 3
        packed = pack_format(rig.fmt)
        status = fill(words, size, packed, rig.mm.pgd_pfn, addr, access, self.out, self.owners, self.code, 0)
        return status, self.out[OUT_RIGHTS]

    def claim(self, addr: int) -> None:
        claim(addr >> 12, self.out, self.owners, self.code)


R, W, X = RIGHT_READ, RIGHT_WRITE, RIGHT_EXECUTE


def test_execution_is_granted_on_a_fetch_only_and_marks_the_frame() -> None:
    filler = Filler()
    frame = filler.rig.map(DATA, "rx")
    assert filler(DATA, READ) == (OK, R)
    assert filler.code[frame] == 0
    assert filler(DATA, FETCH) == (NEW_CODE, R | X)
    assert filler.code[frame] == 1


def test_code_is_new_once_for_each_page_and_again_when_the_frame_has_changed() -> None:
    filler = Filler()
    frame = filler.rig.map(DATA, "rx")
    filler.rig.map(DATA + 4096, "rx", frame)
    assert filler(DATA, FETCH)[0] == NEW_CODE
    assert filler(DATA, FETCH)[0] == OK
    filler.code[frame] = 0  # Ram.frame_changed
    assert filler(DATA, FETCH)[0] == NEW_CODE
    assert filler(DATA + 4096, FETCH)[0] == NEW_CODE


def test_a_clean_page_is_filled_read_only_until_it_is_written() -> None:
    filler = Filler()
    filler.rig.map(DATA, "rw")
    assert filler(DATA, READ) == (OK, R)
    assert filler(DATA, WRITE) == (OK, R | W)
    assert filler(DATA, READ) == (OK, R | W)


def test_a_page_that_is_written_and_executed_at_one_address_gets_both() -> None:
    filler = Filler()
    filler.rig.map(DATA, "rwxd")
    assert filler(DATA, WRITE) == (OK, R | W)
    assert filler(DATA, FETCH) == (NEW_CODE, R | W | X)
    assert filler(DATA, WRITE) == (OK, R | W | X)


def test_a_frame_is_never_writable_at_one_address_and_executable_at_another() -> None:
    filler = Filler()
    frame = filler.rig.map(DATA, "rx")
    other = DATA + 4096
    filler.rig.map(other, "rwd", frame)
    assert filler(DATA, FETCH) == (NEW_CODE, R | X)
    assert filler(other, READ) == (OK, R)
    assert filler(other, WRITE) == (FLUSH, R | W)
    filler.claim(other)
    assert filler.out[OUT_PFN] == frame
    assert filler(other, READ) == (OK, R | W)
    assert filler(DATA, READ) == (OK, R)
    assert filler(DATA, FETCH) == (FLUSH, R | X)
    filler.claim(DATA)
    assert filler(other, WRITE)[0] == FLUSH


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from([READ, WRITE, FETCH])), max_size=30))
def test_no_sequence_of_fills_leaves_a_store_unnoticed(accesses: list[tuple[int, int]]) -> None:
    """The TLB as a dict: entries of one frame at different pages never grant writing here and executing there."""
    filler = Filler()
    frame = filler.rig.map(DATA, "rwxd")
    for page in (1, 2):
        filler.rig.map(DATA + 4096 * page, "rwxd", frame)
    tlb: dict[int, int] = {}
    for page, access in accesses:
        if tlb.get(page, 0) >> access & 1:
            continue
        status, rights = filler(DATA + 4096 * page, access)
        if status == FLUSH:
            tlb.clear()
            filler.claim(DATA + 4096 * page)
        tlb[page] = rights
        assert rights >> access & 1
        writable = {page for page, held in tlb.items() if held & W}
        executable = {page for page, held in tlb.items() if held & X}
        assert not (writable and executable) or (writable == executable and len(writable) == 1)


# The folder of compiled code.

FOLDER = "from pagewalk.hw.jit import cache_folder; print(cache_folder())"


def folder(env: dict[str, str], script: str = FOLDER) -> Path:
    pytest.importorskip("numba")
    run = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **env}, capture_output=True, text=True, check=True
    )
    return Path(run.stdout.strip())


def test_compiled_code_is_kept_in_the_users_cache(tmp_path: Path) -> None:
    assert folder({"XDG_CACHE_HOME": str(tmp_path)}).parent == tmp_path / "pagewalk"


def test_a_cache_that_cannot_be_made_is_replaced_by_a_temporary_folder(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    found = folder({"XDG_CACHE_HOME": str(blocked), "TMPDIR": str(tmp_path)})
    assert found.is_relative_to(tmp_path)
    assert found.stat().st_mode & 0o77 == 0


def test_a_cache_that_others_can_write_to_is_not_trusted(tmp_path: Path) -> None:
    (tmp_path / "pagewalk").mkdir()
    (tmp_path / "pagewalk").chmod(0o777)
    assert folder({"XDG_CACHE_HOME": str(tmp_path)}).parent != tmp_path / "pagewalk"


def test_an_edit_anywhere_in_hw_makes_a_new_folder(tmp_path: Path) -> None:
    source = Path(__file__).resolve().parents[2] / "src"
    copy = tmp_path / "src"
    for path in (source / "pagewalk" / "hw").glob("*.py"):
        target = copy / "pagewalk" / "hw" / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    (copy / "pagewalk" / "__init__.py").touch()
    env = {"PYTHONPATH": str(copy), "XDG_CACHE_HOME": str(tmp_path)}
    before = folder(env)
    assert folder(env) == before
    with (copy / "pagewalk" / "hw" / "walker.py").open("a") as walker:
        walker.write("# edited\n")
    assert folder(env) != before
