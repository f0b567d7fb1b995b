"""What the kernel's own objects take, by architecture and release.

Sizes are those that /proc/slabinfo of Debian's kernels shows: 6.1.176 (bookworm), 6.12.107 (trixie) and 6.18.15 (its
backports), of amd64, arm64, 686-pae and 686. Other configurations have others; the orders of their slabs follow from
them (mm/slab.py). task_struct of x86 holds the registers of its CPU at its end: here those of a CPU without XSAVE, as
the modelled one is; with AVX-512 it has 2,240 bytes more.

Mirrors: mm/slab_common.c (slabinfo) (6.18, 6.12, 6.1)
Differs: 32-bit x86 of 6.12 and 6.18 has the sizes of 6.1, RISC-V those of arm64 and of 32-bit x86.
"""

from typing import Final

# In the order of /proc/slabinfo.
CACHES: Final = (
    "ext4_inode_cache", "sock_inode_cache", "proc_inode_cache", "shmem_inode_cache", "filp", "inode_cache", "dentry",
    "vm_area_struct", "files_cache", "signal_cache", "sighand_cache", "task_struct", "anon_vma_chain", "anon_vma",
    "pid", "mm_struct",
)  # fmt: skip

# Caches whose objects the kernel can let go of (SLAB_RECLAIM_ACCOUNT).
RECLAIMABLE: Final = (
    "ext4_inode_cache", "sock_inode_cache", "proc_inode_cache", "shmem_inode_cache", "inode_cache", "dentry",
)  # fmt: skip

_SIZES: Final = {
    ("x86_64", "6.18"): (1128, 832, 688, 744, 192, 616, 192, 192, 704, 1152, 2112, 6528, 64, 104, 192, 1536),
    ("x86_64", "6.12"): (1168, 832, 704, 760, 192, 632, 192, 176, 704, 1152, 2112, 6208, 64, 104, 128, 1408),
    ("x86_64", "6.1"): (1192, 832, 712, 784, 256, 640, 192, 152, 704, 1152, 2112, 6208, 64, 104, 128, 1152),
    ("arm64", "6.18"): (1128, 832, 688, 744, 192, 616, 192, 192, 704, 1152, 2112, 5120, 64, 104, 192, 1408),
    ("arm64", "6.12"): (1168, 832, 704, 760, 192, 632, 192, 176, 704, 1152, 2112, 4736, 64, 104, 128, 1280),
    ("arm64", "6.1"): (1192, 832, 712, 784, 256, 640, 192, 152, 704, 1152, 2112, 4160, 64, 104, 128, 960),
    ("x86_pae", "6.1"): (800, 640, 456, 488, 192, 416, 128, 80, 256, 768, 1344, 3008, 32, 56, 64, 576),
    ("x86_32", "6.1"): (800, 640, 456, 488, 192, 416, 128, 72, 256, 768, 1344, 2944, 32, 56, 64, 576),
}


def object_sizes(arch: str, release: str) -> dict[str, int]:
    """Bytes of an object of each cache, as a release has them on an architecture."""
    kind = {"riscv64": "arm64", "riscv32": "x86_32"}.get(arch, arch)
    sizes = _SIZES.get((kind, release))
    return dict(zip(CACHES, _SIZES[kind, "6.1"] if sizes is None else sizes, strict=True))
