"""The vDSO: a small shared object that the kernel maps into every program, and the [vvar] pages before it.

The image is built here, once per machine (vdso_image.py). Its functions do the system call, but touch [vvar] and the
result as Linux's do: a program's first question for the time is a page fault, a bad pointer a signal.

Sources: vdso(7).

Mirrors: arch/x86/entry/vdso/vma.c, arch/arm64/kernel/vdso.c, lib/vdso/datastore.c (6.18)
Differs: functions enter the kernel rather than compute from [vvar]; no getrandom and no SGX entry; arm64's image is as
large as x86's.
"""

from typing import TYPE_CHECKING

from pagewalk.kernel.vdso_image import VCLOCK_PAGES, VVAR_PAGES, build_image
from pagewalk.kernel.vdso_x86 import VdsoTextX86
from pagewalk.mm.gfp import GFP_PGTABLE
from pagewalk.mm.page import PG_special
from pagewalk.mm.special_mapping import install_special_mapping
from pagewalk.mm.unmapped_area import get_unmapped_area
from pagewalk.mm.vma import (
    VM_DONTDUMP,
    VM_DONTEXPAND,
    VM_EXEC,
    VM_IO,
    VM_MAYEXEC,
    VM_MAYREAD,
    VM_MAYWRITE,
    VM_PFNMAP,
    VM_READ,
)

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task
    from pagewalk.mm.system import System


class Vdso:
    """The machine's vDSO: the image in frames of RAM that every address space shares.

    sigreturn   where in the image the way back from signal handlers is, 0 where it has none
    """

    def __init__(self, system: "System") -> None:
        self.pfns: list[int] = []
        self.vvar_pfns: list[int] = []
        self.image = b""
        self.sigreturn = 0
        if system.config.arch == "arm64":
            from pagewalk.kernel.vdso_arm64 import VdsoTextArm64

            text = VdsoTextArm64(int(system.page_size))
            self.image = build_image(text)
            self.sigreturn = text.sigreturn
        elif system.config.arch == "x86_64":
            self.image = build_image(VdsoTextX86())
        else:
            return
        size = int(system.page_size)
        for at in range(0, len(self.image), size):
            pfn = kernel_frame(system)
            data = self.image[at : at + size]
            system.ram.page(pfn)[: len(data)] = data
            self.pfns.append(pfn)
        for _ in range(VVAR_PAGES):
            self.vvar_pfns.append(kernel_frame(system))

    def sigtramp(self, task: "Task") -> int:
        """Where a handler of ``task`` returns to that names no place itself."""
        return task.vdso_base + self.sigreturn


def kernel_frame(system: "System") -> int:
    """A zeroed frame that stays the kernel's."""
    page = system.node.alloc_page(GFP_PGTABLE)
    assert page is not None
    page.flags |= PG_special
    return int(page.pfn)


def vdso_flags(name: str) -> int:
    """The VMA flags of the part that is called ``name``."""
    if name == "[vdso]":
        return VM_READ | VM_EXEC | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC | VM_DONTEXPAND
    return VM_READ | VM_MAYREAD | VM_IO | VM_DONTDUMP | VM_PFNMAP | VM_DONTEXPAND


def map_vdso_part(task: "Task", addr: int, length: int, name: str) -> int:
    """Maps one of the parts, [vdso], [vvar] or [vvar_vclock], at [addr, addr + length), which is free. 0 or a negative
    errno."""
    vdso = task.kernel.vdso
    frames: list[int] = vdso.vvar_pfns if name == "[vvar]" else []
    if name == "[vdso]":
        frames = vdso.pfns if task.mm.layout.bits == 64 else task.kernel.the_vdso_32().pfns
    return install_special_mapping(task.mm, addr, length, vdso_flags(name), name, frames)


def map_vdso(task: "Task") -> int:
    """Maps [vvar], [vvar_vclock] (x86 alone) and [vdso] next to each other at the top of the mmap area. 0 or a negative
    errno."""
    mm = task.mm
    pfns = task.kernel.vdso.pfns if mm.layout.bits == 64 else task.kernel.the_vdso_32().pfns
    shift = int(mm.system.page_shift)
    nr_clocks = 0 if mm.system.config.arch == "arm64" else VCLOCK_PAGES
    length = (VVAR_PAGES + nr_clocks + len(pfns)) << shift
    addr = get_unmapped_area(mm, None, 0, length, 0, 0)
    if addr < 0:
        return addr
    vclock = addr + (VVAR_PAGES << shift)
    base = vclock + (nr_clocks << shift)
    for start, nr_pages, name, frames in (
        (base, len(pfns), "[vdso]", pfns),
        (addr, VVAR_PAGES, "[vvar]", task.kernel.vdso.vvar_pfns),
        (vclock, nr_clocks, "[vvar_vclock]", []),
    ):
        if nr_pages == 0:
            continue
        error = install_special_mapping(mm, start, nr_pages << shift, vdso_flags(name), name, frames)
        if error < 0:
            return error
    task.vdso_base = base
    return 0
