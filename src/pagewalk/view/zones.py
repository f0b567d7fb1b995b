"""``pagewalk zones``: a machine's zones as figures, as /proc/zoneinfo, as JSON, and beside a recorded machine's.

A recorded machine is a JSON file with what a real kernel said: ``arch``, ``version``, ``ram`` (ranges of bytes, ends
included), ``zones`` (of which ``managed`` is taken), and where known ``sysctl``, ``qemu_args``, ``cmdline`` and
``boot_log``; docs/zones.md has an example.
"""

import itertools
import json
import re
from pathlib import Path
from typing import Any, Final

from pagewalk.config import Config
from pagewalk.errors import ConfigError
from pagewalk.mm.boot_reserve import LateFrames, late_frames_of_log
from pagewalk.mm.zone_figures import ZoneFigures
from pagewalk.mm.zoneinfo import zone_text

__all__ = ["as_dict", "differences", "figures_text", "recorded", "zoneinfo_of"]

_ARCH: Final = {"amd64": "x86_64", "x86_64": "x86_64", "i386": "x86_pae", "i686": "x86_pae", "aarch64": "arm64"}
_COMPARED: Final = (
    "boost", "min", "low", "high", "promo", "spanned", "present", "managed", "start_pfn", "protection",
    "pageset_high", "pageset_batch",
)  # fmt: skip


