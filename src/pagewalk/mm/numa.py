"""Nodes: how far they are from each other, and in which order a node's requests go to the others.

Mirrors: mm/page_alloc.c (find_next_best_node, build_zonelists), drivers/acpi/numa/srat.c, mm/mempolicy.c (6.18)
Differs: distances are given, or 10 to a node itself and 20 to others.
"""

from typing import TYPE_CHECKING, Final

from pagewalk.arch.zone_limits import DMA32, NORMAL, zone_kinds
from pagewalk.mm.mm_init import gfp_zones
from pagewalk.mm.page import MemMap
from pagewalk.mm.page_alloc import Node
from pagewalk.mm.ram import Ram
from pagewalk.mm.reclaim_seam import ReclaimSeam
from pagewalk.mm.vmstat import VmStat
from pagewalk.mm.zone import Zone

if TYPE_CHECKING:
    from pagewalk.config import Config

LOCAL_DISTANCE: Final = 10
REMOTE_DISTANCE: Final = 20
_MAX_NUMNODES: Final = 1024


def distance_matrix(nr_nodes: int, given: list[list[int]] | None) -> list[list[int]]:
    """The configured distances, or the usual ones."""
    if given is not None:
        return given
    return [[LOCAL_DISTANCE if a == b else REMOTE_DISTANCE for b in range(nr_nodes)] for a in range(nr_nodes)]


def node_orders(distances: list[list[int]], has_memory: list[bool]) -> list[list[int]]:
    """For each node, the nodes in the order in which its requests try them.

    The node itself, then the nearest; among equals those behind it in number, and those that fewer nodes have as their
    first choice so far. (Nodes with CPUs would stand back, but the lists are built before CPUs are known to nodes.)
    """
    nr = len(distances)
    load = [0] * nr
    orders = []
    for local in range(nr):
        order: list[int] = [local] if has_memory[local] else []
        used = {local}
        before = local
        while True:
            best, least = -1, 0
            for node in range(nr):
                if node in used or not has_memory[node]:
                    continue
                value = distances[local][node] + (node < local)
                value = value * _MAX_NUMNODES + load[node]
                if best < 0 or value < least:
                    best, least = node, value
            if best < 0:
                break
            if distances[local][best] != distances[local][before]:
                load[best] += 1
            used.add(best)
            order.append(best)
            before = best
        orders.append(order)
    return orders


def build_nodes(
    config: "Config", zones: list[Zone], distances: list[list[int]], mem_map: MemMap, ram: Ram, vmstat: VmStat
) -> list[Node]:
    """The nodes of a machine, with their zonelists."""
    kinds = zone_kinds(config.arch, config.linux)
    table = gfp_zones(kinds)
    nr_nodes = len(distances)
    by_node = [[zone for zone in zones if zone.node_id == nid] for nid in range(nr_nodes)]
    nodes = [Node(nid, own, mem_map, ram, vmstat, table) for nid, own in enumerate(by_node)]
    has_memory = [bool(node.zonelist_here) for node in nodes]
    populated = sorted([zone for zone in zones if zone.managed_pages], key=start_of, reverse=True)
    seam = ReclaimSeam()
    total = sum([zone.managed_pages for zone in zones])
    for node, order in zip(nodes, node_orders(distances, has_memory), strict=True):
        node.nodes = nodes
        node.by_pfn = populated
        node.interleaved = any(zone.pieces is not None for zone in populated)
        node.zonelist = [zone for nid in order for zone in nodes[nid].zonelist_here]
        node.group_by_mobility = total >= (4 << int(mem_map.block_order))
        node.reclaim = seam
        for zone in node.zones:
            below = [low for low in node.zones if low.kind == DMA32 and low.managed_pages]
            zone.no_fragment = zone.kind == NORMAL and bool(below)
    return nodes


def start_of(zone: Zone) -> int:
    """For sorting zones by address."""
    return zone.zone_start_pfn


def set_reclaim(nodes: list[Node], reclaim: ReclaimSeam) -> None:
    """Reclaim takes its place behind every node's slow path."""
    for node in nodes:
        node.reclaim = reclaim
