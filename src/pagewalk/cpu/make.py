"""Which CPU a machine has."""

from pagewalk.kernel.cpu import Cpu
from pagewalk.kernel.segment import segments_of
from pagewalk.mm.system import System

__all__ = ["make_cpu"]


def make_cpu(system: System) -> Cpu:
    """The CPU of a machine."""
    if system.config.arch == "arm64":
        from pagewalk.cpu.unicorn_arm64 import UnicornArm64

        return UnicornArm64(system.ram, system.format)
    from pagewalk.cpu.unicorn_x86 import UnicornX86

    segments = segments_of(system.layout.bits)
    return UnicornX86(system.ram, system.format, user32_cs=segments.user_cs, tls_entry=segments.tls_min, pku=system.pku)