def as_dict(figures: ZoneFigures) -> dict[str, Any]:
    """Everything, in the shape that recorded machines have."""
    ratio = (*figures.config.lowmem_reserve_ratio, 0, 0, 0)
    zones: list[dict[str, Any]] = []
    for zone in figures.zones:
        low, mid, high, promo = zone.marks()
        row: dict[str, Any] = {"node": int(zone.node_id), "zone": zone.name, "boost": int(zone.watermark_boost)}
        row |= {"min": low, "low": mid, "high": high, "promo": promo}
        row |= {"spanned": zone.spanned_pages, "present": zone.present_pages, "managed": zone.managed_pages}
        row["protection"] = list(zone.lowmem_reserve)
        if zone.present_pages:
            row |= {"pageset_high": int(zone.pcp.high_min), "pageset_high_max": int(zone.pcp.high_max)}
            row |= {"pageset_batch": int(zone.pcp.batch), "start_pfn": zone.zone_start_pfn}
        zones.append(row)
    here = [zone for zone in figures.zones if zone.node_id == 0]
    meminfo = {"MemTotal": figures.total_pages * 4, "CommitLimit": figures.total_pages * 50 // 100 * 4}
    if any(zone.kind == 3 for zone in here):
        high_kb = figures.high_pages * 4
        meminfo |= {"HighTotal": high_kb, "LowTotal": meminfo["MemTotal"] - high_kb}
    if figures.vmalloc_kbytes:
        meminfo["VmallocTotal"] = figures.vmalloc_kbytes
    nodes = range(len(figures.distances))
    return {
        "arch": figures.config.arch,
        "linux": figures.release,
        "sysctl": {
            "min_free_kbytes": figures.min_free_kbytes,
            "lowmem_reserve_ratio": [ratio[zone.kind] for zone in here if zone.kind != 5 or figures.release],
            "watermark_scale_factor": figures.config.watermark_scale_factor,
            "watermark_boost_factor": figures.config.watermark_boost_factor,
        },
        "zones": zones,
        "meminfo_kb": meminfo,
        "distances": [list(row) for row in figures.distances],
        "zonelists": [[list(place) for place in figures.zonelist(nid)] for nid in nodes],
    }


def zoneinfo_of(figures: ZoneFigures) -> str:
    """/proc/zoneinfo right after boot, without the nodes' counters."""
    parts = []
    for zone in figures.zones:
        parts.append(f"Node {zone.node_id}, zone {zone.name:>8}" + zone_text(zone, {}, figures.config.cpus))
    return "".join(parts)


def figures_text(figures: ZoneFigures) -> str:
    """A table for people, in pages."""
    names = "node zone start_pfn spanned present managed min low high promo protection"
    rows: list[tuple[str, ...]] = [tuple(names.split())]
    for zone in figures.zones:
        if not zone.spanned_pages:
            continue
        sizes = [zone.zone_start_pfn, zone.spanned_pages, zone.present_pages, zone.managed_pages, *zone.marks()]
        protection = " ".join(str(pages) for pages in zone.lowmem_reserve)
        rows.append((str(zone.node_id), zone.name, *[str(each) for each in sizes], protection))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(w) if i in (1, 10) else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    lines.append(f"vm.min_free_kbytes = {figures.min_free_kbytes}")
    high = figures.high_pages * 4
    lines.append(
        f"MemTotal {figures.total_pages * 4} kB, of which lowmem {figures.total_pages * 4 - high} kB, high {high} kB"
    )
    for nid, distances in enumerate(figures.distances):
        order = ", ".join(f"{node}:{name}" for node, name in figures.zonelist(nid))
        lines.append(f"node {nid}: distances {' '.join(str(each) for each in distances)}; zonelist {order}")
    return "\n".join(lines) + "\n"


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
    """The figures of a recording."""
    version = str(data.get("version", ""))
    arch = _ARCH.get(data["arch"], data["arch"])
    if arch == "x86_pae" and version and "pae" not in version:
        arch = "x86_32"
    match = re.search(r"version (\d+)\.(\d+)", version)
    release = "6.1" if match is not None and (int(match[1]), int(match[2])) <= (6, 1) else "6.18"
    sysctl = data.get("sysctl", {})
    command = dict(
        re.findall(r"(kernelcore|movablecore|vmalloc|transparent_hugepage)=(\S+)", str(data.get("cmdline", "")))
    )
    log = "\n".join(data.get("boot_log", []))
    options = " ".join(data.get("qemu_args", []))
    settings: dict[str, Any] = {
        "arch": arch,
        "memory_map": [(start, end + 1) for start, end in data["ram"]],
        "thp": command.get("transparent_hugepage", "always"),
        "kernelcore": command.get("kernelcore", ""),
        "movablecore": command.get("movablecore", ""),
        "vmalloc": command.get("vmalloc", "128M"),
        "watermark_scale_factor": int(sysctl.get("watermark_scale_factor", 10)),
        "watermark_boost_factor": int(sysctl.get("watermark_boost_factor", 15000)),
        "percpu_pagelist_high_fraction": int(sysctl.get("percpu_pagelist_high_fraction", 0)),
    }
    cpus = re.search(r"nr_cpu_ids:(\d+)", log) or re.search(r"-smp (?:cpus=)?(\d+)", options)
    settings["cpus"] = int(cpus[1]) if cpus else 1
    sizes = dict(re.findall(r"memory-backend-ram,id=(\w+),size=(\w+)", options))
    nodes = sorted((int(nid), sizes[name]) for nid, name in re.findall(r"node,nodeid=(\d+),[^ ]*memdev=(\w+)", options))
    settings["nodes"] = data.get("nodes", [size for _, size in nodes])
    nr_nodes = max(int(zone["node"]) for zone in data["zones"]) + 1
    if not settings["nodes"] and nr_nodes > 1:
        settings["memory_map"] = _split_by_zones(settings["memory_map"], data["zones"], nr_nodes)
    if bits := re.search(r"DMA +\[mem .*-0x0*([0-9a-f]+)\]", log):
        settings["zone_dma_bits"] = 30 if arch == "arm64" and int(bits[1], 16) < 1 << 30 else 32
    if "distances" in data:
        settings["distances"] = data["distances"]
    else:
        settings["distances"] = _distances(options, nr_nodes)
    managed = {(int(zone["node"]), str(zone["zone"])): int(zone["managed"]) for zone in data["zones"]}
    late: LateFrames | None = None
    if line := next((line for line in data.get("boot_log", []) if "Memory:" in line), ""):
        late = late_frames_of_log(arch, line, sum(managed.values()), settings["cpus"])
    return ZoneFigures(Config(**settings), release, managed, late)


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


def _distances(options: str, nr_nodes: int) -> list[list[int]]:
    """What -numa dist says, both ways, 20 where it says nothing."""
    found = {(int(a), int(b)): int(d) for a, b, d in re.findall(r"dist,src=(\d+),dst=(\d+),val=(\d+)", options)}
    return [
        [10 if a == b else found.get((a, b), found.get((b, a), 20)) for b in range(nr_nodes)] for a in range(nr_nodes)
    ]


def differences(figures: ZoneFigures, data: dict[str, Any]) -> list[str]:
    """Every figure of a recording that the model does not compute, as a line."""
    ours = as_dict(figures)
    lines = []
    by_place = {(zone["node"], zone["zone"]): zone for zone in ours["zones"]}
    if len(ours["zones"]) != len(data["zones"]):
        lines.append(f"zones: computed {len(ours['zones'])}, recorded {len(data['zones'])}")
    for theirs in data["zones"]:
        mine = by_place.get((theirs["node"], theirs["zone"]), {})
        for name in _COMPARED:
            if name in theirs and mine.get(name) != theirs[name]:
                where = f"node {theirs['node']} zone {theirs['zone']}"
                lines.append(f"{where}: {name}: computed {mine.get(name)}, recorded {theirs[name]}")
    for group in ("sysctl", "meminfo_kb"):
        for name, value in ours[group].items():
            known = data.get(group, {}).get(name)
            if known is not None and json.dumps(value) != re.sub('"', "", json.dumps(known)):
                if name == "VmallocTotal" and figures.config.arch == "x86_64":
                    continue  # by the levels of the page table, which a recording does not tell
                lines.append(f"{name}: computed {value}, recorded {known}")
    return lines
