"""Reads OOM reports from a kernel's log: with or without time stamps, one or many, or only the table of tasks.

What a line is, is told by its words; lines of other sources in between are skipped. The columns of the table are read
off its heading, so that tables of kernels from 3.x to 6.18 are understood.
"""

import re
from dataclasses import dataclass, field
from typing import Final

from pagewalk.errors import ConfigError
from pagewalk.mm.oom_kill import CONSTRAINT_NAMES, CONSTRAINT_NONE, OOM_SCORE_ADJ_MAX, OOM_SCORE_ADJ_MIN, OomTask
from pagewalk.mm.oom_report import TASKS_TITLE, MemInfo
from pagewalk.oom.parse_mem import parse_mem_line, take_sums
from pagewalk.oom.stamps import strip_stamp

__all__ = ["Killed", "OomReport", "parse_log"]

_INVOKED: Final = re.compile(
    r"^(?:(?P<comm>.*) )?invoked oom-killer: gfp_mask=(?P<gfp>0x[0-9a-f]+)(?:\((?P<names>[^)]*)\))?"
    r"(?:, nodemask=\S+)?, order=(?P<order>-?\d+), oom_(?:score_)?adj=(?P<adj>-?\d+)"
)
_HEADING: Final = re.compile(r"^\[\s*pid\s*\]\s+(?P<columns>uid\s+tgid\s+total_vm\s.*\bname)\s*$")
_ROW: Final = re.compile(r"^\[\s*(?P<pid>\d+)\](?P<rest>\s+-?\d+\s.*)$")
_SUMMARY: Final = re.compile(
    r"^oom-kill:constraint=(?P<constraint>\w+),nodemask=(?P<nodemask>\(null\)|[\d,-]*),cpuset=(?P<cpuset>.*?),"
    r"mems_allowed=(?P<mems>[\d,-]*),(?:oom_memcg=(?P<memcg>.*?)|global_oom),task_memcg=(?P<task_memcg>.*?),"
    r"task=(?P<comm>.*),pid=(?P<pid>\d+),uid=(?P<uid>\d+)$"
)
_KILLED: Final = re.compile(
    r"^(?:(?P<why>.*): )?Killed process (?P<pid>\d+),?(?: UID:? ?\d+,)? \((?P<comm>.*?)\),?(?: UID:? ?\d+,)? "
    r"total-vm:(?P<vm>\d+)kB, anon-rss:(?P<anon>\d+)kB, file-rss:(?P<file>\d+)kB(?:, shmem-rss:(?P<shmem>\d+)kB)?"
    r"(?:, UID:(?P<uid>\d+) pgtables:(?P<tables>\d+)kB oom_score_adj:(?P<adj>-?\d+))?"
)
_SELECTED: Final = re.compile(r"Kill process (?P<pid>\d+) \((?P<comm>.*)\) score \d+ or sacrifice child")
_REAPED: Final = re.compile(r"oom_reaper: (?:reaped process|unable to reap pid:)\s?(?P<pid>\d+)")
_PANIC: Final = re.compile(r"^Kernel panic - not syncing: (?:Out of memory\b|System is deadlocked on memory).*$")
_MEMCG: Final = re.compile(
    r"^(?P<what>memory|swap|memory\+swap): usage (?P<usage>\d+)kB, limit (?P<limit>\d+)kB, failcnt \d+"
)
MAX_NUMNODES: Final = 1024
_NEEDED: Final = ("rss", "oom_score_adj")  # columns without which nothing can be ranked
# What a column of the table can hold, where it is not any number of pages or bytes.
_RANGES: Final = {
    "pid": (0, 1 << 22), "tgid": (0, 1 << 22), "uid": (-(1 << 31), (1 << 32) - 1), "cpu": (-1, 8192),
    "oom_adj": (-17, 15), "oom_score_adj": (OOM_SCORE_ADJ_MIN, OOM_SCORE_ADJ_MAX),
}  # fmt: skip
# The columns of a table without heading, by their number: 6.8 and later, 4.15 and later.
_COLUMNS: Final = {
    10: "uid tgid total_vm rss rss_anon rss_file rss_shmem pgtables_bytes swapents oom_score_adj".split(),
    7: "uid tgid total_vm rss pgtables_bytes swapents oom_score_adj".split(),
}


@dataclass
class Killed:
    """A "Killed process" line; sizes in KiB, -1 where the kernel does not print them."""

    line: str
    message: str
    pid: int
    comm: str
    total_vm_kb: int
    anon_kb: int
    file_kb: int
    shmem_kb: int = -1
    pgtables_kb: int = -1


