"""The report's part about several processes: the family tree with each one's memory, and who shares what with whom."""

from pagewalk.view.report import ProcessRecord, Report
from pagewalk.view.units import Line, count, plural, size

__all__ = ["family", "in_family_order"]

ROWS = 40
PARTNERS = 3


def in_family_order(processes: list[ProcessRecord]) -> list[tuple[int, ProcessRecord]]:
    """(depth, process): each process before its children, children by id."""
    known = {process.pid for process in processes}
    children: dict[int, list[ProcessRecord]] = {}
    for process in sorted(processes, key=lambda process: process.pid):
        parent = process.ppid if process.ppid in known and process.ppid != process.pid else 0
        children.setdefault(parent, []).append(process)
    ordered: list[tuple[int, ProcessRecord]] = []
    waiting = [(0, process) for process in reversed(children.get(0, []))]
    while waiting:
        depth, process = waiting.pop()
        ordered.append((depth, process))
        waiting.extend((depth + 1, child) for child in reversed(children.pop(process.pid, [])))
    return ordered


def family(report: Report, width: int) -> list[Line]:
    """The section; nothing where there was one process."""
    processes = report.processes
    if len(processes) < 2:
        return []
    ordered = in_family_order(processes)
    rest = f"  {count(len(processes))}, each as it was before it ended"
    lines: list[Line] = [[("Processes", "bold"), (rest, "dim")]]
    heading = f"  {'pid':>6}" + "".join(f"{name:>7}" for name in ("RSS", "anon", "file", "shared", "PSS", "peak"))
    heading += "".join(f"{name:>9}" for name in ("faults", "CoW", "major"))
    lines.append([(heading + "  program", "dim")])
    lines += [row(depth, process, width) for depth, process in ordered[:ROWS]]
    if len(ordered) > ROWS:
        others = [process for _, process in ordered[ROWS:]]
        faults = sum(process.minor + process.major for process in others)
        lines.append([(f"  and {count(len(others))} more, with {plural(faults, 'fault')} together", "dim")])
    lines += sharing([process for _, process in ordered])
    return lines


def row(depth: int, process: ProcessRecord, width: int) -> Line:
    """One process: its numbers, then its command, moved in as deep as it stands in the tree."""
    rss = process.rss
    sizes = (rss.total, rss.anon, rss.file, rss.shmem, process.pss, rss.peak)
    numbers = (process.minor + process.major, process.faults.get("cow", 0), process.faults.get("major", 0))
    cells = "".join(f"{size(number):>7}" for number in sizes) + "".join(f"{count(number):>9}" for number in numbers)
    words = " ".join(process.command) or process.name
    notes = []
    if process.threads > 1:
        notes.append(f"{process.threads} threads")
    if process.memory_of:
        notes.append(f"in the memory of {process.memory_of}")
    if not process.ended:
        notes.append("still there")
    elif process.signal:
        notes.append(f"killed by signal {process.signal}")
    elif process.status:
        notes.append(f"exit status {process.status}")
    note = f"  ({', '.join(notes)})" if notes else ""
    room = max(20, width - 79 - 2 * depth - len(note))
    if len(words) > room:
        words = words[: room - 3] + "..."
    return [
        (f"  {process.pid:>6}", ""),
        (cells, ""),
        ("  " + "  " * depth + words.replace("\n", " "), "bold"),
        (note, "dim"),
    ]


def sharing(processes: list[ProcessRecord]) -> list[Line]:
    """Who has how much in common with whom, the most first; each pair once."""
    named = {process.pid: process.name for process in processes}
    pairs: dict[tuple[int, int], int] = {}
    for process in processes:
        for other, common in process.shared.items():
            pair = (min(process.pid, other), max(process.pid, other))
            pairs[pair] = max(common, pairs.get(pair, 0))
    partners: dict[int, list[tuple[int, int]]] = {}
    for (low, high), common in pairs.items():
        partners.setdefault(low, []).append((common, high))
    if not partners:
        return []
    lines: list[Line] = [[("  in common", "dim")]]
    for pid in sorted(partners)[:ROWS]:
        ranked = sorted(partners[pid], key=lambda entry: (-entry[0], entry[1]))
        words = [f"{size(common)} with {other} {named.get(other, '')}".rstrip() for common, other in ranked[:PARTNERS]]
        if len(ranked) > PARTNERS:
            words.append(f"up to {size(ranked[PARTNERS][0])} with {plural(len(ranked) - PARTNERS, 'other')}")
        lines.append([(f"  {pid:>6} {named.get(pid, ''):<15} ", ""), (", ".join(words), "")])
    return lines
