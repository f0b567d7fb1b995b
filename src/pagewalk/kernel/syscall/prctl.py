"""prctl(2).

Mirrors: kernel/sys.c, security/commoncap.c (6.18)
Differs: what is set is remembered and has no effect, except the name.
"""

import errno
import os
import struct
from typing import TYPE_CHECKING, Final

from pagewalk.kernel.signal_types import NSIG
from pagewalk.kernel.word import signed32
from pagewalk.mm.uaccess import copy_from_user, copy_to_user, strncpy_from_user

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

PR_SET_PDEATHSIG: Final = 1
PR_GET_PDEATHSIG: Final = 2
PR_GET_DUMPABLE: Final = 3
PR_SET_DUMPABLE: Final = 4
PR_GET_KEEPCAPS: Final = 7
PR_SET_KEEPCAPS: Final = 8
PR_GET_TIMING: Final = 13
PR_SET_NAME: Final = 15
PR_GET_NAME: Final = 16
PR_GET_SECCOMP: Final = 21
PR_CAPBSET_READ: Final = 23
PR_GET_TSC: Final = 25
PR_SET_TSC: Final = 26
PR_GET_SECUREBITS: Final = 27
PR_SET_TIMERSLACK: Final = 29
PR_GET_TIMERSLACK: Final = 30
PR_SET_CHILD_SUBREAPER: Final = 36
PR_GET_CHILD_SUBREAPER: Final = 37
PR_SET_NO_NEW_PRIVS: Final = 38
PR_GET_NO_NEW_PRIVS: Final = 39
PR_GET_TID_ADDRESS: Final = 40
PR_SET_THP_DISABLE: Final = 41
PR_GET_THP_DISABLE: Final = 42
PR_CAP_AMBIENT: Final = 47
PR_GET_MDWE: Final = 66
PR_GET_AUXV: Final = 0x41555856

SECBIT_KEEP_CAPS: Final = 16
_CAP_LAST: Final = 40


def sys_prctl(task: "Task", option: int, arg2: int, arg3: int, arg4: int, arg5: int) -> int:
    """prctl(2)."""
    option = signed32(option)
    if option == PR_SET_NAME:
        name: bytes | int | None = strncpy_from_user(task.mm, arg2, 15)
        if name == -errno.ENAMETOOLONG:
            name = copy_from_user(task.mm, arg2, 15)
        if name is None or isinstance(name, int):
            return -errno.EFAULT
        task.comm = os.fsdecode(name)
        return 0
    if option == PR_GET_NAME:
        return put(task, arg2, os.fsencode(task.comm)[:15].ljust(16, b"\0"))
    if option in (PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_KEEPCAPS, PR_SET_TSC, PR_SET_CHILD_SUBREAPER):
        return set_value(task, option, arg2)
    if option == PR_GET_PDEATHSIG:
        return put(task, arg2, struct.pack("<i", task.pdeath_signal))
    if option == PR_GET_DUMPABLE:
        return task.dumpable
    if option == PR_GET_KEEPCAPS:
        return task.keepcaps
    if option == PR_GET_TSC:
        return put(task, arg2, struct.pack("<i", 1))
    if option == PR_SET_TIMERSLACK:
        task.timer_slack_ns = arg2 if arg2 > 0 else task.default_timer_slack_ns
        return 0
    if option == PR_GET_TIMERSLACK:
        return task.timer_slack_ns
    if option == PR_GET_CHILD_SUBREAPER:
        return put(task, arg2, struct.pack("<i", int(task.signal.is_child_subreaper)))
    if option == PR_SET_NO_NEW_PRIVS:
        if arg2 != 1 or arg3 or arg4 or arg5:
            return -errno.EINVAL
        task.no_new_privs = 1
        return 0
    if option == PR_GET_NO_NEW_PRIVS:
        return -errno.EINVAL if arg2 or arg3 or arg4 or arg5 else task.no_new_privs
    if option == PR_GET_TID_ADDRESS:
        return put(task, arg2, struct.pack("<Q", task.clear_child_tid))
    if option == PR_SET_THP_DISABLE:
        if arg3 or arg4 or arg5:
            return -errno.EINVAL
        task.thp_disable = 1 if arg2 else 0
        return 0
    if option == PR_GET_THP_DISABLE:
        return -errno.EINVAL if arg2 or arg3 or arg4 or arg5 else task.thp_disable
    if option == PR_CAPBSET_READ:
        return -errno.EINVAL if not 0 <= arg2 <= _CAP_LAST else 1
    if option == PR_CAP_AMBIENT:
        return 0 if arg2 == 1 and 0 <= arg3 <= _CAP_LAST else -errno.EINVAL
    if option == PR_GET_MDWE:
        return -errno.EINVAL if arg2 or arg3 or arg4 or arg5 else 0
    if option == PR_GET_AUXV:
        if arg4 or arg5:
            return -errno.EINVAL
        auxv = task.mm.saved_auxv
        done = copy_to_user(task.mm, arg2, auxv[: max(0, arg3)])
        return len(auxv) if done else -errno.EFAULT
    if option == PR_GET_SECUREBITS:
        return SECBIT_KEEP_CAPS if task.keepcaps else 0
    if option in (PR_GET_TIMING, PR_GET_SECCOMP):
        return 0
    return -errno.EINVAL


def put(task: "Task", addr: int, data: bytes) -> int:
    """Writes an answer."""
    return 0 if copy_to_user(task.mm, addr, data) else -errno.EFAULT


def set_value(task: "Task", option: int, value: int) -> int:
    """The setters of a small number."""
    if option == PR_SET_PDEATHSIG:
        if not 0 <= value <= NSIG:
            return -errno.EINVAL
        task.pdeath_signal = value
    elif option == PR_SET_DUMPABLE:
        if value not in (0, 1):
            return -errno.EINVAL
        task.set_dumpable(value)
    elif option == PR_SET_KEEPCAPS:
        if value not in (0, 1):
            return -errno.EINVAL
        task.keepcaps = value
    elif option == PR_SET_TSC:
        return 0 if value == 1 else -errno.EINVAL
    else:
        task.signal.is_child_subreaper = value != 0
    return 0
