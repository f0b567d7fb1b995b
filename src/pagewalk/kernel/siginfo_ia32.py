"""siginfo_t as a 32-bit program has it: the same 128 bytes with words of four bytes, so that most fields move.

Sources: sigaction(2), "The siginfo_t argument".

Mirrors: include/linux/compat.h (struct compat_siginfo), kernel/signal.c (copy_siginfo_to_external32) (6.18)
Differs: nothing.
"""

import struct
from typing import Final

from pagewalk.kernel.signal_types import (
    SEGV_PKUERR,
    SI_TIMER,
    SI_USER,
    SIGBUS,
    SIGCHLD,
    SIGFPE,
    SIGILL,
    SIGIO,
    SIGSEGV,
    SIGSYS,
    SIGTRAP,
    SigInfo,
)

_WORD: Final = 0xFFFF_FFFF
_SI_SIGIO: Final = -5
_SI_KERNEL: Final = 0x80
_FAULTS: Final = (SIGILL, SIGFPE, SIGSEGV, SIGBUS, SIGTRAP)

SIL_KILL: Final = 0  # pid, uid
SIL_TIMER: Final = 1  # id, overrun, value
SIL_POLL: Final = 2  # band, fd
SIL_FAULT: Final = 3  # address
SIL_CHLD: Final = 4  # pid, uid, status, times
SIL_RT: Final = 5  # pid, uid, value
SIL_FAULT_PKUERR: Final = 7  # address, protection key
SIL_SYS: Final = 6  # address, call, architecture


def siginfo_layout(sig: int, code: int) -> int:
    """Which fields a siginfo has: a SIL_* value."""
    if SI_USER < code < _SI_KERNEL:
        if sig in _FAULTS:
            return SIL_FAULT_PKUERR if sig == SIGSEGV and code == SEGV_PKUERR else SIL_FAULT
        if sig == SIGCHLD:
            return SIL_CHLD
        if sig == SIGSYS:
            return SIL_SYS
        return SIL_POLL if sig == SIGIO else SIL_KILL
    if code == SI_TIMER:
        return SIL_TIMER
    if code == _SI_SIGIO:
        return SIL_POLL
    return SIL_RT if code < 0 else SIL_KILL


def pack_siginfo_32(info: SigInfo) -> bytes:
    """The 128 bytes for a 32-bit program."""
    fields = info.fields.ljust(112, b"\0")
    layout = siginfo_layout(info.signo, info.code)
    if layout == SIL_KILL:
        rest = fields[:8]
    elif layout in (SIL_TIMER, SIL_RT):
        rest = fields[:12]
    elif layout == SIL_POLL:
        band, fd = struct.unpack_from("<qi", fields)
        rest = struct.pack("<Ii", band & _WORD, fd)
    elif layout == SIL_FAULT:
        rest = struct.pack("<I", struct.unpack_from("<Q", fields)[0] & _WORD)
    elif layout == SIL_FAULT_PKUERR:
        addr, _, pkey = struct.unpack_from("<QQI", fields)
        rest = struct.pack("<III", addr & _WORD, 0, pkey)
    elif layout == SIL_CHLD:
        pid, uid, status, utime, stime = struct.unpack_from("<iIi4xqq", fields)
        rest = struct.pack("<iIiII", pid, uid, status, utime & _WORD, stime & _WORD)
    else:
        addr, call, arch = struct.unpack_from("<QiI", fields)
        rest = struct.pack("<IiI", addr & _WORD, call, arch)
    return struct.pack("<iii", info.signo, info.si_errno, info.code) + rest.ljust(116, b"\0")


def siginfo_fields_of_32(data: bytes, sig: int, code: int) -> bytes:
    """The fields as ``SigInfo`` keeps them, out of a 32-bit program's 128 bytes."""
    layout = siginfo_layout(sig, code)
    at = 12
    if layout == SIL_POLL:
        band, fd = struct.unpack_from("<ii", data, at)
        return struct.pack("<qi", band, fd)
    if layout == SIL_FAULT:
        return struct.pack("<Q", struct.unpack_from("<I", data, at)[0])
    if layout == SIL_FAULT_PKUERR:
        addr, _, pkey = struct.unpack_from("<III", data, at)
        return struct.pack("<QQI", addr, 0, pkey)
    if layout == SIL_CHLD:
        pid, uid, status, utime, stime = struct.unpack_from("<iIiii", data, at)
        return struct.pack("<iIi4xqq", pid, uid, status, utime, stime)
    if layout == SIL_SYS:
        addr, call, arch = struct.unpack_from("<IiI", data, at)
        return struct.pack("<QiI", addr, call, arch)
    if layout == SIL_KILL:
        return data[at : at + 8]
    return data[at : at + 12] + bytes(4)
