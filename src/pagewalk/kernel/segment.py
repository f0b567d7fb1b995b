"""The GDT, and the three descriptors of it that belong to the running thread: thread-local storage of 32-bit programs.

Sources: set_thread_area(2), modify_ldt(2) (struct user_desc); Intel SDM volume 3, section 3.4.5 (descriptors).

Mirrors: arch/x86/include/asm/segment.h, arch/x86/kernel/tls.c (6.18)
Differs: one GDT, which the CPU fills with the running thread's descriptors; no LDT.
"""

import errno
import struct
from typing import TYPE_CHECKING, Final

from pagewalk.kernel.ptrace import PtRegs, x86_regs
from pagewalk.kernel.vdso import kernel_frame
from pagewalk.kernel.word import WORD, signed, signed32
from pagewalk.mm.init_mm import PAGE_KERNEL_RO
from pagewalk.mm.uaccess import copy_from_user, copy_to_user

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task
    from pagewalk.mm.system import System

NR_TLS: Final = 3
USER_DESC: Final = struct.Struct("<IIII")  # entry_number, base_addr, limit, and the bits below

_SEG_32BIT: Final = 1
_CONTENTS: Final = 6
_READ_EXEC_ONLY: Final = 8
_LIMIT_IN_PAGES: Final = 16
_SEG_NOT_PRESENT: Final = 32
_USEABLE: Final = 64
_BITS: Final = 0x7F
_EMPTY_BITS: Final = _READ_EXEC_ONLY | _SEG_NOT_PRESENT


class Segments:
    """Which selectors a kernel gives its 32-bit programs.

    user_cs, user_ds  code and data
    tls_min           the first of the thread's own descriptors in the GDT
    """

    def __init__(self, user_cs: int, user_ds: int, tls_min: int) -> None:
        self.user_cs = user_cs
        self.user_ds = user_ds
        self.tls_min = tls_min


SEGMENTS_64: Final = Segments(0x23, 0x2B, 12)
SEGMENTS_32: Final = Segments(0x73, 0x7B, 6)


def segments_of(bits: int) -> Segments:
    """Those of a kernel with words of ``bits``."""
    return SEGMENTS_64 if bits == 64 else SEGMENTS_32


def descriptor(base: int, limit: int, access: int, flags: int) -> int:
    """A descriptor as an unsigned word: 32 bits of base, 20 of limit, the access byte, and G, D, L and AVL."""
    return (
        limit & 0xFFFF
        | (base & 0xFF_FFFF) << 16
        | access << 40
        | (limit >> 16 & 15) << 48
        | flags << 52
        | (base >> 24 & 0xFF) << 56
    )


def setup_gdt(system: "System") -> None:
    """Makes the GDT, with flat code and data, where there is none yet."""
    if system.gdt_pfn >= 0:
        return
    system.gdt_pfn = kernel_frame(system)
    wide = system.layout.bits == 64
    segments = segments_of(int(system.layout.bits))
    entries = {
        segments.user_cs >> 3: descriptor(0, 0xF_FFFF, 0xFB, 0xC),
        segments.user_ds >> 3: descriptor(0, 0xF_FFFF, 0xF3, 0xC),
    }
    if wide:
        entries[6] = descriptor(0, 0xF_FFFF, 0xFB, 0xA)
        entries[15] = descriptor(0, 0, 0xF5, 0x4)  # GDT_ENTRY_CPUNODE: CPU 0 of node 0
    for index, value in entries.items():
        system.ram.quads[(system.gdt_pfn << 9) + index] = signed(value)
    init_mm = system.init_mm
    if init_mm is not None:
        bits = PAGE_KERNEL_RO | init_mm.nx & WORD
        init_mm.map_range(init_mm.areas.cpu_entry_area + 4096, system.gdt_pfn, 1, bits)


