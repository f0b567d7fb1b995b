"""``pagewalk trace info``, ``pagewalk trace convert`` and ``pagewalk record``.

Heavy imports happen in the functions.
"""

import errno
import json
import os
import sys
from pathlib import Path

import click

from pagewalk.errors import ConfigError, ExecError

__all__ = ["record_command", "trace_group"]

_FORMAT = click.option("--format", "format_name", default="", metavar="NAME",
                       help="What FILE is, where its content does not tell.")  # fmt: skip
_LENIENT = click.option("--lenient", is_flag=True, help="Leave out malformed records and count them.")


@click.group("trace")
def trace_group() -> None:
    """Look into traces and convert them."""


@trace_group.command("info")
@_FORMAT
@_LENIENT
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.argument("file")
def info_command(format_name: str, lenient: bool, as_json: bool, file: str) -> int:
    """Say what is in the trace FILE, whatever its format."""
    from pagewalk.trace.open import open_trace
    from pagewalk.trace.summary import summarise

    source = open_trace(file, format=format_name, lenient=lenient)
    summary = summarise(source, source.name)
    click.echo(json.dumps(summary.as_dict(), indent=2) if as_json else "\n".join(summary.lines()))
    return 0


@trace_group.command("convert")
@_FORMAT
@_LENIENT
@click.option("--to", "to", type=click.Choice(["native", "csv"]), default=None,
              help="What OUT becomes; by its name where it is not given.")  # fmt: skip
@click.option("--level", type=click.IntRange(1, 22), default=None, show_default="1", metavar="N",
              help="Of compression, in the native format: 1 is fast, 22 small.")  # fmt: skip
@click.option("--no-infer", is_flag=True, help="Do not make up the mappings that the trace does not tell of.")
@click.argument("source_file", metavar="IN")
@click.argument("out")
def convert_command(
    format_name: str, lenient: bool, to: str | None, level: int | None, no_infer: bool, source_file: str, out: str
) -> int:
    """Convert the trace IN, whatever its format, to OUT: the native format, or CSV (accesses only)."""
    from pagewalk.trace.format import TraceSource
    from pagewalk.trace.infer import complete
    from pagewalk.trace.native import NativeWriter
    from pagewalk.trace.open import open_trace
    from pagewalk.trace.write_csv import CsvWriter

    source = open_trace(source_file, format=format_name, lenient=lenient)
    if os.path.exists(out) and os.path.samefile(source_file, out):
        raise ConfigError(f"convert: expected two files, got {out} twice")
    as_csv = to == "csv" or (to is None and out.endswith(".csv"))
    if as_csv and level is not None:
        raise ConfigError("--level: CSV is not compressed; expected the native format")
    whole: TraceSource = source if no_infer or as_csv else complete(source)
    with CsvWriter(Path(out)) if as_csv else NativeWriter(Path(out), whole.info, level or 1) as writer:
        for batch in whole:
            writer.write(batch)
    inferred = whole.info.extra.get("inferred", "")
    left_out = f", {whole.skipped:,} malformed records left out" if whole.skipped else ""
    _say(f"{out}: {writer.nr_accesses:,} accesses" + (f", {inferred}" if inferred and not as_csv else "") + left_out)
    return 0


@click.command("record", context_settings={"allow_interspersed_args": False})
@click.option("-o", "--output", default="trace.pwt", show_default=True, metavar="FILE", help="Where the trace goes.")
@click.option("--with", "recorder", default="valgrind", show_default=True, metavar="RECORDER",
              help="valgrind, or qemu: user-mode QEMU with a plugin, much faster.")  # fmt: skip
@click.option("--quiet", "-q", is_flag=True, help="Say nothing but errors.")
@click.argument("command", nargs=-1, required=True, metavar="[--] PROGRAM [ARGS]...", type=click.UNPROCESSED)
def record_command(output: str, recorder: str, quiet: bool, command: tuple[str, ...]) -> int:
    """Record the accesses of a native PROGRAM, on this machine, with Valgrind or QEMU; the exit status is the
    program's."""
    from pagewalk.path import find_program
    from pagewalk.trace.record_native import record, valgrind_capture
    from pagewalk.trace.record_qemu import qemu_capture

    captures = {"valgrind": valgrind_capture, "qemu": qemu_capture}
    if recorder not in captures:
        raise ConfigError(f"--with: expected valgrind or qemu, got {recorder!r}")

    program = find_program(command[0], os.environ.get("PATH"))
    if not os.path.exists(program):
        raise ExecError(command[0], errno.ENOENT, "no such program")
    if os.path.isdir(program):
        raise ExecError(command[0], errno.EACCES, "is a directory")
    if not os.access(program, os.X_OK):
        raise ExecError(command[0], errno.EACCES, "is not executable")
    found = record([program, *command[1:]], Path(output), captures[recorder]())
    if not quiet:
        _say(f"{output}: {found}")
    return found.status


def _say(line: str) -> None:
    print(f"pagewalk: {line}", file=sys.stderr)
