"""The frame of a signal handler on the user's stack, and the way back: rt_sigreturn.

From high addresses to low: 128 bytes of red zone, the FXSAVE image (aligned to 64), siginfo, ucontext, and the return
address (the restorer) at an address that is 8 modulo 16, as after a call.

Sources: x86-64 psABI section 3.2.2 (red zone); sigaltstack(2); AMD64 manual volume 2, FXSAVE;
Documentation/arch/x86/elf_auxvec.rst.

Mirrors: arch/x86/kernel/signal.c, signal_64.c, arch/x86/kernel/fpu/signal.c (6.18)
Differs: a modelled CPU without protection keys has no XSAVE, so the floating-point state is FXSAVE's 512 bytes and
uc_flags lacks UC_FP_XSTATE.
"""

import errno
import struct
from typing import TYPE_CHECKING, Final

from pagewalk.kernel.ptrace import USER_CS, USER_DS, x86_regs
from pagewalk.kernel.signal_types import (
    SA_NODEFER,
    SA_ONSTACK,
    SA_RESTORER,
    SA_SIGINFO,
    SS_AUTODISARM,
    SS_DISABLE,
    SS_ONSTACK,
    SigAction,
    SigInfo,
    sigmask,
)
from pagewalk.kernel.word import WORD, signed, signed32, unsigned
from pagewalk.kernel.xstate import (
    UC_FP_XSTATE,
    fpstate_image,
    fpstate_size,
    init_pkru,
    load_fpstate,
    sig_done_pkru,
    sig_prepare_pkru,
)
from pagewalk.mm.uaccess import copy_from_user, copy_to_user

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

RED_ZONE: Final = 128
UCONTEXT_SIZE: Final = 304
SIGINFO_SIZE: Final = 128
MINSIGSTKSZ: Final = 2048
FRAME_SIZE: Final = 8 + UCONTEXT_SIZE + SIGINFO_SIZE

UC_SIGCONTEXT_SS: Final = 0x2
UC_STRICT_RESTORE_SS: Final = 0x4

DF: Final = 0x400
RF: Final = 0x10000
TF: Final = 0x100
FIX_EFLAGS: Final = 0x40000 | 0x800 | DF | TF | 0x80 | 0x40 | 0x10 | 0x4 | 0x1 | RF

# uc_flags uc_link | ss_sp ss_flags ss_size | sigcontext | fpstate, reserved | uc_sigmask
_UCONTEXT: Final = struct.Struct("<QQ" + "QiiQ" + "18Q" + "HHHH" + "QQQQ" + "Q64x" + "Q")


def on_sig_stack(task: "Task", sp: int) -> bool:
    """Whether ``sp`` lies on the alternate stack (which SS_AUTODISARM lets one leave at once)."""
    if task.sas_ss_flags & SS_AUTODISARM:
        return False
    return inside_sig_stack(task, sp)


def inside_sig_stack(task: "Task", sp: int) -> bool:
    """__on_sig_stack: whether ``sp`` lies within the alternate stack's bounds."""
    return task.sas_ss_sp < sp <= task.sas_ss_sp + task.sas_ss_size


def sas_ss_flags(task: "Task", sp: int) -> int:
    """What sigaltstack(2) says of the alternate stack: SS_DISABLE, SS_ONSTACK or 0."""
    if task.sas_ss_size == 0:
        return SS_DISABLE
    return SS_ONSTACK if on_sig_stack(task, sp) else 0


def get_sigframe(task: "Task", action: SigAction) -> tuple[int, int]:
    """(address of the frame, address of the FXSAVE image); (-1, 0) where the alternate stack is too small."""
    sp = unsigned(int(task.regs.user_stack_pointer()))
    nested = on_sig_stack(task, sp)
    entering = action.flags & SA_ONSTACK != 0 and sas_ss_flags(task, sp) == 0
    sp = task.sas_ss_sp + task.sas_ss_size if entering else (sp - RED_ZONE) & WORD
    fpstate = (sp - fpstate_size(task)) & ~63 & WORD
    frame = (((fpstate - FRAME_SIZE) & ~15) - 8) & WORD
    if (nested or entering) and not inside_sig_stack(task, frame):
        return -1, 0
    return frame, fpstate


def setup_rt_frame(task: "Task", sig: int, action: SigAction, info: SigInfo, mask: int) -> bool:
    """Writes the frame and points the registers at the handler; ``mask`` is what sigreturn restores. False: EFAULT."""
    pkru = sig_prepare_pkru(task)
    written = write_rt_frame(task, sig, action, info, mask, pkru)
    sig_done_pkru(task, pkru, written=written)
    return written


