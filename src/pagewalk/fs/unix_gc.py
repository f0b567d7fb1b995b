"""Circles of AF_UNIX sockets: descriptors that only messages in each other's queues still hold.

A socket that nobody has a descriptor of may still be somebody's: it is on its way to him. Where all ways begin at
sockets of which the same is true, nobody can ever receive them, and what they hold is let go.

Sources: unix(7), SCM_RIGHTS.

Mirrors: net/unix/garbage.c (6.18)
Differs: every socket is looked at, and at once, rather than the strongly connected ones later.
"""

from typing import TYPE_CHECKING

from pagewalk.fs.skbuff import put_files

if TYPE_CHECKING:
    from pagewalk.fs.file import VfsFile
    from pagewalk.fs.unix_bind import UnixTable
    from pagewalk.fs.unix_sock import UnixSock


def unix_gc(table: "UnixTable") -> None:
    """Lets go of what is on its way in circles that nobody can reach."""
    by_file: dict[VfsFile, UnixSock] = {}
    for sock in table.socks:
        if sock.file is not None:
            by_file[sock.file] = sock
    inflight: dict[VfsFile, int] = {}
    for sock in table.socks:
        for file in queued_files(sock):
            if file in by_file:
                inflight[file] = inflight.get(file, 0) + 1
    table.tot_inflight = bool(inflight)
    if not inflight:
        return
    reached: set[UnixSock] = set()
    for file, sock in by_file.items():
        if file.f_count > inflight.get(file, 0):
            reach(sock, by_file, reached)
    for file in inflight:
        sock = by_file[file]
        if sock not in reached and not sock.dead:
            drop_queue(sock)


def queued_files(sock: "UnixSock") -> "list[VfsFile]":
    """The files on their way in a socket's queue."""
    return [file for skb in sock.queue for file in skb.files]


def embryos(sock: "UnixSock") -> "list[UnixSock]":
    """The connections that wait in the queue of a listening socket."""
    return [skb.sock for skb in sock.queue if skb.sock.embryo and skb.sock.file is None and skb.sock is not sock]


def reach(start: "UnixSock", by_file: "dict[VfsFile, UnixSock]", reached: "set[UnixSock]") -> None:
    """Marks ``start`` and all that can be received through it."""
    waiting = [start]
    while waiting:
        sock = waiting.pop()
        if sock in reached:
            continue
        reached.add(sock)
        waiting.extend(embryos(sock))
        for file in queued_files(sock):
            if file in by_file:
                waiting.append(by_file[file])


def drop_queue(sock: "UnixSock") -> None:
    """Files in a socket's queue, and in those of connections that wait there, are let go."""
    files: list[VfsFile] = []
    for holder in [sock, *embryos(sock)]:
        for skb in holder.queue:
            files.extend(skb.files)
            skb.files = []
    put_files(files)
