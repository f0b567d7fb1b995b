"""The steps of execve that every loader takes: a new address space, its stack, and fresh registers.

Sources: execve(2), "Effect on process attributes"; personality(2); proc_sys_kernel(5), randomize_va_space.

Mirrors: fs/exec.c, mm/util.c, arch/x86/kernel/process.c, arch/x86/mm/mmap.c (6.18)
Differs: the stack is mapped where it ends up, rather than at the top and then moved.
"""

import errno
import os
from typing import TYPE_CHECKING, Final

from pagewalk.arch import x86_compat
from pagewalk.kernel.binprm import LinuxBinprm
from pagewalk.kernel.exit import mm_release, release_task, zap_other_threads
from pagewalk.kernel.futex import exit_robust_list
from pagewalk.kernel.futex_pi import exit_pi_state_list
from pagewalk.kernel.posix_timers import exit_posix_timers
from pagewalk.kernel.ptrace import PtRegs
from pagewalk.kernel.segment import segments_of, setup_gdt
from pagewalk.kernel.signal_types import SIGCHLD
from pagewalk.kernel.xstate import init_pkru
from pagewalk.mm.current import RLIMIT_STACK
from pagewalk.mm.fork import mmput
from pagewalk.mm.mm_types import MmStruct, mm_alloc
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
ADDR_LIMIT_3GB: Final = 0x8000000

STACK_EXPAND: Final = 131072  # what the stack's mapping gets below the arguments


def wants_randomize(task: "Task") -> bool:
    """PF_RANDOMIZE: whether this program's addresses are random."""
    return task.kernel.system.config.aslr and not task.personality & ADDR_NO_RANDOMIZE


def page_size_of(task: "Task") -> int:
    """ELF_MIN_ALIGN: bytes of a page."""
    return int(task.kernel.system.page_size)


def arch_mmap_rnd(task: "Task") -> int:
    """A random offset for the mmap area or a PIE, in bytes."""
    system = task.kernel.system
    return system.random.getrandbits(task.mm.layout.mmap_rnd_bits) << int(system.page_shift)


def randomize_page(task: "Task", start: int, length: int) -> int:
    """A random page in [start, start + length)."""
    system = task.kernel.system
    shift = int(system.page_shift)
    return start + (system.random.randrange(length >> shift) << shift)


def arch_align_stack(task: "Task", sp: int) -> int:
    """``sp`` moved down by up to 8 KiB (arm64: a page) where addresses are random, and aligned to 16 bytes."""
    if wants_randomize(task):
        sp -= task.kernel.system.random.randrange(task.kernel.abi.stack_align_range)
    return sp & ~15


def begin_new_exec(task: "Task", bprm: LinuxBinprm) -> int:
    """The point of no return: the old address space goes, and with it handlers, close-on-exec files and the alternate
    stack."""
    assert bprm.file is not None
    new = mm_alloc(task.kernel.system)
    if new is None:
        return bprm.fail(errno.ENOMEM, "there is no page frame for its page table")
    bprm.point_of_no_return = True
    if not de_thread(task):
        exit_mmap(new)
        return -errno.EAGAIN  # the process is being killed
    on_exec = task.kernel.on_exec
    if on_exec is not None:
        on_exec(task)
    if task.files.count > 1:
        task.unshare_files()
    new.exe_file = bprm.file.get()
    new.coredump_filter = task.mm.coredump_filter
    exec_mmap(task, new)
    task.pkru = init_pkru(task)
    task.reset_rseq()
    task.personality &= ~READ_IMPLIES_EXEC
    task.files.close_on_exec()
    task.comm = (
        os.fsdecode(bprm.filename)
        .rsplit("/", 1)[-1]
        .encode(errors="surrogateescape")[:15]
        .decode(errors="surrogateescape")
    )
    task.exe = bprm.file.path
    if task.sighand.count > 1:
        task.sighand.count -= 1
        task.sighand = task.sighand.copy()
        task.sighand.memcg = task.kmem
        task.kernel.system.slab.sighand_cache.alloc(task.kmem)
    task.sighand.flush_handlers()
    exit_posix_timers(task)
    task.sas_ss_sp = 0
    task.sas_ss_size = 0
    task.exit_signal = SIGCHLD
    task.did_exec = True
    if task.is_setid():
        task.pdeath_signal = 0
    task.set_dumpable(0 if task.is_setid() else 1)
    task.tagged_addr = False
    task.keepcaps = 0
    return 0


