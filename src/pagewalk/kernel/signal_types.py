"""Signals as data: numbers, codes, actions, what is pending, and siginfo's 128 bytes.

A mask is an unsigned 64-bit number; bit n-1 is signal n.

Sources: signal(7), sigaction(2).

Mirrors: include/uapi/asm-generic/siginfo.h, arch/x86/include/uapi/asm/signal.h, include/linux/signal_types.h (6.18)
Differs: what is queued counts against RLIMIT_SIGPENDING of who owns the process now, not of who did when it was sent.
"""

import struct
from typing import Final

from pagewalk.fs.wait import WaitQueueHead

SIGHUP: Final = 1
SIGINT: Final = 2
SIGQUIT: Final = 3
SIGILL: Final = 4
SIGTRAP: Final = 5
SIGABRT: Final = 6
SIGBUS: Final = 7
SIGFPE: Final = 8
SIGKILL: Final = 9
SIGUSR1: Final = 10
SIGSEGV: Final = 11
SIGUSR2: Final = 12
SIGPIPE: Final = 13
SIGALRM: Final = 14
SIGTERM: Final = 15
SIGSTKFLT: Final = 16
SIGCHLD: Final = 17
SIGCONT: Final = 18
SIGSTOP: Final = 19
SIGTSTP: Final = 20
SIGTTIN: Final = 21
SIGTTOU: Final = 22
SIGURG: Final = 23
SIGXCPU: Final = 24
SIGXFSZ: Final = 25
SIGVTALRM: Final = 26
SIGPROF: Final = 27
SIGWINCH: Final = 28
SIGIO: Final = 29
SIGPWR: Final = 30
SIGSYS: Final = 31
SIGRTMIN: Final = 32
NSIG: Final = 64

SIG_DFL: Final = 0
SIG_IGN: Final = 1

SA_NOCLDSTOP: Final = 0x00000001
SA_NOCLDWAIT: Final = 0x00000002
SA_SIGINFO: Final = 0x00000004
SA_UNSUPPORTED: Final = 0x00000400
SA_EXPOSE_TAGBITS: Final = 0x00000800
SA_RESTORER: Final = 0x04000000
SA_ONSTACK: Final = 0x08000000
SA_RESTART: Final = 0x10000000
SA_NODEFER: Final = 0x40000000
SA_RESETHAND: Final = 0x80000000
SA_ALL: Final = (
    SA_NOCLDSTOP | SA_NOCLDWAIT | SA_SIGINFO | SA_EXPOSE_TAGBITS | SA_RESTORER | SA_ONSTACK | SA_RESTART | SA_NODEFER
    | SA_RESETHAND
)  # fmt: skip

SS_ONSTACK: Final = 1
SS_DISABLE: Final = 2
SS_AUTODISARM: Final = 1 << 31

# si_code
SI_USER: Final = 0
SI_KERNEL: Final = 0x80
SI_QUEUE: Final = -1
SI_TIMER: Final = -2
SI_TKILL: Final = -6
ILL_ILLOPC: Final = 1
ILL_ILLOPN: Final = 2
FPE_INTDIV: Final = 1
FPE_FLTDIV: Final = 3
FPE_FLTOVF: Final = 4
FPE_FLTUND: Final = 5
FPE_FLTRES: Final = 6
FPE_FLTINV: Final = 7
SEGV_MAPERR: Final = 1
SEGV_ACCERR: Final = 2
SEGV_PKUERR: Final = 4
BUS_ADRALN: Final = 1
BUS_ADRERR: Final = 2
CLD_EXITED: Final = 1
CLD_KILLED: Final = 2
CLD_DUMPED: Final = 3
CLD_STOPPED: Final = 5
CLD_CONTINUED: Final = 6
TRAP_BRKPT: Final = 1
TRAP_TRACE: Final = 2

SIGNAL_NAMES: Final = (
    "", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
    "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF",
    "WINCH", "IO",
    "PWR", "SYS",
)  # fmt: skip


def sigmask(sig: int) -> int:
    """The mask of one signal."""
    return 1 << (sig - 1)