def write_rt_frame(task: "Task", sig: int, action: SigAction, info: SigInfo, mask: int, pkru: int) -> bool:
    """``setup_rt_frame`` with PKRU open; ``pkru`` is what the frame holds."""
    regs = x86_regs(task)
    frame, fpstate = get_sigframe(task, action)
    if frame < 0 or not action.flags & SA_RESTORER:
        return False
    if not copy_to_user(task.mm, signed(fpstate), fpstate_image(task, task.fpu.save(), pkru)):
        return False
    altstack_flags = signed32(task.sas_ss_flags)
    uc_flags = UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS | (UC_FP_XSTATE if task.kernel.system.pku else 0)
    ucontext = _UCONTEXT.pack(
        uc_flags, 0,
        task.sas_ss_sp, altstack_flags, 0, task.sas_ss_size,
        unsigned(regs.r8), unsigned(regs.r9), unsigned(regs.r10), unsigned(regs.r11),
        unsigned(regs.r12), unsigned(regs.r13), unsigned(regs.r14), unsigned(regs.r15),
        unsigned(regs.rdi), unsigned(regs.rsi), unsigned(regs.rbp), unsigned(regs.rbx),
        unsigned(regs.rdx), unsigned(regs.rax), unsigned(regs.rcx), unsigned(regs.rsp),
        unsigned(regs.rip), unsigned(regs.eflags),
        USER_CS, 0, 0, USER_DS,
        task.error_code, task.trap_nr, mask, task.cr2 & WORD,
        fpstate, mask,
    )  # fmt: skip
    data = struct.pack("<Q", action.restorer) + ucontext
    if not copy_to_user(task.mm, signed(frame), data):
        return False
    siginfo = frame + 8 + UCONTEXT_SIZE
    if action.flags & SA_SIGINFO and not copy_to_user(task.mm, signed(siginfo), info.pack()):
        return False
    regs.rdi = sig
    regs.rax = 0
    regs.rsi = signed(siginfo)
    regs.rdx = signed(frame + 8)
    regs.rip = signed(action.handler)
    regs.rsp = signed(frame)
    regs.eflags &= ~(DF | RF | TF)
    return True


def signal_delivered(task: "Task", sig: int, action: SigAction) -> None:
    """The handler runs: block what it asked for, and disarm the alternate stack where that was asked."""
    blocked = task.blocked | action.mask
    if not action.flags & SA_NODEFER:
        blocked |= sigmask(sig)
    task.set_blocked(blocked)
    if task.sas_ss_flags & SS_AUTODISARM:
        task.sas_ss_sp = 0
        task.sas_ss_size = 0
        task.sas_ss_flags = SS_DISABLE


def restore_sigframe(task: "Task") -> bool:
    """rt_sigreturn: registers, mask, alternate stack and floating point from the frame. False: unreadable."""
    regs = x86_regs(task)
    data = copy_from_user(task.mm, regs.rsp, UCONTEXT_SIZE)
    if data is None:
        return False
    words = _UCONTEXT.unpack(data)
    fpstate = words[32]
    image: bytes | None = None
    if fpstate:
        image = load_fpstate(task, fpstate)
        if image is None:
            return False
    task.set_blocked(words[33])
    regs.r8 = signed(words[6])
    regs.r9 = signed(words[7])
    regs.r10 = signed(words[8])
    regs.r11 = signed(words[9])
    regs.r12 = signed(words[10])
    regs.r13 = signed(words[11])
    regs.r14 = signed(words[12])
    regs.r15 = signed(words[13])
    regs.rdi = signed(words[14])
    regs.rsi = signed(words[15])
    regs.rbp = signed(words[16])
    regs.rbx = signed(words[17])
    regs.rdx = signed(words[18])
    regs.rax = signed(words[19])
    regs.rcx = signed(words[20])
    regs.rsp = signed(words[21])
    regs.rip = signed(words[22])
    regs.eflags = (regs.eflags & ~FIX_EFLAGS) | (signed(words[23]) & FIX_EFLAGS)
    regs.syscallno = -1
    if image is None:
        task.fpu.reset()
        task.pkru = init_pkru(task)
    else:
        task.fpu.restore(image)
    do_sigaltstack(task, words[2], words[3] & 0xFFFF_FFFF, words[5])
    return True


def do_sigaltstack(task: "Task", sp: int, flags: int, size: int) -> int:
    """Sets the alternate stack. 0; EPERM while it is in use, EINVAL for unknown flags, ENOMEM where it is too small."""
    mode = flags & ~SS_AUTODISARM
    if on_sig_stack(task, unsigned(int(task.regs.user_stack_pointer()))):
        return -errno.EPERM
    if mode not in (0, SS_ONSTACK, SS_DISABLE):
        return -errno.EINVAL
    if sp == task.sas_ss_sp and size == task.sas_ss_size and flags == task.sas_ss_flags:
        return 0
    if mode == SS_DISABLE:
        sp = 0
        size = 0
    elif size < task.kernel.abi.minsigstksz:
        return -errno.ENOMEM
    task.sas_ss_sp = sp
    task.sas_ss_size = size
    task.sas_ss_flags = flags
    return 0
