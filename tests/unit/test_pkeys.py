"""Protection keys: calls and accesses from Python, the walk, the TLB fill, the CPU, signal frames, what is shown."""

import struct
from collections.abc import Iterator

import pytest
from mm_rig import PAGE, RO, RW, error_of, small_machine
from rig import CODE, DATA, Rig

from pagewalk import ConfigError, Machine, Process, Prot, SegmentationFault
from pagewalk.arch.x86_64 import PKEY_SHIFT
from pagewalk.cpu.unicorn_x86 import UnicornX86
from pagewalk.hw import keys
from pagewalk.hw.walker import (
    FETCH,
    NO_KEY,
    NO_RIGHT,
    OK,
    OUT_RIGHTS,
    OUT_WORDS,
    PEEK,
    READ,
    RIGHT_EXECUTE,
    RIGHT_READ,
    RIGHT_WRITE,
    WRITE,
    pack_format,
    walk,
    walk_table,
)
from pagewalk.kernel.cpu import CLEAN_FXSAVE, EXIT_FAULT, EXIT_SYSCALL
from pagewalk.kernel.siginfo_ia32 import pack_siginfo_32, siginfo_fields_of_32
from pagewalk.kernel.signal_types import SIGSEGV, SIGUSR1, pkuerr_info
from pagewalk.kernel.xstate import with_parts
from pagewalk.mm.pkeys import INIT_PKRU

pytestmark = pytest.mark.quick

EXEC = int(Prot.EXEC)


@pytest.fixture
def machine() -> Iterator[Machine]:
    with small_machine(pku=True) as made:
        yield made


@pytest.fixture
def keyed(machine: Machine) -> Process:
    return machine.spawn()


def refused(process: Process, addr: int, *, write: bool) -> int:
    """si_code of what an access raises, 0 for none."""
    try:
        if write:
            process.write(addr, b"!")
        else:
            process.read(addr, 1)
    except SegmentationFault as fault:
        return fault.code
    return 0


# Calls and accesses from Python.


def test_a_new_key_is_the_lowest_and_opens_what_was_asked_for(keyed: Process) -> None:
    assert keyed.pkru == INIT_PKRU
    assert [keyed.pkey_alloc(), keyed.pkey_alloc(1), keyed.pkey_alloc(2)] == [1, 2, 3]
    assert keyed.pkru & 0xFF == 0b10_01_00_00
    keyed.pkey_free(2)
    assert keyed.pkey_alloc() == 2


def test_there_are_fifteen_keys_to_give(keyed: Process) -> None:
    assert [keyed.pkey_alloc() for _ in range(15)] == list(range(1, 16))
    assert error_of(keyed.pkey_alloc) == 28
    assert error_of(keyed.pkey_alloc, 4) == 22
    assert error_of(keyed.pkey_free, 16) == 22


def test_a_key_closes_memory_whatever_its_mapping_grants(keyed: Process) -> None:
    at = keyed.mmap(4 * PAGE)
    keyed.write(at, b"abc")
    key = keyed.pkey_alloc(2)
    keyed.pkey_mprotect(at, PAGE, RW, key)
    assert (refused(keyed, at, write=False), refused(keyed, at, write=True)) == (0, 4)
    keyed.pkey_set(key, 1)
    assert (refused(keyed, at, write=False), refused(keyed, at, write=True)) == (4, 4)
    assert refused(keyed, at + PAGE, write=True) == 0
    keyed.pkey_set(key, 0)
    assert keyed.read(at, 3) == b"abc"
    assert refused(keyed, at, write=True) == 0


def test_a_refusal_names_the_key(keyed: Process) -> None:
    at = keyed.mmap(PAGE)
    keyed.pkey_mprotect(at, PAGE, RW, keyed.pkey_alloc(1))
    with pytest.raises(
        SegmentationFault, match=r"read of 0x\w+ \(rw-p, vma .*, protection key 1\): SEGV_PKUERR"
    ) as got:
        keyed.read(at, 1)
    assert (got.value.addr, got.value.access, got.value.code) == (at, "read", 4)


