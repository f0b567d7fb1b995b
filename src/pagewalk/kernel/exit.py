"""The end of a task: what it gives back, who gets its children, who is told.

Sources: exit(2), exit_group(2), wait(2), prctl(2) PR_SET_CHILD_SUBREAPER.

Mirrors: kernel/exit.c, kernel/signal.c (do_notify_parent) (6.18)
Differs: there is no init: an orphan has no parent, answers 1 to getppid, and is released as soon as it ends.
"""

from typing import TYPE_CHECKING

from pagewalk.kernel.clock import CLOCK_REALTIME, IntervalTimer
from pagewalk.kernel.futex import exit_robust_list, futex_wake_user
from pagewalk.kernel.futex_pi import exit_pi_state_list
from pagewalk.kernel.posix_timers import exit_posix_timers
from pagewalk.kernel.sem import exit_sem
from pagewalk.kernel.signal_send import kill_pgrp, send_signal, wake_for_signal
from pagewalk.kernel.signal_struct import SIGNAL_GROUP_EXIT, SIGNAL_STOP_STOPPED
from pagewalk.kernel.signal_types import (
    CLD_CONTINUED,
    CLD_DUMPED,
    CLD_EXITED,
    CLD_KILLED,
    NSIG,
    SA_NOCLDSTOP,
    SA_NOCLDWAIT,
    SIG_IGN,
    SIGCHLD,
    SIGCONT,
    SIGHUP,
    SIGKILL,
    child_info,
    kernel_info,
)
from pagewalk.kernel.task import EXIT_DEAD, EXIT_ZOMBIE
from pagewalk.mm.fork import mmput
from pagewalk.mm.split_rss import sync_mm_rss
from pagewalk.mm.uaccess import put_user_u32

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

CLK_TCK_NS = 10_000_000


def do_group_exit(task: "Task", code: int) -> None:
    """Ends the whole process with a wait status; a process that is ending already keeps its own."""
    signal = task.signal
    if signal.group_exiting():
        code = signal.group_exit_code
    else:
        signal.flags = SIGNAL_GROUP_EXIT
        signal.group_exit_code = code
        zap_other_threads(task)
    do_exit(task, code)


def zap_other_threads(task: "Task") -> int:
    """Sends SIGKILL to the other threads; how many there are."""
    count = 0
    for thread in task.signal.threads:
        if thread is not task:
            count += 1
            if not thread.is_ended():
                thread.pending.add(kernel_info(SIGKILL))
                wake_for_signal(thread, fatal=True)
    return count


