"""A machine that a real kernel has described: what the model computes for it, and where the two differ.

A recording is JSON: ``arch``, ``version``, ``ram`` (ranges of bytes, ends included), ``zones`` (of which ``managed`` is
taken), and where known ``sysctl``, ``qemu_args``, ``cmdline``, ``boot_log``, ``node_cpus`` and ``after``, what was
written then and what the zones were; docs/zones.md says more.
"""

import itertools
import json
import re
from pathlib import Path
from typing import Any, Final

from pagewalk.config import Config
from pagewalk.errors import ConfigError
from pagewalk.mm.boot_reserve import late_frames_of_log
from pagewalk.mm.memblock import page_shift_of
from pagewalk.mm.watermarks import setup_per_zone_lowmem_reserve
from pagewalk.mm.zone_figures import ZoneFigures
from pagewalk.view.zones import as_dict, zones_as_dicts

__all__ = ["differences", "figures_of", "recorded"]

_ARCH: Final = {"amd64": "x86_64", "x86_64": "x86_64", "i386": "x86_pae", "i686": "x86_pae", "aarch64": "arm64"}
_COMPARED: Final = (
    "boost", "min", "low", "high", "promo", "spanned", "present", "managed", "start_pfn", "protection",
    "pageset_high", "pageset_batch", "pageset_high_min", "pageset_high_max", "vm_stats_threshold", "pageblocks",
)  # fmt: skip
_OPTIONS: Final = ("kernelcore", "movablecore", "vmalloc", "highmem", "transparent_hugepage")
_SETTINGS: Final = ("watermark_scale_factor", "watermark_boost_factor", "percpu_pagelist_high_fraction")


def recorded(path: Path) -> tuple[ZoneFigures, dict[str, Any]]:
    """What the model computes for a recorded machine, and the recording. ConfigError where the file is no recording."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"--machine: cannot read {str(path)!r}: {error}") from None
    try:
        return figures_of(data), data
    except ConfigError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        what = f"{type(error).__name__} {error}"
        raise ConfigError(f"--machine: expected JSON with arch, version, ram, zones in {str(path)!r}: {what}") from None


def figures_of(data: dict[str, Any]) -> ZoneFigures:
    """The figures of a recording, as they are after boot."""
    version = str(data.get("version", ""))
    match = re.search(r"version (\d+)\.(\d+)", version)
    number = (int(match[1]), int(match[2])) if match is not None else (6, 18)
    release = "6.1" if number <= (6, 1) else "6.12" if number <= (6, 12) else "6.18"
    log = "\n".join(data.get("boot_log", []))
    options = " ".join(data.get("qemu_args", []))
    settings = _settings_of(data, version)
    cpus = re.search(r"nr_cpu_ids:(\d+)", log) or re.search(r"-smp (?:cpus=)?(\d+)", options)
    settings["cpus"] = int(cpus[1]) if cpus else 1
    nr_nodes = max(int(zone["node"]) for zone in data["zones"]) + 1
    settings |= _nodes_of(data, options, nr_nodes, settings["memory_map"])
    if placed := data.get("node_cpus"):
        settings["cpu_nodes"] = _cpu_nodes([_number_list(text) for text in placed], settings["cpus"])
    elif named := re.findall(r"node,nodeid=(\d+),[^ ]*?cpus=([\d-]+)", options):
        by_node = {int(nid): _number_list(text) for nid, text in named}
        lists = [by_node.get(nid, []) for nid in _nodes_of_options(options)]
        settings["cpu_nodes"] = _cpu_nodes(lists, settings["cpus"])
    elif _nodes_of_options(options):  # a machine has one socket, and that is node 0's
        settings["cpu_nodes"] = [0] * settings["cpus"]
    if bits := re.search(r"DMA +\[mem .*-0x0*([0-9a-f]+)\]", log):
        settings["zone_dma_bits"] = 30 if settings["arch"] == "arm64" and int(bits[1], 16) < 1 << 30 else 32
    settings["distances"] = data["distances"] if "distances" in data else _distances(options, nr_nodes)
    managed = {(int(zone["node"]), str(zone["zone"])): int(zone["managed"]) for zone in data["zones"]}
    config = Config(**settings)
    late = late_frames_of_log(config.arch, log, sum(managed.values()), release, page_shift_of(config))
    figures = ZoneFigures(config, release, managed, late)
    boosts = {(int(zone["node"]), str(zone["zone"])): int(zone.get("boost", 0)) for zone in data["zones"]}
    for zone in figures.zones:  # what fragmentation has added for a time
        zone.watermark_boost = boosts.get((int(zone.node_id), zone.name), 0)
    return figures


def _settings_of(data: dict[str, Any], version: str) -> dict[str, Any]:
    """What the configuration, the command line and the sysctls say."""
    arch = _ARCH.get(data["arch"], data["arch"])
    if arch == "x86_pae" and version and "pae" not in version:
        arch = "x86_32"
    sysctl = data.get("sysctl", {})
    command = dict(re.findall(rf"({'|'.join(_OPTIONS)})=(\S+)", str(data.get("cmdline", ""))))
    pages = re.search(r"-(16|64)k\b", version)
    return {
        "arch": arch,
        "granule": f"{pages[1]}K" if pages is not None and arch == "arm64" else "4K",
        "va_bits": int(data.get("va_bits", 48)),
        "memory_map": [(start, end + 1) for start, end in data["ram"]],
        "thp": command.get("transparent_hugepage", "always"),
        "kernelcore": command.get("kernelcore", ""),
        "movablecore": command.get("movablecore", ""),
        "vmalloc": command.get("vmalloc", ""),
        "highmem": command.get("highmem", ""),
        **{name: int(sysctl[name]) for name in _SETTINGS if name in sysctl},
    }


def _nodes_of(data: dict[str, Any], options: str, nr_nodes: int, ranges: list[tuple[int, int]]) -> dict[str, Any]:
    """The nodes' sizes, or the map with its nodes where only the zones tell them."""
    if nodes := data.get("nodes"):
        return {"nodes": nodes}
    sizes = dict(re.findall(r"memory-backend-ram,id=(\w+),size=(\w+)", options))
    named = _nodes_of_options(options)
    if sizes and len(named) == nr_nodes:
        devices = [re.search(r"memdev=(\w+)", text) for text in named.values()]
        return {"nodes": [sizes[device[1]] if device is not None else 0 for device in devices]}
    return {"memory_map": _split_by_zones(ranges, data["zones"], nr_nodes)} if nr_nodes > 1 else {}


