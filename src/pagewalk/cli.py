"""The command line: ``pagewalk run -- PROGRAM ARGS...``.

Exit status: the program's own, 128 + n where signal n ended it; 127 where there is no such program, 126 where it cannot
be executed, 125 where pagewalk itself failed (a bad option too), 124 where ``--timeout`` ended it, as env(1) and
timeout(1) do. Standard output is the program's alone; whatever pagewalk says goes to standard error. Heavy imports
happen in the functions that need them.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pagewalk import __version__
from pagewalk.errors import ConfigError, ExecError, PagewalkError
from pagewalk.lab.curve_command import curve_command
from pagewalk.oom.commands import oom_command
from pagewalk.trace.commands import record_command, trace_group
from pagewalk.trace.replay_command import replay_command
from pagewalk.view.zones_command import zones_command

if TYPE_CHECKING:
    from pagewalk.config import Config

__all__ = ["main", "run_command"]

TIMED_OUT = 124
FAILED = 125
CANNOT_EXECUTE = 126
NOT_FOUND = 127


def say(line: str) -> None:
    """One line on standard error, which may be gone."""
    try:
        print(f"pagewalk: {line}", file=sys.stderr, flush=True)
    except OSError:
        pass


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="pagewalk")
def cli() -> None:
    """Linux's memory management as a program that you can run, measure and take apart."""


@cli.command(context_settings={"allow_interspersed_args": False})
@click.option("--no-aslr", is_flag=True, help="Fixed addresses, as under setarch -R.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of every random choice of the machine.")
@click.option("--ram", default="", show_default="4G; x86_32: 3G", metavar="SIZE",
              help="RAM of the machine, such as 512M.")  # fmt: skip
