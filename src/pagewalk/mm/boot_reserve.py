"""What is not free at boot: frames that the kernel keeps, and frames that it frees only after it has set watermarks.

A model cannot know either; here are estimates for a machine that is made from a size, and how to read the second off a
real machine's boot log.

Mirrors: arch/x86/mm/init.c (free_initmem), mm/mm_init.c (mem_init_print_info), init/initramfs.c (6.18)
Differs: estimates. The image takes 40 MiB, half of the RAM where that is less than 48 MiB; struct pages take 64 bytes a
    frame, 40 on 32-bit machines.
"""

import re
from typing import Final, final

from pagewalk.mm.memblock import PfnRange, frames_of, take_from_top, without

_LOW_MIB: Final = (0, 0x100)  # below 1 MiB: the kernel leaves it to firmware
IMAGE: Final = 40 << 20  # bytes of the kernel's image
_X86_IMAGE: Final = 0x1000  # 16 MiB, CONFIG_PHYSICAL_START
_STRUCT_PAGE: Final = 64
_STRUCT_PAGE_32: Final = 40  # ten words
_SMALL: Final = 48 << 20
_HUGE: Final = 2048  # KiB
_DECRYPTED: Final = {"6.1": 509}  # frames of padding behind .bss..decrypted
_DECRYPTED_LATER: Final = 507
# Frames of lock prefixes: 6.1 frees them between its "Memory:" line and the watermarks, later releases before both.
_SMP_LOCKS: Final = {("x86_64", "6.1"): 9, ("x86_32", "6.1"): 8, ("x86_pae", "6.1"): 8}

_MEMORY_LINE: Final = re.compile(
    r"Memory: (\d+)K/(\d+)K available \((\d+)K kernel code, \d+K rwdata, (\d+)K rodata, (\d+)K init, .*?(\d+)K reserved"
)
_FREEING_LINE: Final = re.compile(r"Freeing (initrd|unused (?:kernel|decrypted)[^\n]*?) memory: (\d+)K")

# What Debian's kernels free late, in KiB: of the kernel's image (by release), and an initrd of a megabyte.
_USUAL_LATE: Final = {
    "x86_64": ({"6.1": 8020, "6.12": 7248, "6.18": 8432}, 1072), "x86_32": ({"6.1": 928}, 1112),
    "x86_pae": ({"6.1": 928}, 1112), "arm64": ({"6.1": 6464, "6.18": 3648}, 1012),
}  # fmt: skip


def image_pfn(arch: str, first_pfn: int) -> int:
    """The frame that the kernel's image begins in, ``first_pfn`` being the first frame of RAM."""
    return _X86_IMAGE if arch.startswith(("x86", "riscv")) else first_pfn


def free_at_boot(arch: str, ranges: list[PfnRange], lowmem_end: int, page_shift: int) -> list[PfnRange]:
    """What is left of RAM for the allocator: less the first MiB of a PC, the kernel's image, and struct pages at the
    top of the memory (below ``lowmem_end``) that the kernel can address."""
    start = image_pfn(arch, ranges[0][0])
    total = frames_of(ranges)
    image = IMAGE >> page_shift if total << page_shift >= _SMALL else total // 2
    free = ranges if arch == "arm64" else without(ranges, _LOW_MIB)
    free = without(free, (start, start + image))
    high = without(free, (0, lowmem_end))
    low = without(free, (lowmem_end, 1 << 62))
    struct_page = _STRUCT_PAGE_32 if arch in ("x86_32", "x86_pae", "riscv32") else _STRUCT_PAGE
    return take_from_top(low, total * struct_page >> page_shift) + high


@final
class LateFrames:
    """Frames that reach the allocator after the watermarks were computed.

    kernel  of the kernel's image: its init sections, and the padding between sections
    initrd  of the initial RAM disk, which lies at the top of the memory below 4 GiB
    """

    def __init__(self, kernel: int, initrd: int) -> None:
        self.kernel = kernel
        self.initrd = initrd

    def __repr__(self) -> str:
        return f"<LateFrames kernel {self.kernel}, initrd {self.initrd}>"


def usual_late_frames(arch: str, release: str, page_shift: int) -> LateFrames:
    """An estimate, for a machine of which nothing is known but its architecture and release."""
    by_release, initrd = _USUAL_LATE.get(arch, ({"6.1": 0}, 0))
    kernel = by_release.get(release, by_release.get("6.18", by_release["6.1"]))
    return LateFrames(kernel >> page_shift - 10, initrd >> page_shift - 10)


def late_frames_of_log(arch: str, log: str, total: int, release: str, page_shift: int = 12) -> LateFrames | None:
    """From the boot log and the frames that were managed in the end; None where neither kind of line is there.

    "Freeing ... memory" lines say it. Where they are not there, the "Memory: ..." line does: RAM less "reserved" is
    what was managed then; what is managed beyond that came later. Of the kernel's image that is "init" and, on x86-64,
    what fills text and read-only data up to 2 MiB; the rest is the initrd.
    """
    freed = [(what, int(kib) >> page_shift - 10) for what, kib in _FREEING_LINE.findall(log)]
    if any(what.startswith("unused kernel") for what, _ in freed):
        initrd = sum([frames for what, frames in freed if what == "initrd"])
        return LateFrames(sum([frames for _, frames in freed]) - initrd, initrd)
    match = _MEMORY_LINE.search(log)
    if match is None:
        return None
    _, ram, text, rodata, init, reserved = [int(word) for word in match.groups()]
    late = total - (ram - reserved >> page_shift - 10)
    kernel = init >> page_shift - 10
    if arch == "x86_64":
        kernel += -text % _HUGE // 4 + -rodata % _HUGE // 4 + _DECRYPTED.get(release, _DECRYPTED_LATER)
    late = max(late - _SMP_LOCKS.get((arch, release), 0), 0)
    kernel = min(kernel, late)
    return LateFrames(kernel, late - kernel)
