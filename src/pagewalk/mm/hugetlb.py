"""The pools of huge pages that a kernel has, one for each size; all of them are empty.

Sources: Documentation/admin-guide/mm/hugetlbpage.rst; Documentation/arch/arm64/hugetlbpage.rst for its sizes.

Mirrors: mm/hugetlb.c (hstates, hugetlb_show_meminfo_node, hugetlb_sysfs_init) (6.18)
Differs: pools cannot be filled (vm.nr_hugepages takes 0 alone), so whatever needs a page of them answers ENOMEM.
"""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pagewalk.config import Config

# Log2 of bytes, the default size first. arm64 has runs of entries that are marked as contiguous, beside its levels.
_SHIFTS: Final = {"x86_64": (21, 30), "x86_pae": (21,), "x86_32": (22,), "riscv64": (21, 30), "riscv32": (22,)}
_ARM64: Final = {4096: (21, 16, 25, 30), 16384: (25, 21, 30), 65536: (29, 21, 34)}
_READ_ONLY: Final = ("free_hugepages", "resv_hugepages", "surplus_hugepages")


def huge_page_shifts(config: "Config") -> tuple[int, ...]:
    """Log2 of the sizes that mmap(2), memfd_create(2) and shmget(2) can be asked for, the default first."""
    return _ARM64[int(config.granule)] if config.arch == "arm64" else _SHIFTS[config.arch]


def default_shift(config: "Config") -> int:
    """The size that is meant where none is named."""
    return huge_page_shifts(config)[0]


def huge_sizes_kb(config: "Config") -> list[int]:
    """The same in KiB, the largest first, as a report of the OOM killer lists them."""
    return sorted([1 << shift - 10 for shift in huge_page_shifts(config)], reverse=True)


def pool_files(config: "Config", node: bool) -> dict[str, tuple[int, str]]:
    """The files of all pools by path below a folder "hugepages": mode and text. ``node``: those of one node. A pool
    whose pages can be split into smaller ones says into which ("demote_size")."""
    files: dict[str, tuple[int, str]] = {}
    sizes = huge_sizes_kb(config)
    for place, size in enumerate(sizes):
        folder = f"hugepages-{size}kB"
        names = ["nr_hugepages", "free_hugepages", "surplus_hugepages"]
        if not node:
            names += ["nr_hugepages_mempolicy", "nr_overcommit_hugepages", "resv_hugepages"]
        for name in names:
            if name != "nr_hugepages_mempolicy" or config.arch not in ("x86_32", "x86_pae", "riscv32"):  # NUMA
                files[f"{folder}/{name}"] = (0o444 if name in _READ_ONLY else 0o644, "0")
        if place + 1 < len(sizes):
            files[f"{folder}/demote_size"] = (0o644, f"{sizes[place + 1]}kB")
            files[f"{folder}/demote"] = (0o200, "0")
    return files