@click.option("--swap", default="0", show_default=True, metavar="SIZE", help="Swap space, such as 256M.")
@click.option("--zswap", is_flag=True, help="Keep pages on their way to swap compressed in RAM while there is room.")
@click.option("--arch", metavar="ARCH", help="x86_64, x86_pae, x86_32 or arm64; by default what PROGRAM is for.")
@click.option("--granule", default="4K", show_default=True, metavar="SIZE", help="Page size of arm64: 4K, 16K or 64K.")
@click.option("--memory-max", metavar="SIZE", help="Run it in a memory cgroup with this limit (memory.max).")
@click.option("--cpus", type=int, default=1, show_default=True, metavar="N", help="CPUs of the machine, 1 to 64.")
@click.option("--skip-sleep", is_flag=True, help="Where all processes sleep, the clock jumps instead of waiting.")
@click.option("--rw", multiple=True, metavar="DIR", help="Let the program write below DIR. Repeatable.")
@click.option("--env", "env_items", multiple=True, metavar="K=V", help="Set a variable for the program. Repeatable.")
@click.option("--clear-env", is_flag=True, help="Start from an empty environment.")
@click.option("--timeout", type=float, metavar="SECONDS", help="End the program after this time (exit status 124).")
@click.option("--json", "json_file", metavar="FILE", help="Write the report as JSON too; - is standard error.")
@click.option("--maps", is_flag=True, help="Print the program's /proc/PID/maps as it was at the end.")
@click.option("--smaps", is_flag=True, help="Print its /proc/PID/smaps as it was at the end.")
@click.option("--quiet", "-q", is_flag=True, help="No report.")
@click.option("--cold-cache", is_flag=True, help="Files are not in the page cache yet: first touches are major faults.")
@click.option("--config", "config_file", metavar="FILE", help="Fields of Config as TOML, or JSON (FILE.json).")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Any other field of Config. Repeatable.")
@click.option("--tlb", metavar="TLB", help="Model TLBs: a preset (zen4), parts (l1d=64x4,l2=1536x12), or both.")
@click.option("--record", metavar="FILE", help="Write all accesses and changes of address spaces to FILE, a trace.")
@click.option("--procfs", metavar="DIR", help="Write the machine's /proc, with all its processes, as files to DIR.")
@click.option("--dump-ram", metavar="FILE", help="Write the RAM as it is at the end, as an ELF core.")
@click.argument("command", nargs=-1, required=True, metavar="[--] PROGRAM [ARGS]...", type=click.UNPROCESSED)
@click.pass_context
def run(
    context: click.Context,
    no_aslr: bool,
    seed: int,
    ram: str,
    swap: str,
    zswap: bool,
    arch: str | None,
    granule: str,
    memory_max: str | None,
    cpus: int,
    skip_sleep: bool,
    rw: tuple[str, ...],
    env_items: tuple[str, ...],
    clear_env: bool,
    timeout: float | None,
    json_file: str | None,
    maps: bool,
    smaps: bool,
    quiet: bool,
    cold_cache: bool,
    config_file: str | None,
    settings: tuple[str, ...],
    tlb: str | None,
    procfs: str | None,
    record: str | None,
    dump_ram: str | None,
    command: tuple[str, ...],
) -> int:
    """Run PROGRAM on the modelled machine, then say what its memory did."""
    from pagewalk.config import Config, parse_size
    from pagewalk.path import find_program, machine_for
    from pagewalk.settings import chosen_fields

    options = {"ram": ram, "swap": swap, "zswap": zswap, "cpus": cpus, "skip_sleep": skip_sleep, "seed": seed}
    options |= {"arch": arch, "granule": granule, "aslr": not no_aslr, "warm": not cold_cache}
    fields = chosen_fields(options, given_fields(context), config_file, settings)
    if fields["arch"] is None:
        fields["arch"] = machine_for(command[0], os.environ.get("PATH"))
    config = Config(**fields)
    environment = program_environment(env_items, clear_env)
    writable = [directory(name) for name in rw]
    if timeout is not None and not 0 < timeout < 1e9:
        raise ConfigError(f"--timeout: expected a number of seconds above 0, got {timeout:g}")
    json_path = open_json(json_file)
    open_json(dump_ram, "--dump-ram")
    program = find_program(command[0], os.environ.get("PATH"))
    limit = None if memory_max is None else parse_size(memory_max, "--memory-max")

    from pagewalk.machine import Machine
    from pagewalk.session import Session
    from pagewalk.view.text import print_report

    machine = Machine(config, rw=writable, tlb=tlb)
    with Session(machine, timeout, quiet) as session, open_recorder(record, config, command) as recorder:
        result = machine.run(
            list(command),
            program=program,
            env=environment,
            detail=smaps,
            procfs=procfs,
            record=recorder,
            dump_ram=dump_ram,
            cgroup=None if limit is None else machine.cgroup("pagewalk", memory_max=limit),
        )
    report = result.report
    say_interpreted_once(report.interpreted)
    texts = [report.maps if maps else "", report.smaps if smaps else "", report.as_json() if json_file == "-" else ""]
    try:
        sys.stderr.write("".join(texts))
        if not quiet and json_file != "-":
            print_report(report)
        sys.stderr.flush()
    except BrokenPipeError:  # nobody reads the report any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    if json_path is not None:
        json_path.write_text(report.as_json(), encoding="utf-8")
    return session.status(result.status, report.stopped)


@cli.command(context_settings={"ignore_unknown_options": False})
@click.option("--ops", type=int, default=10_000, show_default=True, metavar="N", help="Random operations in all.")
@click.option("--seed", type=int, default=None, help="Of the operations; a new one each time where it is not given.")
@click.option("--jobs", type=int, default=1, show_default=True, metavar="J", help="Runs at the same time.")
@click.option("--part", "parts", multiple=True, type=click.Choice(["operations", "programs", "layouts"]),
              help="Only this part. Repeatable.")  # fmt: skip
@click.option("--replay", metavar="FILE", help="Carry out a script that an earlier run has left.")
@click.option("--on", type=click.Choice(["kernel", "model", "both"]), default="both", show_default=True,
              help="Where to replay it.")  # fmt: skip
