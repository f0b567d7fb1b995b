"""The frames of a 32-bit program's signal handlers, and the ways back: sigreturn and rt_sigreturn.

From high addresses to low: the FXSAVE image (aligned to 64) with the 112 bytes of FNSAVE below it, and the frame, whose
address is 12 modulo 16, as after a call. A handler with SA_SIGINFO gets siginfo and ucontext, another one only the
signal's number and a sigcontext.

Sources: sigaction(2), sigaltstack(2); i386 psABI; Intel SDM volume 1, sections 8.1.10 (FNSAVE) and 10.5.1 (FXSAVE).

Mirrors: arch/x86/kernel/signal_32.c, arch/x86/kernel/fpu/regset.c (6.18)
Differs: a modelled CPU without protection keys has no XSAVE, so the floating-point state is FXSAVE's 512 bytes.
"""

import struct
from typing import TYPE_CHECKING, Final

from pagewalk.kernel.ptrace import x86_regs
from pagewalk.kernel.segment import segments_of
from pagewalk.kernel.sigframe import (
    DF,
    FIX_EFLAGS,
    FRAME_SIZE,
    RF,
    TF,
    do_sigaltstack,
    inside_sig_stack,
    on_sig_stack,
    sas_ss_flags,
)
from pagewalk.kernel.siginfo_ia32 import pack_siginfo_32
from pagewalk.kernel.signal_types import SA_ONSTACK, SA_RESTORER, SA_SIGINFO, SigAction, SigInfo
from pagewalk.kernel.word import signed32
from pagewalk.kernel.xstate import (
    FP_XSTATE_MAGIC2_SIZE,
    FXSAVE_SIZE,
    UC_FP_XSTATE,
    XSTATE_SIZE,
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

_WORD: Final = 0xFFFF_FFFF
_FNSAVE_SIZE: Final = 112
_FPSTATE_UNUSED: Final = 624
# gs fs es ds, di si bp sp bx dx cx ax trapno err ip, cs, flags, sp_at_signal, ss, fpstate, oldmask, cr2
_SIGCONTEXT: Final = struct.Struct("<HxxHxxHxxHxx11IHxxIIHxxIII")
_SIGCONTEXT_SIZE: Final = 88
_UCONTEXT_HEAD: Final = struct.Struct("<IIIII")  # uc_flags uc_link ss_sp ss_flags ss_size
_RT_UCONTEXT_AT: Final = 16 + 128
_UCONTEXT_SIZE: Final = 20 + _SIGCONTEXT_SIZE + 8
_RT_FRAME_SIZE: Final = _RT_UCONTEXT_AT + _UCONTEXT_SIZE + 8
_FRAME_SIZE: Final = 8 + _SIGCONTEXT_SIZE + _FPSTATE_UNUSED + 4 + 8
_RETCODE: Final = b"\x58\xb8\x77\x00\x00\x00\xcd\x80"  # pop eax; mov eax, sigreturn; int 0x80
_RT_RETCODE: Final = b"\xb8\xad\x00\x00\x00\xcd\x80\x00"  # mov eax, rt_sigreturn; int 0x80
_FNSAVE: Final = struct.Struct("<7I")  # cw sw tag ip cs data_offset data_selector
_EMPTY: Final = 3


def sigframe_size(pku: bool) -> int:
    """The largest frame, with its paddings: AT_MINSIGSTKSZ. It is a 32-bit program's, and 64-bit programs of a kernel
    that runs such ones are told the same. ``pku``: the CPU has protection keys, and XSAVE."""
    fpstate = XSTATE_SIZE + FP_XSTATE_MAGIC2_SIZE if pku else FXSAVE_SIZE
    return (max(FRAME_SIZE, _FRAME_SIZE, _RT_FRAME_SIZE) + 15 + _FNSAVE_SIZE + fpstate + 63 + 15) & ~15


def expand_tags(image: bytes) -> int:
    """The 16-bit tag word of FNSAVE from FXSAVE's: each register's two bits say valid, zero, special or empty."""
    present = image[4]
    top = image[3] >> 3 & 7
    tags = 0
    for physical in range(8):
        kind = _EMPTY
        if present >> physical & 1:
            at = 32 + 16 * ((physical - top) & 7)
            mantissa = int.from_bytes(image[at : at + 8], "little")
            exponent = int.from_bytes(image[at + 8 : at + 10], "little") & 0x7FFF
            if exponent == 0x7FFF or not mantissa >> 63:
                kind = 2 if exponent or mantissa else 1
            else:
                kind = 0
        tags |= kind << 2 * physical
    return tags


def fnsave_of(image: bytes) -> bytes:
    """FNSAVE's 108 bytes, and the status word and the mark that says that FXSAVE's follow, out of FXSAVE64's image."""
    cw, sw = struct.unpack_from("<HH", image, 0)
    ip, data = struct.unpack_from("<QQ", image, 8)
    fop = int.from_bytes(image[6:8], "little")
    head = _FNSAVE.pack(
        cw | 0xFFFF_0000, sw | 0xFFFF_0000, expand_tags(image) | 0xFFFF_0000, ip & _WORD, fop << 16 & _WORD,
        data & _WORD, 0xFFFF_0000,
    )  # fmt: skip
    registers = b"".join([image[at : at + 10] for at in range(32, 160, 16)])
    return head + registers + struct.pack("<HH", sw, 0)


def fxsave_of(fnsave: bytes, image: bytes) -> bytes:
    """FXSAVE's image with the x87 state that FNSAVE's bytes hold: what sigreturn takes from a frame."""
    cw, sw, tags, ip, _, data, _ = _FNSAVE.unpack_from(fnsave)
    short = 0
    for physical in range(8):
        if tags >> 2 * physical & 3 != _EMPTY:
            short |= 1 << physical
    head = struct.pack("<HHBx", cw & 0xFFFF, sw & 0xFFFF, short) + image[6:8] + struct.pack("<QQ", ip, data)
    out = bytearray(image)
    out[:24] = head
    for at in range(8):
        out[32 + 16 * at : 42 + 16 * at] = fnsave[28 + 10 * at : 38 + 10 * at]
    return bytes(out)


def get_sigframe_32(task: "Task", action: SigAction, size: int) -> tuple[int, int]:
    """(address of a frame of ``size`` bytes, address of the FNSAVE image); (-1, 0) where the alternate stack is too
    small."""
    sp = int(x86_regs(task).rsp) & _WORD
    nested = on_sig_stack(task, sp)
    entering = False
    if action.flags & SA_ONSTACK:
        if sas_ss_flags(task, sp) == 0:
            sp = task.sas_ss_sp + task.sas_ss_size
            entering = True
    elif (
        x86_regs(task).ss != segments_of(int(task.kernel.layout.bits)).user_ds
        and not action.flags & SA_RESTORER
        and action.restorer
    ):
        sp = action.restorer
    fpstate = ((sp - fpstate_size(task)) & ~63) - _FNSAVE_SIZE
    frame = ((fpstate - size + 4) & ~15) - 4
    if frame < 0 or ((nested or entering) and not inside_sig_stack(task, frame)):
        return -1, 0
    return frame, fpstate


def sigcontext(task: "Task", fpstate: int, mask: int) -> bytes:
    """The 88 bytes."""
    regs = x86_regs(task)
    words = [regs.rdi, regs.rsi, regs.rbp, regs.rsp, regs.rbx, regs.rdx, regs.rcx, regs.rax]
    general = [int(word) & _WORD for word in words]
    return _SIGCONTEXT.pack(
        regs.gs, regs.fs, regs.es, regs.ds, *general, task.trap_nr, task.error_code, int(regs.rip) & _WORD, regs.cs,
        int(regs.eflags) & _WORD, int(regs.rsp) & _WORD, regs.ss, fpstate, mask & _WORD, task.cr2 & _WORD,
    )  # fmt: skip


def setup_frame_32(task: "Task", sig: int, action: SigAction, info: SigInfo, mask: int) -> bool:
    """Writes the frame and points the registers at the handler; ``mask`` is what sigreturn restores. False: EFAULT."""
    pkru = sig_prepare_pkru(task)
    written = write_frame_32(task, sig, action, info, mask, pkru)
    sig_done_pkru(task, pkru, written=written)
    return written


def write_frame_32(task: "Task", sig: int, action: SigAction, info: SigInfo, mask: int, pkru: int) -> bool:
    """``setup_frame_32`` with PKRU open; ``pkru`` is what the frame holds."""
    with_info = action.flags & SA_SIGINFO != 0
    frame, fpstate = get_sigframe_32(task, action, _RT_FRAME_SIZE if with_info else _FRAME_SIZE)
    if frame < 0:
        return False
    image = task.fpu.save()
    if not copy_to_user(task.mm, fpstate, fnsave_of(image) + fpstate_image(task, image, pkru, _FNSAVE_SIZE)):
        return False
    vdso = task.kernel.the_vdso_32()
    restorer = task.vdso_base + (vdso.rt_sigreturn if with_info else vdso.sigreturn)
    if action.flags & SA_RESTORER:
        restorer = action.restorer
    context = sigcontext(task, fpstate, mask)
    siginfo = 0
    ucontext = 0
    if with_info:
        siginfo = frame + 16
        ucontext = frame + _RT_UCONTEXT_AT
        uc_flags = UC_FP_XSTATE if task.kernel.system.pku else 0
        stack = _UCONTEXT_HEAD.pack(
            uc_flags, 0, task.sas_ss_sp & _WORD, task.sas_ss_flags & _WORD, task.sas_ss_size & _WORD
        )
        data = struct.pack("<IiII", restorer & _WORD, sig, siginfo, ucontext) + pack_siginfo_32(info)
        data += stack + context + struct.pack("<Q", mask) + _RT_RETCODE
    else:
        data = struct.pack("<Ii", restorer & _WORD, sig) + context + bytes(_FPSTATE_UNUSED)
        data += struct.pack("<I", mask >> 32) + _RETCODE
    if not copy_to_user(task.mm, frame, data):
        return False
    regs = x86_regs(task)
    segments = segments_of(int(task.kernel.layout.bits))
    regs.rsp = frame
    regs.rip = action.handler
    regs.rax = sig
    regs.rdx = siginfo
    regs.rcx = ucontext
    regs.eflags &= ~(DF | RF | TF)
    regs.cs = segments.user_cs
    regs.ss = segments.user_ds
    regs.ds = segments.user_ds
    regs.es = segments.user_ds
    return True


def restore_sigcontext_32(task: "Task", data: bytes) -> bool:
    """The registers and the floating-point state of a sigcontext. False: unreadable."""
    regs = x86_regs(task)
    fields = _SIGCONTEXT.unpack(data)
    fpstate = fields[-3]
    image: bytes | None = None
    if fpstate:
        saved = copy_from_user(task.mm, fpstate, _FNSAVE_SIZE)
        fxsave = load_fpstate(task, fpstate + _FNSAVE_SIZE)
        if saved is None or fxsave is None:
            return False
        image = fxsave_of(saved, fxsave)
    regs.gs, regs.fs, regs.es, regs.ds = fields[0], fields[1], fields[2] | 3, fields[3] | 3
    regs.rdi, regs.rsi, regs.rbp, regs.rsp, regs.rbx, regs.rdx, regs.rcx, regs.rax = fields[4:12]
    regs.rip = fields[14]
    regs.eflags = (regs.eflags & ~FIX_EFLAGS) | (fields[16] & FIX_EFLAGS)
    regs.syscallno = -1
    if image is None:
        task.fpu.reset()
        task.pkru = init_pkru(task)
    else:
        task.fpu.restore(image)
    return True


def restore_frame_32(task: "Task") -> bool:
    """sigreturn: the frame begins 8 bytes below the stack pointer. False: unreadable."""
    frame = (int(x86_regs(task).rsp) - 8) & _WORD
    data = copy_from_user(task.mm, frame, _FRAME_SIZE)
    if data is None:
        return False
    context = data[8 : 8 + _SIGCONTEXT_SIZE]
    low = struct.unpack_from("<I", context, 80)[0]
    high = struct.unpack_from("<I", data, 8 + _SIGCONTEXT_SIZE + _FPSTATE_UNUSED)[0]
    task.set_blocked(low | high << 32)
    return restore_sigcontext_32(task, context)


def restore_rt_frame_32(task: "Task") -> bool:
    """rt_sigreturn: the frame begins 4 bytes below the stack pointer. False: unreadable."""
    frame = (int(x86_regs(task).rsp) - 4) & _WORD
    data = copy_from_user(task.mm, frame + _RT_UCONTEXT_AT, _UCONTEXT_SIZE)
    if data is None:
        return False
    _, _, stack_sp, stack_flags, stack_size = _UCONTEXT_HEAD.unpack_from(data)
    task.set_blocked(struct.unpack_from("<Q", data, 20 + _SIGCONTEXT_SIZE)[0])
    if not restore_sigcontext_32(task, data[20 : 20 + _SIGCONTEXT_SIZE]):
        return False
    do_sigaltstack(task, stack_sp, signed32(stack_flags) & _WORD, stack_size)
    return True
