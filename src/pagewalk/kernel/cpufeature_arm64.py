"""What the modelled arm64 CPU has, and what programs are told of it: ID registers, hwcaps, /proc/cpuinfo.

Programs may read the ID registers (MRS traps, and Linux answers): they see the fields that Linux lets them see, of what
it supports. The hwcaps follow from these.

Sources: Documentation/arch/arm64/cpu-feature-registers.rst, elf_hwcaps.rst; Arm Architecture Reference Manual, D19.2.

Mirrors: arch/arm64/kernel/cpufeature.c, cpuinfo.c (6.18)
Differs: the emulator's pointer authentication, branch targets, SVE and random numbers are not offered: as on a kernel
that was built without them.
"""

from typing import Final

from pagewalk.kernel.word import signed

MIDR_EL1: Final = 0x000F_0510  # what the emulator's CPU calls itself: no implementer, part 0x051
CNTFRQ: Final = 62_500_000  # hertz of CNTVCT_EL0

# (op1, CRn, CRm, op2) of op0 = 3, and what a program reads. The rest of the ID space reads as zero.
_ISAR0: Final = 0x0021_1111_1021_2120
_ISAR1: Final = 0x0000_0011_0021_1002
_PFR0: Final = 0x0011_0011
_MMFR0: Final = 0xFF00_0000  # which granules there are is nobody's business
ID_REGISTERS: Final[dict[tuple[int, int], int]] = {
    (0, 0): MIDR_EL1,
    (0, 5): 0x8000_0000,  # MPIDR_EL1: which CPU it is, is hidden
    (0, 6): 0,  # REVIDR_EL1
    (4, 0): _PFR0,
    (6, 0): _ISAR0,
    (6, 1): _ISAR1,
    (7, 0): _MMFR0,
}

# name in /proc/cpuinfo, bit of AT_HWCAP (of AT_HWCAP2 from 64 on), register, lowest bit of the field, least value
_CAPABILITIES: Final[tuple[tuple[str, int, int, int, int], ...]] = (
    ("fp", 0, _PFR0, 16, 0),
    ("asimd", 1, _PFR0, 20, 0),
    ("evtstrm", 2, 1, 0, 1),
    ("aes", 3, _ISAR0, 4, 1),
    ("pmull", 4, _ISAR0, 4, 2),
    ("sha1", 5, _ISAR0, 8, 1),
    ("sha2", 6, _ISAR0, 12, 1),
    ("crc32", 7, _ISAR0, 16, 1),
    ("atomics", 8, _ISAR0, 20, 2),
    ("fphp", 9, _PFR0, 16, 1),
    ("asimdhp", 10, _PFR0, 20, 1),
    ("cpuid", 11, 1, 0, 1),
    ("asimdrdm", 12, _ISAR0, 28, 1),
    ("jscvt", 13, _ISAR1, 12, 1),
    ("fcma", 14, _ISAR1, 16, 1),
    ("lrcpc", 15, _ISAR1, 20, 1),
    ("dcpop", 16, _ISAR1, 0, 1),
    ("sha3", 17, _ISAR0, 32, 1),
    ("sm3", 18, _ISAR0, 36, 1),
    ("sm4", 19, _ISAR0, 40, 1),
    ("asimddp", 20, _ISAR0, 44, 1),
    ("sha512", 21, _ISAR0, 12, 2),
    ("asimdfhm", 23, _ISAR0, 48, 1),
    ("ilrcpc", 26, _ISAR1, 20, 2),
    ("flagm", 27, _ISAR0, 52, 1),
    ("sb", 29, _ISAR1, 36, 1),
    ("dcpodp", 64, _ISAR1, 0, 2),
    ("flagm2", 71, _ISAR0, 52, 2),
    ("frint", 72, _ISAR1, 32, 1),
)  # fmt: skip


def features() -> list[tuple[str, int]]:
    """Name and bit of what the CPU has, in the order of the bits."""
    return [(name, at) for name, at, register, shift, least in _CAPABILITIES if register >> shift & 15 >= least]


def hwcaps() -> tuple[int, int]:
    """AT_HWCAP and AT_HWCAP2."""
    mask = sum([1 << at for _, at in features()])
    return mask & (1 << 64) - 1, mask >> 64


def emulate_mrs(insn: int) -> tuple[int, int] | None:
    """(number of the register, value) of an MRS that reads the ID space; None for any other instruction.

    ``insn``: the instruction's 32 bits.
    """
    if insn >> 20 != 0xD53 or insn >> 12 & 0xFF != 0x80:  # MRS Xt, S3_0_C0_<CRm>_<op2>
        return None
    crm, op2 = insn >> 8 & 15, insn >> 5 & 7
    if crm not in (0, 2, 3, 4, 5, 6, 7) or (crm == 0 and op2 not in (0, 5, 6)):
        return None
    return insn & 31, signed(ID_REGISTERS.get((crm, op2), 0))


def cpuinfo_text(nr_cpus: int) -> str:
    """/proc/cpuinfo."""
    words = " ".join([name for name, _ in features()])
    out = ""
    for cpu in range(nr_cpus):
        out += (
            f"processor\t: {cpu}\nBogoMIPS\t: {2 * CNTFRQ / 1_000_000:.2f}\nFeatures\t: {words}\n"
            f"CPU implementer\t: {MIDR_EL1 >> 24:#04x}\nCPU architecture: 8\nCPU variant\t: {MIDR_EL1 >> 20 & 15:#x}\n"
            f"CPU part\t: {MIDR_EL1 >> 4 & 0xFFF:#05x}\nCPU revision\t: {MIDR_EL1 & 15}\n\n"
        )
    return out
