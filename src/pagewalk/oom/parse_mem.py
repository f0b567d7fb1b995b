"""Reads the lines of Mem-Info: nodes, zones, free blocks, huge pages, swap."""

import re
from typing import Final

from pagewalk.mm.oom_report import HugePages, MemInfo, NodeState, ZoneState

__all__ = ["parse_mem_line", "take_sums"]

_NODE: Final = re.compile(r"^Node (?P<nid>\d+) (?=active_anon:)(?P<rest>.*)$")
_ZONE: Final = re.compile(
    r"^(?:Node (?P<nid>\d+) )?(?P<name>DMA|DMA32|Normal|HighMem|Movable|Device) (?=free:)(?P<rest>.*)$"
)
_AREAS: Final = re.compile(
    r"^(?:Node (?P<nid>\d+) )?(?P<name>DMA|DMA32|Normal|HighMem|Movable|Device): (?P<rest>\d+\*.*) = \d+kB"
)
_HUGE: Final = re.compile(
    r"^Node (?P<nid>\d+) hugepages_total=(?P<total>\d+) hugepages_free=(?P<free>\d+) hugepages_surp=(?P<surp>\d+) "
    r"hugepages_size=(?P<size>\d+)kB"
)
_FIGURE: Final = re.compile(r"([\w()]+):\s*(-?\d+)[kK]B")
_GLOBAL: Final = re.compile(r"^\s?(?:[a-z_]+:\d+)(?:\s[a-z_]+:\d+)*$")
_BLOCKS: Final = re.compile(r"(\d+)\*(\d+)kB(?: \(([A-Z]*)\))?")
_COUNT: Final = re.compile(
    r"^(?P<value>\d+) (?P<what>total pagecache pages|pages in swap cache|pages cma reserved|pages hwpoisoned)$"
)
_RAM: Final = re.compile(r"^(?P<value>\d+) pages (?P<what>RAM|HighMem/MovableOnly|reserved)$")
_RAM_NAMES: Final = {"RAM": "present", "HighMem/MovableOnly": "high", "reserved": "reserved"}
_NO_COLUMN: Final = ("slab_reclaimable", "slab_unreclaimable", "kernel_misc_reclaimable")  # of a node's line
_SWAP: Final = re.compile(r"^(?P<what>Free|Total) swap\s+= (?P<kb>\d+)kB$")


def parse_mem_line(mem: MemInfo, line: str, sums: dict[str, int]) -> bool:
    """A line of Mem-Info; False where it is something else. ``sums`` gets what is a sum of other figures."""
    match = _NODE.match(line)
    if match is not None:
        node = node_of(mem, int(match["nid"]))
        node.kb = {name: int(value) for name, value in _FIGURE.findall(match["rest"])}
        node.all_unreclaimable = "all_unreclaimable? yes" in line
        mem.thp = "anon_thp" in node.kb
        return True
    match = _ZONE.match(line)
    if match is not None:
        zone = ZoneState(int(match["nid"] or 0), match["name"])
        mem.numa = match["nid"] is not None
        zone.kb = {name: int(value) for name, value in _FIGURE.findall(match["rest"])}
        mem.zones.append(zone)
        return True
    if line.startswith("lowmem_reserve[]:") and mem.zones:
        mem.zones[-1].lowmem_reserve = [int(word) for word in line.partition(":")[2].split()]
        return True
    match = _AREAS.match(line)
    if match is not None:
        for zone in mem.zones:
            if zone.name == match["name"] and zone.nid == int(match["nid"] or 0):
                blocks = _BLOCKS.findall(match["rest"])
                zone.nr_free = [int(count) for count, _, _ in blocks]
                zone.types = [letters for _, _, letters in blocks]
                zone.page_kb = int(blocks[0][1]) if blocks else 4
        return True
    return parse_count_line(mem, line, sums)


def parse_count_line(mem: MemInfo, line: str, sums: dict[str, int]) -> bool:
    """A line with one figure, or one of the sums in pages of which only what has no column elsewhere is kept."""
    match = _HUGE.match(line)
    if match is not None:
        huge = HugePages(int(match["nid"]), int(match["size"]))
        huge.total, huge.free, huge.surp = int(match["total"]), int(match["free"]), int(match["surp"])
        mem.huge.append(huge)
        return True
    match = _SWAP.match(line)
    if match is not None:
        if match["what"] == "Free":
            mem.free_swap_kb = int(match["kb"])
        else:
            mem.total_swap_kb = int(match["kb"])
        return True
    match = _COUNT.match(line)
    if match is not None:
        value = int(match["value"])
        if match["what"].startswith("total"):
            mem.pages["pagecache"] = value
        elif match["what"].endswith("swap cache"):
            mem.swapcache_pages = value
        elif "cma" in match["what"]:
            mem.cma_reserved = value
        else:
            mem.hwpoisoned = value
        return True
    match = _RAM.match(line)
    if match is not None:
        sums[_RAM_NAMES[match["what"]]] = int(match["value"])
        return True
    if _GLOBAL.match(line):
        for word in line.split():
            name, _, figure = word.partition(":")
            (mem.pages if name in _NO_COLUMN else sums)[name] = int(figure)
        return True
    return False


def take_sums(mem: MemInfo, sums: dict[str, int]) -> None:
    """What the report says of the whole machine counts where it does not show all of it: a policy or a cpuset leaves
    out nodes, a request for low memory the zones above."""
    if "present" in sums and sums["present"] != mem.zone_pages("present"):
        mem.pages |= sums
        mem.pages["managed"] = sums["present"] - sums.get("reserved", 0)


def node_of(mem: MemInfo, nid: int) -> NodeState:
    """The node, made at its first line."""
    for node in mem.nodes:
        if node.nid == nid:
            return node
    mem.nodes.append(NodeState(nid))
    return mem.nodes[-1]
