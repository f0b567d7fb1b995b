"""Reads OOM reports from a kernel's log: with or without time stamps, one or many, or only the table of tasks.

What a line is, is told by its words; lines of other sources in between are skipped. The columns of the table are read
off its heading, so that tables of kernels from 3.x to 6.18 are understood.
"""

import re
from dataclasses import dataclass, field
from typing import Final

from pagewalk.errors import ConfigError
from pagewalk.mm.oom_kill import CONSTRAINT_NAMES, CONSTRAINT_NONE, OomTask
from pagewalk.mm.oom_report import TASKS_TITLE, HugePages, MemInfo, NodeState, ZoneState

__all__ = ["Killed", "OomReport", "parse_log"]

# <4>, the stamp of dmesg or of journald or of syslog, and the id of the caller.
_PREFIX: Final = re.compile(
    r"""^(?:<\d+>)?\s*
    (?:(?:[A-Z][a-z]{2}\s+\d+\s+[\d:.]+|\d{4}-\d\d-\d\d[T\ ][\d:.,+Z-]+(?:[ ][+-]\d{4})?)\s+(?:\S+\s+)?kernel:\s?)?
    (?:\[\s*\d+\.\d+\]\s?|\[[A-Z][a-z]{2}\s+[A-Z][a-z]{2}\s+\d+\s+[\d:]+\s+\d{4}\]\s?)?
    (?:\[\s*[TC]\d+\]\s?)?""",
    re.VERBOSE,
)
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
_NODE: Final = re.compile(r"^Node (?P<nid>\d+) (?=active_anon:)(?P<rest>.*)$")
_ZONE: Final = re.compile(
    r"^(?:Node (?P<nid>\d+) )?(?P<name>DMA|DMA32|Normal|HighMem|Movable|Device) (?=free:)(?P<rest>.*)$"
)
_AREAS: Final = re.compile(
    r"^(?:Node (?P<nid>\d+) )?(?P<name>DMA|DMA32|Normal|HighMem|Movable|Device): (?P<rest>\d+\*.*) = \d+kB"
)
_HUGE: Final = re.compile(
    r"^Node (?P<nid>\d+) hugepages_total=(?P<total>\d+) hugepages_free=(?P<free>\d+) hugepages_surp=(?P<surp>\d+) "
    r"hugepages_size=(?P<size>\d+)kB"
)
_FIGURE: Final = re.compile(r"([\w()]+):\s*(-?\d+)[kK]B")
_GLOBAL: Final = re.compile(r"^\s?(?:[a-z_]+:\d+)(?:\s[a-z_]+:\d+)*$")
_BLOCKS: Final = re.compile(r"(\d+)\*(\d+)kB(?: \(([A-Z]*)\))?")
_MEMCG: Final = re.compile(
    r"^(?P<what>memory|swap|memory\+swap): usage (?P<usage>\d+)kB, limit (?P<limit>\d+)kB, failcnt \d+"
)
_COUNT: Final = re.compile(
    r"^(?P<value>\d+) (?P<what>total pagecache pages|pages in swap cache|pages cma reserved|pages hwpoisoned)$"
)
_SWAP: Final = re.compile(r"^(?P<what>Free|Total) swap\s+= (?P<kb>\d+)kB$")
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
    linux         "6.1" or "6.18": whose format the table has
    heading       whether the table has one
    reaped        pids whose memory the reaper has taken before this report
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
    lines: list[str] = field(default_factory=list)


def strip_stamp(line: str) -> str:
    """A line of a log without what the logger has put before the kernel's words."""
    match = _PREFIX.match(line)
    return line[match.end() :] if match is not None else line


def parse_log(text: str, name: str = "table") -> list[OomReport]:
    """Every report of a log, in order. ConfigError, with the name and the line, where a table cannot be read or
    there is none at all."""
    parser = _Parser(name)
    for number, line in enumerate(text.splitlines(), 1):
        parser.feed(number, strip_stamp(line.rstrip()))
    found = [report for report in parser.reports if report.tasks]
    if not found:
        what = "no table of tasks (its heading begins with [  pid  ]   uid  tgid total_vm)"
        if parser.reports:
            what = "a report without its table of tasks (vm.oom_dump_tasks was 0?)"
        raise ConfigError(f"oom: {name}: expected an OOM report of a kernel, got {what}")
    return found


def parse_nodes(text: str) -> int:
    """A mask from "0-2,5"; -1 for "(null)"."""
    if text == "(null)":
        return -1
    mask = 0
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first:
            for node in range(int(first), int(last or first) + 1):
                mask |= 1 << node
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
            self._more(self.reports[-1], line)

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
        report.tasks.append(
            make_task(pid, values, words[len(report.columns)] if len(words) > len(report.columns) else "")
        )
        report.lines.append(line)
        return True

    def _more(self, report: OomReport, line: str) -> None:
        """A line of the report's other parts."""
        if line == "Mem-Info:":
            report.mem = MemInfo()
            report.mem.numa = False
            report.mem.thp = False
            report.mem.hwpoisoned = -1
            known = True
        else:
            known = line == TASKS_TITLE or parse_ending(report, line)
            if not known and report.mem is not None and not report.tasks:
                known = parse_mem_line(report, report.mem, line)
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


