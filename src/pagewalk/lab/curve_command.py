"""``pagewalk curve FILE``: misses of a TLB of every size, or faults of a RAM of every size, in one pass.

Heavy imports happen in the function.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pagewalk.errors import ConfigError

if TYPE_CHECKING:
    from pagewalk.lab.curve_report import Curves

__all__ = ["curve_command"]


@click.command("curve")
@click.option("--what", type=click.Choice(["tlb", "ram"]), default="tlb", show_default=True,
              help="Misses against TLB entries, or faults against RAM.")  # fmt: skip
@click.option("--page-sizes", default="4K,16K,64K,2M", show_default=True, metavar="SIZES",
              help="Side by side; powers of two from 4K to 1G.")  # fmt: skip
@click.option("--sets", default="", metavar="N,...", help="Also TLBs of N sets, with any number of ways.")
@click.option("--side", type=click.Choice(["data", "fetch", "both"]), default=None,
              help="Which accesses; by itself data for tlb, both for ram.")  # fmt: skip
@click.option("--no-asid", is_flag=True, help="A switch to another address space empties the TLB.")
@click.option("--sample", type=float, metavar="RATE", help="Of the pages, such as 0.01: estimates, with their error.")
@click.option("--sample-pages", type=int, metavar="N", help="A sample of at most N pages: constant memory.")
@click.option("--format", "format_name", default="", metavar="NAME", help="What FILE is, where it does not tell.")
@click.option("--lenient", is_flag=True, help="Leave out malformed records and count them.")
@click.option("--json", "json_file", metavar="FILE", help="Write the curves as JSON; - is standard output.")
@click.option("--points", type=click.IntRange(2), metavar="N", help="In the JSON at most N sizes of each curve.")
@click.option("--png", metavar="FILE", help="Draw them as PNG (needs matplotlib).")
@click.option("--svg", metavar="FILE", help="Draw them as SVG (needs matplotlib).")
@click.option("--html", metavar="FILE", help="Draw them as a page that tells values, and needs nothing else.")
@click.argument("file")
def curve_command(
    what: str,
    page_sizes: str,
    sets: str,
    side: str | None,
    no_asid: bool,
    sample: float | None,
    sample_pages: int | None,
    format_name: str,
    lenient: bool,
    json_file: str | None,
    points: int | None,
    png: str | None,
    svg: str | None,
    html: str | None,
    file: str,
) -> int:
    """One pass over the trace FILE: what every size of TLB, or of RAM, would miss."""
    from pagewalk.lab.curve import miss_curves
    from pagewalk.lab.curve_text import lines
    from pagewalk.trace.open import open_trace

    counts = _numbers(sets)
    if points is not None and json_file is None:
        raise ConfigError("--points: expected --json FILE, whose sizes it limits")
    source = open_trace(file, format=format_name, lenient=lenient)
    outputs = _outputs(file, json_file, png, svg, html)
    tell = _progress if sys.stderr.isatty() else None
    try:
        curves = miss_curves(
            source, what, page_sizes=page_sizes.split(","), sets=counts, side=side, asid=not no_asid,
            sample=sample, sample_pages=sample_pages, progress=tell,
        )  # fmt: skip
    finally:
        if tell is not None:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    name = Path(file).name
    if json_file != "-":
        click.echo("\n".join(lines(curves, name)))
    else:
        click.echo(json.dumps({"trace": name, **curves.as_dict(points)}))
    for path, write in outputs:
        try:
            write(path, curves, name, points)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None
    return 0


def _outputs(
    trace: str, json_file: str | None, png: str | None, svg: str | None, html: str | None
) -> list[tuple[Path, Callable[[Path, "Curves", str, int | None], None]]]:
    """What is to be written, with who does it; each file is tried, and what it needs looked for, before the work."""
    from pagewalk.lab import curve_html, curve_picture

    wanted: list[tuple[str, str, Callable[[Path, Curves, str, int | None], None]]] = []
    if json_file is not None and json_file != "-":
        wanted.append(("--json", json_file, _write_json))
    for option, name in (("--png", png), ("--svg", svg)):
        if name is not None:
            curve_picture.check(option)
            wanted.append((option, name, curve_picture.write))
    if html is not None:
        wanted.append(("--html", html, curve_html.write))
    return [(_writable(option, name, trace), write) for option, name, write in wanted]


def _writable(option: str, name: str, trace: str) -> Path:
    """Where to write, tried and left as it was."""
    path = Path(name)
    if name == "-":
        raise ConfigError(f"{option}: expected the name of a file, got '-' (--json alone writes to standard output)")
    before = path.exists()
    if before and path.samefile(trace):
        raise ConfigError(f"{option}: expected another file than the trace, got {name!r}")
    try:
        with path.open("a", encoding="utf-8"):
            pass
        if not before:
            path.unlink()
    except OSError as error:
        raise ConfigError(f"{option}: cannot write {name!r}: {error.strerror}") from None
    return path


def _write_json(path: Path, curves: "Curves", name: str, points: int | None) -> None:
    path.write_text(json.dumps({"trace": name, **curves.as_dict(points)}) + "\n", encoding="utf-8")


def _numbers(text: str) -> list[int]:
    """Numbers between commas."""
    try:
        return [int(part) for part in text.split(",")] if text else []
    except ValueError:
        raise ConfigError(f"--sets: expected numbers between commas, got {text!r}") from None


def _progress(accesses: int) -> None:
    print(f"\r\x1b[K{accesses:,} accesses", end="", file=sys.stderr, flush=True)
