"""Ids: who a task is, the groups it belongs to, its process group and session, its capabilities.

Sources: credentials(7), setresuid(2), setpgid(2), capabilities(7).

Mirrors: kernel/sys.c, kernel/groups.c, kernel/capability.c (6.18)
Differs: root has every capability and nobody else has any; capabilities cannot be dropped one by one (capset says so:
EPERM).
"""

import errno
import struct
from typing import TYPE_CHECKING, Final

from pagewalk.kernel.word import signed32
from pagewalk.mm.current import RLIMIT_NPROC
from pagewalk.mm.uaccess import copy_from_user, copy_to_user

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

NGROUPS_MAX: Final = 65536
_KEEP: Final = 0xFFFF_FFFF  # (uid_t)-1: leave it as it is
_CAP_LAST: Final = 40
_LINUX_CAPABILITY_VERSION_1: Final = 0x19980330
_LINUX_CAPABILITY_VERSION_2: Final = 0x20071026
_LINUX_CAPABILITY_VERSION_3: Final = 0x20080522


def sys_getpid(task: "Task") -> int:
    """getpid(2)."""
    return task.tgid


def sys_gettid(task: "Task") -> int:
    """gettid(2)."""
    return task.pid


def sys_getppid(task: "Task") -> int:
    """getppid(2)."""
    return task.ppid


def sys_getuid(task: "Task") -> int:
    """getuid(2)."""
    return task.uid


def sys_geteuid(task: "Task") -> int:
    """geteuid(2)."""
    return task.euid


def sys_getgid(task: "Task") -> int:
    """getgid(2)."""
    return task.gid


def sys_getegid(task: "Task") -> int:
    """getegid(2)."""
    return task.egid


def ids_of(task: "Task") -> tuple[int, int, int, int, int]:
    """Real user id; effective and file-system ids of user and group."""
    return task.uid, task.euid, task.fsuid, task.egid, task.fsgid


def commit_creds(task: "Task", before: tuple[int, int, int, int, int]) -> None:
    """What a change of ids brings with it: no core dump and no signal at the parent's end; a user who has too many
    processes already can start no program."""
    after = ids_of(task)
    if after[1:] != before[1:]:
        task.set_dumpable(0)
        task.pdeath_signal = 0
    if after[0] != before[0]:
        task.nproc_exceeded = after[0] != 0 and task.kernel.nr_tasks_of(after[0]) - 1 > task.rlimit(RLIMIT_NPROC)
    task.sync_cred()


def put_ids(task: "Task", real: int, effective: int, saved: int, ids: tuple[int, int, int]) -> int:
    """Writes three ids to three addresses."""
    for addr, value in zip((real, effective, saved), ids, strict=True):
        if not copy_to_user(task.mm, addr, struct.pack("<I", value)):
            return -errno.EFAULT
    return 0


def sys_getresuid(task: "Task", real: int, effective: int, saved: int) -> int:
    """getresuid(2)."""
    return put_ids(task, real, effective, saved, (task.uid, task.euid, task.suid))


def sys_getresgid(task: "Task", real: int, effective: int, saved: int) -> int:
    """getresgid(2)."""
    return put_ids(task, real, effective, saved, (task.gid, task.egid, task.sgid))


def sys_setresuid(task: "Task", real: int, effective: int, saved: int) -> int:
    """setresuid(2)."""
    before = ids_of(task)
    real, effective, saved = real & _KEEP, effective & _KEEP, saved & _KEEP
    if task.euid != 0:
        for value in (real, effective, saved):
            if value not in (_KEEP, task.uid, task.euid, task.suid):
                return -errno.EPERM
    task.uid = task.uid if real == _KEEP else real
    task.euid = task.euid if effective == _KEEP else effective
    task.suid = task.suid if saved == _KEEP else saved
    task.fsuid = task.euid
    commit_creds(task, before)
    return 0


def sys_setresgid(task: "Task", real: int, effective: int, saved: int) -> int:
    """setresgid(2)."""
    before = ids_of(task)
    real, effective, saved = real & _KEEP, effective & _KEEP, saved & _KEEP
    if task.euid != 0:
        for value in (real, effective, saved):
            if value not in (_KEEP, task.gid, task.egid, task.sgid):
                return -errno.EPERM
    task.gid = task.gid if real == _KEEP else real
    task.egid = task.egid if effective == _KEEP else effective
    task.sgid = task.sgid if saved == _KEEP else saved
    task.fsgid = task.egid
    commit_creds(task, before)
    return 0


