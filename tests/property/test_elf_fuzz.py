"""Hostile programs: whatever the bytes are, loading them answers 0 or an errno, in bounded time, and leaks no frame."""

import random
import shutil
import struct
import time
from pathlib import Path

import pytest
from elf_rig import PT_GNU_STACK, PT_INTERP, Elf, R, Rig, Segment, W, X

EDGES = (
    0, 1, 2, 7, 55, 56, 0xFFF, 0x1000, 0x1001, 0x10000, 0x400000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 32,
    0x555555554000, 0x7FFFFFFFE000, 0x7FFFFFFFF000, 0x800000000000, (1 << 63) - 4096, (1 << 63) - 1, 1 << 63,
    (1 << 64) - 4097, (1 << 64) - 4096, (1 << 64) - 1,
)  # fmt: skip
NR_FILES = 2400


def seeds(interpreter: bytes = b"/tmp/interp") -> list[bytes]:
    """Programs that load: static, static PIE, with an interpreter, with bss and odd alignment."""
    text = Segment(0x400000, b"\x0f\x0b" * 100)
    data = Segment(0x402010, b"data" * 50, memsz=0x3000, flags=R | W)
    stack = Segment(0, kind=PT_GNU_STACK, flags=R | W)
    interp = Segment(0x401000, interpreter + b"\0", kind=PT_INTERP, flags=R)
    pie = [Segment(0, b"\x0f\x0b" * 100), Segment(0x3000, b"data", memsz=0x5000, flags=R | W, align=1 << 21)]
    return [
        Elf([text, data, stack]).build(),
        Elf(pie, e_type=3, entry=0).build(),
        Elf([Segment(0x400000, b"x" * 5000, flags=R | X), interp, data]).build(),
        Elf([interp, *pie], e_type=3, entry=0).build(),
    ]


def mutate(data: bytes, rnd: random.Random) -> bytes:
    """A few changes: words of the headers set to edges, bits flipped, the end cut off."""
    out = bytearray(data)
    phnum = struct.unpack_from("<H", out, 56)[0]
    for _ in range(rnd.choice((1, 1, 1, 2, 3, 6))):
        kind = rnd.random()
        if kind < 0.6:  # a field of a program header
            field, size = rnd.choice(((0, 4), (4, 4), (8, 8), (16, 8), (32, 8), (40, 8), (48, 8)))
            at = 64 + 56 * rnd.randrange(max(1, min(phnum, 8))) + field
            value = rnd.choice(EDGES)
            if rnd.random() < 0.3:
                value += rnd.randrange(-8192, 8192)
            out[at : at + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
        elif kind < 0.75:  # a field of the header
            at, size = rnd.choice(((16, 2), (18, 2), (24, 8), (32, 8), (54, 2), (56, 2)))
            value = rnd.choice(EDGES) & (1 << 8 * size) - 1
            out[at : at + size] = value.to_bytes(size, "little")
        elif kind < 0.9:
            at = rnd.randrange(min(len(out), 400))
            out[at] ^= 1 << rnd.randrange(8)
        else:
            del out[rnd.randrange(1, len(out)) :]
            out.extend(bytes(max(0, 64 - len(out))))
    return bytes(out)


@pytest.mark.parametrize("aslr", [False, True])
def test_mutated_programs_answer_an_errno_and_leak_nothing(aslr: bool) -> None:
    rnd = random.Random(2024)
    rig = Rig(aslr=aslr)
    files = seeds()
    interpreters = [Elf([Segment(0, b"\x0f\x0b" * 10)], e_type=3, entry=0).build(), *files]
    rig.put("/tmp/prog", bytes(40000))
    rig.put("/tmp/interp", bytes(40000))
    task, _ = rig.exec(files[0])  # what the machine makes at its first program and keeps
    rig.drop(task)
    loaded = 0
    before = -1
    for number in range(NR_FILES // 2):
        program = mutate(rnd.choice(files), rnd) if rnd.random() < 0.8 else rnd.choice(files)
        other = rnd.choice(interpreters)
        rig.put("/tmp/interp", mutate(other, rnd) if rnd.random() < 0.4 else other)
        start = time.monotonic()
        task, bprm = rig.exec(program)
        assert -4096 < bprm.error <= 0, (number, bprm.error)
        assert bprm.error == 0 or "\n" not in bprm.reason
        assert bprm.error == 0 or bprm.reason, (number, bprm.error)
        loaded += bprm.error == 0
        rig.drop(task)
        assert time.monotonic() - start < 5, number
        rig.put("/tmp/prog", b"")
        rig.put("/tmp/interp", b"")
        rig.system.node.drain_all_pages()
        free = rig.system.node.nr_free_pages()
        assert before in (-1, free), (number, before - free)
        before = free
    assert loaded > NR_FILES // 20  # the fuzz reaches the end of the loader


def test_bytes_that_are_no_program_are_refused() -> None:
    rnd = random.Random(7)
    rig = Rig()
    for _ in range(300):
        data = rnd.randbytes(rnd.randrange(0, 5000))
        if rnd.random() < 0.5:
            data = b"\x7fELF\x02\x01\x01" + data
        if rnd.random() < 0.2:
            data = b"#!" + data
        task, bprm = rig.exec(data)
        assert bprm.error < 0 and bprm.reason
        rig.drop(task)


@pytest.mark.skipif(shutil.which("true") is None, reason="no /bin/true here")
def test_a_real_program_cut_anywhere_never_crashes() -> None:
    data = Path("/bin/true").read_bytes()
    rig = Rig()
    for length in [*range(0, 1024, 37), *range(1024, len(data), len(data) // 100)]:
        task, bprm = rig.exec(data[:length])
        assert -4096 < bprm.error <= 0
        rig.drop(task)
