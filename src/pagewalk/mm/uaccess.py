"""Reaching user memory: what copy_from_user and copy_to_user are to the kernel, and a program's own access to the face.

Every access goes through the page table in RAM and takes faults as the program's own would.

Mirrors: arch/x86/lib/usercopy.c, lib/strncpy_from_user.c, arch/arm64/include/asm/uaccess.h (6.18)
Differs: the page table is asked before each access, in place of exception tables.
"""

from typing import Final

from mypy_extensions import i64

from pagewalk.mm.fault import FAULT_ACCERR, FAULT_PKUERR, FAULT_SERVED, READ, WRITE, do_user_addr_fault
from pagewalk.mm.mm_types import MmStruct
from pagewalk.mm.pgtable import pte_lookup
from pagewalk.mm.pkeys import pte_access_permitted

TAG_MASK: Final = 0x00FF_FFFF_FFFF_FFFF


def untagged_addr(addr: i64) -> i64:
    """A user address without the tag in its highest byte; an address of the upper half (bit 55) as it is."""
    return addr if addr >> 55 & 1 else addr & TAG_MASK


def user_addr(mm: MmStruct, addr: i64) -> i64:
    """A pointer of the running task as the kernel takes it: without a tag, where the task has asked for that."""
    if addr >> 56 == 0 or not mm.system.current.tagged_addr:
        return addr
    return untagged_addr(addr)


def access_ok(mm: MmStruct, addr: i64, length: i64) -> bool:
    """The range lies in user space."""
    addr = user_addr(mm, addr)
    return 0 <= length <= mm.task_size and 0 <= addr <= mm.task_size - length


def user_paddr(mm: MmStruct, addr: i64, access: i64) -> i64:
    """Physical address behind a user address for READ or WRITE, faults served and A/D marked; minus the FAULT_* value
    (``mm/fault.py``) where there is none."""
    fmt = mm.system.format
    words = mm.system.ram.words
    if addr >> 56 != 0:
        addr = user_addr(mm, addr)
    while True:
        index = pte_lookup(mm, addr)
        pte: i64 = 0
        if index >= 0:
            pte = words[index]
            if pte & fmt.present.mask == fmt.present.value:
                if mm.system.pku and not pte_access_permitted(mm, pte, access == WRITE):
                    return -FAULT_PKUERR
                marked: i64 = fmt.accessed.set(pte)
                if access != WRITE:
                    if fmt.execute_only and pte & fmt.hw_read.mask != fmt.hw_read.value:
                        return -FAULT_ACCERR
                    if marked != pte:
                        note_uaccess(mm, addr, access)
                        words[index] = marked
                    return ((pte & fmt.pfn_mask) << fmt.pfn_left) | (addr & ~fmt.page_mask)
                if pte & fmt.write.mask == fmt.write.value:
                    marked = fmt.dirty.set(marked)
                    if fmt.rdonly:
                        marked = fmt.sync_rdonly(marked)
                    if marked != pte:
                        note_uaccess(mm, addr, access)
                        words[index] = marked
                    return ((pte & fmt.pfn_mask) << fmt.pfn_left) | (addr & ~fmt.page_mask)
        note_uaccess(mm, addr, access)
        outcome = do_user_addr_fault(mm, addr, access)
        if outcome != FAULT_SERVED:
            return -outcome
        if pte & fmt.present.mask == fmt.present.value:
            # Another page took its place, and the TLBs were told. An emulated CPU that faults itself gets the new entry
            # then; this fault was the kernel's, and it may still hold the old one.
            mm.tlb_gen += 1


def note_uaccess(mm: MmStruct, addr: i64, access: i64) -> None:
    """The kernel's own access is about to take a fault, or to mark the page's entry."""
    if mm.system.on_uaccess is not None:
        mm.system.on_uaccess(mm, addr, access)


def copy_from_user(mm: MmStruct, addr: i64, length: i64) -> bytes | None:
    """``length`` bytes of user memory, or None (EFAULT)."""
    if not access_ok(mm, addr, length):
        return None
    ram = mm.system.ram.bytes
    parts: list[bytes] = []
    end: i64 = addr + length
    while addr < end:
        size: i64 = min(mm.system.page_size - (addr & ~mm.system.page_mask), end - addr)
        paddr = user_paddr(mm, addr, READ)
        if paddr < 0:
            return None
        parts.append(bytes(ram[paddr : paddr + size]))
        addr += size
    return b"".join(parts)