def sys_setreuid(task: "Task", real: int, effective: int) -> int:
    """setreuid(2)."""
    before = ids_of(task)
    real, effective = real & _KEEP, effective & _KEEP
    may_real = real in (_KEEP, task.uid, task.euid)
    may_effective = effective in (_KEEP, task.uid, task.euid, task.suid)
    if task.euid != 0 and not (may_real and may_effective):
        return -errno.EPERM
    old = task.uid
    task.uid = task.uid if real == _KEEP else real
    task.euid = task.euid if effective == _KEEP else effective
    if real != _KEEP or effective not in (_KEEP, old):
        task.suid = task.euid
    task.fsuid = task.euid
    commit_creds(task, before)
    return 0


def sys_setregid(task: "Task", real: int, effective: int) -> int:
    """setregid(2)."""
    before = ids_of(task)
    real, effective = real & _KEEP, effective & _KEEP
    may_real = real in (_KEEP, task.gid, task.egid)
    may_effective = effective in (_KEEP, task.gid, task.egid, task.sgid)
    if task.euid != 0 and not (may_real and may_effective):
        return -errno.EPERM
    old = task.gid
    task.gid = task.gid if real == _KEEP else real
    task.egid = task.egid if effective == _KEEP else effective
    if real != _KEEP or effective not in (_KEEP, old):
        task.sgid = task.egid
    task.fsgid = task.egid
    commit_creds(task, before)
    return 0


def sys_setuid(task: "Task", uid: int) -> int:
    """setuid(2)."""
    before = ids_of(task)
    uid &= _KEEP
    if uid == _KEEP:
        return -errno.EINVAL
    if task.euid == 0:
        task.uid = task.suid = uid
    elif uid not in (task.uid, task.suid):
        return -errno.EPERM
    task.euid = task.fsuid = uid
    commit_creds(task, before)
    return 0


def sys_setgid(task: "Task", gid: int) -> int:
    """setgid(2)."""
    before = ids_of(task)
    gid &= _KEEP
    if gid == _KEEP:
        return -errno.EINVAL
    if task.euid == 0:
        task.gid = task.sgid = gid
    elif gid not in (task.gid, task.sgid):
        return -errno.EPERM
    task.egid = task.fsgid = gid
    commit_creds(task, before)
    return 0


def sys_setfsuid(task: "Task", uid: int) -> int:
    """setfsuid(2): the old one, whatever happens."""
    before = ids_of(task)
    old = task.fsuid
    uid &= _KEEP
    if uid != _KEEP and (task.euid == 0 or uid in (task.uid, task.euid, task.suid, task.fsuid)):
        task.fsuid = uid
        commit_creds(task, before)
    return old


def sys_setfsgid(task: "Task", gid: int) -> int:
    """setfsgid(2)."""
    before = ids_of(task)
    old = task.fsgid
    gid &= _KEEP
    if gid != _KEEP and (task.euid == 0 or gid in (task.gid, task.egid, task.sgid, task.fsgid)):
        task.fsgid = gid
        commit_creds(task, before)
    return old


def sys_getgroups(task: "Task", size: int, groups: int) -> int:
    """getgroups(2)."""
    return put_groups(task, size, groups, "I", task.groups)


def put_groups(task: "Task", size: int, addr: int, letter: str, groups: list[int]) -> int:
    """Writes ids, each as struct's ``letter``, to a room of ``size``; how many there are."""
    size = signed32(size)
    if size < 0:
        return -errno.EINVAL
    count = len(groups)
    if size == 0:
        return count
    if count > size:
        return -errno.EINVAL
    return count if copy_to_user(task.mm, addr, struct.pack(f"<{count}{letter}", *groups)) else -errno.EFAULT


def sys_setgroups(task: "Task", size: int, groups: int) -> int:
    """setgroups(2)."""
    size &= 0xFFFF_FFFF
    if task.euid != 0:
        return -errno.EPERM
    if size > NGROUPS_MAX:
        return -errno.EINVAL
    data = copy_from_user(task.mm, groups, size * 4)
    if data is None:
        return -errno.EFAULT
    task.groups = sorted(struct.unpack(f"<{size}I", data))
    task.sync_cred()
    return 0


