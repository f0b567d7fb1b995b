"""semget, semop, semtimedop, semctl.

Sources: semget(2), semop(2), semctl(2).

Mirrors: ipc/sem.c (6.18)
Differs: SEM_STAT and SEM_STAT_ANY take the id itself as index.
"""

import errno
import struct
from typing import TYPE_CHECKING, Final

from pagewalk.kernel.clock import CLOCK_REALTIME, host_clock_ns
from pagewalk.kernel.sem import (
    IPC_CREAT,
    IPC_EXCL,
    IPC_PRIVATE,
    SEM_UNDO,
    SEMMNI,
    SEMMSL,
    SEMOPM,
    SEMVMX,
    WOULD_WAIT,
    SemArray,
    Sembuf,
    SemQueue,
    UndoList,
)
from pagewalk.kernel.signal_send import signal_pending
from pagewalk.kernel.syscall.args import get_timespec, timespec_ns
from pagewalk.kernel.wait import FOREVER
from pagewalk.kernel.word import signed32
from pagewalk.mm.uaccess import copy_from_user, copy_to_user

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

IPC_RMID: Final = 0
IPC_SET: Final = 1
IPC_STAT: Final = 2
IPC_INFO: Final = 3
GETPID: Final = 11
GETVAL: Final = 12
GETALL: Final = 13
GETNCNT: Final = 14
GETZCNT: Final = 15
SETVAL: Final = 16
SETALL: Final = 17
SEM_STAT: Final = 18
SEM_INFO: Final = 19
SEM_STAT_ANY: Final = 20

S_IRUGO: Final = 0o444
S_IWUGO: Final = 0o222
SEMMNS: Final = 32000 * 32000

_SEMID64_DS: Final = "<iIIIIIHH4xQQqQqQQQQ"
_SEMID64_DS_GENERIC: Final = "<iIIIIIHH4xQQqqQQQ"
_SEMID64_DS_32: Final = "<iIIIIHHHH8xQQI8x"  # of a 32-bit program; times in two halves
_STATS: Final = (IPC_STAT, SEM_STAT, SEM_STAT_ANY)
_COMMANDS: Final = (
    IPC_RMID, IPC_SET, IPC_STAT, SEM_STAT, SEM_STAT_ANY, GETPID, GETVAL, GETALL, GETNCNT, GETZCNT, SETVAL, SETALL,
)  # fmt: skip


def seconds() -> int:
    """Now."""
    return host_clock_ns(CLOCK_REALTIME) // 1_000_000_000


def ipcperms(task: "Task", array: SemArray, wanted: int) -> bool:
    """Whether the task may: ``wanted`` are permission bits, of which those of its class count."""
    asked = wanted >> 6 | wanted >> 3 | wanted
    granted = array.mode
    if task.euid in (array.uid, array.cuid):
        granted >>= 6
    elif any(gid in (array.gid, array.cgid) for gid in [task.egid, *task.groups]):
        granted >>= 3
    return not asked & ~granted & 7 or task.capable


def sys_semget(task: "Task", key: int, count: int, flags: int) -> int:
    """semget(2)."""
    key, count, flags = signed32(key), signed32(count), signed32(flags)
    if count < 0 or count > SEMMSL:
        return -errno.EINVAL
    found = task.kernel.sem.find_key(key)
    if found is None:
        if key != IPC_PRIVATE and not flags & IPC_CREAT:
            return -errno.ENOENT
        return task.kernel.sem.create(key, count, flags, (task.euid, task.egid), seconds())
    if flags & IPC_CREAT and flags & IPC_EXCL:
        return -errno.EEXIST
    if count > len(found.values):
        return -errno.EINVAL
    return found.ident if ipcperms(task, found, flags & 0o777) else -errno.EACCES


def sys_semop(task: "Task", ident: int, operations: int, count: int) -> int:
    """semop(2)."""
    return sys_semtimedop(task, ident, operations, count, 0)


def sys_semtimedop(task: "Task", ident: int, operations: int, count: int, timeout: int) -> int:
    """semtimedop(2): EAGAIN when the time is up. A signal ends it with EINTR, whatever its action."""
    ident = signed32(ident)
    count &= 0xFFFF_FFFF
    deadline = FOREVER
    length = 0
    if timeout:
        given = get_timespec(task, timeout)
        if given is None:
            return -errno.EFAULT
        length = timespec_ns(given[0], given[1])
    if count > SEMOPM:
        return -errno.E2BIG
    if count < 1:
        return -errno.EINVAL
    data = copy_from_user(task.mm, operations, count * 6)
    if data is None:
        return -errno.EFAULT
    if ident < 0 or length < 0:
        return -errno.EINVAL
    if timeout:
        deadline = task.kernel.monotonic_ns() + length
    given_ops: list[Sembuf] = list(struct.iter_unpack("<Hhh", data))
    array = task.kernel.sem.arrays.get(ident)
    if array is None:
        return -errno.EINVAL
    if any(number >= len(array.values) for number, _, _ in given_ops):
        return -errno.EFBIG
    queue = SemQueue(task, given_ops, undo_of(task, array, given_ops))
    if not ipcperms(task, array, S_IWUGO if queue.alters else S_IRUGO):
        return -errno.EACCES
    return wait_for_semaphores(task, array, queue, deadline)


def undo_of(task: "Task", array: SemArray, operations: list[Sembuf]) -> UndoList | None:
    """The process's undo list with room for the set, where an operation is to be undone."""
    if not any(flags & SEM_UNDO for _, _, flags in operations):
        return None
    if task.sysvsem is None:
        task.sysvsem = UndoList()
    if task.sysvsem not in array.adjustments:
        array.adjustments[task.sysvsem] = [0] * len(array.values)
    return task.sysvsem


