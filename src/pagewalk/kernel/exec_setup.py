"""The steps of execve that every loader takes: a new address space, its stack, and fresh registers.

Sources: execve(2), "Effect on process attributes"; personality(2); proc_sys_kernel(5), randomize_va_space.

Mirrors: fs/exec.c, mm/util.c, arch/x86/kernel/process.c, arch/x86/mm/mmap.c (6.18)
Differs: the stack is mapped where it ends up, rather than at the top and then moved.
"""

import errno
import os
from typing import TYPE_CHECKING, Final

from pagewalk.kernel.binprm import LinuxBinprm
from pagewalk.kernel.ptrace import PtRegs
from pagewalk.mm.current import RLIMIT_STACK
from pagewalk.mm.mm_types import mm_alloc
from pagewalk.mm.mmap import vm_mmap
from pagewalk.mm.mmap_flags import (
    MAP_ANONYMOUS,
    MAP_FIXED_NOREPLACE,
    MAP_GROWSDOWN,
    MAP_PRIVATE,
    PROT_EXEC,
    PROT_READ,
    PROT_WRITE,
)
from pagewalk.mm.munmap import exit_mmap
from pagewalk.mm.uaccess import copy_to_user
from pagewalk.mm.unmapped_area import pick_mmap_layout

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

EXSTACK_DEFAULT: Final = 0
EXSTACK_DISABLE_X: Final = 1
EXSTACK_ENABLE_X: Final = 2

# personality(2)
ADDR_NO_RANDOMIZE: Final = 0x0040000
MMAP_PAGE_ZERO: Final = 0x0100000
ADDR_COMPAT_LAYOUT: Final = 0x0200000
READ_IMPLIES_EXEC: Final = 0x0400000

STACK_EXPAND: Final = 131072  # what the stack's mapping gets below the arguments


def wants_randomize(task: "Task") -> bool:
    """PF_RANDOMIZE: whether this program's addresses are random."""
    return task.kernel.system.config.aslr and not task.personality & ADDR_NO_RANDOMIZE


def arch_mmap_rnd(task: "Task") -> int:
    """A random offset for the mmap area or a PIE, in bytes."""
    return task.kernel.system.random.getrandbits(task.kernel.layout.mmap_rnd_bits) << 12


def randomize_page(task: "Task", start: int, length: int) -> int:
    """A random page in [start, start + length)."""
    return start + (task.kernel.system.random.randrange(length >> 12) << 12)


def arch_align_stack(task: "Task", sp: int) -> int:
    """``sp`` moved down by up to 8 KiB where addresses are random, and aligned to 16 bytes."""
    if wants_randomize(task):
        sp -= task.kernel.system.random.randrange(8192)
    return sp & ~15


def begin_new_exec(task: "Task", bprm: LinuxBinprm) -> int:
    """The point of no return: the old address space goes, and with it handlers, close-on-exec files and the alternate
    stack."""
    assert bprm.file is not None
    new = mm_alloc(task.kernel.system)
    if new is None:
        return bprm.fail(errno.ENOMEM, "there is no page frame for its page table")
    bprm.point_of_no_return = True
    on_exec = task.kernel.on_exec
    if on_exec is not None:
        on_exec(task)
    old = task.mm
    new.exe_file = bprm.file.get()
    new.coredump_filter = old.coredump_filter
    task.mm = new
    task.reset_rseq()
    exit_mmap(old)
    task.personality &= ~READ_IMPLIES_EXEC
    task.files.close_on_exec()
    task.comm = (
        os.fsdecode(bprm.filename)
        .rsplit("/", 1)[-1]
        .encode(errors="surrogateescape")[:15]
        .decode(errors="surrogateescape")
    )
    task.exe = bprm.file.path
    task.sighand.flush_handlers()
    task.sas_ss_sp = 0
    task.sas_ss_size = 0
    task.clear_child_tid = 0
    task.robust_list = 0
    task.dumpable = 1
    return 0


def setup_new_exec(task: "Task") -> None:
    """Chooses where mmap puts things: arch_pick_mmap_layout."""
    pick_mmap_layout(task.mm, task.rlim_cur[RLIMIT_STACK], wants_randomize(task))


def setup_arg_pages(task: "Task", bprm: LinuxBinprm, executable_stack: int) -> int:
    """Maps the stack with 128 KiB below the strings, and writes them. 0 or a negative errno."""
    kernel = task.kernel
    stack_top = kernel.layout.stack_top
    if wants_randomize(task):
        stack_top -= (kernel.system.random.getrandbits(64) & kernel.layout.stack_rnd_mask) << 12
    stack_top = (arch_align_stack(task, stack_top) + 4095) & ~4095
    shift = bprm.vma_end - stack_top
    bprm.p -= shift
    bprm.exec -= shift
    bprm.vma_end = stack_top
    size = stack_top - (bprm.p & ~4095)
    limit = task.rlimit(RLIMIT_STACK) & ~4095
    size = max(size, min(limit, size + STACK_EXPAND))
    prot = PROT_READ | PROT_WRITE
    if executable_stack == EXSTACK_ENABLE_X:
        prot |= PROT_EXEC
    flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED_NOREPLACE
    mapped = vm_mmap(task.mm, None, stack_top - size, size, prot, flags, 0)
    if mapped < 0:
        return bprm.fail(-mapped, "there is no room for the stack")
    task.mm.arg_start = bprm.p
    task.mm.start_stack = bprm.p
    if not copy_to_user(task.mm, bprm.p, bprm.image()):
        return bprm.fail(errno.EFAULT, "the stack cannot be written")
    return 0


def start_thread(task: "Task", ip: int, sp: int) -> None:
    """Registers as a new program finds them: all zero but these."""
    regs = PtRegs()
    regs.rip = ip
    regs.rsp = sp
    task.regs = regs
    task.fpu.reset()
