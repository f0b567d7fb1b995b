"""ioctl(2): which commands carry a struct, and of what size.

Sources: ioctl_tty(2), ioctl_list(2).

Mirrors: include/uapi/asm-generic/ioctls.h (6.18)
Differs: only commands of terminals, pipes and files that programs meet.
"""

from typing import Final

TCGETS: Final = 0x5401
TCSETS: Final = 0x5402
TCSETSW: Final = 0x5403
TCSETSF: Final = 0x5404
TCFLSH: Final = 0x540B
TCSBRK: Final = 0x5409
TIOCGPGRP: Final = 0x540F
TIOCSPGRP: Final = 0x5410
TIOCOUTQ: Final = 0x5411
TIOCGWINSZ: Final = 0x5413
TIOCSWINSZ: Final = 0x5414
FIONREAD: Final = 0x541B
FIONBIO: Final = 0x5421
TIOCGSID: Final = 0x5429
FIONCLEX: Final = 0x5450
FIOCLEX: Final = 0x5451
FIOASYNC: Final = 0x5452
SIOCATMARK: Final = 0x8905
TCGETS2: Final = 0x802C542A
TCSETS2: Final = 0x402C542B

_SIZES: Final = {
    TCGETS: (0, 36),
    TCSETS: (36, 0),
    TCSETSW: (36, 0),
    TCSETSF: (36, 0),
    TCGETS2: (0, 44),
    TCSETS2: (44, 0),
    TIOCGPGRP: (0, 4),
    TIOCSPGRP: (4, 0),
    TIOCOUTQ: (0, 4),
    TIOCGWINSZ: (0, 8),
    TIOCSWINSZ: (8, 0),
    TIOCGSID: (0, 4),
    FIONREAD: (0, 4),
    SIOCATMARK: (0, 4),
    FIONBIO: (4, 0),
    FIOASYNC: (4, 0),
}


def ioctl_sizes(cmd: int) -> tuple[int, int] | None:
    """(bytes that the command reads at its argument, bytes that it writes there); None where the argument is no
    pointer we know.

    FIONBIO, FIOASYNC, FIOCLEX and FIONCLEX act on the descriptor: the caller serves them for every file.
    """
    return _SIZES.get(cmd)