def test_a_closed_page_takes_no_fault_and_no_frame(keyed: Process) -> None:
    at = keyed.mmap(PAGE)
    keyed.pkey_mprotect(at, PAGE, RW, keyed.pkey_alloc(1))
    assert refused(keyed, at, write=True) == 4
    assert (keyed.minor_faults, keyed.rss["anon"]) == (0, 0)


def test_the_entry_of_a_page_carries_the_key(machine: Machine, keyed: Process) -> None:
    at = keyed.mmap(2 * PAGE)
    keyed.write(at, b"1")
    for _ in range(11):
        keyed.pkey_alloc()
    keyed.pkey_mprotect(at, 2 * PAGE, RW, 11)
    keyed.write(at + PAGE, b"2")
    mm = keyed._task.mm
    for addr in (at, at + PAGE):
        entry = walk(machine.system.ram, machine.system.format, int(mm.pgd_pfn), addr, PEEK).steps[-1].entry
        assert entry >> PKEY_SHIFT & 15 == 11
    assert machine.system.format.decode(entry, 3)[-4:] == ["PK0", "PK1", "PK3", "NX"]


def test_a_key_keeps_neighbours_apart_and_mprotect_keeps_it(keyed: Process) -> None:
    at = keyed.mmap(3 * PAGE)
    keyed.pkey_mprotect(at + PAGE, PAGE, RW, keyed.pkey_alloc())
    keyed.mprotect(at, 3 * PAGE, RO)
    assert keyed.smaps().count("ProtectionKey:         1\n") == 1
    assert keyed._task.mm.map_count() == 3
    keyed.pkey_mprotect(at + PAGE, PAGE, RO, 0)
    assert keyed._task.mm.map_count() == 1


def test_execute_only_memory_gets_a_key_of_its_own(keyed: Process) -> None:
    at = keyed.mmap(2 * PAGE)
    keyed.write(at, b"\xc3")
    keyed.mprotect(at, PAGE, EXEC)
    assert (refused(keyed, at, write=False), keyed.pkru) == (4, INIT_PKRU)
    assert error_of(keyed.pkey_mprotect, at + PAGE, PAGE, RW, 1) == 22
    assert error_of(keyed.pkey_free, 1) == 22
    assert keyed.pkey_alloc() == 2
    keyed.mprotect(at, PAGE, RO)
    assert keyed.read(at, 1) == b"\xc3"
    assert refused(keyed, keyed.mmap(PAGE, EXEC), write=False) == 4


def test_a_child_has_the_keys_and_its_own_pkru(keyed: Process) -> None:
    at = keyed.mmap(PAGE)
    keyed.write(at, b"x")
    keyed.pkey_mprotect(at, PAGE, RW, keyed.pkey_alloc(1))
    child = keyed.fork()
    assert (child.pkru, child.pkey_alloc()) == (keyed.pkru, 2)
    child.pkey_set(1, 0)
    assert child.read(at, 1) == b"x"
    assert refused(keyed, at, write=False) == 4


def test_keys_survive_a_move_and_memory_pressure(machine: Machine, keyed: Process) -> None:
    at = keyed.mmap(PAGE)
    keyed.write(at, b"m")
    keyed.pkey_mprotect(at, PAGE, RW, keyed.pkey_alloc(1))
    moved = keyed.mremap(at, PAGE, 4 * PAGE)
    assert refused(keyed, moved, write=False) == 4
    keyed.pkey_set(1, 0)
    assert keyed.read(moved, 1) == b"m"


def test_locking_closed_memory_fails_as_its_pages_cannot_be_had(keyed: Process) -> None:
    at = keyed.mmap(PAGE)
    keyed.pkey_mprotect(at, PAGE, RW, keyed.pkey_alloc(2))
    assert error_of(keyed.mlock, at, PAGE) == 12
    assert error_of(keyed.madvise, at, PAGE, 23) == 22
    assert error_of(keyed.madvise, at, PAGE, 22) == 0


