"""The start of a program's stack: argc, argv, envp, the auxiliary vector, and what they point to.

From high addresses to low: the file name, the environment's and the arguments' strings (already there), "x86_64", 16
random
bytes, the auxiliary vector, envp, argv, argc. ``rsp`` starts at argc, aligned to 16 bytes.

Sources: x86-64 psABI section 3.4.1; getauxval(3).

Mirrors: create_elf_tables of fs/binfmt_elf.c, arch/x86/include/asm/elf.h (6.18)
Differs: AT_HWCAP and AT_MINSIGSTKSZ are the modelled CPU's.
"""

import errno
import struct
from typing import TYPE_CHECKING, Final

from pagewalk.kernel.binprm import LinuxBinprm
from pagewalk.kernel.elf import ElfHeader
from pagewalk.kernel.exec_setup import arch_align_stack
from pagewalk.mm.uaccess import copy_to_user

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

AT_NULL: Final = 0
AT_PHDR: Final = 3
AT_PHENT: Final = 4
AT_PHNUM: Final = 5
AT_PAGESZ: Final = 6
AT_BASE: Final = 7
AT_FLAGS: Final = 8
AT_ENTRY: Final = 9
AT_UID: Final = 11
AT_EUID: Final = 12
AT_GID: Final = 13
AT_EGID: Final = 14
AT_PLATFORM: Final = 15
AT_HWCAP: Final = 16
AT_CLKTCK: Final = 17
AT_SECURE: Final = 23
AT_RANDOM: Final = 25
AT_HWCAP2: Final = 26
AT_RSEQ_FEATURE_SIZE: Final = 27
AT_RSEQ_ALIGN: Final = 28
AT_EXECFN: Final = 31
AT_SYSINFO: Final = 32
AT_SYSINFO_EHDR: Final = 33
AT_MINSIGSTKSZ: Final = 51

RSEQ_FEATURE_SIZE: Final = 28
RSEQ_ALIGN: Final = 32

PLATFORM_32: Final = b"i686\0"
AUXV_WORDS: Final = 56  # AT_VECTOR_SIZE: the length of mm->saved_auxv


def create_elf_tables(
    task: "Task", bprm: LinuxBinprm, header: ElfHeader, interp_base: int, entry: int, phdr_addr: int
) -> int:
    """Writes the tables below the strings, sets ``bprm.p`` to argc. 0 or -EFAULT."""
    mm = task.mm
    p = arch_align_stack(task, bprm.p)
    narrow = header.narrow
    abi = task.kernel.abi
    name = PLATFORM_32 if narrow else abi.platform
    p -= len(name)
    platform = p
    if not copy_to_user(mm, p, name):
        return -errno.EFAULT
    p -= 16
    random_bytes = p
    if not copy_to_user(mm, p, task.kernel.system.random.randbytes(16)):
        return -errno.EFAULT
    auxv = [(AT_SYSINFO, task.vdso_base + task.kernel.the_vdso_32().vsyscall)] if narrow else []
    auxv += [
        (AT_SYSINFO_EHDR, task.vdso_base),
        (AT_MINSIGSTKSZ, abi.sigframe_size),
        (AT_HWCAP, task.kernel.hwcap),
        (AT_PAGESZ, int(task.kernel.system.page_size)),
        (AT_CLKTCK, 100),
        (AT_PHDR, phdr_addr),
        (AT_PHENT, header.phdr_size()),
        (AT_PHNUM, header.e_phnum),
        (AT_BASE, interp_base),
        (AT_FLAGS, 0),
        (AT_ENTRY, entry),
        (AT_UID, task.uid),
        (AT_EUID, task.euid),
        (AT_GID, task.gid),
        (AT_EGID, task.egid),
        (AT_SECURE, int(task.is_setid())),
        (AT_RANDOM, random_bytes),
        (AT_HWCAP2, task.kernel.hwcap2),
        *([] if narrow else abi.more_auxv),
        (AT_EXECFN, bprm.exec),
        (AT_PLATFORM, platform),
        (AT_RSEQ_FEATURE_SIZE, RSEQ_FEATURE_SIZE),
        (AT_RSEQ_ALIGN, RSEQ_ALIGN),
        (AT_NULL, 0),
    ]
    pair = "<II" if narrow else "<QQ"
    word = 4 if narrow else 8
    vector = b"".join([struct.pack(pair, kind, value) for kind, value in auxv])
    items = (bprm.argc + 1) + (bprm.envc + 1) + 1
    bprm.p = (p - len(vector) - word * items) & ~15
    argv, mm.arg_end = pointers(bprm, mm.arg_start, bprm.argc, 0, word)
    envp, mm.env_end = pointers(bprm, mm.arg_end, bprm.envc, bprm.argc, word)
    mm.env_start = mm.arg_end
    table = bprm.argc.to_bytes(word, "little") + argv + envp + vector
    if not copy_to_user(mm, bprm.p, table):
        return -errno.EFAULT
    mm.saved_auxv = vector.ljust(AUXV_WORDS * word, b"\0")
    return 0


def pointers(bprm: LinuxBinprm, addr: int, count: int, skip: int, word: int) -> tuple[bytes, int]:
    """The pointers, of ``word`` bytes, to ``count`` strings from ``addr`` on, with the NULL behind them, and the end of
    the strings.

    ``skip`` strings lie below them.
    """
    words = []
    top = len(bprm.strings) - skip
    for string in reversed(bprm.strings[top - count : top]):
        words.append(addr)
        addr += len(string) + 1
    words.append(0)
    return struct.pack(f"<{len(words)}{'Q' if word == 8 else 'I'}", *words), addr
