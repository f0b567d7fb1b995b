"""Restartable sequences: the CPU's number in user memory, and the abort of a sequence that was interrupted.

Sources: rseq(2); include/uapi/linux/rseq.h (layout of struct rseq and struct rseq_cs).

Mirrors: kernel/rseq.c (6.18)
Differs: no concurrency ids (mm_cid is the CPU's number).
"""

import struct
from typing import TYPE_CHECKING, Final

from pagewalk.kernel.signal_send import force_sig
from pagewalk.kernel.signal_types import SIGSEGV
from pagewalk.mm.uaccess import copy_from_user, copy_to_user, get_user_u32, get_user_u64

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

RSEQ_CS: Final = 8  # offset of the pointer to the sequence's description
_DESCRIPTION: Final = struct.Struct("<IIQQQ")  # version, flags, start_ip, post_commit_offset, abort_ip


def rseq_handle_notify_resume(task: "Task") -> None:
    """Before the program goes on: where it has lost its CPU since, willingly or not, or was moved, its area is brought
    up to date and a sequence that it was in starts anew."""
    if task.rseq_preempted or task.rseq_cpu != task.cpu:
        task.rseq_preempted = False
        if not rseq_ip_fixup(task) or not rseq_update_cpu(task):
            force_sig(task, SIGSEGV)


def rseq_signal_deliver(task: "Task") -> bool:
    """Before a handler's frame is written: a sequence that the program is in starts anew when that returns. False where
    the area cannot be reached."""
    return rseq_ip_fixup(task) and rseq_update_cpu(task)


def rseq_update_cpu(task: "Task") -> bool:
    """cpu_id_start, cpu_id, and behind rseq_cs and flags node_id and mm_cid; False for EFAULT."""
    task.rseq_cpu = task.cpu
    cpu = task.cpu
    if not copy_to_user(task.mm, task.rseq, struct.pack("<II", cpu, cpu)):
        return False
    return bool(copy_to_user(task.mm, task.rseq + 20, struct.pack("<II", 0, cpu)))


def rseq_ip_fixup(task: "Task") -> bool:
    """Where the program is in a sequence: off to its abort handler. False where the description is none."""
    pointer = get_user_u64(task.mm, task.rseq + RSEQ_CS)
    if pointer is None:
        return False
    if pointer == 0:
        return True
    data = copy_from_user(task.mm, pointer, _DESCRIPTION.size) if pointer < task.mm.task_size else None
    if data is None:
        return False
    version, flags, start, length, abort = _DESCRIPTION.unpack(data)
    if version > 0 or start >= task.mm.task_size or start + length >= task.mm.task_size or start + length < start:
        return False
    if abort >= task.mm.task_size or 0 <= abort - start < length:
        return False
    if get_user_u32(task.mm, abort - 4) != task.rseq_sig & 0xFFFF_FFFF or flags:
        return False
    inside = 0 <= task.regs.instruction_pointer() - start < length
    if not copy_to_user(task.mm, task.rseq + RSEQ_CS, bytes(8)):
        return False
    if inside:
        task.regs.set_instruction_pointer(abort)
    return True