def signal_name(sig: int) -> str:
    """SIGSEGV, SIGRTMIN+3, ..."""
    return f"SIG{SIGNAL_NAMES[sig]}" if sig < SIGRTMIN else f"SIGRTMIN+{sig - SIGRTMIN}"


ALL_SIGNALS: Final = (1 << 64) - 1
SIG_KERNEL_ONLY: Final = 1 << (SIGKILL - 1) | 1 << (SIGSTOP - 1)
SIG_KERNEL_SYNCHRONOUS: Final = (
    1 << (SIGSEGV - 1) | 1 << (SIGBUS - 1) | 1 << (SIGILL - 1) | 1 << (SIGTRAP - 1) | 1 << (SIGFPE - 1)
    | 1 << (SIGSYS - 1)
)  # fmt: skip
SIG_KERNEL_IGNORE: Final = 1 << (SIGCONT - 1) | 1 << (SIGCHLD - 1) | 1 << (SIGWINCH - 1) | 1 << (SIGURG - 1)
SIG_KERNEL_STOP: Final = 1 << (SIGSTOP - 1) | 1 << (SIGTSTP - 1) | 1 << (SIGTTIN - 1) | 1 << (SIGTTOU - 1)
SIG_KERNEL_COREDUMP: Final = (
    1 << (SIGQUIT - 1) | 1 << (SIGILL - 1) | 1 << (SIGTRAP - 1) | 1 << (SIGABRT - 1) | 1 << (SIGFPE - 1)
    | 1 << (SIGSEGV - 1) | 1 << (SIGBUS - 1) | 1 << (SIGSYS - 1) | 1 << (SIGXCPU - 1) | 1 << (SIGXFSZ - 1)
)  # fmt: skip


class SigAction:
    """struct sigaction: ``handler`` is SIG_DFL, SIG_IGN or an address.

    ``compat``: a 32-bit system call has set it (SA_IA32_ABI), so the handler gets the frame of a 32-bit program."""

    def __init__(self) -> None:
        self.handler: int = SIG_DFL
        self.flags: int = 0
        self.restorer: int = 0
        self.mask: int = 0
        self.compat = False

    def copy(self) -> "SigAction":
        """Another with the same contents."""
        other = SigAction()
        other.handler = self.handler
        other.flags = self.flags
        other.restorer = self.restorer
        other.mask = self.mask
        other.compat = self.compat
        return other

    def pack(self) -> bytes:
        """The 32 bytes of the system call's struct."""
        return struct.pack("<QQQQ", self.handler, self.flags, self.restorer, self.mask)

    def pack_32(self) -> bytes:
        """The 20 bytes of a 32-bit program's struct."""
        low = 0xFFFF_FFFF
        return struct.pack("<IIIQ", self.handler & low, self.flags, self.restorer & low, self.mask)

    @staticmethod
    def unpack_32(data: bytes) -> "SigAction":
        """From the 20 bytes of a 32-bit program's struct."""
        action = SigAction()
        action.handler, action.flags, action.restorer, action.mask = struct.unpack("<IIIQ", data)
        action.compat = True
        return action

    @staticmethod
    def unpack(data: bytes) -> "SigAction":
        """From the 32 bytes of the system call's struct."""
        action = SigAction()
        action.handler, action.flags, action.restorer, action.mask = struct.unpack("<QQQQ", data)
        return action


class SigHand:
    """struct sighand_struct: the actions, ``action[sig - 1]``; ``count`` tasks share it.

    signalfd_wqh: who waits for their signals as files; memcg: id of the memory cgroup that it is charged to.
    """

    def __init__(self) -> None:
        self.count = 1
        self.action: list[SigAction] = [SigAction() for _ in range(NSIG)]
        self.signalfd_wqh = WaitQueueHead()
        self.memcg = 0

    def copy(self) -> "SigHand":
        """For a new process: the same actions."""
        other = SigHand()
        other.action = [action.copy() for action in self.action]
        return other

    def flush_handlers(self) -> None:
        """What execve does: handlers go, SIG_IGN stays."""
        for action in self.action:
            if action.handler != SIG_IGN:
                action.handler = SIG_DFL
            action.flags = 0
            action.mask = 0
            action.restorer = 0


