"""Memory protection keys: which of its keys a process has, what is kept for execute-only memory, and what PKRU allows.

Each user page carries one of sixteen keys in its entry, and each thread has a register, PKRU, of two bits a key: no
access, no write. A page needs both: the right in its entry, and the key's in PKRU. What the kernel reads and writes for
the running task obeys PKRU too; what reaches another process's memory, or a debugger's access, does not. Execution
never asks.

Sources: pkeys(7), pkey_alloc(2); Documentation/core-api/protection-keys.rst; Intel SDM volume 3, section 4.6.2.

Mirrors: arch/x86/mm/pkeys.c, arch/x86/include/asm/pkeys.h, arch/x86/include/asm/pkru.h (6.18)
Differs: arm64's permission overlays are not there: such a machine has no keys.
"""

import errno
from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

from pagewalk.mm.vma import VM_ACCESS_FLAGS, VM_EXEC, VM_PKEY_SHIFT, Vma

if TYPE_CHECKING:
    from pagewalk.mm.mm_types import MmStruct
    from pagewalk.mm.system import System

PKEY_DISABLE_ACCESS: Final = 1
PKEY_DISABLE_WRITE: Final = 2
PKEY_ACCESS_MASK: Final = 3
PKRU_AD_BIT: Final = 1
PKRU_WD_BIT: Final = 2
NR_PKEYS: Final = 16
INIT_PKRU: Final = 0x5555_5554  # after execve: key 0 alone may be used


def arch_max_pkey(system: "System") -> int:
    """How many keys pkey_alloc(2) gives out: x86 has one to give where the CPU has none; other kernels have none."""
    if system.config.arch != "x86_64":
        return 0
    return NR_PKEYS if system.pku else 1


def vma_pkey(vma: Vma) -> int:
    """The key of a mapping, 0 to 15."""
    return (vma.vm_flags >> VM_PKEY_SHIFT) & 15


def mm_pkey_is_allocated(mm: "MmStruct", pkey: int) -> bool:
    """Whether a program may name this key: it was given out, and is not the one of execute-only memory."""
    if pkey < 0 or pkey >= arch_max_pkey(mm.system) or pkey == mm.execute_only_pkey:
        return False
    return mm.pkey_map >> pkey & 1 != 0


def mm_pkey_alloc(mm: "MmStruct") -> int:
    """The lowest key that is free, taken; -1 for none."""
    for pkey in range(arch_max_pkey(mm.system)):
        if not mm.pkey_map >> pkey & 1:
            mm.pkey_map |= 1 << pkey
            return pkey
    return -1


def mm_pkey_free(mm: "MmStruct", pkey: int) -> int:
    """Gives a key back; mappings that have it keep it. 0 or -EINVAL."""
    if not mm_pkey_is_allocated(mm, pkey):
        return -errno.EINVAL
    mm.pkey_map &= ~(1 << pkey)
    return 0


def pkey_alloc(mm: "MmStruct", flags: int, rights: int) -> int:
    """pkey_alloc(2) of the running task: a new key, whose rights in its PKRU become ``rights`` (PKEY_DISABLE_*).

    -EINVAL for flags and other rights, -ENOSPC where there is no key left; on x86 without keys in the CPU -EINVAL the
    first time, and key 0 is gone then (also for children)."""
    if flags or rights & ~PKEY_ACCESS_MASK:
        return -errno.EINVAL
    pkey = mm_pkey_alloc(mm)
    if pkey < 0:
        return -errno.ENOSPC
    failed = arch_set_user_pkey_access(mm.system, pkey, rights)
    if failed:
        mm_pkey_free(mm, pkey)
        return failed
    return pkey


def arch_set_user_pkey_access(system: "System", pkey: int, rights: int) -> int:
    """Writes a key's two bits in the running task's PKRU. 0, or -EINVAL where the CPU has no keys."""
    if not system.pku:
        return -errno.EINVAL
    shift = 2 * pkey
    current = system.current
    current.pkru = (current.pkru & ~(PKEY_ACCESS_MASK << shift)) | rights << shift
    return 0


def execute_only_pkey(mm: "MmStruct") -> int:
    """The key of execute-only memory, taken where there is none yet and closed in the running task's PKRU where it is
    open; -1 where no key is left."""
    pkey = mm.execute_only_pkey
    taken = pkey == -1
    if taken:
        pkey = mm_pkey_alloc(mm)
        if pkey < 0:
            return -1
    elif mm.system.current.pkru >> 2 * pkey & PKRU_AD_BIT:
        return pkey
    if arch_set_user_pkey_access(mm.system, pkey, PKEY_DISABLE_ACCESS):
        return -1
    mm.execute_only_pkey = pkey
    return pkey


def arch_override_mprotect_pkey(vma: Vma, prot: i64, pkey: int) -> int:
    """The key that mprotect gives a mapping: the one that was asked for, or (-1: none was) that of execute-only memory
    where PROT_EXEC alone is wanted, else the one that it has."""
    mm = vma.vm_mm
    if not mm.system.pku:
        return 0
    if pkey != -1:
        return pkey
    if prot == VM_EXEC:
        pkey = execute_only_pkey(mm)
        if pkey > 0:
            return pkey
    elif vma.vm_flags & VM_ACCESS_FLAGS == VM_EXEC and vma_pkey(vma) == mm.execute_only_pkey:
        return 0
    return vma_pkey(vma)


def pkru_allows(pkru: int, pkey: int, write: bool) -> bool:
    """Whether a load or a store of a page with that key goes ahead."""
    bits = pkru >> 2 * pkey
    return bits & PKRU_AD_BIT == 0 and (not write or bits & PKRU_WD_BIT == 0)


def keys_apply(mm: "MmStruct") -> bool:
    """Whether what the kernel reads or writes in ``mm`` now obeys the running task's PKRU: it is the task's own, and
    not reached as another's would be."""
    system = mm.system
    return system.pku and not system.foreign_access and system.current.owns(mm)


def pte_access_permitted(mm: "MmStruct", pte: i64, write: bool) -> bool:
    """Whether PKRU allows a load or store of the page of a present entry."""
    if not keys_apply(mm):
        return True
    return pkru_allows(mm.system.current.pkru, int(pte >> mm.system.format.pkey_shift) & 15, write)


def arch_vma_access_permitted(vma: Vma, write: bool) -> bool:
    """Whether PKRU allows a load or store in a mapping."""
    return not keys_apply(vma.vm_mm) or pkru_allows(vma.vm_mm.system.current.pkru, vma_pkey(vma), write)
