"""``pagewalk replay FILE``: a trace on any configuration of machine.

Heavy imports happen in the function.
"""

import json
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pagewalk.trace.replay import ReplayReport

__all__ = ["replay_command", "report_lines"]


@click.command("replay")
@click.option("--tlb", "tlb_text", default="skylake-sp", show_default=True, metavar="TLB",
              help="A preset, parts such as l1d=64x4,l2=1536x12, or a preset and such parts.")  # fmt: skip
@click.option("--ram", default=None, metavar="SIZE",
              help="RAM of the machine: by itself that of the recorded machine, or 4G.")  # fmt: skip
@click.option("--one-pass", is_flag=True,
              help="Map memory where it is touched, instead of a first pass that infers mappings.")  # fmt: skip
@click.option("--simulate", is_flag=True,
              help="The modelled kernel serves faults and calls, also where FILE tells what it did.")  # fmt: skip
@click.option("--format", "format_name", default="", metavar="NAME", help="What FILE is, where it does not tell.")
@click.option("--lenient", is_flag=True, help="Leave out malformed records and count them.")
@click.option("--config", "config_file", metavar="FILE", help="Fields of Config as TOML, or JSON (FILE.json).")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Any field of Config. Repeatable.")
@click.option("--json", "as_json", is_flag=True, help="The report as JSON.")
@click.argument("file")
def replay_command(
    tlb_text: str,
    ram: str | None,
    one_pass: bool,
    simulate: bool,
    format_name: str,
    lenient: bool,
    config_file: str | None,
    settings: tuple[str, ...],
    as_json: bool,
    file: str,
) -> int:
    """Replay the trace FILE: every access through the TLBs, every fault through the kernel.

    Where `pagewalk run` has recorded FILE, and no option asks for another machine, page tables and flushes are those of
    the run, and everything is counted as the run has counted it.
    """
    from pagewalk.config import Config
    from pagewalk.hw.tlb_parse import parse_tlb
    from pagewalk.settings import chosen_fields

    tlb = parse_tlb(tlb_text)
    options = {} if ram is None else {"ram": ram}
    given = chosen_fields(options, options, config_file, settings)
    Config(**given)  # what is wrong with it is told before anything is read

    from pagewalk.trace.infer import complete
    from pagewalk.trace.open import open_trace
    from pagewalk.trace.replay import recorded_config, replay

    source = open_trace(file, format=format_name, lenient=lenient)
    whole = source if one_pass else complete(source)
    config = recorded_config(source.info, **given)
    progress = _progress if sys.stderr.isatty() else None
    report = replay(whole, tlb, config, map_on_fault=one_pass, simulate=simulate, progress=progress)
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    if whole.skipped:
        report.notes.append(f"{whole.skipped:,} malformed records were left out")
    click.echo(json.dumps(report.as_dict(), indent=2) if as_json else "\n".join(report_lines(report)))
    return 0


def _progress(report: "ReplayReport") -> None:
    print(f"\r\x1b[K{report.accesses:,} accesses", end="", file=sys.stderr, flush=True)


def report_lines(report: "ReplayReport") -> list[str]:
    """The report for a person."""
    counters = report.counters
    per_second = report.accesses / report.seconds / 1e6 if report.seconds else 0.0
    lines = [
        f"{report.accesses:,} accesses ({report.reads:,} reads, {report.writes:,} writes, {report.fetches:,} fetches), "
        f"{per_second:.1f} million a second",
        f"faults: {report.minor:,} minor, {report.major:,} major; {report.refused:,} accesses refused; "
        f"{report.pages:,} pages resident at the most",
        f"page tables: {'as in the recorded run' if report.follows else 'made by the modelled kernel'}",
        f"TLB {report.tlb}",
    ]
    for name, side in (("data", counters.data), ("fetch", counters.fetch)):
        if side.lookups:
            hits = ", ".join(f"level {level + 1}: {share(n, side.lookups)}" for level, n in enumerate(side.hits))
            lines.append(f"  {name}: {side.lookups:,} look-ups; hits {hits or 'none'}; "
                         f"misses {side.misses:,} ({share(side.misses, side.lookups)})")  # fmt: skip
    references = ", ".join(f"{name} {n:,}" for name, n in counters.references.items() if n)
    lines.append(f"  walks: {counters.walks:,} ({counters.faults:,} to a fault); entries read: {references or 'none'}")
    lines.append(f"  evictions: {sum(counters.evictions.values()):,}; flushes: {counters.page_flushes:,} pages, "
                 f"{counters.asid_flushes:,} address spaces, {counters.all_flushes:,} all "
                 f"({counters.flushed:,} entries)")  # fmt: skip
    if len(report.by_cpu) > 1:
        lines.append(f"  shootdowns: {counters.shootdowns:,} to {counters.shootdown_targets:,} CPUs, "
                     f"{counters.lazy_skips:,} spared")  # fmt: skip
    if report.mpki is not None:
        lines.append(f"  {report.mpki:.3f} misses for 1000 instructions ({report.instructions:,})")
    lines.append(f"  about {report.cycles:,.0f} cycles for translation")
    return lines + [f"note: {note}" for note in report.notes]


def share(part: int, whole: int) -> str:
    """A percentage with enough digits."""
    return f"{100 * part / whole:.4g} %"