@click.option("--programs", metavar="DIR", help="C files of static programs to be compared too (tests/linux/programs).")
@click.option(
    "--memory-max", metavar="SIZE", help="The operations run in a memory cgroup with this limit, on both sides."
)
@click.option("--scripts", metavar="DIR", default="conform-scripts", show_default=True, help="Where scripts are left.")
@click.option("--json", "json_file", metavar="FILE", help="Write the table as JSON too.")
@click.option("--markdown", metavar="FILE", help="Write the table as Markdown too.")
def conform(
    ops: int,
    seed: int | None,
    jobs: int,
    parts: tuple[str, ...],
    replay: str | None,
    on: str,
    programs: str | None,
    memory_max: str | None,
    scripts: str,
    json_file: str | None,
    markdown: str | None,
) -> int:
    """Hold the model against the running kernel: a table of what is equal, and the shortest script of what is not."""
    import random

    from pagewalk.config import parse_size
    from pagewalk.conform.replay import replay_script
    from pagewalk.conform.table import run as run_conformance

    if replay is not None:
        return replay_script(Path(replay), on)
    if ops < 1 or jobs < 1:
        raise ConfigError(f"conform: expected --ops and --jobs of at least 1, got {ops} and {jobs}")
    outputs = [path for path in (open_json(json_file), open_json(markdown)) if path is not None]
    chosen = list(parts) or ["operations", "programs", "layouts"]
    tell = _show_progress if sys.stderr.isatty() else _mute
    seed = random.randrange(1 << 31) if seed is None else seed
    sources = None if programs is None else Path(directory(programs))
    limit = 0 if memory_max is None else parse_size(memory_max, "--memory-max")
    found = run_conformance(ops, seed, jobs, chosen, Path(scripts), tell, sources, limit)
    tell("")
    click.echo(found.table(), nl=False)
    for path in outputs:
        path.write_text(found.as_json() if str(path) == json_file else found.markdown(), encoding="utf-8")
    return 1 if found.different else 0


@cli.command(context_settings={"ignore_unknown_options": False})
@click.option("--arch", default="x86_64", show_default=True, help="x86_64, x86_32, x86_pae, arm64, riscv64, riscv32.")
@click.option("--levels", type=int, metavar="N", help="Levels of the page table (x86_64, riscv64).")
@click.option("--granule", metavar="SIZE", help="Page size of arm64: 4K, 16K or 64K.")
@click.option("--va-bits", type=int, metavar="N", help="Bits of a virtual address (arm64, riscv64).")
@click.option("--vmsplit", metavar="SPLIT", help="32-bit x86: 3G/1G, 2G/2G, 1G/3G, 3G_OPT, 2G_OPT, or PAGE_OFFSET.")
@click.option("--ram", default="4G", show_default=True, metavar="SIZE", help="RAM, which bounds lowmem on 32-bit x86.")
@click.option("--linux", metavar="RELEASE", help="arm64: the kernel's release [6.18]; the map changed in 6.5 and 6.9.")
@click.option("--va-bits-actual", type=int, metavar="N",
              help="arm64: bits of address that the CPU has, for a kernel built for 52 that falls back.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def layout(
    arch: str,
    levels: int | None,
    granule: str | None,
    va_bits: int | None,
    vmsplit: str | None,
    ram: str,
    linux: str | None,
    va_bits_actual: int | None,
    as_json: bool,
) -> int:
    """Print a whole virtual address space, to scale: user half, hole, and every region of the kernel."""
    from pagewalk.config import parse_size
    from pagewalk.view.layout import build_map, layout_json, layout_text

    page = None if granule is None else parse_size(granule, "--granule")
    found = build_map(arch, levels, page, va_bits, vmsplit, parse_size(ram, "--ram"), linux, va_bits_actual)
    click.echo(layout_json(found) if as_json else layout_text(found), nl=False)
    return 0


cli.add_command(trace_group)
cli.add_command(zones_command)
cli.add_command(record_command)
cli.add_command(replay_command)
cli.add_command(oom_command)
cli.add_command(curve_command)