def test_modelled_tlbs_do_not_let_a_closed_page_through() -> None:
    with Machine(ram="32M", pku=True, tlb="zen4") as made:
        process = made.spawn()
        at = process.mmap(PAGE)
        process.write(at, b"t")
        process.pkey_mprotect(at, PAGE, RW, process.pkey_alloc())
        process.write(at, b"u")
        process.pkey_set(1, 1)
        assert refused(process, at, write=False) == 4
        process.pkey_set(1, 0)
        assert process.read(at, 1) == b"u"


# What is refused, and machines without keys.


@pytest.mark.parametrize("arch", ["arm64", "riscv64", "x86_32", "x86_pae", "riscv32"])
def test_keys_are_for_x86_64(arch: str) -> None:
    with pytest.raises(ConfigError, match=rf"pku: expected x86_64, which has protection keys, got {arch}"):
        Machine(ram="64M", arch=arch, pku=True)


def test_a_machine_without_keys_is_as_linux_on_such_a_cpu() -> None:
    with small_machine() as made:
        process = made.spawn()
        at = process.mmap(PAGE)
        assert error_of(process.pkey_alloc) == 22
        assert error_of(process.pkey_alloc) == 28
        assert error_of(process.fork().pkey_alloc) == 28
        assert error_of(process.pkey_mprotect, at, PAGE, RW, 0) == 22
        assert error_of(process.pkey_mprotect, at, PAGE, RW, -1) == 0
        assert process.pkru == 0
        assert "ProtectionKey" not in process.smaps()
        assert process.explain(at).key is None
        process.mprotect(at, PAGE, EXEC)
        assert process.read(at, 1) == b"\0"
        with pytest.raises(ConfigError, match="this machine's CPU has no protection keys"):
            process.pkru = 1


@pytest.mark.parametrize("arch", ["arm64", "x86_32", "riscv64"])
def test_other_machines_have_no_key_to_give(arch: str) -> None:
    with small_machine(arch=arch) as made:
        assert error_of(made.spawn().pkey_alloc) == 28


