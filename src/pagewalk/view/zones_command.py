"""``pagewalk zones``: how Linux divides a machine's memory, without booting one."""

import json
from pathlib import Path
from typing import Any

import click

from pagewalk.errors import ConfigError

__all__ = ["zones_command"]


@click.command("zones", context_settings={"ignore_unknown_options": False})
@click.option("--arch", default="x86_64", show_default=True, help="x86_64, x86_32, x86_pae, arm64, riscv64, riscv32.")
@click.option("--ram", default="4G", show_default=True, metavar="SIZE", help="RAM, with the usual memory map.")
@click.option("--memory-map", "map_file", metavar="FILE", help="Where RAM is: lines of /proc/iomem or the boot log.")
@click.option("--node", "nodes", multiple=True, metavar="SIZE", help="Memory of the next NUMA node. Repeatable.")
@click.option("--distance", "distances", multiple=True, metavar="A,B,...", help="A node's distances. Once a node.")
@click.option("--cpus", type=int, default=1, show_default=True, metavar="N", help="CPUs.")
@click.option("--thp", default="madvise", show_default=True, help="Huge pages: always, madvise or never.")
@click.option("--linux", "release", default="6.18", show_default=True, metavar="RELEASE",
              help="Release, where the rules differ.")  # fmt: skip
@click.option("--managed", multiple=True, metavar="[NODE:]ZONE=PAGES",
              help="Frames that the allocator has in the end; estimated where not given. Repeatable.")  # fmt: skip
@click.option("--late", metavar="KERNEL,INITRD", help="Frames of those that came after the watermarks were set.")
@click.option("--config", "config_file", metavar="FILE", help="Fields of Config as TOML, or JSON (FILE.json).")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Any other field of Config. Repeatable.")
@click.option("--machine", "machine", metavar="FILE", help="Compute a recorded machine (JSON) and compare.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--zoneinfo", is_flag=True, help="Print what /proc/zoneinfo says.")
@click.pass_context
def zones_command(
    context: click.Context,
    arch: str,
    ram: str,
    map_file: str | None,
    nodes: tuple[str, ...],
    distances: tuple[str, ...],
    cpus: int,
    thp: str,
    release: str,
    managed: tuple[str, ...],
    late: str | None,
    config_file: str | None,
    settings: tuple[str, ...],
    machine: str | None,
    as_json: bool,
    zoneinfo: bool,
) -> int:
    """Print a machine's zones: bounds, sizes, watermarks, reserves, and where requests go. Sizes are in pages.

    With --machine the status is 1 where a figure differs from the recorded one.
    """
    from pagewalk.config import Config
    from pagewalk.memory import read_map
    from pagewalk.mm.zone_figures import ZoneFigures
    from pagewalk.settings import chosen_fields
    from pagewalk.view import zones as view
    from pagewalk.view import zones_recorded

    differ: list[str] = []
    if machine is not None:
        figures, data = zones_recorded.recorded(Path(machine))
        differ = zones_recorded.differences(figures, data)
    else:
        options: dict[str, Any] = {"arch": arch, "ram": ram, "nodes": nodes, "cpus": cpus, "thp": thp, "linux": release}
        options["distances"] = [[_number(each, "--distance") for each in row.split(",")] for row in distances]
        options["memory_map"] = () if map_file is None else read_map(Path(map_file))
        renamed = {"map_file": "memory_map", "release": "linux"}
        default = click.core.ParameterSource.DEFAULT
        given = [renamed.get(each, each) for each in context.params if context.get_parameter_source(each) != default]
        config = Config(**chosen_fields(options, given, config_file, settings))
        figures = ZoneFigures(config, config.linux, _managed(managed), _late(late))
        if managed and not figures.total_pages:
            raise ConfigError("--managed: expected frames in at least one zone")
    if as_json:
        click.echo(json.dumps(view.as_dict(figures), indent=1))
    else:
        click.echo(view.zoneinfo_of(figures) if zoneinfo else view.figures_text(figures), nl=False)
    for line in differ:
        click.echo(line, err=True)
    if machine is not None:
        click.echo(f"{machine}: {len(differ)} figures differ from what was recorded", err=True)
    return 1 if differ else 0


def _number(text: str, option: str) -> int:
    if not text.strip().isdigit():
        raise ConfigError(f"{option}: expected a whole number, got {text!r}")
    return int(text)


def _managed(items: tuple[str, ...]) -> dict[tuple[int, str], int] | None:
    """``[NODE:]ZONE=PAGES`` as a table."""
    from pagewalk.arch.zone_limits import KIND_NAMES

    found: dict[tuple[int, str], int] = {}
    by_name = {name.lower(): name for name in KIND_NAMES}
    for item in items:
        place, equals, pages = item.partition("=")
        node, colon, name = place.rpartition(":")
        if not equals or name.lower() not in by_name:
            raise ConfigError(
                f"--managed: expected NODE:ZONE=PAGES with a zone of {', '.join(KIND_NAMES)}, got {item!r}"
            )
        found[(_number(node, "--managed") if colon else 0, by_name[name.lower()])] = _number(pages, "--managed")
    return found or None


def _late(text: str | None) -> "Any":
    """``KERNEL,INITRD`` in frames."""
    from pagewalk.mm.boot_reserve import LateFrames

    if text is None:
        return None
    kernel, _, initrd = text.partition(",")
    return LateFrames(_number(kernel, "--late"), _number(initrd or "0", "--late"))
