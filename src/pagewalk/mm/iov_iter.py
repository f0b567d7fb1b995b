"""Buffers of user memory, one after the other, and how far a transfer has come in them.

Mirrors: lib/iov_iter.c, mm/gup.c (fault_in_readable) (6.18)
Differs: user buffers only.
"""

from typing import final

from mypy_extensions import i64

from pagewalk.mm.fault import FAULT_SERVED, READ, WRITE
from pagewalk.mm.mm_types import MmStruct
from pagewalk.mm.pgtable import pte_lookup
from pagewalk.mm.ram import Ram
from pagewalk.mm.uaccess import touch_user, user_addr, user_paddr


@final
class IovIter:
    """struct iov_iter.

    mm       whose memory it is
    vectors  (address, bytes) of each buffer, all in user space
    segment  index of the buffer that comes next; ``offset`` bytes of it are done
    count    bytes still to be transferred: at most what the buffers hold
    """

    def __init__(self, mm: MmStruct, vectors: list[tuple[int, int]]) -> None:
        self.mm = mm
        self.vectors = vectors
        self.segment = 0
        self.offset: i64 = 0
        self.count: i64 = sum([length for _, length in vectors])

    def truncate(self, count: i64) -> None:
        """No more than ``count`` bytes are to be transferred."""
        self.count = min(self.count, count)

    def advance(self, size: i64) -> None:
        """``size`` bytes more are done."""
        self.count -= size
        self.offset += size
        while self.segment < len(self.vectors) and self.offset >= self.vectors[self.segment][1]:
            self.offset -= self.vectors[self.segment][1]
            self.segment += 1

    def copy_to(self, source: i64, size: i64) -> i64:
        """Stores ``size`` bytes (at most ``count``) from physical address ``source``, which lie in one page, in the
        buffers, taking faults; the bytes stored before the first that could not be served."""
        ram = self.mm.system.ram
        page_size: i64 = self.mm.system.page_size
        done: i64 = 0
        while done < size:
            base, length = self.vectors[self.segment]
            addr: i64 = base + self.offset
            part: i64 = min(min(size - done, length - self.offset), page_size - (addr & (page_size - 1)))
            if part > 0:
                paddr = user_paddr(self.mm, addr, WRITE)
                if paddr < 0:
                    break
                copy_forward(ram, paddr, source + done, part)
                ram.stored_to(paddr >> ram.page_shift)
            self.advance(part)
            done += part
        return done

    def copy_from_atomic(self, target: i64, size: i64) -> i64:
        """Fills ``size`` bytes at physical address ``target``, which lie in one page, from the buffers without taking
        a fault; the bytes copied before the first page that is not present."""
        system = self.mm.system
        fmt = system.format
        words = system.ram.words
        page_size: i64 = system.page_size
        done: i64 = 0
        while done < size:
            base, length = self.vectors[self.segment]
            addr: i64 = user_addr(self.mm, base + self.offset)
            part: i64 = min(min(size - done, length - self.offset), page_size - (addr & (page_size - 1)))
            if part > 0:
                index = pte_lookup(self.mm, addr)
                if index < 0:
                    break
                pte: i64 = words[index]
                if pte & fmt.present.mask != fmt.present.value or pte & fmt.hw_read.mask != fmt.hw_read.value:
                    break
                words[index] = fmt.accessed.set(pte)
                start: i64 = ((pte & fmt.pfn_mask) << fmt.pfn_left) | (addr & (page_size - 1))
                copy_forward(system.ram, target + done, start, part)
            self.advance(part)
            done += part
        return done

    def fault_in_readable(self, size: i64) -> i64:
        """Reads one byte of each page of the next ``size`` bytes; how many of them could not be reached."""
        segment = self.segment
        offset: i64 = self.offset
        page_size: i64 = self.mm.system.page_size
        while size > 0 and segment < len(self.vectors):
            base, length = self.vectors[segment]
            addr: i64 = base + offset
            end: i64 = addr + min(size, length - offset)
            while addr < end:
                if touch_user(self.mm, addr, 1, READ) != FAULT_SERVED:
                    return size
                step: i64 = min(end - addr, page_size - (addr & (page_size - 1)))
                addr += step
                size -= step
            segment += 1
            offset = 0
        return size


def copy_forward(ram: Ram, target: i64, source: i64, size: i64) -> None:
    """Copies bytes of RAM from the lowest up, one after the other (REP MOVSB): where the target begins within the
    source, the bytes between the two repeat."""
    gap: i64 = target - source
    if gap <= 0 or gap >= size:
        ram.bytes[target : target + size] = ram.bytes[source : source + size]
        return
    done: i64 = 0
    while done < size:
        part: i64 = min(gap, size - done)
        ram.bytes[target + done : target + done + part] = ram.bytes[source + done : source + done + part]
        done += part