def do_exit(task: "Task", code: int) -> None:
    """Ends one thread with a wait status. The last of a process closes its files and tells the parent."""
    if task.exit_code is not None:
        return
    kernel = task.kernel
    signal = task.signal
    if kernel.on_exit is not None:
        kernel.on_exit(task)
    signal.live -= 1
    if signal.live == 0:
        signal.timers = [IntervalTimer(), IntervalTimer(), IntervalTimer()]
        signal.cpu_timers = False
        kernel.sched.timers.cancel(signal.real_timer)
        exit_posix_timers(task)
        task.mm.update_hiwater()
        signal.maxrss = max(signal.maxrss, int(task.mm.hiwater_rss))
    exit_robust_list(task)
    exit_pi_state_list(task)
    mm_release(task)
    exit_sem(task, kernel.clock_ns(CLOCK_REALTIME) // 1_000_000_000)
    task.exit_code = code
    kernel.memcg_leave(task)
    if task.stack_charged:
        task.stack_charged = False
        kernel.system.memcg.uncharge_stack(task.kmem)
    if kernel.on_mm_release is not None:
        kernel.on_mm_release(task)
    if not task.keep_mm:
        mmput(task.mm)
    task.files.exit()
    if task.files.count == 0:
        task.kernel.system.slab.files_cache.free(task.files.memcg)
    task.fs.exit()
    task.fpu.cpu_forget()
    if signal.live == 0 and signal.leader.held:
        kernel.ns.sync()  # Python looks at the host's files next; Linux leaves dirty pages to its flusher threads
    exit_notify(task)


def mm_release(task: "Task") -> None:
    """The task gives its address space up (exit, execve): clears the word that joiners wait for, lets a vfork parent
    go on."""
    addr = task.clear_child_tid
    task.clear_child_tid = 0
    if addr and task.mm.mm_users > 1:
        put_user_u32(task.mm, addr, 0)
        futex_wake_user(task, addr)
    sync_mm_rss(task, task.mm)
    parent = task.vfork_parent
    if parent is not None:
        task.vfork_parent = None
        parent.vfork_child = None
        parent.kernel.sched.wake_up_process(parent)


def exit_notify(task: "Task") -> None:
    """The children get another parent, the parent is told; the task becomes a zombie, or is released at once."""
    signal = task.signal
    forget_original_parent(task)
    if signal.live == 0:
        kill_orphaned_pgrp(signal.leader, signal.leader.real_parent)
    task.state = EXIT_ZOMBIE
    autoreap = True
    if task.is_leader():
        autoreap = task.thread_group_empty() and do_notify_parent(task, task.exit_signal)
    waiter = signal.group_exec_task
    if waiter is not None:
        task.kernel.sched.wake_up_process(waiter)
    if autoreap:
        release_task(task)


def find_new_reaper(task: "Task") -> "Task | None":
    """Another thread of the process, else the nearest living ancestor that asked to be one, else init (None)."""
    for thread in task.signal.threads:
        if thread is not task and not thread.is_ended():
            return thread
    ancestor = task.signal.leader.real_parent
    while ancestor is not None:
        if ancestor.signal.is_child_subreaper:
            for thread in ancestor.signal.threads:
                if not thread.is_ended():
                    return thread
        ancestor = ancestor.signal.leader.real_parent
    return None


def forget_original_parent(task: "Task") -> None:
    """Gives the children away."""
    if not task.children:
        return
    reaper = find_new_reaper(task)
    same_process = reaper is not None and reaper.signal is task.signal
    for child in list(task.children):
        task.children.remove(child)
        child.real_parent = reaper
        if reaper is not None:
            reaper.children.append(child)
        for thread in list(child.signal.threads):
            if thread.pdeath_signal:
                send_signal(thread, kernel_info(thread.pdeath_signal))
        if same_process:
            continue
        child.exit_signal = SIGCHLD
        if child.state == EXIT_ZOMBIE and child.thread_group_empty() and do_notify_parent(child, child.exit_signal):
            release_task(child)
            continue
        kill_orphaned_pgrp(child, task)


def do_notify_parent(task: "Task", sig: int) -> bool:
    """Tells the parent of a process that has ended. True where nobody will wait for it."""
    parent = task.real_parent
    task.signal.wait_pidfd.wake_up(0, 0)
    if parent is None:
        return not task.held
    code = task.exit_code or 0
    status, cause = code >> 8 & 0xFF, CLD_EXITED
    if code & 0x7F:
        status, cause = code & 0x7F, CLD_DUMPED if code & 0x80 else CLD_KILLED
    user, system = task.signal.cpu_time_ns()
    action = parent.sighand.action[SIGCHLD - 1]
    autoreap = False
    if sig == SIGCHLD and (action.handler == SIG_IGN or action.flags & SA_NOCLDWAIT):
        autoreap = True
        if action.handler == SIG_IGN:
            sig = 0
    if 0 < sig <= NSIG:
        send_signal(
            parent, child_info(sig, cause, task.pid, task.uid, status, user // CLK_TCK_NS, system // CLK_TCK_NS)
        )
    parent.signal.wait_chldexit.wake_up(0, 0)
    return autoreap


def notify_parent_cldstop(task: "Task", why: int, sig: int) -> None:
    """Tells the parent that the process stopped (CLD_STOPPED) or goes on (CLD_CONTINUED)."""
    leader = task.signal.leader
    parent = leader.real_parent
    if parent is None:
        return
    user, system = task.signal.cpu_time_ns()
    action = parent.sighand.action[SIGCHLD - 1]
    if action.handler != SIG_IGN and not action.flags & SA_NOCLDSTOP:
        status = SIGCONT if why == CLD_CONTINUED else sig
        send_signal(
            parent,
            child_info(SIGCHLD, why, leader.pid, task.uid, status, user // CLK_TCK_NS, system // CLK_TCK_NS),
        )
    parent.signal.wait_chldexit.wake_up(0, 0)


def release_task(task: "Task") -> None:
    """Forgets a task that has ended: nobody will ask for it any more."""
    if task.state == EXIT_DEAD:
        return
    task.state = EXIT_DEAD
    kernel = task.kernel
    if task.keep_mm:
        task.keep_mm = False
        mmput(task.mm)
    signal = task.signal
    signal.absorb(task)
    signal.wait_pidfd.wake_up(0, 0)
    if kernel.tasks_by_pid.get(task.pid) is task:
        del kernel.tasks_by_pid[task.pid]
    slab = kernel.system.slab
    slab.task_struct.free(task.kmem)
    slab.pid.free(task.kmem)
    kernel.system.stacks.free()
    task.sighand.count -= 1
    if task.sighand.count == 0:
        slab.sighand_cache.free(task.sighand.memcg)
    if task.is_leader():
        slab.signal_cache.free(signal.memcg)
    parent = task.real_parent
    if task.is_leader():
        if parent is not None and task in parent.children:
            parent.children.remove(task)
        return
    leader = signal.leader
    if len(signal.threads) == 1 and leader.state == EXIT_ZOMBIE and do_notify_parent(leader, leader.exit_signal):
        release_task(leader)


def is_current_pgrp_orphaned(task: "Task") -> bool:
    """Whether no process of the session watches the task's process group: terminal stops have no effect then."""
    return will_become_orphaned_pgrp(task, task.pgid, None)


def will_become_orphaned_pgrp(task: "Task", pgrp: int, ignored: "Task | None") -> bool:
    """Whether the group has no member with a parent outside the group but in the session."""
    for other in task.kernel.tasks():
        if other.pgid != pgrp or not other.is_leader() or other is ignored:
            continue
        if other.is_ended() and other.thread_group_empty():
            continue
        parent = other.real_parent
        if other.held:
            return False  # whoever started it watches it
        if parent is not None and parent.pgid != pgrp and parent.sid == other.sid:
            return False
    return True


def kill_orphaned_pgrp(task: "Task", parent: "Task | None") -> None:
    """Where the end of ``parent`` (or of ``task``) leaves a group with stopped jobs to itself: SIGHUP and SIGCONT."""
    ignored: Task | None = None
    if parent is task.real_parent:
        ignored = task
    if parent is None or parent.pgid == task.pgid or parent.sid != task.sid:
        return
    pgrp = task.pgid
    if not will_become_orphaned_pgrp(task, pgrp, ignored):
        return
    tasks = task.kernel.tasks()
    stopped = [other for other in tasks if other.pgid == pgrp and other.signal.flags & SIGNAL_STOP_STOPPED]
    if stopped:
        kill_pgrp(tasks, pgrp, kernel_info(SIGHUP))
        kill_pgrp(tasks, pgrp, kernel_info(SIGCONT))