@pytest.mark.parametrize(("key", "rights", "text"), [(16, 0, "key: expected 0 to 15"), (1, 4, "rights: expected 0")])
def test_pkey_set_says_what_it_expects(keyed: Process, key: int, rights: int, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        keyed.pkey_set(key, rights)


@pytest.mark.parametrize("value", [-1, 1 << 32, True, "1"])
def test_pkru_is_a_32_bit_word(keyed: Process, value: int) -> None:
    with pytest.raises(ConfigError, match="pkru: expected a 32-bit word, got"):
        keyed.pkru = value


# What is shown.


def test_explain_tells_the_key_and_what_pkru_lets_through(keyed: Process) -> None:
    at = keyed.mmap(PAGE)
    keyed.write(at, b"x")
    keyed.pkey_mprotect(at, PAGE, RW, keyed.pkey_alloc(2))
    text = str(keyed.explain(at))
    assert "key      1; PKRU 0x55555558 closes it for writes" in text
    assert "a read goes ahead; a write raises SIGSEGV (SEGV_PKUERR)" in text
    keyed.pkey_set(1, 1)
    assert "PKRU 0x55555554 closes it for reads and writes" in str(keyed.explain(at))
    keyed.pkey_set(1, 0)
    assert "PKRU 0x55555550 lets all accesses through" in str(keyed.explain(at))
    assert keyed.explain(at).as_dict()["key"] == {
        "number": 1, "pkru": "0x55555550", "may_read": True, "may_write": True, "execute_only": False,
    }  # fmt: skip


def test_explain_tells_of_pages_that_are_not_there_too(keyed: Process) -> None:
    at = keyed.mmap(PAGE, EXEC)
    text = str(keyed.explain(at))
    assert "key      1, kept for execute-only memory" in text
    assert "but PKRU closes its protection key: a read or write raises SIGSEGV (SEGV_PKUERR)" in text


# The walk, and the TLB fill.


@pytest.mark.parametrize("key", [0, 1, 7, 15])
@pytest.mark.parametrize("bits", [0, 1, 2, 3])
@pytest.mark.parametrize("shift", [12, 21])
def test_the_walk_asks_pkru_for_loads_and_stores(key: int, bits: int, shift: int) -> None:
    rig = Rig()
    rig.map(DATA, "rwxd", pfn=0 if shift == 21 else None, shift=shift)
    index = rig.entry_index(DATA, shift)
    rig.ram.words[index] |= key << PKEY_SHIFT
    others = 0xFFFF_FFFF & ~(3 << 2 * key)
    for pkru in (bits << 2 * key, others | bits << 2 * key):

        def status(access: int, pkru: int = pkru) -> int:
            return walk(rig.ram, rig.fmt, rig.mm.pgd_pfn, DATA, access, pkru=pkru).status

        assert status(READ) == (NO_KEY if bits & 1 else OK)
        assert status(WRITE) == (NO_KEY if bits else OK)
        assert status(FETCH) == OK
        assert status(PEEK) == OK


def test_a_key_is_looked_at_before_rights_but_not_for_a_page_of_the_kernel() -> None:
    rig = Rig()
    rig.map(DATA, "r")
    index = rig.entry_index(DATA)
    rig.ram.words[index] |= 3 << PKEY_SHIFT
    assert walk(rig.ram, rig.fmt, rig.mm.pgd_pfn, DATA, WRITE).status == NO_RIGHT
    assert walk(rig.ram, rig.fmt, rig.mm.pgd_pfn, DATA, WRITE, pkru=2 << 6).status == NO_KEY
    assert walk(rig.ram, rig.fmt, rig.mm.pgd_pfn, DATA, FETCH, pkru=3 << 6).status == NO_RIGHT
    rig.ram.words[index] &= ~4  # US
    assert walk(rig.ram, rig.fmt, rig.mm.pgd_pfn, DATA, READ, pkru=3 << 6).status == NO_RIGHT


def test_a_refused_access_leaves_no_mark() -> None:
    rig = Rig()
    rig.map(DATA, "rw")
    index = rig.entry_index(DATA)
    rig.ram.words[index] |= 1 << PKEY_SHIFT
    before = rig.ram.words[index]
    assert walk(rig.ram, rig.fmt, rig.mm.pgd_pfn, DATA, READ, pkru=4).status == NO_KEY
    assert rig.ram.words[index] == before


@pytest.mark.parametrize(("bits", "left"), [(0, 7), (1, 4), (2, 5), (3, 4)])
def test_a_fill_grants_no_more_than_pkru(bits: int, left: int) -> None:
    rig = Rig()
    rig.map(DATA, "rwxd")
    rig.ram.words[rig.entry_index(DATA)] |= 9 << PKEY_SHIFT
    fmt = pack_format(rig.fmt, pkru=bits << 18)
    out = [0] * OUT_WORDS
    assert walk_table(rig.ram.quads, rig.ram.size >> 3, fmt, rig.mm.pgd_pfn, DATA, FETCH, out) == OK
    out[OUT_RIGHTS] = RIGHT_READ | RIGHT_WRITE | RIGHT_EXECUTE  # what a fill of old may have granted
    keys.close(fmt, out)
    assert out[OUT_RIGHTS] == left


# The CPU.


class KeyedRig(Rig):
    """A rig whose CPU has keys."""

    @property
    def cpu(self) -> UnicornX86:
        if self._cpu is None:
            self._cpu = UnicornX86(self.ram, self.fmt, compile_after=self.compile_after, pku=True)
        return self._cpu


@pytest.mark.parametrize("compile_after", [0, 1 << 30], ids=["machine code", "Python"])
def test_a_program_closes_and_opens_a_key_while_its_page_is_in_the_tlb(compile_after: int) -> None:
    rig = KeyedRig(compile_after=compile_after)
    rig.map(DATA, "rwd")
    rig.ram.words[rig.entry_index(DATA)] |= 1 << PKEY_SHIFT
    rig.load(
        f"mov rbx, {DATA}; mov [rbx], rbx; xor ecx, ecx; xor edx, edx; mov eax, 8; wrpkru; mov rsi, [rbx];"
        "rdpkru; mov rdi, rax; mov [rbx], rbx; nop"
    )
    assert rig.run() == EXIT_FAULT
    assert (rig.cpu.addr, rig.cpu.access, rig.cpu.error_code) == (DATA, WRITE, 0b10_0111)
    assert (rig.regs.rsi, rig.regs.rdi, rig.cpu.read_pkru()) == (DATA, 8, 8)
    rig.load("mov eax, 0; wrpkru; mov [rbx], rax; syscall", addr=CODE + 4096)
    assert rig.run() == EXIT_SYSCALL
    assert rig.get(DATA, 8) == bytes(8)


@pytest.mark.parametrize("compile_after", [0, 1 << 30], ids=["machine code", "Python"])
def test_memory_that_may_only_be_executed_is_not_read_after_it_was(compile_after: int) -> None:
    rig = KeyedRig(compile_after=compile_after)
    rig.load(f"mov rbx, {CODE + 4096}; call rbx; mov rsi, [rbx]; nop")
    rig.load(b"\xc3", addr=CODE + 4096)
    rig.ram.words[rig.entry_index(CODE + 4096)] |= 5 << PKEY_SHIFT
    rig.map(DATA, "rwd")
    rig.regs.rsp = DATA + 2048
    rig.regs.rip = CODE
    rig.cpu.write_pkru(1 << 10)
    assert rig.run() == EXIT_FAULT
    assert (rig.cpu.addr, rig.cpu.access, rig.cpu.error_code) == (CODE + 4096, READ, 0b10_0101)


def test_pkru_of_another_thread_is_not_what_the_tlb_was_filled_under() -> None:
    rig = KeyedRig()
    rig.map(DATA, "rwd")
    rig.ram.words[rig.entry_index(DATA)] |= 2 << PKEY_SHIFT
    rig.load(f"mov rbx, {DATA}; mov [rbx], rbx; syscall; mov [rbx], rbx; nop")
    assert rig.run() == EXIT_SYSCALL
    rig.cpu.write_pkru(1 << 4)
    assert rig.run() == EXIT_FAULT
    assert rig.cpu.access == WRITE


# Frames of signals.


def test_siginfo_of_a_closed_key_has_it_where_each_width_looks() -> None:
    info = pkuerr_info(0x1234, 9)
    data = info.pack()
    assert struct.unpack_from("<iii", data) == (SIGSEGV, 0, 4)
    assert (struct.unpack_from("<Q", data, 16)[0], struct.unpack_from("<I", data, 32)[0]) == (0x1234, 9)
    narrow = pack_siginfo_32(info)
    assert (struct.unpack_from("<I", narrow, 12)[0], struct.unpack_from("<I", narrow, 20)[0]) == (0x1234, 9)
    assert siginfo_fields_of_32(narrow, SIGSEGV, 4) == info.fields
    assert len(siginfo_fields_of_32(narrow, SIGUSR1, 4)) == 8


def test_parts_that_a_frame_does_not_hold_get_their_reset_value() -> None:
    image = bytes(range(1, 256)) * 2 + b"\1\2"
    assert with_parts(image, 3) == image
    without_sse = with_parts(image, 1)
    assert (without_sse[:160], without_sse[160:]) == (image[:160], CLEAN_FXSAVE[160:])
    without_x87 = with_parts(image, 2)
    assert without_x87[:24] == CLEAN_FXSAVE[:24]
    assert without_x87[24:32] == image[24:32]
    assert (without_x87[32:160], without_x87[160:]) == (bytes(128), image[160:])
