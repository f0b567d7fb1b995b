"""/proc/net: the texts about a network that has a loopback device and no sockets beyond pairs and pipes.

Sources: proc_pid_net(5).

Mirrors: net/core/net-procfs.c, net/ipv4/{tcp_ipv4,udp,raw,route,proc}.c, net/unix/af_unix.c (6.18)
Differs: only the files that common programs read; nothing is ever sent.
"""

import os
from collections.abc import Callable
from typing import Final

from pagewalk.fs.procfs.inodes import ProcSuper
from pagewalk.fs.procfs.tree import TextSpec, Tree
from pagewalk.fs.socket_types import SUN_PATH, TCP_ESTABLISHED, TCP_LISTEN

_IPV4: Final = "sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
_IPV6: Final = (
    "  sl  local_address                         remote_address                        st tx_queue rx_queue tr "
    "tm->when retrnsmt   uid  timeout inode"
)
_DROPS: Final = " ref pointer drops"

_HEADINGS: Final = (
    ("tcp", f"{'  ' + _IPV4:<149}"),
    ("tcp6", _IPV6),
    ("udp", f"{'   ' + _IPV4 + _DROPS:<127}"),
    ("udp6", _IPV6 + _DROPS),
    ("udplite", f"{'   ' + _IPV4 + _DROPS:<127}"),
    ("udplite6", _IPV6 + _DROPS),
    ("raw", "  " + _IPV4 + _DROPS),
    ("raw6", _IPV6 + _DROPS),
    ("icmp", f"{'  ' + _IPV4 + _DROPS:<127}"),
    ("icmp6", _IPV6 + _DROPS),
    ("packet", "sk               RefCnt Type Proto  Iface R Rmem   User   Inode"),
    ("netlink", "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode"),
    ("arp", "IP address       HW type     Flags       HW address            Mask     Device"),
    (
        "route",
        f"{'Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT':<127}",
    ),
)
_SO_ACCEPTCON: Final = 0x10000
_SS_UNCONNECTED: Final = 1
_SS_CONNECTING: Final = 2
_SS_CONNECTED: Final = 3
_SS_DISCONNECTING: Final = 4
_SCATTER: Final = 0x9E3779B1
_DEV_HEADING: Final = (
    "Inter-|   Receive                                                |  Transmit\n"
    " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier "
    "compressed\n"
)
_LOOPBACK: Final = (
    "    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0"
    "          0\n"
)


class _Heading:
    """A table without rows."""

    def __init__(self, line: str) -> None:
        self.line = line

    def make(self, sb: ProcSuper) -> str:
        """The heading alone."""
        return self.line + "\n"


def unix(sb: ProcSuper) -> str:
    """/proc/net/unix: every AF_UNIX socket."""
    out = "Num       RefCount Protocol Flags    Type St Inode Path\n"
    for sock in sb.kernel.unix.socks:
        flags = _SO_ACCEPTCON if sock.state == TCP_LISTEN else 0
        connected = sock.state == TCP_ESTABLISHED
        inode = 0 if sock.file is None else sock.file.inode.i_ino
        if sock.file is None:
            state = _SS_CONNECTING if connected else _SS_DISCONNECTING
        else:
            state = _SS_CONNECTED if connected else _SS_UNCONNECTED
        pointer = sock.number * _SCATTER & 0xFFFF_FFFF  # a hash of the address, for those who may not know it
        out += f"{pointer:016x}: {sock.refcount():08X} {0:08X} {flags:08X} {sock.kind:04X} {state:02X} {inode:5}"
        raw = sock.addr[SUN_PATH:]
        if raw:
            shown = b"@" + raw[1:].replace(b"\0", b"@") if raw[:1] == b"\0" else raw[:-1]
            out += " " + os.fsdecode(shown)
        out += "\n"
    return out


def _dev(sb: ProcSuper) -> str:
    return _DEV_HEADING + _LOOPBACK


def _if_inet6(sb: ProcSuper) -> str:
    return "00000000000000000000000000000001 01 80 10 80       lo\n"


def _sockstat(sb: ProcSuper) -> str:
    return (
        "sockets: used 0\nTCP: inuse 0 orphan 0 tw 0 alloc 0 mem 0\nUDP: inuse 0 mem 0\nUDPLITE: inuse 0\n"
        "RAW: inuse 0\nFRAG: inuse 0 memory 0\n"
    )


def _sockstat6(sb: ProcSuper) -> str:
    return "TCP6: inuse 0\nUDP6: inuse 0\nUDPLITE6: inuse 0\nRAW6: inuse 0\nFRAG6: inuse 0 memory 0\n"


def net_tree() -> Tree:
    """The files of /proc/PID/net."""
    tree = Tree(0)
    makers: list[tuple[str, Callable[[ProcSuper], str]]] = [
        ("dev", _dev),
        ("if_inet6", _if_inet6),
        ("sockstat", _sockstat),
        ("sockstat6", _sockstat6),
        ("unix", unix),
    ]
    for name, line in _HEADINGS:
        makers.append((name, _Heading(line).make))
    for name, make in makers:
        tree.add(name, TextSpec(0o444, make))
    return tree
