"""The hostile program again, with less wild arguments: what processes wait for, asked for in every nonsensical order.

Most numbers are small and most pointers lead to pages with well-formed structures: addresses of sockets, messages with
control data, vectors, times, epoll events. So calls come further than their first check.
"""

import random
import struct
from collections.abc import Callable

import pytest
import test_hostile_calls as hostile

from pagewalk.kernel.cpu import EXIT_SYSCALL
from pagewalk.kernel.ptrace import PtRegs
from pagewalk.mm.mm_types import MmStruct
from pagewalk.mm.uaccess import copy_to_user

CALLS = 12_000
# By number: what each argument is. f: a descriptor, p: a pointer, n: a number, o: an option or flag, z: zero, k: a kind
# of socket, u: AF_UNIX, c: a clock, i: a signal, m: -1, e: 8, t: an operation of epoll_ctl
SHAPES = {
    0: "fpn", 1: "fpn", 3: "f", 7: "pno", 16: "fop", 19: "fpn", 20: "fpn", 22: "p", 23: "npppp", 32: "f", 33: "ff",
    41: "ukz", 42: "fpo", 43: "fpp", 44: "fpnopo", 45: "fpnopp", 46: "fpo", 47: "fpo", 48: "fn", 49: "fpo", 50: "fn",
    51: "fpp", 52: "fpp", 53: "ukzp", 54: "fnnpo", 55: "fnnpp", 57: "", 72: "fop", 73: "fn", 213: "n", 222: "cpp",
    223: "nzpp", 224: "np", 225: "n", 226: "n", 232: "fpnz", 233: "ftfp", 254: "fpo", 255: "fn", 271: "pnpz",
    275: "fzfzno", 276: "ffno", 278: "fpno", 281: "fpnzzz", 282: "mpe", 283: "cz", 284: "n", 286: "fzpp", 287: "fp",
    288: "fppz", 289: "mpez", 290: "nz", 291: "z", 293: "pz", 294: "z", 299: "fpnop", 307: "fpno", 424: "fizz",
    434: "nz", 438: "ffz", 441: "fpnppo", 2: "poo", 133: "poz", 82: "pp", 87: "p",
}  # fmt: skip
NUMBERS = [*SHAPES, 22, 41, 53, 53, 213, 222, 289, 293]
SMALL = (0, 1, 2, 3, 5, 8, 16, 20, 24, 100, 1000, 70_000, -1)
OPTIONS = (8, 16, 64, 110, 128, 0x40, 0x800, 0x4000, 100, 4096, 1031, 1032, 36, 37, 38, 0x541B, 0x5411, 0x5421, -1)


def pointer(rnd: random.Random) -> int:
    return hostile.AREA + rnd.randrange(64) * 4096


def structure(rnd: random.Random) -> bytes:
    """Some kind of argument, or several of one kind."""
    kind = rnd.randrange(8)
    if kind == 0:
        return b"".join(struct.pack("<q", rnd.choice(SMALL)) for _ in range(64))
    if kind == 1:
        return b"".join(struct.pack("<i", rnd.randrange(-1, 17)) for _ in range(128))
    if kind == 2:
        return b"\1\0" + rnd.choice((b"/tmp/s\0", b"\0abc", b"/tmp/t\0", b"/tmp/a\0")) + bytes(100)
    if kind == 7:
        return rnd.choice((b"/tmp\0", b"/tmp/s\0", b"/tmp/a\0", b"/etc/passwd\0"))
    if kind == 3:
        messages = b""
        for _ in range(6):
            name, control = rnd.choice((0, pointer(rnd))), rnd.choice((0, pointer(rnd)))
            room = rnd.choice((0, 16, 20, 24, 64))
            messages += struct.pack("<QI4xQQ", name, rnd.choice((0, 8, 6, 110)), pointer(rnd), rnd.randrange(3))
            messages += struct.pack("<QQI4xI4x", control, room, 0, 0)
        return messages
    if kind == 4:
        return b"".join(struct.pack("<Qq", pointer(rnd), rnd.choice(SMALL)) for _ in range(10))
    if kind == 5:
        header = struct.pack("<Qii", rnd.choice((16, 20, 24, 28)), 1, rnd.choice((1, 1, 2)))
        return header + struct.pack("<iii", *(rnd.randrange(8) for _ in range(3))) + bytes(4)
    masks = (1, 4, 5, 1 << 30 | 1, 1 << 31 | 1, 1 << 28 | 1)
    return b"".join(struct.pack("<IQ", rnd.choice(masks), rnd.getrandbits(64)) for _ in range(10))


class PlausibleCpu(hostile.HostileCpu):
    """Asks for calls that might succeed."""

    def run(self, mm: MmStruct, regs: PtRegs, on_fault: Callable[[int, int], bool]) -> int:
        reason = super().run(mm, regs, on_fault)
        rnd = self.random
        if reason == EXIT_SYSCALL and regs.rax in SHAPES:
            args = [self.argument(mm, shape) for shape in SHAPES[regs.rax].ljust(6, "n")]
            self.last = (regs.rax, *args)
            regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9 = args
        if self.left % 7 == 0:
            copy_to_user(mm, pointer(rnd), structure(rnd))
        return reason

    def argument(self, mm: MmStruct, shape: str) -> int:
        """One that fits its place, nearly always."""
        rnd = self.random
        if rnd.random() < 0.03:
            return self.word(mm)
        if shape == "f":
            return rnd.randrange(8)
        if shape == "p":
            return pointer(rnd) if rnd.random() < 0.9 else 0
        if shape == "k":
            return rnd.choice((1, 2, 5)) | 0x800
        if shape == "o":
            return rnd.choice(OPTIONS)
        if shape == "t":
            return rnd.choice((1, 1, 2, 3))
        return {"z": 0, "u": 1, "m": -1, "e": 8, "c": rnd.choice((0, 1, 7)), "i": rnd.choice((0, 10, 17, 34))}.get(
            shape, rnd.randrange(12)
        )


@pytest.mark.parametrize("part", range(2))
def test_plausible_arguments_get_an_errno_or_a_signal(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostile, "KNOWN", NUMBERS)
    monkeypatch.setattr(hostile, "HostileCpu", PlausibleCpu)
    done = 0
    seed = 5_000_000 + part * 1_000_000
    while done < CALLS:
        done += hostile.hostile_machine(seed, hostile.PER_MACHINE)
        seed += 1
