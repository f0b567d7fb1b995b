"""A machine's processes as the OOM killer sees them, read from /proc: this machine's, or a modelled one's.

Sources: proc_pid_status(5), proc_pid_stat(5), proc_pid_oom_score(5), proc_meminfo(5).
"""

import re
from pathlib import Path
from resource import getpagesize

from pagewalk.errors import ConfigError
from pagewalk.mm.oom_kill import OomTask
from pagewalk.oom.rank import Ranking, rank

__all__ = ["live_ranking", "read_process"]

_INIT_PID_NS = 4026531836  # the inode of the first namespace of process ids


def read_process(directory: Path) -> OomTask | None:
    """One process; None where it has ended, or is a kernel thread or a zombie, which have no memory. The page size is
    that of the machine whose /proc it is: the text has sizes in kB and in pages."""
    try:
        status = (directory / "status").read_text(errors="surrogateescape")
        statm = (directory / "statm").read_text().split()
        adj = (directory / "oom_score_adj").read_text()
    except (OSError, ValueError):
        return None
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    if "VmRSS" not in fields or not statm:
        return None
    task = OomTask(int(directory.name), fields["Name"].strip())
    total_vm = int(statm[0])
    page_kb = kilobytes(fields, "VmSize") // total_vm if total_vm else getpagesize() >> 10
    task.tgid = int(fields["Tgid"])
    task.uid = int(fields["Uid"].split()[0])
    task.total_vm = total_vm
    task.rss_anon, task.rss_file, task.rss_shmem = [
        kilobytes(fields, name) // page_kb for name in ("RssAnon", "RssFile", "RssShmem")
    ]
    task.rss = kilobytes(fields, "VmRSS") // page_kb
    task.swapents = kilobytes(fields, "VmSwap") // page_kb
    task.pgtables_bytes = kilobytes(fields, "VmPTE") * 1024
    task.page_kb = page_kb
    task.oom_score_adj = int(adj)
    return task


def kilobytes(fields: dict[str, str], name: str) -> int:
    """The number of a line of /proc/PID/status; 0 where there is none."""
    match = re.match(r"\s*(\d+) kB", fields.get(name, ""))
    return int(match[1]) if match is not None else 0


def live_ranking(proc: Path = Path("/proc")) -> Ranking:
    """All processes that there are now, and what the kernel itself shows as their oom_score (in the notes of those
    where it differs by more than rounding).

    ConfigError where ``proc`` is not what it should be.
    """
    try:
        meminfo = dict(line.split(":", 1) for line in (proc / "meminfo").read_text().splitlines())
        pids = sorted(int(name.name) for name in proc.iterdir() if name.name.isdigit())
    except (OSError, ValueError) as error:
        raise ConfigError(f"oom --live: cannot read {proc}: {error}") from None
    total_kb = kilobytes(meminfo, "MemTotal") + kilobytes(meminfo, "SwapTotal")
    if total_kb <= 0:
        raise ConfigError(f"oom --live: {proc}/meminfo has no MemTotal")
    started: list[tuple[int, OomTask]] = []
    for pid in pids:
        task = read_process(proc / str(pid))
        if task is not None:
            task.unkillable = pid == 1 and is_first_namespace(proc)
            started.append((start_time(proc / str(pid)), task))
    started.sort(key=lambda each: (each[0], each[1].pid))
    page_kb = started[0][1].page_kb if started else getpagesize() >> 10
    return rank([task for _, task in started], total_kb // page_kb, f"{proc}/meminfo")


def is_first_namespace(proc: Path) -> bool:
    """Whether process 1 is the machine's init and not a container's."""
    try:
        return (proc / "1/ns/pid").stat().st_ino == _INIT_PID_NS
    except OSError:
        return True


def start_time(directory: Path) -> int:
    """When a process began, in ticks; 0 where it has ended."""
    try:
        return int((directory / "stat").read_text(errors="surrogateescape").rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0


def kernel_scores(tasks: list[OomTask], proc: Path = Path("/proc")) -> dict[int, int]:
    """What the kernel shows as oom_score now, by pid; those that have ended are left out."""
    scores = {}
    for task in tasks:
        try:
            scores[task.pid] = int((proc / str(task.pid) / "oom_score").read_text())
        except (OSError, ValueError):
            continue
    return scores