def get_tls(regs: PtRegs, index: int) -> int:
    """The thread's descriptor 0, 1 or 2."""
    if index == 0:
        return int(regs.tls0)
    return int(regs.tls1) if index == 1 else int(regs.tls2)


def set_tls(regs: PtRegs, index: int, value: int) -> None:
    """Sets it."""
    if index == 0:
        regs.tls0 = value
    elif index == 1:
        regs.tls1 = value
    else:
        regs.tls2 = value


def is_empty(base: int, limit: int, bits: int) -> bool:
    """LDT_empty or LDT_zero: the description of no segment."""
    return base == 0 and limit == 0 and bits & _BITS in (0, _EMPTY_BITS)


def tls_descriptor(base: int, limit: int, bits: int) -> int:
    """fill_ldt: the descriptor that a struct user_desc describes, as a signed word."""
    if is_empty(base, limit, bits):
        return 0
    kind = 1 | (0 if bits & _READ_EXEC_ONLY else 2) | (bits & _CONTENTS) << 1
    access = kind | 0x10 | 0x60 | (0 if bits & _SEG_NOT_PRESENT else 0x80)
    flags = (bits & _USEABLE) >> 6 | (bits & _SEG_32BIT) << 2 | (bits & _LIMIT_IN_PAGES) >> 1
    return signed(descriptor(base, limit, access, flags))


def describe_tls(value: int) -> tuple[int, int, int]:
    """fill_user_desc: base, limit and bits of a descriptor."""
    value &= (1 << 64) - 1
    base = (value >> 16 & 0xFF_FFFF) | (value >> 56 & 0xFF) << 24
    limit = (value & 0xFFFF) | (value >> 48 & 15) << 16
    bits = (
        (value >> 54 & 1) * _SEG_32BIT
        | (value >> 42 & 3) << 1
        | (0 if value >> 41 & 1 else _READ_EXEC_ONLY)
        | (value >> 55 & 1) * _LIMIT_IN_PAGES
        | (0 if value >> 47 & 1 else _SEG_NOT_PRESENT)
        | (value >> 52 & 1) * _USEABLE
    )
    return base, limit, bits


def do_set_thread_area(task: "Task", regs: PtRegs, addr: int, can_allocate: bool) -> int:
    """Sets one of the descriptors in ``regs`` as the struct user_desc at ``addr`` says; with ``can_allocate`` number -1
    is the first that is free. 0, -EFAULT, -EINVAL, or -ESRCH where none is free."""
    data = copy_from_user(task.mm, addr, USER_DESC.size)
    if data is None:
        return -errno.EFAULT
    number, base, limit, bits = USER_DESC.unpack(data)
    if not is_empty(base, limit, bits) and (not bits & _SEG_32BIT or bits & _CONTENTS > 2 or bits & _SEG_NOT_PRESENT):
        return -errno.EINVAL
    first = segments_of(int(task.kernel.layout.bits)).tls_min
    number = signed32(number)
    if number == -1 and can_allocate:
        free = [index for index in range(NR_TLS) if get_tls(regs, index) == 0]
        if not free:
            return -errno.ESRCH
        number = first + free[0]
        if not copy_to_user(task.mm, addr, struct.pack("<I", number)):
            return -errno.EFAULT
    if not first <= number < first + NR_TLS:
        return -errno.EINVAL
    set_tls(regs, number - first, tls_descriptor(base, limit, bits))
    return 0


def do_get_thread_area(task: "Task", addr: int) -> int:
    """get_thread_area(2)."""
    data = copy_from_user(task.mm, addr, 4)
    if data is None:
        return -errno.EFAULT
    number = struct.unpack("<i", data)[0]
    first = segments_of(int(task.kernel.layout.bits)).tls_min
    if not first <= number < first + NR_TLS:
        return -errno.EINVAL
    base, limit, bits = describe_tls(get_tls(x86_regs(task), number - first))
    return 0 if copy_to_user(task.mm, addr, USER_DESC.pack(number, base, limit, bits)) else -errno.EFAULT
