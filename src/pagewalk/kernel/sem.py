"""System V semaphores: sets by id and key, operations that happen all at once, and what is undone at the end.

Who cannot go on waits in ``SemArray.pending``; whoever changes a value completes, on their behalf, the operations that
are possible then: first those that only wait for zeros, then the others in the order in which they came.

Sources: semget(2), semop(2), semctl(2), sysvipc(7).

Mirrors: ipc/sem.c, ipc/util.c (6.18)
Differs: ids count up from 0 and are not reused; wakers do not mind the priority of waiters.
"""

import errno
from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

IPC_PRIVATE: Final = 0
IPC_CREAT: Final = 0o1000
IPC_EXCL: Final = 0o2000
IPC_NOWAIT: Final = 0o4000
SEM_UNDO: Final = 0x1000

SEMMSL: Final = 32000
SEMMNI: Final = 32000
SEMOPM: Final = 500
SEMVMX: Final = 32767

WOULD_WAIT: Final = 1

Sembuf = tuple[int, int, int]  # number, operation, flags


@final
class SemArray:
    """struct sem_array: a set of semaphores.

    values, pids   of each semaphore: semval, and who changed it last
    otime, ctime   seconds since 1970 of the last operation and change
    pending        who waits, in order of arrival; adjustments: what is undone when a process ends, by its undo list
    """

    def __init__(self, ident: int, key: int, count: int, mode: int, owner: tuple[int, int], now: int) -> None:
        self.ident = ident
        self.key = key
        self.mode = mode
        self.uid, self.gid = owner
        self.cuid, self.cgid = owner
        self.values = [0] * count
        self.pids = [0] * count
        self.otime = 0
        self.ctime = now
        self.pending: list[SemQueue] = []
        self.adjustments: dict[UndoList, list[int]] = {}

    def perform(self, queue: "SemQueue") -> int:
        """perform_atomic_semop: all operations, or none. 0; WOULD_WAIT, and ``queue.blocking`` is the one that has to;
        -EAGAIN where that one does not wait; -ERANGE."""
        values = list(self.values)
        undo = self.adjustments.get(queue.undo) if queue.undo is not None else None
        adjusted = list(undo) if undo is not None else []
        for number, operation, flags in queue.operations:
            value = values[number]
            if (operation == 0 and value) or value + operation < 0:
                queue.blocking = (number, operation, flags)
                return -errno.EAGAIN if flags & IPC_NOWAIT else WOULD_WAIT
            if value + operation > SEMVMX:
                return -errno.ERANGE
            if flags & SEM_UNDO and undo is not None:
                adjusted[number] -= operation
                if not -SEMVMX - 1 <= adjusted[number] <= SEMVMX:
                    return -errno.ERANGE
            values[number] = value + operation
        self.values = values
        if undo is not None:
            undo[:] = adjusted
        for number, _, _ in queue.operations:
            self.pids[number] = queue.task.tgid
        return 0

    def update(self) -> None:
        """do_smart_update: completes what has become possible."""
        again = True
        while again:
            again = False
            for alters in (False, True):
                for queue in list(self.pending):
                    if queue.alters != alters or queue not in self.pending:
                        continue
                    result = self.perform(queue)
                    if result == WOULD_WAIT:
                        continue
                    self.pending.remove(queue)
                    queue.finish(result)
                    if alters and result == 0:
                        again = True
                        break
                if again:
                    break

    def waiting(self, number: int, *, for_zero: bool) -> int:
        """count_semcnt: how many wait for a semaphore to be zero, or for it to grow."""
        count = 0
        for queue in self.pending:
            at, operation, _ = queue.blocking
            if at == number and (operation == 0) == for_zero:
                count += 1
        return count

    def forget_adjustments(self, number: int) -> None:
        """A semaphore (-1: each) was set: nothing that was done to it before is undone."""
        for undo in self.adjustments.values():
            for at in range(len(undo)):
                if number in (-1, at):
                    undo[at] = 0


@final
class SemQueue:
    """struct sem_queue: operations of a task that are to happen at once. ``result`` is set when they have, or never
    will."""

    def __init__(self, task: "Task", operations: list[Sembuf], undo: "UndoList | None") -> None:
        self.task = task
        self.operations = operations
        self.undo = undo
        self.alters = any(operation != 0 for _, operation, _ in operations)
        self.blocking: Sembuf = operations[0]
        self.done = False
        self.result = 0

    def finish(self, result: int) -> None:
        """Its task goes on."""
        self.done = True
        self.result = result
        self.task.kernel.sched.wake_up_process(self.task)


@final
class UndoList:
    """struct sem_undo_list: stands for the process, or those that share it (CLONE_SYSVSEM), ``users`` tasks."""

    def __init__(self) -> None:
        self.users = 1


@final
class SemNamespace:
    """All semaphore sets of a machine."""

    def __init__(self) -> None:
        self.arrays: dict[int, SemArray] = {}
        self.next_id = 0

    def find_key(self, key: int) -> SemArray | None:
        """The set with a key that is not IPC_PRIVATE."""
        for array in self.arrays.values():
            if array.key == key and key != IPC_PRIVATE:
                return array
        return None

    def create(self, key: int, count: int, mode: int, owner: tuple[int, int], now: int) -> int:
        """newary: the id of a new set, -EINVAL for one of none, -ENOSPC."""
        if count == 0:
            return -errno.EINVAL
        if len(self.arrays) >= SEMMNI:
            return -errno.ENOSPC
        ident = self.next_id
        self.next_id += 1
        self.arrays[ident] = SemArray(ident, key, count, mode & 0o777, owner, now)
        return ident

    def proc_lines(self) -> str:
        """The lines of /proc/sysvipc/sem below its heading."""
        out = ""
        for array in self.arrays.values():
            out += (
                f"{array.key:10d} {array.ident:10d}  {array.mode:4o} {len(array.values):10d} {array.uid:5d} "
                f"{array.gid:5d} {array.cuid:5d} {array.cgid:5d} {array.otime:10d} {array.ctime:10d}\n"
            )
        return out

    def remove(self, array: SemArray) -> None:
        """freeary: who waits gets EIDRM."""
        del self.arrays[array.ident]
        pending = array.pending
        array.pending = []
        for queue in pending:
            queue.finish(-errno.EIDRM)


def exit_sem(task: "Task", now: int) -> None:
    """The task gives its undo list up; with its last user what it has done is undone, as far as values allow."""
    undo = task.sysvsem
    task.sysvsem = None
    if undo is None:
        return
    undo.users -= 1
    if undo.users:
        return
    for array in list(task.kernel.sem.arrays.values()):
        adjusted = array.adjustments.pop(undo, None)
        if adjusted is None:
            continue
        for number, adjustment in enumerate(adjusted):
            if adjustment:
                array.values[number] = min(max(array.values[number] + adjustment, 0), SEMVMX)
                array.pids[number] = task.tgid
        array.otime = now
        array.update()