@dataclass
class OomReport:
    """One report; what the log does not have is None, -1 or empty.

    line          number of its first line, from 1
    linux         "6.1", "6.12" or "6.18": whose format it has
    heading       whether the table has one
    reaped        pids whose memory the reaper has taken before this report
    page_kb       KiB of a page, as the sizes of free blocks and the line of the kill tell it
    sums          figures of the whole machine, in pages
    panic         the line with which the kernel gave up rather than kill
    """

    line: int
    linux: str = "6.1"
    comm: str | None = None
    gfp_mask: int = 0
    order: int = 0
    oom_score_adj: int = 0
    mem: MemInfo | None = None
    memcg_limit_kb: int = -1
    memcg_swap_kb: int = -1
    memsw_limit_kb: int = -1
    tasks: list[OomTask] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    constraint: int = CONSTRAINT_NONE
    nodemask: int = -1
    mems_allowed: int = 1
    cpuset: str = "/"
    memcg: str = ""
    summary_pid: int = -1
    selected_pid: int = -1
    killed: list[Killed] = field(default_factory=list)
    reaped: set[int] = field(default_factory=set)
    page_kb: int = 4
    sums: dict[str, int] = field(default_factory=dict)
    panic: str = ""
    lines: list[str] = field(default_factory=list)


def parse_log(text: str, name: str = "table") -> list[OomReport]:
    """Every report of a log, in order. ConfigError, with the name and the line, where a table cannot be read or
    there is none at all."""
    parser = _Parser(name)
    for number, line in enumerate(text.splitlines(), 1):
        parser.feed(number, strip_stamp(line.rstrip()))
    found = [report for report in parser.reports if report.tasks]
    for report in found:
        complete(report)
    if not found:
        what = "no table of tasks (its heading begins with [  pid  ]   uid  tgid total_vm)"
        if any(report.columns for report in parser.reports):
            what = "the heading of a table of tasks and no row below it"
        elif parser.reports:
            what = "a report without its table of tasks (vm.oom_dump_tasks was 0?)"
        raise ConfigError(f"oom: {name}: expected an OOM report of a kernel, got {what}")
    return found


def parse_nodes(text: str, where: str = "oom") -> int:
    """A mask from "0-2,5"; -1 for "(null)". ConfigError where it is no list of nodes (0 to 1023, as many as Linux
    knows)."""
    if text == "(null)":
        return -1
    mask = 0
    for part in text.split(",") if text else ():
        match = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part, re.ASCII)
        first, last = (int(match[1]), int(match[2] or match[1])) if match is not None else (1, 0)
        if not first <= last < MAX_NUMNODES:
            raise ConfigError(f"{where}: expected a list of memory nodes such as 0-2,5, got {text!r}")
        mask |= (1 << last + 1) - (1 << first)
    return mask


class _Parser:
    """Reads line by line; a report is open from its first line to the first line of the next."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.reports: list[OomReport] = []
        self.reaped: set[int] = set()

    def feed(self, number: int, line: str) -> None:
        """The next line, without its stamp."""
        match = _INVOKED.match(line)
        if match is not None:
            report = self._begin(number)
            report.comm = match["comm"] or ""
            report.gfp_mask = int(match["gfp"], 16)
            report.order = int(match["order"])
            report.oom_score_adj = int(match["adj"])
            report.lines.append(line)
            return
        match = _HEADING.match(line)
        if match is not None:
            self._heading(number, line, match["columns"].split()[:-1])
            return
        match = _ROW.match(line)
        if match is not None and self._row(number, line, int(match["pid"]), match["rest"]):
            return
        match = _REAPED.search(line)
        if match is not None:
            self.reaped.add(int(match["pid"]))
        if self.reports:
            self._more(number, self.reports[-1], line)

    def _begin(self, number: int) -> OomReport:
        report = OomReport(number, reaped=set(self.reaped))
        self.reports.append(report)
        return report

    def _open(self, number: int) -> OomReport:
        """The report that a table belongs to: the last one, or a new one where that has its table."""
        if not self.reports or self.reports[-1].tasks or self.reports[-1].columns:
            return self._begin(number)
        return self.reports[-1]

    def _heading(self, number: int, line: str, columns: list[str]) -> None:
        for name in _NEEDED:
            if name not in columns:
                raise ConfigError(
                    f"oom: {self.name}:{number}: expected a table with a column {name}, got {' '.join(columns)}"
                )
        report = self._open(number)
        report.columns = columns
        report.linux = "6.18" if "rss_anon" in columns else "6.1"
        report.lines.append(line)

    def _row(self, number: int, line: str, pid: int, rest: str) -> bool:
        """A row of the table; False where the line is none."""
        report = self.reports[-1] if self.reports else None
        if report is None or not report.columns:
            found = re.match(r"(?:\s+-?\d+)+(?=\s+\S*[^\s\d])", rest)
            columns = _COLUMNS.get(len(found[0].split()) if found else 0)
            if columns is None:
                return False
            report = self._open(number)
            report.columns = columns
            report.linux = "6.18" if "rss_anon" in columns else "6.1"
        elif report.killed or report.summary_pid >= 0:
            return False
        words = rest.split(None, len(report.columns))
        if len(words) < len(report.columns) or not all(
            re.fullmatch(r"-?\d{1,19}", word) for word in words[: len(report.columns)]
        ):
            raise ConfigError(
                f"oom: {self.name}:{number}: expected [pid] and {len(report.columns)} numbers "
                f"({' '.join(report.columns)}), then a name, got {line!r}"
            )
        values = dict(zip(report.columns, [int(word) for word in words[: len(report.columns)]], strict=True))
        for name, value in [("pid", pid), *values.items()]:
            low, high = _RANGES.get(name, (0, (1 << 63) - 1))
            if not low <= value <= high:
                raise ConfigError(f"oom: {self.name}:{number}: expected {name} of {low} to {high}, got {value}")
        report.tasks.append(
            make_task(pid, values, words[len(report.columns)] if len(words) > len(report.columns) else "")
        )
        report.lines.append(line)
        return True

    def _more(self, number: int, report: OomReport, line: str) -> None:
        """A line of the report's other parts."""
        if line == "Mem-Info:" and (report.tasks or report.killed):
            return  # of a request that failed later
        if line == "Mem-Info:":
            report.mem = MemInfo()
            report.mem.numa = False
            report.mem.thp = False
            report.mem.hwpoisoned = -1
            known = True
        else:
            known = line == TASKS_TITLE or parse_ending(report, line, f"oom: {self.name}:{number}")
            if not known and report.mem is not None and not report.tasks:
                known = parse_mem_line(report.mem, line, report.sums)
        if known:
            report.lines.append(line)