def copy_from_user_partial(mm: MmStruct, addr: i64, length: i64) -> bytes:
    """As much of ``length`` bytes of user memory as can be read before the first fault that cannot be served."""
    ram = mm.system.ram.bytes
    parts: list[bytes] = []
    end: i64 = addr + length if access_ok(mm, addr, length) else addr
    while addr < end:
        size: i64 = min(mm.system.page_size - (addr & ~mm.system.page_mask), end - addr)
        paddr = user_paddr(mm, addr, READ)
        if paddr < 0:
            break
        parts.append(bytes(ram[paddr : paddr + size]))
        addr += size
    return b"".join(parts)


def copy_to_user(mm: MmStruct, addr: i64, data: bytes | memoryview) -> bool:
    """Stores ``data`` in user memory; False (EFAULT) where not all of it could be."""
    return copy_to_user_partial(mm, addr, data) == len(data)


def copy_to_user_partial(mm: MmStruct, addr: i64, data: bytes | memoryview) -> i64:
    """Stores as much of ``data`` as can be before the first fault that cannot be served; the bytes stored."""
    length: i64 = len(data)
    if not access_ok(mm, addr, length):
        return 0
    ram = mm.system.ram
    done: i64 = 0
    while done < length:
        size: i64 = min(mm.system.page_size - (addr & ~mm.system.page_mask), length - done)
        paddr = user_paddr(mm, addr, WRITE)
        if paddr < 0:
            break
        ram.bytes[paddr : paddr + size] = data[done : done + size]
        ram.stored_to(paddr >> mm.system.page_shift)
        addr += size
        done += size
    return done


def clear_user(mm: MmStruct, addr: i64, length: i64) -> bool:
    """Zeroes user memory; False (EFAULT) where not all of it could be."""
    return copy_to_user(mm, addr, bytes(length))


def strncpy_from_user(mm: MmStruct, addr: i64, limit: i64) -> bytes | int:
    """The bytes before the NUL, at most ``limit`` of them; -EFAULT where memory ends first, -ENAMETOOLONG where no
    NUL comes within ``limit`` bytes."""
    ram = mm.system.ram.bytes
    parts: list[bytes] = []
    left = limit
    while left > 0:
        if not access_ok(mm, addr, 1):
            return -14
        size: i64 = min(mm.system.page_size - (addr & ~mm.system.page_mask), left)
        paddr = user_paddr(mm, addr, READ)
        if paddr < 0:
            return -14
        chunk = bytes(ram[paddr : paddr + size])
        end = chunk.find(b"\0")
        if end >= 0:
            parts.append(chunk[:end])
            return b"".join(parts)
        parts.append(chunk)
        addr += size
        left -= size
    return -36


def get_user_u64(mm: MmStruct, addr: i64) -> int | None:
    """An unsigned 64-bit word of user memory, or None (EFAULT)."""
    data = copy_from_user(mm, addr, 8)
    return None if data is None else int.from_bytes(data, "little")


def get_user_u32(mm: MmStruct, addr: i64) -> int | None:
    """An unsigned 32-bit word of user memory, or None (EFAULT)."""
    data = copy_from_user(mm, addr, 4)
    return None if data is None else int.from_bytes(data, "little")


def put_user_u64(mm: MmStruct, addr: i64, value: int) -> bool:
    """Stores a 64-bit word (any int, modulo 2**64); False (EFAULT) where it cannot."""
    return copy_to_user(mm, addr, (value & 0xFFFF_FFFF_FFFF_FFFF).to_bytes(8, "little"))


def put_user_u32(mm: MmStruct, addr: i64, value: int) -> bool:
    """Stores a 32-bit word (any int, modulo 2**32); False (EFAULT) where it cannot."""
    return copy_to_user(mm, addr, (value & 0xFFFF_FFFF).to_bytes(4, "little"))


def touch_user(mm: MmStruct, addr: i64, length: i64, access: i64) -> int:
    """One access a page over [addr, addr + length); FAULT_SERVED or the FAULT_* value of the first that failed."""
    end: i64 = addr + length
    page_size: i64 = mm.system.page_size
    while addr < end:
        paddr = user_paddr(mm, addr, access)
        if paddr < 0:
            return int(-paddr)
        addr = (addr & -page_size) + page_size
    return FAULT_SERVED
