"""shmget, shmat, shmdt, shmctl.

Mirrors: ipc/shm.c (6.18)
Differs: SHM_STAT and SHM_STAT_ANY take the id itself as index.
"""

import errno
import struct
from typing import TYPE_CHECKING, Final

from pagewalk.kernel.clock import CLOCK_REALTIME, host_clock_ns
from pagewalk.kernel.shm import SHMALL, SHMMAX, SHMMNI, Segment, do_shmat, do_shmdt
from pagewalk.kernel.shm_lock import shm_lock, shm_unlock
from pagewalk.kernel.word import WORD, signed32
from pagewalk.mm.uaccess import copy_from_user, copy_to_user

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

IPC_RMID: Final = 0
IPC_SET: Final = 1
IPC_STAT: Final = 2
IPC_INFO: Final = 3
SHM_LOCK: Final = 11
SHM_UNLOCK: Final = 12
SHM_STAT: Final = 13
SHM_INFO: Final = 14
SHM_STAT_ANY: Final = 15

_SHMID64_DS: Final = "<iIIIIIHHIQQQqqqiiQQQ"
_SHMID64_DS_32: Final = "<iIIIIHHHH8x" + "I" + "QQQ" + "iiI8x"  # of a 32-bit program; times in two halves
_INT_MAX: Final = 0x7FFF_FFFF


def _seconds() -> int:
    return host_clock_ns(CLOCK_REALTIME) // 1_000_000_000


def sys_shmget(task: "Task", key: int, size: int, flags: int) -> int:
    """shmget(2)."""
    ns = task.kernel.shm
    newest = ns.next_id
    ident = ns.get(signed32(key), size & WORD, flags & 0xFFFF_FFFF, task.tgid, _seconds())
    segment = ns.find(ident) if ident == newest else None
    if segment is not None:  # it is new
        segment.uid = segment.cuid = task.euid
        segment.gid = segment.cgid = task.egid
    return ident


def sys_shmat(task: "Task", ident: int, addr: int, flags: int) -> int:
    """shmat(2)."""
    return do_shmat(task.kernel.shm, task.mm, signed32(ident), addr, flags & 0xFFFF_FFFF, task.tgid, _seconds())


def sys_shmdt(task: "Task", addr: int) -> int:
    """shmdt(2)."""
    return do_shmdt(task.mm, addr, task.tgid, _seconds())


def sys_shmctl(task: "Task", ident: int, command: int, buffer: int) -> int:
    """shmctl(2)."""
    ident = signed32(ident)
    command = signed32(command) & ~0x100  # IPC_64
    if ident < 0 or command < 0:
        return -errno.EINVAL
    if command == IPC_INFO or command == SHM_INFO:
        return _info(task, command, buffer)
    if command not in (IPC_RMID, IPC_SET, IPC_STAT, SHM_LOCK, SHM_UNLOCK, SHM_STAT, SHM_STAT_ANY):
        return -errno.EINVAL
    change = b""
    if command == IPC_SET:
        data = copy_from_user(task.mm, buffer, struct.calcsize(_SHMID64_DS_32 if task.compat else _SHMID64_DS))
        if data is None:
            return -errno.EFAULT
        change = data
    segment = task.kernel.shm.find(ident)
    if segment is None:
        return -errno.EINVAL
    if command == IPC_RMID:
        task.kernel.shm.remove(segment)
    elif command == IPC_SET:
        fields = struct.unpack_from("<iIIIIH", change)
        segment.uid, segment.gid = fields[1], fields[2]
        segment.mode = (segment.mode & ~0o777) | (fields[5] & 0o777)
        segment.ctime = _seconds()
    elif command == SHM_LOCK:
        return shm_lock(task, segment)
    elif command == SHM_UNLOCK:
        return shm_unlock(task, segment)
    else:
        if not copy_to_user(task.mm, buffer, _shmid64_ds_32(segment) if task.compat else _shmid64_ds(segment)):
            return -errno.EFAULT
        return segment.ident if command != IPC_STAT else 0
    return 0


def _shmid64_ds(segment: Segment) -> bytes:
    """struct shmid64_ds."""
    permissions = (segment.key, segment.uid, segment.gid, segment.cuid, segment.cgid, segment.mode, 0, 0, 0, 0, 0)
    times = (segment.atime, segment.dtime, segment.ctime)
    return struct.pack(
        _SHMID64_DS, *permissions, segment.size, *times, segment.cpid, segment.lpid, segment.nattch, 0, 0
    )


def _shmid64_ds_32(segment: Segment) -> bytes:
    """The 84 bytes of a 32-bit program's struct."""
    owners = (segment.key, segment.uid, segment.gid, segment.cuid, segment.cgid, segment.mode & 0xFFFF, 0, 0, 0)
    times = (segment.atime, segment.dtime, segment.ctime)
    size = min(segment.size, 0xFFFF_FFFF)
    return struct.pack(_SHMID64_DS_32, *owners, size, *times, segment.cpid, segment.lpid, segment.nattch)


def _info(task: "Task", command: int, buffer: int) -> int:
    """IPC_INFO: the limits; SHM_INFO: what is in use. The highest index, or -EFAULT."""
    segments = task.kernel.shm.segments
    if command == IPC_INFO:
        limits = (SHMMAX, 1, SHMMNI, SHMMNI, SHMALL)
        if task.compat:
            data = struct.pack("<9I", *[min(limit, _INT_MAX) for limit in limits], 0, 0, 0, 0)
        else:
            data = struct.pack("<9Q", *limits, 0, 0, 0, 0)
    else:
        total = sum((segment.size + 4095) >> 12 for segment in segments.values())
        resident = sum(len(segment.mapping().i_pages) for segment in segments.values())
        data = struct.pack("<i5I" if task.compat else "<i4x5Q", len(segments), total, resident, 0, 0, 0)
    if not copy_to_user(task.mm, buffer, data):
        return -errno.EFAULT
    return max(segments, default=0)