def sys_getpgrp(task: "Task") -> int:
    """getpgrp(2)."""
    return task.pgid


def sys_getpgid(task: "Task", pid: int) -> int:
    """getpgid(2)."""
    other = task if signed32(pid) == 0 else task.kernel.find_task(signed32(pid))
    return -errno.ESRCH if other is None else other.pgid


def sys_getsid(task: "Task", pid: int) -> int:
    """getsid(2)."""
    other = task if signed32(pid) == 0 else task.kernel.find_task(signed32(pid))
    return -errno.ESRCH if other is None else other.sid


def sys_setpgid(task: "Task", pid: int, pgid: int) -> int:
    """setpgid(2): of the caller, or of a child that has not called execve."""
    pid, pgid = signed32(pid), signed32(pgid)
    if pid == 0:
        pid = task.tgid
    if pgid == 0:
        pgid = pid
    if pgid < 0:
        return -errno.EINVAL
    other = task.kernel.find_task(pid)
    if other is None:
        return -errno.ESRCH
    if not other.is_leader():
        return -errno.EINVAL
    if other.real_parent is not None and other.real_parent.signal is task.signal:
        if other.sid != task.sid:
            return -errno.EPERM
        if other.did_exec:
            return -errno.EACCES
    elif other.signal is not task.signal:
        return -errno.ESRCH
    if other.sid == other.tgid:
        return -errno.EPERM
    if pgid != pid and not any(
        member.pgid == pgid and member.sid == task.sid for member in task.kernel.tasks() if member.is_leader()
    ):
        return -errno.EPERM
    other.signal.pgrp = pgid
    return 0


def sys_setsid(task: "Task") -> int:
    """setsid(2): EPERM for a process group's leader, and while a group has the id."""
    pid = task.tgid
    if task.sid == pid or any(other.pgid == pid for other in task.kernel.tasks()):
        return -errno.EPERM
    task.signal.pgrp = task.signal.session = pid
    return pid


def sys_capget(task: "Task", header: int, data: int) -> int:
    """capget(2)."""
    version = capability_version(task, header)
    if version < 0:
        return 0 if data == 0 and version == -errno.EINVAL else version
    if data == 0:
        return 0
    full = (1 << (_CAP_LAST + 1)) - 1 if task.euid == 0 else 0
    words = [full & 0xFFFF_FFFF, full & 0xFFFF_FFFF, 0, full >> 32, full >> 32, 0]
    count = 3 if version == 1 else 6
    return 0 if copy_to_user(task.mm, data, struct.pack(f"<{count}I", *words[:count])) else -errno.EFAULT


def sys_capset(task: "Task", header: int, data: int) -> int:
    """capset(2): what changes nothing succeeds."""
    version = capability_version(task, header)
    if version < 0:
        return version
    count = 3 if version == 1 else 6
    given = copy_from_user(task.mm, data, count * 4)
    if given is None:
        return -errno.EFAULT
    full = (1 << (_CAP_LAST + 1)) - 1 if task.euid == 0 else 0
    words = struct.unpack(f"<{count}I", given)
    effective = words[0] | (words[3] << 32 if count == 6 else full >> 32 << 32)
    return 0 if effective & full == full else -errno.EPERM


def capability_version(task: "Task", header: int) -> int:
    """1 or 3 by the header's magic number (written back where it is unknown), or a negative errno."""
    data = copy_from_user(task.mm, header, 8)
    if data is None:
        return -errno.EFAULT
    version, pid = struct.unpack("<Ii", data)
    if version not in (_LINUX_CAPABILITY_VERSION_1, _LINUX_CAPABILITY_VERSION_2, _LINUX_CAPABILITY_VERSION_3):
        if not copy_to_user(task.mm, header, struct.pack("<I", _LINUX_CAPABILITY_VERSION_3)):
            return -errno.EFAULT
        return -errno.EINVAL
    if pid < 0:
        return -errno.EINVAL
    if pid and task.kernel.find_task(pid) is None:
        return -errno.ESRCH
    return 1 if version == _LINUX_CAPABILITY_VERSION_1 else 3
