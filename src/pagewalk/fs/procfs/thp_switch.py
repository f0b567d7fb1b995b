"""/sys/kernel/mm/transparent_hugepage/enabled: what the zones' marks follow.

Source: Documentation/admin-guide/mm/transhuge.rst.

Mirrors: mm/huge_memory.c (enabled_show, enabled_store), mm/khugepaged.c (start_stop_khugepaged) (6.18)
Differs: vm.min_free_kbytes and the marks change; nobody gets a huge page.
"""

import errno
from typing import Final

from pagewalk.fs.procfs.inodes import ProcSuper
from pagewalk.fs.procfs.tree import TextSpec, Tree
from pagewalk.mm.watermarks import start_stop_khugepaged

_CHOICES: Final = ("always", "madvise", "never")


def thp_enabled(sb: ProcSuper) -> str:
    """The choices, that in force in brackets."""
    return " ".join([f"[{each}]" if each == sb.system.config.thp else each for each in _CHOICES]) + "\n"


def set_thp_enabled(sb: ProcSuper, data: bytes) -> int:
    """One of the choices, a newline behind it or not; -EINVAL for anything else."""
    text = data.decode("ascii", "replace").removesuffix("\n")
    if text not in _CHOICES:
        return -errno.EINVAL
    system = sb.system
    system.config.thp = text
    system.min_free_kbytes = start_stop_khugepaged(
        system.zones, system.min_free_kbytes, system.user_min_free_kbytes, system.config, system.config.linux
    )
    return len(data)


def add_thp_switch(tree: Tree) -> None:
    """The file."""
    tree.add("kernel/mm/transparent_hugepage/enabled", TextSpec(0o644, thp_enabled, set_thp_enabled))