def exec_mmap(task: "Task", new: MmStruct) -> None:
    """The new address space in place of the old one, which its last user gives back."""
    exit_robust_list(task)
    exit_pi_state_list(task)
    mm_release(task)
    old = task.mm
    old.update_hiwater()
    task.signal.maxrss = max(task.signal.maxrss, int(old.hiwater_rss))
    task.mm = new
    task.kernel.sched.activate_mm(task)
    on_mm_release = task.kernel.on_mm_release
    if on_mm_release is not None:
        on_mm_release(task)
    mmput(old)


def de_thread(task: "Task") -> bool:
    """Ends the other threads and waits for that; the caller then is the leader, with the leader's id. False where the
    process is being killed."""
    signal = task.signal
    if task.thread_group_empty():
        return True
    if signal.group_exiting():
        return False
    signal.group_exec_task = task
    zap_other_threads(task)
    sched = task.kernel.sched
    while any(not other.is_ended() for other in signal.threads if other is not task):
        if not sched.wait_killable(task, "de_thread"):
            signal.group_exec_task = None
            return False
    signal.group_exec_task = None
    leader = signal.leader
    if leader is not task:
        become_leader(task, leader)
    return True


def become_leader(task: "Task", leader: "Task") -> None:
    """A thread that calls execve takes the ended leader's place and id."""
    tasks = task.kernel.tasks_by_pid
    del tasks[task.pid]
    leader.pid, task.pid = task.pid, leader.pid
    tasks[task.pid] = task
    tasks[leader.pid] = leader
    task.signal.leader = task
    task.exit_signal = SIGCHLD
    leader.exit_signal = -1
    task.held, leader.held = leader.held, False
    task.keep_mm, leader.keep_mm = leader.keep_mm, False
    task.start_ns = leader.start_ns
    parent = leader.real_parent
    if parent is not None and leader in parent.children:
        parent.children[parent.children.index(leader)] = task
    release_task(leader)


def setup_new_exec(task: "Task", narrow: bool) -> None:
    """Chooses where mmap puts things (arch_pick_mmap_layout), for a 32-bit program where it is ``narrow``."""
    if narrow:
        setup_gdt(task.kernel.system)
        if task.kernel.layout.bits == 64:
            layout = x86_compat.layout(limit_3gb=task.personality & ADDR_LIMIT_3GB != 0)
            task.mm.layout = layout
            task.mm.task_size = layout.task_size
    pick_mmap_layout(task.mm, task.rlim_cur[RLIMIT_STACK], wants_randomize(task))


def setup_arg_pages(task: "Task", bprm: LinuxBinprm, executable_stack: int) -> int:
    """Maps the stack with 128 KiB below the strings, and writes them. 0 or a negative errno."""
    kernel = task.kernel
    layout = task.mm.layout
    stack_top = layout.stack_top
    if wants_randomize(task):
        stack_top -= (kernel.system.random.getrandbits(64) & layout.stack_rnd_mask) << int(kernel.system.page_shift)
    stack_top = kernel.system.page_align(arch_align_stack(task, stack_top))
    shift = bprm.vma_end - stack_top
    bprm.p -= shift
    bprm.exec -= shift
    bprm.vma_end = stack_top
    mask = int(kernel.system.page_mask)
    size = stack_top - (bprm.p & mask)
    limit = task.rlimit(RLIMIT_STACK) & mask
    size = max(size, min(limit, size + STACK_EXPAND))
    prot = PROT_READ | PROT_WRITE
    if executable_stack == EXSTACK_ENABLE_X or task.personality & READ_IMPLIES_EXEC:
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
    regs = task.kernel.abi.new_regs()
    if task.mm.layout.bits == 32 and isinstance(regs, PtRegs):
        segments = segments_of(int(task.kernel.layout.bits))
        regs.cs = segments.user_cs
        regs.ss = segments.user_ds
        regs.ds = segments.user_ds
        regs.es = segments.user_ds
    regs.set_instruction_pointer(ip)
    regs.set_user_stack_pointer(sp)
    task.regs = regs
    task.fpu.reset()