def make_task(pid: int, values: dict[str, int], comm: str) -> OomTask:
    """A row as the killer sees it. Older kernels count tables rather than bytes."""
    task = OomTask(pid, comm)
    task.tgid = values.get("tgid", pid)
    task.uid = values.get("uid", 0)
    task.total_vm = values.get("total_vm", 0)
    task.rss = values.get("rss", 0)
    task.rss_anon = values.get("rss_anon", -1)
    task.rss_file = values.get("rss_file", -1)
    task.rss_shmem = values.get("rss_shmem", -1)
    tables = (values.get("nr_ptes", 0) + values.get("nr_pmds", 0) + values.get("nr_puds", 0)) * 4096
    task.pgtables_bytes = values.get("pgtables_bytes", tables)
    task.swapents = values.get("swapents", 0)
    task.oom_score_adj = values.get("oom_score_adj", 0)
    return task


def parse_ending(report: OomReport, line: str, where: str) -> bool:
    """The cgroup's figures, the line that names the victim, and the kill; False where it is something else. ``where``
    begins the text of errors."""
    match = _MEMCG.match(line)
    if match is not None:
        if match["what"] == "memory":
            report.memcg_limit_kb = int(match["limit"])
        elif match["what"] == "swap":
            report.memcg_swap_kb = int(match["limit"])
        else:
            report.memsw_limit_kb = int(match["limit"])
        return True
    if _PANIC.match(line):
        report.panic = line
        return True
    match = _SUMMARY.match(line)
    if match is not None:
        report.constraint = (
            CONSTRAINT_NAMES.index(match["constraint"]) if match["constraint"] in CONSTRAINT_NAMES else CONSTRAINT_NONE
        )
        report.nodemask = parse_nodes(match["nodemask"], where)
        report.mems_allowed = parse_nodes(match["mems"], where)
        report.cpuset = match["cpuset"]
        report.memcg = match["memcg"] or ""
        report.summary_pid = int(match["pid"])
        for task in report.tasks:
            if task.pid == report.summary_pid:
                task.memcg = match["task_memcg"]
        return True
    match = _KILLED.match(line)
    if match is not None:
        report.killed.append(
            Killed(
                line,
                match["why"] or "",
                int(match["pid"]),
                match["comm"],
                int(match["vm"]),
                int(match["anon"]),
                int(match["file"]),
                int(match["shmem"] or -1),
                int(match["tables"] or -1),
            )
        )
        return True
    match = _SELECTED.search(line)
    if match is not None:
        report.selected_pid = int(match["pid"])
        return True
    return False


def complete(report: OomReport) -> None:
    """How large the report's pages are; what it says of the whole machine; and what the table of an older kernel does
    not say of the victim, which is known from its last line."""
    by_pid = {task.pid: task for task in report.tasks}
    if report.mem is not None:
        report.page_kb = report.mem.page_kb()
        take_sums(report.mem, report.sums)
        if report.linux == "6.18" and any("free_highatomic" not in zone.kb for zone in report.mem.zones):
            report.linux = "6.12"
    else:
        for killed in report.killed:
            task = by_pid.get(killed.pid)
            if task is not None and task.total_vm and killed.total_vm_kb // task.total_vm in (16, 64):
                report.page_kb = killed.total_vm_kb // task.total_vm
    for task in report.tasks:
        task.page_kb = report.page_kb
    for killed in report.killed:
        task = by_pid.get(killed.pid)
        if task is not None and task.rss_anon < 0:
            task.rss_anon = killed.anon_kb // report.page_kb
            task.rss_file = killed.file_kb // report.page_kb
            task.rss_shmem = max(killed.shmem_kb, 0) // report.page_kb