def _show_progress(text: str) -> None:
    """One line that is written over."""
    print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _mute(text: str) -> None:
    """Progress that nobody sees."""


def given_fields(context: click.Context) -> list[str]:
    """Fields of Config that options on the command line were given for; a flag counts where it stands there."""
    fields = {"no_aslr": "aslr", "cold_cache": "warm"}
    default = (click.core.ParameterSource.DEFAULT, click.core.ParameterSource.DEFAULT_MAP)
    return [fields.get(name, name) for name in context.params if context.get_parameter_source(name) not in default]


def program_environment(items: Sequence[str], clear: bool) -> dict[str, str]:
    """The program's environment: pagewalk's own unless ``clear``, with ``items`` (K=V) added."""
    environment = {} if clear else dict(os.environ)
    for item in items:
        key, equals, value = item.partition("=")
        if not key or not equals:
            raise ConfigError(f"--env: expected NAME=VALUE, got {item!r}")
        environment[key] = value
    return environment


def directory(name: str) -> str:
    """The absolute path of ``name``, which must be a directory."""
    if not os.path.isdir(name):
        what = "not a directory" if os.path.lexists(name) else "no such directory"
        raise ConfigError(f"--rw: expected a directory, got {name!r} ({what})")
    return os.path.realpath(name)


def open_recorder(name: str | None, config: "Config", command: Sequence[str]) -> "AbstractContextManager[Any]":
    """A context manager with who records the run; with None where nobody does."""
    if name is None:
        return nullcontext()
    from pagewalk.trace.recorder import Recorder

    return Recorder(Path(name), config, command)


def open_json(name: str | None, option: str = "--json") -> Path | None:
    """Where to write the JSON, checked before the program runs; None for nowhere and for "-"."""
    if name is None or name == "-":
        return None
    try:
        with open(name, "a", encoding="utf-8"):
            return Path(name)
    except OSError as error:
        raise ConfigError(f"{option}: cannot write {name!r}: {error.strerror}") from None


def say_interpreted_once(why: str) -> None:
    """The first time that an installed package runs without its compiled parts, says so; the report always does."""
    from pagewalk import _build

    if not why or not _build.read_stamp() or os.environ.get(_build.INTERPRETED):
        return
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pagewalk"
    said = folder / f"interpreted-{__version__}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        said.touch(exist_ok=False)
    except OSError:
        return
    say(f"running without compiled parts, ten times slower or more: {why}; install a C compiler and reinstall")


def run_command(arguments: Sequence[str]) -> int:
    """Runs the command line and answers the exit status; every failure is one line on standard error."""
    try:
        status = cli.main(args=list(arguments), prog_name="pagewalk", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return FAILED
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None and context.parent is not None else "pagewalk"
        say(f"{error.format_message()} ({command} --help lists the options)")
        return FAILED
    except ExecError as error:
        _debug(error)
        say(str(error))
        return NOT_FOUND if error.errno == 2 else CANNOT_EXECUTE
    except PagewalkError as error:
        _debug(error)
        say(str(error))
        return FAILED
    except (KeyboardInterrupt, click.Abort):
        say("interrupted")
        return 130
    except Exception as error:
        _debug(error)
        first = (str(error).splitlines() or [""])[0]
        say(f"internal error: {type(error).__name__}: {first} (PAGEWALK_DEBUG=1 shows where)")
        return FAILED


def _debug(error: BaseException) -> None:
    """PAGEWALK_DEBUG=1: the error goes on, as a traceback."""
    if os.environ.get("PAGEWALK_DEBUG"):
        raise error


def open_standard_streams() -> None:
    """Standard streams that are closed become /dev/null: else the next file to be opened would take their number."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def main() -> None:
    """The ``pagewalk`` command."""
    open_standard_streams()
    status = run_command(sys.argv[1:])
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        pass
    sys.exit(status)


if __name__ == "__main__":
    main()
