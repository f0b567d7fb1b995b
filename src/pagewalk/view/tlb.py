"""What the modelled TLBs counted, for a person: a section of the report of a run, and lines of that of a replay."""

from typing import Any, Final

from pagewalk.view.units import Line, count, plural

__all__ = ["tlb", "tlb_lines"]

TOP: Final = 8
NAME: Final = 14


def share(part: int, whole: int) -> str:
    """A percentage with four digits."""
    return f"{100 * part / whole:.4g} %" if whole else "-"


def named(counts: dict[str, int]) -> str:
    """Names with their counts, without zeros."""
    return ", ".join(f"{name} {count(number)}" for name, number in counts.items() if number)


def tlb_lines(data: dict[str, Any]) -> list[tuple[str, str]]:
    """(what, figures) of what ``TlbModel.as_dict`` tells of all CPUs together."""
    rows = []
    for name, title in (("data", "data"), ("fetch", "instructions")):
        side = data[name]
        if side["lookups"]:
            hits = "".join(f"level {level + 1} {share(number, side['lookups'])}, "
                           for level, number in enumerate(side["hits"]))  # fmt: skip
            misses = f"misses {count(side['misses'])} ({share(side['misses'], side['lookups'])})"
            rows.append((title, f"{count(side['lookups'])} look-ups: {hits}{misses}"))
    refused = f", {count(data['refused'])} where an entry did not grant the access" if data["refused"] else ""
    rows.append(("walks", f"{count(data['walks'])}, {count(data['faults'])} of them to a page fault{refused}"))
    if references := named(data["references"]):
        rows.append(("entries read", f"{count(sum(data['references'].values()))}: {references}"))
    if walk_hits := named(data["walk_hits"]):
        rows.append(("walk caches", f"{count(sum(data['walk_hits'].values()))} walks began below: {walk_hits}"))
    if evictions := named(data["evictions"]):
        rows.append(("evictions", f"{count(sum(data['evictions'].values()))}: {evictions}"))
    for key, title in (("coalesced", "runs of pages"), ("prefetches", "prefetches")):
        if data[key]:
            rows.append((title, count(data[key])))
    flushes = (f"{plural(data['page_flushes'], 'page')}, {plural(data['asid_flushes'], 'address space')}, "
               f"{count(data['all_flushes'])} of everything; {count(data['flushed'])} entries went")  # fmt: skip
    rows.append(("flushes", flushes))
    rows.append(("switches", f"{count(data['switches'])} of address spaces"))
    if data["shootdowns"] or data["lazy_skips"]:
        spared = f"; {count(data['lazy_skips'])} spared because they were idle" if data["lazy_skips"] else ""
        rows.append(("shootdowns", f"{count(data['shootdowns'])} to {count(data['shootdown_targets'])} CPUs{spared}"))
    if data["rollovers"]:
        rows.append(("roll-overs", count(data["rollovers"])))
    if data.get("mpki") is not None:
        rows.append(("MPKI", f"{data['mpki']:.3f} misses for 1000 instructions ({count(data['instructions'])})"))
    rows.append(
        ("cycles", f"about {count(round(data['cycles']))} for translation: an estimate, as if nothing overlapped")
    )
    return rows


def by_process(data: dict[str, Any]) -> list[Line]:
    """A line for each process, most misses first."""
    ranked = sorted(data["by_process"].items(), key=lambda item: (-int(item[1]["misses"]), int(item[0])))
    lines: list[Line] = []
    for pid, own in ranked[:TOP]:
        text = (f"{count(own['lookups'])} look-ups, {count(own['misses'])} misses "
                f"({share(own['misses'], own['lookups'])}), {count(own['walks'])} walks")  # fmt: skip
        lines.append([(f"  process {pid:<6}", ""), (f"{text}", "dim")])
    if len(ranked) > TOP:
        lines.append([(f"  and {plural(len(ranked) - TOP, 'other')}", "dim")])
    return lines


def tlb(data: dict[str, Any]) -> list[Line]:
    """The section "TLB" of a report."""
    cpus = f", {len(data['by_cpu'])} CPUs" if len(data["by_cpu"]) > 1 else ""
    lines: list[Line] = [[("TLB", "bold"), (f"  {data['name']}{cpus}", "dim")]]
    lines += [[(f"  {what:<{NAME}}", ""), (text, "")] for what, text in tlb_lines(data)]
    if len(data["by_process"]) > 1:
        lines += by_process(data)
    return lines