def parse_mem_line(report: OomReport, mem: MemInfo, line: str) -> bool:
    """A line of Mem-Info; False where it is something else."""
    match = _NODE.match(line)
    if match is not None:
        node = node_of(mem, int(match["nid"]))
        node.kb = {name: int(value) for name, value in _FIGURE.findall(match["rest"])}
        node.all_unreclaimable = "all_unreclaimable? yes" in line
        mem.thp = "anon_thp" in node.kb
        return True
    match = _ZONE.match(line)
    if match is not None:
        zone = ZoneState(int(match["nid"] or 0), match["name"])
        mem.numa = match["nid"] is not None
        zone.kb = {name: int(value) for name, value in _FIGURE.findall(match["rest"])}
        mem.zones.append(zone)
        return True
    if line.startswith("lowmem_reserve[]:") and mem.zones:
        mem.zones[-1].lowmem_reserve = [int(word) for word in line.partition(":")[2].split()]
        return True
    match = _AREAS.match(line)
    if match is not None:
        for zone in mem.zones:
            if zone.name == match["name"] and zone.nid == int(match["nid"] or 0):
                blocks = _BLOCKS.findall(match["rest"])
                zone.nr_free = [int(count) for count, _, _ in blocks]
                zone.types = [letters for _, _, letters in blocks]
        return True
    return parse_count_line(mem, line)


def parse_count_line(mem: MemInfo, line: str) -> bool:
    """A line with one figure, or one of the sums in pages of which only what has no column elsewhere is kept."""
    match = _HUGE.match(line)
    if match is not None:
        huge = HugePages(int(match["nid"]), int(match["size"]))
        huge.total, huge.free, huge.surp = int(match["total"]), int(match["free"]), int(match["surp"])
        mem.huge.append(huge)
        return True
    match = _SWAP.match(line)
    if match is not None:
        if match["what"] == "Free":
            mem.free_swap_kb = int(match["kb"])
        else:
            mem.total_swap_kb = int(match["kb"])
        return True
    match = _COUNT.match(line)
    if match is not None:
        value = int(match["value"])
        if match["what"].startswith("total"):
            node_of(mem, first_node(mem)).pages["pagecache"] = value
        elif match["what"].endswith("swap cache"):
            mem.swapcache_pages = value
        elif "cma" in match["what"]:
            mem.cma_reserved = value
        else:
            mem.hwpoisoned = value
        return True
    if re.fullmatch(r"\d+ pages (RAM|HighMem/MovableOnly|reserved)", line):
        return True
    if _GLOBAL.match(line):
        for word in line.split():
            name, _, figure = word.partition(":")
            if name in ("slab_reclaimable", "slab_unreclaimable", "kernel_misc_reclaimable"):
                node_of(mem, first_node(mem)).pages[name] = int(figure)
        return True
    return False


def first_node(mem: MemInfo) -> int:
    """The node that figures of the whole machine are kept with."""
    return mem.nodes[0].nid if mem.nodes else 0


def node_of(mem: MemInfo, nid: int) -> NodeState:
    """The node, made at its first line."""
    for node in mem.nodes:
        if node.nid == nid:
            return node
    mem.nodes.append(NodeState(nid))
    return mem.nodes[-1]


def parse_ending(report: OomReport, line: str) -> bool:
    """The cgroup's figures, the line that names the victim, and the kill; False where it is something else."""
    match = _MEMCG.match(line)
    if match is not None:
        if match["what"] == "memory":
            report.memcg_limit_kb = int(match["limit"])
        elif match["what"] == "swap":
            report.memcg_swap_kb = int(match["limit"])
        else:
            report.memsw_limit_kb = int(match["limit"])
        return True
    match = _SUMMARY.match(line)
    if match is not None:
        report.constraint = (
            CONSTRAINT_NAMES.index(match["constraint"]) if match["constraint"] in CONSTRAINT_NAMES else CONSTRAINT_NONE
        )
        report.nodemask = parse_nodes(match["nodemask"])
        report.mems_allowed = parse_nodes(match["mems"])
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
        fill_parts(report, report.killed[-1])
        return True
    match = _SELECTED.search(line)
    if match is not None:
        report.selected_pid = int(match["pid"])
        return True
    return False


def fill_parts(report: OomReport, killed: Killed) -> None:
    """What the table of an older kernel does not say of the victim is known from its last line."""
    for task in report.tasks:
        if task.pid == killed.pid and task.rss_anon < 0:
            task.rss_anon = killed.anon_kb // 4
            task.rss_file = killed.file_kb // 4
            task.rss_shmem = max(killed.shmem_kb, 0) // 4
