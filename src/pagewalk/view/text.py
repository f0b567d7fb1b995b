"""The report for a person: sections of text, plain or with colours.

Every line is a list of spans (text, style); ``render`` joins them, ``print_report`` lets rich colour them.
"""

import shutil
import signal
import sys
from typing import TextIO

from pagewalk.view.addrspace import address_space
from pagewalk.view.family import family
from pagewalk.view.report import FAULT_KINDS, FAULT_NOTES, FaultKind, Report
from pagewalk.view.tlb import tlb
from pagewalk.view.units import Line, bar, count, plain, plural, size

__all__ = ["print_report", "render", "sections"]

ASCII = str.maketrans("█▓▒░▉▊▋▌▍▎▏┊″", '#%+.######|:"')

TOP = 8
BAR = 12


def heading(title: str, rest: str = "") -> Line:
    """A section's first line."""
    return [(title, "bold"), (f"  {rest}" if rest else "", "dim")]


def signal_name(number: int) -> str:
    """SIGSEGV for 11; real-time signals count from SIGRTMIN."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - 34}"


def outcome(report: Report) -> list[Line]:
    """What ran, how it ended, and on what."""
    machine = report.machine
    end = f"exit status {report.status}"
    if report.stopped:
        end = f"stopped by pagewalk ({report.stopped})"
    elif report.signal:
        end = f"killed by signal {report.signal} ({signal_name(report.signal)})"
    command = " ".join(report.command)
    lines: list[Line] = [
        [("pagewalk  ", "bold"), (command if len(command) <= 90 else command[:87] + "...", ""), (f"  {end}", "dim")]
    ]
    if machine:
        aslr = "ASLR off" if not machine.get("aslr", True) else f"ASLR seed {machine.get('seed', 0)}"
        arch = str(machine.get("arch", "x86_64")).replace("x86_64", "x86-64")
        levels = len(report.tables) or machine.get("levels", 4)
        where = (
            f"          Linux {machine.get('linux', '?')} on {arch}, {levels} page-table levels,"
            f" {size(machine.get('ram', 0))} RAM, {aslr}, {report.seconds:.2f} s"
        )
        lines.append([(where, "dim")])
    for kill in report.oom_kills:
        lines.append([(f"          {kill.message}", "red")])
    if report.interpreted:
        note = f"          interpreted, ten times slower than compiled: {report.interpreted}"
        lines.append([(note, "yellow")])
    return lines


def fault_line(kind: FaultKind, number: int, drawn: str) -> Line:
    """A row of the table of faults."""
    return [
        (f"  {count(number):>9}  ", ""),
        (f"{drawn:{BAR}}", "cyan"),
        (f"  {kind.title:<23}", ""),
        (kind.meaning, "dim"),
    ]


def faults(report: Report) -> list[Line]:
    """How pages came to be, by kind and by mapping."""
    rest = f"{count(report.minor)} minor, {count(report.major)} major"
    lines = [heading("Page faults", rest)]
    kinds = [(kind, report.faults.get(kind.key, 0)) for kind in FAULT_KINDS]
    largest = max((number for _, number in kinds), default=0)
    for kind, number in kinds:
        if number:
            lines.append(fault_line(kind, number, bar(number, largest, BAR)))
    lines.extend(fault_line(note, number, "") for note in FAULT_NOTES if (number := report.faults.get(note.key, 0)))
    ranked = sorted(report.faults_by_mapping.items(), key=lambda item: (-item[1], item[0]))
    if ranked:
        lines.append([("  by mapping", "dim")])
        rows = [(name, number) for name, number in ranked[:TOP]]
        if len(ranked) > TOP:
            rows.append((plural(len(ranked) - TOP, "other mapping"), sum(number for _, number in ranked[TOP:])))
        most = max(number for _, number in rows)
        for name, number in rows:
            lines.append([(f"  {count(number):>9}  ", ""), (bar(number, most, BAR), "cyan"), (f"  {name}", "")])
    return lines


def memory(report: Report) -> list[Line]:
    """What was resident, what the page tables took, what the machine has left."""
    rss = report.rss
    lines = [heading("Memory")]

    def row(what: str, value: str, note: str = "") -> None:
        lines.append([(f"  {what:<14}", ""), (f"{value:>9}", "bold"), (f"  {note}" if note else "", "dim")])

    row("virtual", size(report.virtual), f"peak {size(report.virtual_peak)}" if report.virtual_peak else "")
    kinds = f"anonymous {size(rss.anon)}, file {size(rss.file)}, shared {size(rss.shmem)}; peak {size(rss.peak)}"
    row("resident", size(rss.total), kinds)
    levels = ", ".join(f"{number} {name}" for name, number in report.tables.items())
    row("page tables", size(sum(report.tables.values()) * report.page_size), f"{levels}; VmPTE {size(report.vm_pte)}")
    used = sum(zone.managed_pages - zone.free_pages for zone in report.zones)
    free = ", ".join(
        f"{zone.name} {size(zone.free_pages * report.page_size)}" for zone in report.zones if zone.managed_pages
    )
    row(
        "frames used",
        count(used),
        f"{size(used * report.page_size)}, page cache {size(report.page_cache_pages * report.page_size)}",
    )
    row("frames free", count(sum(zone.free_pages for zone in report.zones)), free)
    if report.swap:
        swap = report.swap
        moved = f"{count(swap['swapped_out'])} pages out, {count(swap['swapped_in'])} in"
        row("swap used", size(swap["used"]), f"of {size(swap['total'])}; {moved}")
    group = report.cgroup
    if group is not None:
        limit = "no limit" if group.limit is None else f"limit {size(group.limit)}"
        events = ", ".join(f"{name} {number}" for name, number in group.events.items() if number)
        row("cgroup", size(group.current), f"{group.path}, {limit}, peak {size(group.peak)}; {events or 'no events'}")
    return lines


def calls(report: Report) -> list[Line]:
    """The system calls that the program made, most frequent first; those that pagewalk does not know, all."""
    ranked = sorted(report.syscalls.items(), key=lambda item: (-item[1], item[0]))
    lines = [heading("System calls", count(sum(report.syscalls.values())))]
    top = ", ".join(f"{name} {count(number)}" for name, number in ranked[:TOP])
    if len(ranked) > TOP:
        top += f", {plural(len(ranked) - TOP, 'other')}"
    lines.append([(f"  {top}" if top else "  none", "")])
    if report.unknown_calls:
        unknown = ", ".join(f"{name} {count(number)}" for name, number in sorted(report.unknown_calls.items()))
        lines.append([(f"  unknown to pagewalk, answered ENOSYS: {unknown}", "red")])
    return lines


def sections(report: Report, width: int) -> list[list[Line]]:
    """The report's parts in order; ``width`` is the number of columns there are."""
    parts = [outcome(report), address_space(report, width), faults(report), memory(report), calls(report)]
    if report.tlb:
        parts.insert(4, tlb(report.tlb))
    if len(report.processes) > 1:
        parts.insert(1, family(report, width))
        parts[2][0].append((f"  of process {report.pid}", "dim"))
        parts[3][0].append((f"  of process {report.pid}", "dim"))
    return parts


def render(report: Report, width: int = 100) -> str:
    """The report as plain text."""
    return "\n\n".join("\n".join(plain(line) for line in part) for part in sections(report, width)) + "\n"


def encodable(text: str, encoding: str) -> str:
    """``text`` with what ``encoding`` lacks drawn in ASCII."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(ASCII).encode(encoding, "replace").decode(encoding)
    return text


def print_report(report: Report, stream: TextIO | None = None) -> None:
    """Writes the report to ``stream`` (stderr): coloured on a terminal, plain elsewhere, ASCII where it must be."""
    stream = stream or sys.stderr
    width = shutil.get_terminal_size((100, 24)).columns if stream.isatty() else 100
    if not stream.isatty():
        stream.write(encodable(render(report, width), stream.encoding or "ascii"))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(file=stream, highlight=False, soft_wrap=True)
    for part in sections(report, width):
        for line in part:
            console.print(Text.assemble(*[(text, style) for text, style in line]))
        console.print()
