"""The frame of a signal handler on an arm64 program's stack, and the way back: rt_sigreturn.

From high addresses to low: a frame record (x29 and x30, for unwinders), then siginfo and ucontext, whose last 4096
bytes hold records: the floating-point state, of a fault its ESR, and an empty one at the end.

Sources: uapi asm/sigcontext.h, asm/ucontext.h; sigaltstack(2).

Mirrors: arch/arm64/kernel/signal.c (6.18)
Differs: no records of SVE, SME, POE or GCS, which the modelled CPU does not have.
"""

import struct
from typing import TYPE_CHECKING, Final

from pagewalk.kernel.ptrace_arm64 import arm64_regs
from pagewalk.kernel.sigframe import do_sigaltstack, sas_ss_flags
from pagewalk.kernel.signal_types import SA_ONSTACK, SA_RESTORER, SA_SIGINFO, SigAction, SigInfo
from pagewalk.kernel.word import WORD, signed, signed32, unsigned
from pagewalk.mm.uaccess import copy_from_user, copy_to_user

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

MINSIGSTKSZ: Final = 5120
SIGINFO_SIZE: Final = 128
RESERVED_SIZE: Final = 4096
FRAME_RECORD_SIZE: Final = 16

FPSIMD_MAGIC: Final = 0x4650_8001
ESR_MAGIC: Final = 0x4553_5201
EXTRA_MAGIC: Final = 0x4558_5401
FPSIMD_STATE_SIZE: Final = 528  # struct user_fpsimd_state: 32 vector registers, fpsr, fpcr, 8 bytes of padding
_FPSIMD_SIZE: Final = 528  # struct fpsimd_context: head, fpsr, fpcr, 32 vector registers
_VREGS: Final = 512

# uc_flags uc_link | ss_sp ss_flags ss_size | uc_sigmask | padding | fault_address regs sp pc pstate | padding
_UCONTEXT: Final = struct.Struct("<QQ" + "QiiQ" + "Q120x8x" + "Q31QQQQ" + "8x")
UCONTEXT_SIZE: Final = _UCONTEXT.size + RESERVED_SIZE
FRAME_SIZE: Final = SIGINFO_SIZE + UCONTEXT_SIZE
_HEAD: Final = struct.Struct("<II")


def sigframe_size() -> int:
    """The largest frame, its record and the gap above it: AT_MINSIGSTKSZ."""
    return FRAME_SIZE + FRAME_RECORD_SIZE + 16


def fpsimd_context(image: bytes) -> bytes:
    """The record that holds a floating-point image."""
    return _HEAD.pack(FPSIMD_MAGIC, _FPSIMD_SIZE) + image[_VREGS : _VREGS + 8] + image[:_VREGS]


def fpsimd_image(record: bytes) -> bytes:
    """The floating-point image that such a record holds."""
    return record[16:_FPSIMD_SIZE] + record[8:16] + bytes(8)


def setup_rt_frame(task: "Task", sig: int, action: SigAction, info: SigInfo, mask: int) -> bool:
    """Writes the frame and points the registers at the handler; ``mask`` is what sigreturn restores. False: EFAULT."""
    regs = arm64_regs(task)
    sp = unsigned(int(regs.sp))
    if action.flags & SA_ONSTACK and sas_ss_flags(task, sp) == 0:
        sp = task.sas_ss_sp + task.sas_ss_size
    record = (sp - FRAME_RECORD_SIZE) & ~15 & WORD
    frame = (record - FRAME_SIZE) & ~15 & WORD
    words = [unsigned(word) for word in regs.regs]
    context = _UCONTEXT.pack(
        0, 0,
        task.sas_ss_sp, signed32(task.sas_ss_flags), 0, task.sas_ss_size,
        mask,
        task.cr2 & WORD, *words, unsigned(int(regs.sp)), unsigned(int(regs.pc)), unsigned(int(regs.pstate)),
    )  # fmt: skip
    records = fpsimd_context(task.fpu.save())
    if task.error_code:
        records += struct.pack("<IIQ", ESR_MAGIC, 16, task.error_code)
    data = context + records + _HEAD.pack(0, 0)
    ucontext = frame + SIGINFO_SIZE
    if not copy_to_user(task.mm, signed(ucontext), data):
        return False
    if not copy_to_user(task.mm, signed(record), struct.pack("<QQ", words[29], words[30])):
        return False
    if action.flags & SA_SIGINFO:
        if not copy_to_user(task.mm, signed(frame), info.pack()):
            return False
        regs.regs[1] = signed(frame)
        regs.regs[2] = signed(ucontext)
    regs.regs[0] = sig
    regs.regs[29] = signed(record)
    regs.regs[30] = signed(action.restorer) if action.flags & SA_RESTORER else task.kernel.vdso.sigtramp(task)
    regs.sp = signed(frame)
    regs.pc = signed(action.handler)
    return True


def restore_sigframe(task: "Task") -> bool:
    """rt_sigreturn: registers, mask, alternate stack and floating point from the frame. False: unreadable."""
    regs = arm64_regs(task)
    if int(regs.sp) & 15:
        return False
    data = copy_from_user(task.mm, signed(int(regs.sp) + SIGINFO_SIZE), UCONTEXT_SIZE)
    if data is None:
        return False
    words = _UCONTEXT.unpack_from(data)
    task.set_blocked(words[6])
    regs.regs = [signed(word) for word in words[8:39]]
    regs.sp, regs.pc, regs.pstate = signed(words[39]), signed(words[40]), signed(words[41])
    regs.syscallno = -1
    if not regs.valid_user_regs():
        return False
    record = find_fpsimd(data[_UCONTEXT.size :])
    if record is None:
        return False
    task.fpu.restore(fpsimd_image(record))
    do_sigaltstack(task, words[2], words[3] & 0xFFFF_FFFF, words[5])
    return True


def find_fpsimd(reserved: bytes) -> bytes | None:
    """The floating-point record among those of a frame; None where it is missing or one of them is none."""
    found: bytes | None = None
    at = 0
    while at + _HEAD.size <= len(reserved):
        magic, size = _HEAD.unpack_from(reserved, at)
        if magic == 0:
            return found if size == 0 else None
        if size < _HEAD.size or size & 15 or size > len(reserved) - at:
            return None
        if magic == FPSIMD_MAGIC:
            if found is not None or size < _FPSIMD_SIZE:
                return None
            found = reserved[at : at + _FPSIMD_SIZE]
        elif magic != ESR_MAGIC:
            return None
        at += size
    return None
