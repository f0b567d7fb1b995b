"""The files of the memory controller in a group's directory: what they say, and what may be written into them.

Sources: Documentation/admin-guide/cgroup-v2.rst, "Memory Interface Files".

Mirrors: mm/memcontrol.c (memory_files, swap_files, zswap_files), mm/page_counter.c (page_counter_memparse) (6.18)
Differs: memory.peak and memory.swap.peak cannot be reset.
"""

import errno
from typing import Final

from pagewalk.fs.procfs.inodes import ProcSuper
from pagewalk.mm.lru import SWAPPINESS_ANON_ONLY
from pagewalk.mm.mem_cgroup import PAGE_COUNTER_MAX, MemCgroup
from pagewalk.mm.memcg_names import EVENT_NAMES, MEMCG_SWAP_HIGH, SWAP_EVENT_NAMES
from pagewalk.mm.memcg_stat import memory_stat, memory_stat_text, numa_stat_text

MEMORY_FILES: Final = {
    "memory.current": 0o444, "memory.peak": 0o444, "memory.min": 0o644, "memory.low": 0o644, "memory.high": 0o644,
    "memory.max": 0o644, "memory.events": 0o444, "memory.events.local": 0o444, "memory.stat": 0o444,
    "memory.numa_stat": 0o444, "memory.oom.group": 0o644, "memory.reclaim": 0o200, "memory.swap.current": 0o444,
    "memory.swap.high": 0o644, "memory.swap.max": 0o644, "memory.swap.peak": 0o444, "memory.swap.events": 0o444,
    "memory.zswap.current": 0o444, "memory.zswap.max": 0o644, "memory.zswap.writeback": 0o644,
}  # fmt: skip
ROOT_FILES: Final = {
    "memory.numa_stat": 0o444, "memory.stat": 0o444, "memory.reclaim": 0o200, "memory.zswap.writeback": 0o644,
}  # fmt: skip
_WORD: Final = (1 << 64) - 1
_UNITS: Final = {"k": 10, "m": 20, "g": 30, "t": 40, "p": 50, "e": 60}


def shown(pages: int, page_size: int) -> str:
    """A limit, given in pages, in bytes, or "max"."""
    return "max" if pages >= PAGE_COUNTER_MAX else str(pages * page_size)


def read_memory(sb: ProcSuper, group: MemCgroup, name: str) -> str:
    """The text of a file of the memory controller."""
    if name == "memory.stat":
        stat = memory_stat(sb.system, group, sb.kernel.memcg_faults(group))
        return memory_stat_text(stat, sb.system.config.linux)
    if name == "memory.numa_stat":
        return numa_stat_text(sb.system, group)
    if name == "memory.events" or name == "memory.events.local":
        counts = group.events if name == "memory.events" else group.events_local
        return "".join(f"{event} {count}\n" for event, count in zip(EVENT_NAMES, counts, strict=False))
    if name == "memory.swap.events":
        counts = group.events[MEMCG_SWAP_HIGH:]
        return "".join(f"{event} {count}\n" for event, count in zip(SWAP_EVENT_NAMES, counts, strict=True))
    if name == "memory.oom.group":
        return f"{int(group.oom_group)}\n"
    if name == "memory.zswap.writeback":
        return f"{int(group.zswap_writeback)}\n"
    if name == "memory.pressure":
        psi = sb.system.psi if group.parent is None else group.psi
        return psi.text(sb.kernel.monotonic_ns())
    limits = {
        "memory.min": int(group.min), "memory.low": int(group.low), "memory.high": int(group.high),
        "memory.max": int(group.max), "memory.swap.high": int(group.swap_high), "memory.swap.max": int(group.swap_max),
        "memory.zswap.max": int(group.zswap_max),
    }  # fmt: skip
    page_size = int(sb.system.page_size)
    if name in limits:
        return f"{shown(limits[name], page_size)}\n"
    sizes = {
        "memory.current": int(group.usage) * page_size, "memory.peak": int(group.watermark) * page_size,
        "memory.swap.current": int(group.swap_usage) * page_size,
        "memory.swap.peak": int(group.swap_watermark) * page_size, "memory.zswap.current": int(group.zswap_bytes),
    }  # fmt: skip
    return f"{sizes[name]}\n"


def parse_limit(text: str, page_size: int) -> int:
    """page_counter_memparse: "max", or bytes with a suffix K, M, G, ..., in pages; or -EINVAL. As memparse has it,
    no digits are 0, and what 64 bits do not hold is cut off."""
    if text == "max":
        return PAGE_COUNTER_MAX
    unit = _UNITS.get(text[-1:].lower(), 0)
    digits = (text[:-1] if unit else text).lower()
    if unit == _UNITS["e"] and digits.startswith("0x"):
        unit, digits = 0, text.lower()  # a digit
    base = 16 if digits.startswith("0x") else 8 if digits.startswith("0") else 10
    digits = digits[2:] if base == 16 else digits
    if (base == 16 and not digits) or any(digit not in "0123456789abcdef"[:base] for digit in digits):
        return -errno.EINVAL
    number = int(digits or "0", base) & _WORD
    return min((number << unit & _WORD) // page_size, PAGE_COUNTER_MAX)


def write_memory(sb: ProcSuper, group: MemCgroup, name: str, text: str) -> int:
    """Writes a file of the memory controller: 0 or a negative errno."""
    if name == "memory.oom.group" or name == "memory.zswap.writeback":
        if text not in ("0", "1"):
            return -errno.EINVAL
        if name == "memory.oom.group":
            group.oom_group = text == "1"
        else:
            group.zswap_writeback = text == "1"
        return 0
    if name == "memory.reclaim":
        return reclaim_request(sb, group, text)
    pages = parse_limit(text, int(sb.system.page_size))
    if pages < 0:
        return pages
    tree = sb.system.memcg
    if name == "memory.max":
        tree.set_max(group, pages)
    elif name == "memory.high":
        tree.set_high(group, pages)
    elif name == "memory.low":
        group.low = pages
    elif name == "memory.min":
        group.min = pages
    elif name == "memory.swap.max":
        group.swap_max = pages
    elif name == "memory.swap.high":
        group.swap_high = pages
    elif name == "memory.zswap.max":
        group.zswap_max = pages
    else:
        return -errno.EINVAL
    return 0


def reclaim_request(sb: ProcSuper, group: MemCgroup, text: str) -> int:
    """memory.reclaim: "SIZE [swappiness=N|max]"; -EAGAIN where less could be had than was asked for."""
    words = text.split()
    if not words:
        return -errno.EINVAL
    pages = parse_limit(words[0], int(sb.system.page_size))
    if pages < 0:
        return pages
    swappiness = -1
    for word in words[1:]:
        key, _, value = word.partition("=")
        if key != "swappiness":
            return -errno.EINVAL
        if value == "max":
            swappiness = SWAPPINESS_ANON_ONLY
        elif value.isascii() and value.isdigit() and int(value) <= 200:
            swappiness = int(value)
        else:
            return -errno.EINVAL
    return sb.system.memcg.proactive_reclaim(group, pages, swappiness)
