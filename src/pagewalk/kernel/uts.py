"""What uname(2) answers.

Mirrors: include/linux/utsname.h, kernel/sys.c (override_architecture) (6.18)
Differs: one namespace.
"""

from typing import Final

PER_MASK: Final = 0xFF
PER_LINUX32: Final = 8


class Uts:
    """struct new_utsname: what uname(2) answers. ``machine`` is the kernel's name for its architecture."""

    def __init__(self, machine: str, linux: str) -> None:
        self.sysname = "Linux"
        self.nodename = "pagewalk"
        self.release = f"{linux}.0"
        self.version = "#1 SMP PREEMPT_DYNAMIC"
        self.machine = machine
        self.domainname = "(none)"

    def machine_of(self, personality: int) -> str:
        """What a task of that personality is told that the machine is (override_architecture)."""
        return "i686" if self.machine == "x86_64" and personality & PER_MASK == PER_LINUX32 else self.machine

    def field(self, name: str) -> str:
        """The name that is called ``name``."""
        names = {
            "sysname": self.sysname,
            "nodename": self.nodename,
            "release": self.release,
            "version": self.version,
            "domainname": self.domainname,
        }
        return names[name]