def _nodes_of_options(options: str) -> dict[int, str]:
    """What -numa node says, by the emulator's number of the node; the kernel numbers them anew, without those that have
    neither memory nor CPUs (which are all node 0's where nothing else is said)."""
    named = {int(nid): text for nid, text in re.findall(r"node,nodeid=(\d+)(\S*)", options)}
    placed = any("cpus=" in text for text in named.values())
    return {
        nid: text
        for nid, text in sorted(named.items())
        if "memdev=" in text or "cpus=" in text or (nid == 0 and not placed)
    }


def _split_by_zones(
    ranges: list[tuple[int, int]], zones: list[dict[str, Any]], nr_nodes: int
) -> list[tuple[int, int, int]]:
    """The map with its nodes where only the zones tell them: a node begins where its first zone with memory does."""
    starts = [
        min([int(zone["start_pfn"]) << 12 for zone in zones if zone["node"] == nid and "start_pfn" in zone], default=-1)
        for nid in range(nr_nodes)
    ]
    found = []
    for start, end in ranges:
        cuts = sorted({start, end, *[at for at in starts if start < at < end]})
        for first, behind in itertools.pairwise(cuts):
            owner = max((at, nid) for nid, at in enumerate(starts) if 0 <= at <= max(first, min(starts)))[1]
            found.append((first, behind, owner))
    return found


def _number_list(text: str) -> list[int]:
    """The numbers of "0-2,5"."""
    found: list[int] = []
    for part in [part for part in str(text).split(",") if part]:
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def _cpu_nodes(lists: list[list[int]], cpus: int) -> list[int]:
    """The node of each CPU, from the CPUs of each node."""
    owner = {cpu: nid for nid, own in enumerate(lists) for cpu in own}
    return [owner.get(cpu, 0) for cpu in range(cpus)]


def _distances(options: str, nr_nodes: int) -> list[list[int]]:
    """What -numa dist says, both ways, 20 where it says nothing."""
    found = {(int(a), int(b)): int(d) for a, b, d in re.findall(r"dist,src=(\d+),dst=(\d+),val=(\d+)", options)}
    nodes = list(_nodes_of_options(options))
    if len(nodes) != nr_nodes:
        nodes = list(range(nr_nodes))
    return [[10 if a == b else found.get((a, b), found.get((b, a), 20)) for b in nodes] for a in nodes]


def differences(figures: ZoneFigures, data: dict[str, Any]) -> list[str]:
    """Every figure of a recording that the model does not compute, as a line; ``figures`` are those after boot."""
    ours = as_dict(figures)
    lines = _zone_differences(ours["zones"], data["zones"], "", figures.release)
    if len(ours["zones"]) != len(data["zones"]):
        lines.append(f"zones: computed {len(ours['zones'])}, recorded {len(data['zones'])}")
    for group in ("sysctl", "meminfo_kb"):
        for name, value in ours[group].items():
            known = data.get(group, {}).get(name)
            if known is not None and json.dumps(value) != re.sub('"', "", json.dumps(known)):
                if name == "VmallocTotal" and figures.config.arch == "x86_64":
                    continue  # by the levels of the page table, which a recording does not tell
                lines.append(f"{name}: computed {value}, recorded {known}")
    return lines + _differences_after(data)


def _differences_after(data: dict[str, Any]) -> list[str]:
    """The same of everything that was written after boot, each on top of those before."""
    lines = []
    figures = figures_of(data)
    if data.get("after"):  # with a look at vm.lowmem_reserve_ratio, and a reader computes the reserves again, too
        setup_per_zone_lowmem_reserve(figures.zones, figures.config.lowmem_reserve_ratio)
    for step in data.get("after", []):
        name, value = step["write"]
        figures.write(name, value)
        where = f"after {name} = {value}: "
        if figures.min_free_kbytes != int(step["min_free_kbytes"]):
            lines.append(
                f"{where}min_free_kbytes: computed {figures.min_free_kbytes}, recorded {step['min_free_kbytes']}"
            )
        lines += _zone_differences(zones_as_dicts(figures), step["zones"], where, figures.release)
    return lines


def _zone_differences(
    ours: list[dict[str, Any]], recorded: list[dict[str, Any]], where: str, release: str
) -> list[str]:
    """Of the zones that were recorded."""
    lines = []
    by_place = {(zone["node"], zone["zone"]): zone for zone in ours}
    for theirs in recorded:
        mine = by_place.get((theirs["node"], theirs["zone"]), {})
        for name in _COMPARED:
            if name == "pageset_high" and release != "6.1":
                continue  # it follows the load
            if name in theirs and mine.get(name) != theirs[name]:
                place = f"{where}node {theirs['node']} zone {theirs['zone']}"
                lines.append(f"{place}: {name}: computed {mine.get(name)}, recorded {theirs[name]}")
    return lines
