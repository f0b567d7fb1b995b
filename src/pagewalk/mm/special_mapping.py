"""Mappings that the kernel itself puts into a process: [vdso], [vvar], [vvar_vclock].

Mirrors: mm/mmap.c, mm/vma.c (_install_special_mapping), arch/x86/entry/vdso/vma.c (6.18)
Differs: nothing.
"""

import errno
from typing import final

from mypy_extensions import i64

from pagewalk.mm.fault_types import VM_FAULT_NOPAGE, VM_FAULT_SIGBUS
from pagewalk.mm.limits import may_expand_vm
from pagewalk.mm.mm_types import MmStruct
from pagewalk.mm.munmap import vm_stat_account
from pagewalk.mm.vma import VM_DONTEXPAND, VM_PFNMAP, Vma, VmFault, VmOps
from pagewalk.mm.vma_merge import vma_set_page_prot


@final
class SpecialMapping(VmOps):
    """struct vm_special_mapping: a name and the frames behind it.

    pfns  frame of each page; those of a VM_PFNMAP mapping (vvar) are mapped without accounting, as device memory is
    """

    def __init__(self, name: str, pfns: list[int]) -> None:
        super().__init__()
        self.mapping_name = name
        self.pfns = pfns
        self.has_close = True
        self.may_split = False

    def fault(self, vmf: VmFault) -> i64:
        """special_mapping_fault, vvar_fault."""
        if vmf.pgoff >= len(self.pfns):
            return VM_FAULT_SIGBUS
        system = vmf.vma.vm_mm.system
        pfn: i64 = self.pfns[vmf.pgoff]
        if vmf.vma.vm_flags & VM_PFNMAP:
            pte: i64 = (pfn << system.format.pfn_shift) | vmf.vma.vm_page_prot
            system.ram.words[vmf.pte_index] = system.format.special.set(pte)
            vmf.vma.vm_mm.faults.file_read += 1
            return VM_FAULT_NOPAGE
        page = system.page(pfn)
        page.refcount += 1
        vmf.page = page
        return 0

    def name(self, vma: Vma) -> str:
        """As maps shows it."""
        return self.mapping_name


def install_special_mapping(mm: MmStruct, addr: i64, length: i64, vm_flags: i64, name: str, pfns: list[int]) -> int:
    """Maps ``pfns`` at [addr, addr + length), which is free; 0 or -ENOMEM."""
    if not may_expand_vm(mm, vm_flags, length >> mm.system.page_shift):
        return -errno.ENOMEM
    vma = Vma(mm, addr, addr + length, vm_flags | mm.def_flags | VM_DONTEXPAND, 0)
    vma.vm_ops = SpecialMapping(name, pfns)
    vma_set_page_prot(vma)
    mm.insert(vma)
    vm_stat_account(mm, vm_flags, length >> mm.system.page_shift)
    return 0
