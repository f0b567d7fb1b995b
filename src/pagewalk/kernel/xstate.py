"""The processor's state in a signal frame, and PKRU around it: FXSAVE's 512 bytes, or XSAVE's where the CPU has keys.

XSAVE's image is FXSAVE's, a header that says which parts are there, and PKRU far behind it; 48 spare bytes of FXSAVE's
tell where it ends, and a magic number stands there. A frame whose magic is not right counts as FXSAVE's alone: what it
does not hold then gets its reset value, which of PKRU is 0.

Sources: Intel SDM volume 1, sections 13.4 (layout) and 13.8 (XRSTOR); arch/x86/include/uapi/asm/sigcontext.h.

Mirrors: arch/x86/kernel/fpu/signal.c, arch/x86/kernel/fpu/xstate.h (6.18)
Differs: parts are x87, SSE and PKRU; where the CPU has no keys it has no XSAVE either.
"""

import struct
from typing import TYPE_CHECKING, Final

from pagewalk.kernel.cpu import CLEAN_FXSAVE
from pagewalk.kernel.word import signed
from pagewalk.mm.pkeys import INIT_PKRU
from pagewalk.mm.uaccess import copy_from_user

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

FXSAVE_SIZE: Final = 512
XSTATE_SIZE: Final = 2696
FP_XSTATE_MAGIC1: Final = 0x46505853
FP_XSTATE_MAGIC2: Final = 0x46505845
FP_XSTATE_MAGIC2_SIZE: Final = 4
XFEATURE_MASK_FP: Final = 1
XFEATURE_MASK_SSE: Final = 2
XFEATURE_MASK_PKRU: Final = 1 << 9
XFEATURES: Final = XFEATURE_MASK_FP | XFEATURE_MASK_SSE | XFEATURE_MASK_PKRU
UC_FP_XSTATE: Final = 1

_SW_BYTES: Final = struct.Struct("<IIQI")  # magic1 extended_size xfeatures xstate_size
_SW_BYTES_AT: Final = 464
_HEADER: Final = struct.Struct("<QQ")  # XSTATE_BV XCOMP_BV
_HEADER_SIZE: Final = 64
_PKRU_AT: Final = 2688
_MXCSR_AT: Final = 24
_XMM_AT: Final = 160


def init_pkru(task: "Task") -> int:
    """PKRU of a new program, and of a signal handler."""
    return INIT_PKRU if task.kernel.system.pku else 0


def fpstate_size(task: "Task") -> int:
    """Bytes of the image in a frame."""
    return XSTATE_SIZE + FP_XSTATE_MAGIC2_SIZE if task.kernel.system.pku else FXSAVE_SIZE


def sig_prepare_pkru(task: "Task") -> int:
    """While a frame is written, all keys are open: the stack may have one of its own. What PKRU was; ``sig_done_pkru``
    wants it. (Before 6.12 it was left as it was.)"""
    pkru = task.pkru
    if task.kernel.system.linux >= 612:
        task.pkru = 0
    return pkru


def sig_done_pkru(task: "Task", pkru: int, *, written: bool) -> None:
    """The frame is written, and the handler begins with PKRU as a program does; or it could not be."""
    task.pkru = init_pkru(task) if written else pkru


def fpstate_image(task: "Task", fxsave: bytes, pkru: int, before: int = 0) -> bytes:
    """The image of FXSAVE64's bytes and PKRU. ``before``: bytes in front of it that belong to it too (FNSAVE's)."""
    if not task.kernel.system.pku:
        return fxsave
    told = _SW_BYTES.pack(FP_XSTATE_MAGIC1, XSTATE_SIZE + FP_XSTATE_MAGIC2_SIZE + before, XFEATURES, XSTATE_SIZE)
    legacy = (fxsave[:_SW_BYTES_AT] + told).ljust(FXSAVE_SIZE, b"\0")
    extended = (legacy + _HEADER.pack(XFEATURES, 0)).ljust(_PKRU_AT, b"\0")
    return extended + struct.pack("<II", pkru, 0) + struct.pack("<I", FP_XSTATE_MAGIC2)


def load_fpstate(task: "Task", addr: int) -> bytes | None:
    """FXSAVE64's bytes of the image at ``addr`` (unsigned), with PKRU set as it says; None where it cannot be read, or
    is one that the processor refuses."""
    image = copy_from_user(task.mm, signed(addr), FXSAVE_SIZE)
    if image is None or struct.unpack_from("<I", image, _MXCSR_AT)[0] & ~0xFFFF:
        return None
    if not task.kernel.system.pku:
        return image
    magic, extended, features, size = _SW_BYTES.unpack_from(image, _SW_BYTES_AT)
    whole = magic == FP_XSTATE_MAGIC1 and FXSAVE_SIZE + _HEADER_SIZE <= size <= min(XSTATE_SIZE, extended)
    if whole:
        end = copy_from_user(task.mm, signed(addr + size), FP_XSTATE_MAGIC2_SIZE)
        if end is None:
            return None
        whole = int.from_bytes(end, "little") == FP_XSTATE_MAGIC2
    if not whole:
        task.pkru = 0
        return image
    rest = copy_from_user(task.mm, signed(addr + FXSAVE_SIZE), XSTATE_SIZE - FXSAVE_SIZE)
    if rest is None:
        return None
    present, compacted = _HEADER.unpack_from(rest)
    if present & ~XFEATURES or compacted or any(rest[_HEADER.size : _HEADER_SIZE]):
        return None
    present &= features
    task.pkru = 0
    if present & XFEATURE_MASK_PKRU:
        task.pkru = struct.unpack_from("<I", rest, _PKRU_AT - FXSAVE_SIZE)[0]
    return with_parts(image, present)


def with_parts(image: bytes, present: int) -> bytes:
    """FXSAVE64's bytes with the reset value of the parts that are not ``present``; MXCSR is always taken."""
    if not present & XFEATURE_MASK_FP:
        image = CLEAN_FXSAVE[:_MXCSR_AT] + image[_MXCSR_AT : _MXCSR_AT + 8] + CLEAN_FXSAVE[32:_XMM_AT] + image[_XMM_AT:]
    if not present & XFEATURE_MASK_SSE:
        image = image[:_XMM_AT] + CLEAN_FXSAVE[_XMM_AT:]
    return image
