"""``pagewalk oom``: who dies when memory runs out, from a kernel's report or from this machine's /proc."""

import json
import sys
from pathlib import Path

import click

from pagewalk.errors import ConfigError

__all__ = ["oom_command"]


@click.command("oom", context_settings={"ignore_unknown_options": False})
@click.option(
    "--table", metavar="FILE", help="A kernel log with OOM reports, or a table of tasks; - is standard input."
)
@click.option("--live", is_flag=True, help="This machine's processes, from /proc.")
@click.option("--ram", metavar="SIZE", help="Memory that the kernel manages, where the log does not say or is wrong.")
@click.option("--swap", metavar="SIZE", help="Swap, likewise.")
@click.option("--top", type=int, default=20, show_default=True, metavar="N", help="Processes to list; 0: all.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def oom_command(table: str | None, live: bool, ram: str | None, swap: str | None, top: int, as_json: bool) -> int:
    """Rank the processes of an OOM report, or of this machine, by who would be killed, and say why."""
    from pagewalk.config import parse_size

    if (table is None) != live:
        raise ConfigError("oom: expected either --table FILE or --live")
    if top < 0:
        raise ConfigError(f"oom: expected --top of 0 or more, got {top}")
    ram_kb = -1 if ram is None else parse_size(ram, "--ram") >> 10
    swap_kb = -1 if swap is None else parse_size(swap, "--swap") >> 10
    if 0 <= ram_kb < 4 or (live and (ram is not None or swap is not None)):
        raise ConfigError("oom: expected --ram above 0, and neither --ram nor --swap with --live")
    from pagewalk.oom.text import ranking_text

    if table is None:
        from pagewalk.oom.live import kernel_scores, live_ranking

        found = live_ranking()
        scores = kernel_scores([each.task for each in found.candidates])
        if as_json:
            document = found.as_dict()
            for each in document["candidates"]:
                each["kernel_oom_score"] = scores.get(each["pid"])
            click.echo(json.dumps({"reports": [document]}, indent=2))
        else:
            click.echo(ranking_text(found, top, scores), nl=False)
        return 0
    from pagewalk.oom.parse import parse_log
    from pagewalk.oom.rank import rank_report

    rankings = [
        rank_report(report, max(ram_kb // report.page_kb, 1) if ram_kb >= 0 else -1, swap_kb // report.page_kb)
        for report in parse_log(read_text(table), table)
    ]
    if as_json:
        click.echo(json.dumps({"reports": [found.as_dict() for found in rankings]}, indent=2))
        return 0
    for number, found in enumerate(rankings, 1):
        title = f"report {number} of {len(rankings)}" if len(rankings) > 1 else "report"
        click.echo(ranking_text(found, top, None, title), nl=False)
        if number < len(rankings):
            click.echo()
    return 0


def read_text(name: str) -> str:
    """A file's text, whatever bytes it has (UTF-16 where its mark says so); "-" is standard input."""
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise ConfigError(f"oom: cannot read {name!r}: {error.strerror}") from None
    return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8", "replace")
