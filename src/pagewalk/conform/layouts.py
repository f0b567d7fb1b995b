"""Layouts of address spaces: where programs, stacks and mappings lie, under limits, personalities and randomisation."""

from collections.abc import Iterator
from dataclasses import dataclass

from pagewalk.conform.both import compile_program, run_kernel, run_model

__all__ = ["LINKS", "Bases", "fixed_cases", "random_bases", "same_distribution"]

LINKS = {
    "static": ("-static", "-no-pie"),
    "static PIE": ("-static-pie", "-fPIE"),
    "PIE": ("-pie", "-fPIE"),
    "dynamic": ("-no-pie",),
}
LIMITS = ("64", "1024", "8192", "65536", "1048576", "unlimited")  # ulimit -s, in KiB
PERSONALITIES = {
    "compat layout": "--addr-compat-layout",
    "read implies exec": "--read-implies-exec",
    "page zero": "--mmap-page-zero",
    "3 GB": "--3gb",
}
RUNS = 200


def fixed_cases() -> Iterator[tuple[str, list[str]]]:
    """(name, command) of every layout without randomisation."""
    for link, flags in LINKS.items():
        program = compile_program("layout", *flags)
        yield link, [program]
        for limit in LIMITS:
            yield f"{link}, ulimit -s {limit}", ["sh", "-c", f"ulimit -s {limit}; exec {program}"]
        for name, option in PERSONALITIES.items():
            yield f"{link}, {name}", ["setarch", option, "-R", program]


@dataclass
class Bases:
    """Where one thing was in many runs."""

    seen: list[int]

    @property
    def granularity(self) -> int:
        """log2 of what all differences are multiples of; -1 where it never moved."""
        moved = 0
        for value in self.seen:
            moved |= value ^ self.seen[0]
        return (moved & -moved).bit_length() - 1

    @property
    def spread(self) -> int:
        """log2 of the distance from the lowest to the highest."""
        return (max(self.seen) - min(self.seen)).bit_length()

    @property
    def entropy(self) -> int:
        """Random bits, as far as the runs show them."""
        return max(0, self.spread - self.granularity) if self.granularity >= 0 else 0


def random_bases(link: str, side: str, runs: int) -> dict[str, Bases]:
    """Where program, heap, mappings, vDSO and stack began in ``runs`` runs with randomisation."""
    program = compile_program("layout", *LINKS[link])
    found: dict[str, list[int]] = {}
    for seed in range(runs):
        if side == "kernel":
            done = run_kernel([program], aslr=True)
        else:
            done = run_model([program], aslr=True, seed=seed)
        for what, base in bases_of(done.stdout.decode()).items():
            found.setdefault(what, []).append(base)
    return {what: Bases(values) for what, values in found.items()}


def bases_of(maps: str) -> dict[str, int]:
    """The addresses that randomisation moves."""
    bases: dict[str, int] = {}
    for line in maps.splitlines():
        range_, _, _, name = (line.split(" ", 3) + [""])[:4]
        start, end = (int(part, 16) for part in range_.split("-"))
        if not bases:
            bases["program"] = start
        if name == "[heap]":
            bases["heap"] = start
        elif name == "[vdso]":
            bases["vdso"] = start
        elif name == "[stack]":
            bases["stack"] = end
        elif name.startswith("[vvar") and "mappings" not in bases:
            bases["mappings"] = start
    return bases


def same_distribution(kernel: Bases, model: Bases) -> bool:
    """Equal granularity, and as many random bits: two runs of the kernel itself differ by one in what they show."""
    return kernel.granularity == model.granularity and abs(kernel.entropy - model.entropy) <= 1
