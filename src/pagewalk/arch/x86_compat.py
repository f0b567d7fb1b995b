"""The address space of a 32-bit program on a 64-bit x86 kernel.

Sources: personality(2), ADDR_LIMIT_3GB; /proc/PID/maps of 32-bit programs under setarch -R.

Mirrors: arch/x86/include/asm/processor.h (IA32_PAGE_OFFSET), arch/x86/include/asm/elf.h (6.18)
Differs: nothing.
"""

from typing import Final

from pagewalk.arch.format import Layout

IA32_PAGE_OFFSET: Final = 0xFFFF_E000
IA32_PAGE_OFFSET_3GB: Final = 0xC000_0000  # personality ADDR_LIMIT_3GB
_PIE_ABOVE_UNMAPPED_BASE: Final = 0x0100_0000


def layout(limit_3gb: bool) -> Layout:
    """Nearly 4 GiB, or 3 GiB on request."""
    task_size = IA32_PAGE_OFFSET_3GB if limit_3gb else IA32_PAGE_OFFSET
    unmapped_base = (task_size // 3 + 4095) & -4096
    return Layout(
        task_size=task_size,
        mmap_top=task_size,
        stack_top=task_size,
        et_dyn_base=unmapped_base + _PIE_ABOVE_UNMAPPED_BASE,
        mmap_rnd_bits=8,
        stack_rnd_mask=0x7FF,
        brk_rnd_bytes=0x0200_0000,
        mmap_legacy=unmapped_base,
        text_base=0x0804_8000,
        bits=32,
    )
