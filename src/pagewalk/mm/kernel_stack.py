"""Kernel stacks: what every task costs beside its task_struct.

A stack is mapped into the vmalloc area page by page (CONFIG_VMAP_STACK), so it needs no frames that lie together.

Mirrors: kernel/fork.c (alloc_thread_stack_node, free_thread_stack), asm/page_types.h, asm/memory.h (THREAD_SIZE) (6.18)
Differs: stacks of tasks that have ended are not kept for the next; where no frame is free without waiting, a stack is
    counted without; it has no addresses.
"""

from typing import Final, final

from mypy_extensions import i64

from pagewalk.mm.gfp import GFP_HIGHMEM, GFP_NOWARN
from pagewalk.mm.page import Page, PG_special
from pagewalk.mm.page_alloc import Node

_NARROW: Final = ("x86_32", "x86_pae", "riscv32")


def thread_size(arch: str, page_size: int) -> int:
    """Bytes of a kernel stack: 8 KiB on 32-bit machines, 16 KiB on others, a page where that is more."""
    return max(8192 if arch in _NARROW else 16384, page_size)


@final
class KernelStacks:
    """The stacks of a machine's tasks.

    size    bytes of one
    active  how many tasks have one
    frames  what they lie in
    """

    def __init__(self, node: Node, arch: str) -> None:
        page_size = int(node.ram.page_size)
        self.node = node
        self.size = thread_size(arch, page_size)
        self.pages_each = self.size // page_size
        self.active: i64 = 0
        self.frames: list[Page] = []

    def alloc(self) -> None:
        """A task comes to be."""
        self.active += 1
        while len(self.frames) < self.active * self.pages_each:
            page = self.node.alloc_page(GFP_NOWARN | GFP_HIGHMEM)
            if page is None:
                return
            page.flags |= PG_special
            self.frames.append(page)

    def free(self) -> None:
        """A task is forgotten."""
        self.active -= 1
        while len(self.frames) > self.active * self.pages_each:
            page = self.frames.pop()
            page.flags &= ~PG_special
            self.node.put_page(page)

    def kbytes(self) -> int:
        """NR_KERNEL_STACK_KB."""
        return int(self.active) * self.size >> 10