class SigInfo:
    """siginfo_t: ``fields`` are the bytes behind si_code, 112 of them or fewer.

    charged: it counts against RLIMIT_SIGPENDING while it is queued (a timer's does not: its timer counts)."""

    def __init__(self, signo: int, code: int, fields: bytes = b"", si_errno: int = 0) -> None:
        self.signo = signo
        self.code = code
        self.si_errno = si_errno
        self.fields = fields
        self.charged = True

    def collected(self) -> None:
        """It was taken off the queue, and is about to be delivered."""

    def pack(self) -> bytes:
        """The 128 bytes."""
        return struct.pack("<iii4x", self.signo, self.si_errno, self.code) + self.fields.ljust(112, b"\0")


def fault_info(sig: int, code: int, addr: int) -> SigInfo:
    """siginfo of a fault at ``addr``."""
    return SigInfo(sig, code, struct.pack("<Q", addr & (1 << 64) - 1))


def pkuerr_info(addr: int, pkey: int) -> SigInfo:
    """siginfo of a fault at ``addr``, in a mapping whose protection key the thread's PKRU closes."""
    return SigInfo(SIGSEGV, SEGV_PKUERR, struct.pack("<QQI", addr & (1 << 64) - 1, 0, pkey))


def kill_info(sig: int, code: int, pid: int, uid: int) -> SigInfo:
    """siginfo of a signal that a process sent: SI_USER or SI_TKILL."""
    return SigInfo(sig, code, struct.pack("<iI", pid, uid))


def child_info(sig: int, code: int, pid: int, uid: int, status: int, utime: int, stime: int) -> SigInfo:
    """siginfo that a parent gets: CLD_*, the child's id and owner, its status or signal, its times in clock ticks."""
    return SigInfo(sig, code, struct.pack("<iIi4xqq", pid, uid, status, utime, stime))


def kernel_info(sig: int) -> SigInfo:
    """siginfo of a signal that the kernel sent for no particular place."""
    return SigInfo(sig, SI_KERNEL, struct.pack("<iI", 0, 0))


class SigPending:
    """struct sigpending: what is pending, in order of arrival, and the same as a mask."""

    def __init__(self) -> None:
        self.list: list[SigInfo] = []
        self.signal: int = 0

    def add(self, info: SigInfo) -> None:
        """Queues it; a standard signal that is pending already is not queued again."""
        mask = sigmask(info.signo)
        if info.signo < SIGRTMIN and self.signal & mask:
            return
        self.list.append(info)
        self.signal |= mask

    def nr_charged(self) -> int:
        """How many count against RLIMIT_SIGPENDING."""
        count = 0
        for info in self.list:
            if info.charged and info.signo != SIGKILL:
                count += 1
        return count

    def collect(self, sig: int) -> SigInfo:
        """Takes the first ``sig`` off the queue; one that found no room there came from nobody (SI_USER, 0, 0)."""
        found: SigInfo | None = None
        still = False
        rest: list[SigInfo] = []
        for info in self.list:
            if info.signo == sig and found is None:
                found = info
            else:
                still = still or info.signo == sig
                rest.append(info)
        self.list = rest
        if not still:
            self.signal &= ~sigmask(sig)
        if found is None:
            return SigInfo(sig, SI_USER)
        found.collected()
        return found

    def drop(self, info: SigInfo) -> None:
        """Takes this one off the queue, if it is there."""
        self.list = [other for other in self.list if other is not info]
        if self.peek(info.signo) is None:
            self.signal &= ~sigmask(info.signo)

    def peek(self, sig: int) -> SigInfo | None:
        """The first ``sig`` of the queue, which stays there."""
        for info in self.list:
            if info.signo == sig:
                return info
        return None

    def flush(self, mask: int) -> None:
        """Drops every signal of ``mask``."""
        self.list = [info for info in self.list if not sigmask(info.signo) & mask]
        self.signal &= ~mask

    def next_signal(self, blocked: int) -> int:
        """The signal to deliver next, 0 for none: those of a fault first, then the lowest."""
        ready = self.signal & ~blocked
        if ready & SIG_KERNEL_SYNCHRONOUS:
            ready &= SIG_KERNEL_SYNCHRONOUS
        return (ready & -ready).bit_length()
