"""A CPU-bound static program, native and in pagewalk, and what the CPU's ways into the kernel cost by themselves.

The program (cpu.c) times its own work, so that start-up does not count. The single costs are measured without a kernel:
a hand-made page table, a few instructions of machine code, and an ``on_fault`` that writes one entry.
"""

import struct
import subprocess
import time
from collections.abc import Callable

from bench.measure import Measurement, compile_c, in_child, median, pagewalk_command

ROUNDS = 3
NUMBERS = 300_000
FEWER = 100_000  # where every access goes through modelled TLBs
TLB = "skylake-sp"

CODE = 0x40_0000
DATA = 0x10_0000_0000
PAGES = 4096

# mov edx, PAGES; 1: <access to [rdi]>; add rdi, 4096; dec edx; jnz 1b; syscall; jmp .
_LOOP = b"\xba" + struct.pack("<I", PAGES) + b"%s\x48\x81\xc7\x00\x10\x00\x00\xff\xca\x75%s\x0f\x05\xeb\xfe"
_SYSCALLS = b"\x0f\x05\xeb\xfc"  # syscall; jmp to it


def work(command: list[str], numbers: int = NUMBERS) -> dict[str, float]:
    """Nanoseconds for each unit, by kind of work, the median of several runs."""
    rounds: list[dict[str, float]] = []
    for _ in range(ROUNDS):
        out = subprocess.run([*command, str(numbers)], check=True, capture_output=True, text=True).stdout
        rounds.append({line.split()[0]: float(line.split()[1]) for line in out.splitlines()})
    return {name: median([one[name] for one in rounds]) for name in rounds[0]}


def with_tlbs(program: str) -> Measurement:
    """The sort with modelled TLBs: every load, store and block of instructions is looked up."""
    native = work([program], FEWER)["qsort"]
    ours = work([*pagewalk_command("--quiet", "--tlb", TLB), program], FEWER)["qsort"]
    detail = f"{ours:.4g} ns, native {native:.4g} ns, {TLB}"
    return Measurement("qsort, run --tlb over native", ours / native, "x", 200.0, detail=detail)


def costs() -> dict[str, float]:
    """Nanoseconds for a system call's way out and back, a TLB fill, a read fault and a write fault, a TLB flush."""
    from pagewalk.arch.x86_64 import DIRTY, PRESENT, RW, USER, page_format
    from pagewalk.cpu.unicorn_x86 import UnicornX86
    from pagewalk.kernel.ptrace import PtRegs
    from pagewalk.mm.ram import Ram

    class Mm:
        pgd_pfn = 1
        tlb_gen = 0

    ram = Ram(256 << 20)
    fmt = page_format(4)
    words = ram.words
    table = PRESENT | RW | USER
    next_frame = 2

    def entry_index(addr: int) -> int:
        nonlocal next_frame
        at = 1 << 9
        for level in fmt.levels[:-1]:
            index = at + (addr >> level.shift & 511)
            if not words[index]:
                words[index] = next_frame << 12 | table
                next_frame += 1
            at = (words[index] & fmt.pfn_mask) >> 3
        return at + (addr >> 12 & 511)

    code_frame, data_frame = 1000, 1001
    words[entry_index(CODE)] = code_frame << 12 | PRESENT | USER
    places = [entry_index(DATA + 4096 * page) for page in range(PAGES)]
    leaf = data_frame << 12 | table | DIRTY
    cpu, mm, regs = UnicornX86(ram, fmt, compile_after=0), Mm(), PtRegs()

    def serve(addr: int, access: int) -> bool:
        words[places[addr - DATA >> 12]] = leaf
        return True

    def program(code: bytes) -> None:
        ram.bytes[code_frame << 12 : (code_frame << 12) + len(code)] = code
        ram.frame_changed(code_frame)
        regs.rip = CODE
        regs.rdi = DATA
        cpu.run(mm, regs, serve)  # type: ignore[arg-type]
        regs.rip = CODE
        regs.rdi = DATA

    def timed(turn: Callable[[], object], units: int) -> float:
        start = time.perf_counter_ns()
        turn()
        return (time.perf_counter_ns() - start) / units

    def pages(access: bytes, entry: int) -> float:
        """One pass over the pages, whose entries were ``entry`` before it."""
        program(_LOOP % (access, struct.pack("b", -(len(access) + 11))))
        for place in places:
            words[place] = entry
        mm.tlb_gen += 1
        return timed(lambda: cpu.run(mm, regs, serve), PAGES)  # type: ignore[arg-type]

    def system_calls() -> None:
        for number in range(20_000):
            regs.rax = number
            cpu.run(mm, regs, serve)  # type: ignore[arg-type]

    load, store = b"\x48\x8b\x07", b"\x48\x89\x07"
    found = {
        "fill": min(pages(load, leaf) for _ in range(5)),
        "read fault": min(pages(load, 0) for _ in range(5)),
        "write fault": min(pages(store, 0) for _ in range(5)),
    }
    program(_SYSCALLS)
    found["syscall"] = min(timed(system_calls, 20_000) for _ in range(3))
    found["flush"] = min(timed(cpu._mmu.flush, 1) for _ in range(100))
    return found


def measure() -> list[Measurement]:
    """The slowdown by kind of work, then the single costs."""
    program = compile_c("cpu.c", "-static")
    native, ours = work([program]), work([*pagewalk_command("--quiet"), program])
    rows = []
    for name in native:
        budget = 60.0 if name == "qsort" else None
        detail = f"{ours[name]:.4g} ns, native {native[name]:.4g} ns"
        rows.append(Measurement(f"{name}, pagewalk over native", ours[name] / native[name], "x", budget, detail=detail))
    rows.append(with_tlbs(program))
    single = in_child("from bench.cpu import costs; print(*(f'{k}:{v}' for k, v in costs().items()), sep='\\n')")
    for line in single.splitlines():
        name, nanoseconds = line.split(":")
        rows.append(Measurement(f"CPU alone: {name}", float(nanoseconds), "ns"))
    return rows
