"""What travels beside the bytes of a message: descriptors and credentials.

Sources: cmsg(3), unix(7).

Mirrors: net/core/scm.c (6.18)
Differs: no SO_PASSSEC, no SO_PASSPIDFD.
"""

import errno
import struct
from typing import TYPE_CHECKING, Final, final

from pagewalk.fs.fcntl import O_CLOEXEC
from pagewalk.fs.skbuff import RecvMsg, SendMsg, put_files
from pagewalk.fs.socket_types import (
    MSG_CMSG_CLOEXEC,
    MSG_CTRUNC,
    SCM_CREDENTIALS,
    SCM_MAX_FD,
    SCM_RIGHTS,
    SOL_SOCKET,
)
from pagewalk.kernel.syscall.args import long_size
from pagewalk.mm.uaccess import copy_to_user

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

_HEADER: Final = struct.Struct("<Qii")  # struct cmsghdr: length with header, level, type
_HEADER_32: Final = struct.Struct("<Iii")


def cmsghdr(task: "Task") -> struct.Struct:
    """struct cmsghdr of the program that makes the system call under way; control messages are aligned to longs."""
    return _HEADER_32 if task.compat else _HEADER


def scm_send(task: "Task", control: bytes, msg: SendMsg) -> int:
    """Takes descriptors and credentials out of ``control``. EINVAL; EBADF; EPERM, ESRCH: credentials of somebody
    else. Descriptors that were taken are in ``msg.files`` whatever the answer."""
    at = 0
    header = cmsghdr(task)
    word = long_size(task)
    while at + header.size <= len(control):
        length, level, kind = header.unpack_from(control, at)
        if length < header.size or length > len(control) - at:
            return -errno.EINVAL
        data = control[at + header.size : at + length]
        at += (length + word - 1) & -word
        if level != SOL_SOCKET:
            continue
        if kind == SCM_RIGHTS:
            error = take_files(task, data, msg)
        elif kind == SCM_CREDENTIALS and len(data) == 12:
            error = take_creds(task, data, msg)
        else:
            error = -errno.EINVAL
        if error < 0:
            return error
    return 0


def take_files(task: "Task", data: bytes, msg: SendMsg) -> int:
    """SCM_RIGHTS: a reference on each descriptor's file."""
    count = len(data) // 4
    if count + len(msg.files) > SCM_MAX_FD:
        return -errno.EINVAL
    for (fd,) in struct.iter_unpack("<i", data[: count * 4]):
        file = task.files.get_raw(fd)
        if file is None:
            return -errno.EBADF
        file.get()
        msg.files.append(file)
    return 0


def take_creds(task: "Task", data: bytes, msg: SendMsg) -> int:
    """SCM_CREDENTIALS: one's own, unless one may tell others'."""
    pid, uid, gid = struct.unpack("<iII", data)
    if not task.capable and (
        pid != task.tgid or uid not in (task.uid, task.euid, task.suid) or gid not in (task.gid, task.egid, task.sgid)
    ):
        return -errno.EPERM
    if task.kernel.find_task(pid) is None:
        return -errno.ESRCH
    if uid == 0xFFFF_FFFF or gid == 0xFFFF_FFFF:
        return -errno.EINVAL
    msg.creds = (pid, uid, gid)
    return 0


@final
class ControlBuffer:
    """The control buffer of recvmsg(2): ``addr`` and ``room`` go on as it fills, ``flags`` are to be reported."""

    def __init__(self, task: "Task", addr: int, room: int) -> None:
        self.task = task
        self.start = addr
        self.addr = addr
        self.room = room
        self.flags = 0
        self.word = long_size(task)
        self.header = cmsghdr(task)

    def used(self) -> int:
        """Bytes that were filled."""
        return self.addr - self.start

    def advance(self, length: int) -> None:
        """``length`` bytes behind the header are filled."""
        step = min((self.header.size + length + self.word - 1) & -self.word, self.room)
        self.addr += step
        self.room -= step

    def put(self, kind: int, data: bytes) -> None:
        """put_cmsg: as much as there is room for."""
        if not self.addr or self.room < self.header.size:
            self.flags |= MSG_CTRUNC
            return
        length = self.header.size + len(data)
        if self.room < length:
            self.flags |= MSG_CTRUNC
            length = self.room
        text = self.header.pack(length, SOL_SOCKET, kind) + data
        if copy_to_user(self.task.mm, self.addr, text[:length]):
            self.advance(length - self.header.size)

    def put_files(self, msg: RecvMsg) -> None:
        """scm_detach_fds: descriptors for as many files as there is room for; the others are let go."""
        files = msg.files
        msg.files = []
        cloexec = bool(msg.flags & (MSG_CMSG_CLOEXEC | O_CLOEXEC))
        most = min(len(files), (self.room - self.header.size) // 4 if self.room > self.header.size else 0)
        done = 0
        while done < most:
            fd = self.task.files.install(files[done], cloexec)
            if fd < 0:
                break
            if not copy_to_user(self.task.mm, self.addr + self.header.size + done * 4, struct.pack("<i", fd)):
                files[done].get()
                self.task.files.close(fd)
                break
            done += 1
        if done:
            copy_to_user(self.task.mm, self.addr, self.header.pack(self.header.size + done * 4, SOL_SOCKET, SCM_RIGHTS))
            self.advance(done * 4)
        if done < len(files):
            self.flags |= MSG_CTRUNC
        put_files(files[done:])


def scm_recv(msg: RecvMsg, control: ControlBuffer) -> None:
    """Hands credentials and descriptors of ``msg`` to the program."""
    if not control.addr:
        if msg.has_creds or msg.files:
            control.flags |= MSG_CTRUNC
        put_files(msg.files)
        msg.files = []
        return
    if msg.has_creds:
        control.put(SCM_CREDENTIALS, struct.pack("<iII", *msg.creds))
    if msg.files:
        control.put_files(msg)