def wait_for_semaphores(task: "Task", array: SemArray, queue: SemQueue, deadline: int) -> int:
    """Performs the operations, at once or when others have made them possible."""
    result = array.perform(queue)
    if result == 0:
        array.otime = seconds()
        if queue.alters:
            array.update()
    if result != WOULD_WAIT:
        return result
    array.pending.append(queue)
    while True:
        in_time = task.kernel.wait(task, deadline, [], [], "do_semtimedop")
        if queue.done:
            return queue.result
        if not in_time or signal_pending(task):
            array.pending.remove(queue)
            return -errno.EINTR if in_time else -errno.EAGAIN


def sys_semctl(task: "Task", ident: int, number: int, command: int, arg: int) -> int:
    """semctl(2)."""
    ident, number = signed32(ident), signed32(number)
    command = signed32(command) & ~0x100  # IPC_64
    if ident < 0:
        return -errno.EINVAL
    if command in (IPC_INFO, SEM_INFO):
        return info(task, command, arg)
    change = b""
    if command == IPC_SET:
        layout = _SEMID64_DS_GENERIC if task.kernel.abi.asm_generic else _SEMID64_DS
        data = copy_from_user(task.mm, arg, struct.calcsize(_SEMID64_DS_32 if task.compat else layout))
        if data is None:
            return -errno.EFAULT
        change = data
    value = signed32(arg)
    if command == SETVAL and not 0 <= value <= SEMVMX:
        return -errno.ERANGE
    array = task.kernel.sem.arrays.get(ident)
    if array is None or command not in _COMMANDS:
        return -errno.EINVAL
    if command in (IPC_RMID, IPC_SET):
        return control(task, array, command, change)
    if command == SETVAL and not 0 <= number < len(array.values):
        return -errno.EINVAL
    wanted = S_IWUGO if command in (SETALL, SETVAL) else S_IRUGO
    if command != SEM_STAT_ANY and not ipcperms(task, array, wanted):
        return -errno.EACCES
    if command in _STATS:
        if not copy_to_user(task.mm, arg, pack_semid(task, array)):
            return -errno.EFAULT
        return 0 if command == IPC_STAT else array.ident
    if command == GETALL:
        done = copy_to_user(task.mm, arg, struct.pack(f"<{len(array.values)}H", *array.values))
        return 0 if done else -errno.EFAULT
    if command == SETALL:
        return set_all(task, array, arg)
    if not 0 <= number < len(array.values):
        return -errno.EINVAL
    if command == SETVAL:
        array.forget_adjustments(number)
        array.values[number] = value
        array.pids[number] = task.tgid
        array.ctime = seconds()
        array.update()
        return 0
    if command == GETVAL:
        return array.values[number]
    if command == GETPID:
        return array.pids[number]
    return array.waiting(number, for_zero=command == GETZCNT)


def set_all(task: "Task", array: SemArray, addr: int) -> int:
    """SETALL."""
    count = len(array.values)
    data = copy_from_user(task.mm, addr, count * 2)
    if data is None:
        return -errno.EFAULT
    values = list(struct.unpack(f"<{count}H", data))
    if any(value > SEMVMX for value in values):
        return -errno.ERANGE
    array.values = values
    array.pids = [task.tgid] * count
    array.forget_adjustments(-1)
    array.ctime = seconds()
    array.update()
    return 0


def control(task: "Task", array: SemArray, command: int, change: bytes) -> int:
    """IPC_RMID, IPC_SET: its owner's and its maker's."""
    if task.euid not in (array.uid, array.cuid) and not task.capable:
        return -errno.EPERM
    if command == IPC_RMID:
        task.kernel.sem.remove(array)
        return 0
    fields = struct.unpack_from("<iIIIIH", change)
    array.uid, array.gid = fields[1], fields[2]
    array.mode = array.mode & ~0o777 | fields[5] & 0o777
    array.ctime = seconds()
    return 0


def pack_semid(task: "Task", array: SemArray) -> bytes:
    """struct semid64_ds of the program that makes the system call under way."""
    if task.compat:
        return semid64_ds_32(array)
    if task.kernel.abi.asm_generic:
        owners = (array.key, array.uid, array.gid, array.cuid, array.cgid, array.mode, 0, 0, 0, 0)
        return struct.pack(_SEMID64_DS_GENERIC, *owners, array.otime, array.ctime, len(array.values), 0, 0)
    return semid64_ds(array)


def semid64_ds(array: SemArray) -> bytes:
    """struct semid64_ds."""
    owners = (array.key, array.uid, array.gid, array.cuid, array.cgid, array.mode, 0, 0, 0, 0)
    return struct.pack(_SEMID64_DS, *owners, array.otime, 0, array.ctime, 0, len(array.values), 0, 0)


def semid64_ds_32(array: SemArray) -> bytes:
    """The 64 bytes of a 32-bit program's struct."""
    owners = (array.key, array.uid, array.gid, array.cuid, array.cgid, array.mode & 0xFFFF, 0, 0, 0)
    return struct.pack(_SEMID64_DS_32, *owners, array.otime, array.ctime, len(array.values))


def info(task: "Task", command: int, addr: int) -> int:
    """IPC_INFO: the limits; SEM_INFO: what is in use. The highest index, or -EFAULT."""
    arrays = task.kernel.sem.arrays
    used, aem = 20, SEMVMX
    if command == SEM_INFO:
        used = len(arrays)
        aem = sum([len(array.values) for array in arrays.values()])
    data = struct.pack("<10i", SEMMNS, SEMMNI, SEMMNS, SEMMNS, SEMMSL, SEMOPM, SEMOPM, used, SEMVMX, aem)
    return max(arrays, default=0) if copy_to_user(task.mm, addr, data) else -errno.EFAULT
