"""struct vm_area_struct: one mapping of an address space, its flags and its operations.

Mirrors: include/linux/mm.h, include/linux/mm_types.h (6.18)
Differs: no userfaultfd context, no hugetlb and no soft-dirty (CONFIG_MEM_SOFT_DIRTY=n).
"""

from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64, mypyc_attr

from pagewalk.mm.fault_types import VM_FAULT_SIGBUS
from pagewalk.mm.file import File
from pagewalk.mm.mempolicy import MemPolicy

if TYPE_CHECKING:
    from pagewalk.mm.mm_types import MmStruct
    from pagewalk.mm.page import Page
    from pagewalk.mm.rmap import AnonVma

VM_NONE: Final = 0
VM_READ: Final = 0x1
VM_WRITE: Final = 0x2
VM_EXEC: Final = 0x4
VM_SHARED: Final = 0x8
VM_MAYREAD: Final = 0x10
VM_MAYWRITE: Final = 0x20
VM_MAYEXEC: Final = 0x40
VM_MAYSHARE: Final = 0x80
VM_GROWSDOWN: Final = 0x100
VM_PFNMAP: Final = 0x400
VM_MAYBE_GUARD: Final = 0x800
VM_LOCKED: Final = 0x2000
VM_IO: Final = 0x4000
VM_SEQ_READ: Final = 0x8000
VM_RAND_READ: Final = 0x10000
VM_DONTCOPY: Final = 0x20000
VM_DONTEXPAND: Final = 0x40000
VM_LOCKONFAULT: Final = 0x80000
VM_ACCOUNT: Final = 0x100000
VM_NORESERVE: Final = 0x200000
VM_HUGETLB: Final = 0x400000
VM_SYNC: Final = 0x800000
VM_WIPEONFORK: Final = 0x2000000
VM_DONTDUMP: Final = 0x4000000
VM_MIXEDMAP: Final = 0x10000000
VM_HUGEPAGE: Final = 0x20000000
VM_NOHUGEPAGE: Final = 0x40000000
VM_MERGEABLE: Final = 0x80000000
VM_DROPPABLE: Final = 1 << 40
VM_SEALED: Final = 1 << 42
VM_PKEY_SHIFT: Final = 32  # VM_HIGH_ARCH_BIT_0: four bits from there on are the protection key (x86-64)
ARCH_VM_PKEY_FLAGS: Final = 15 << 32

VM_ACCESS_FLAGS: Final = VM_READ | VM_WRITE | VM_EXEC
VM_SPECIAL: Final = VM_IO | VM_DONTEXPAND | VM_PFNMAP | VM_MIXEDMAP
# Flags that do not keep VMAs apart: merged ones have what either had.
VM_STICKY: Final = VM_MAYBE_GUARD
VM_LOCKED_MASK: Final = VM_LOCKED | VM_LOCKONFAULT
VM_STACK: Final = VM_GROWSDOWN
VM_STACK_FLAGS: Final = VM_READ | VM_WRITE | VM_GROWSDOWN | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC | VM_ACCOUNT
VM_DATA_DEFAULT_FLAGS: Final = VM_READ | VM_WRITE | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC

# The two letters of smaps' VmFlags, in bit order.
VM_FLAG_LETTERS: Final = (
    (VM_READ, "rd"), (VM_WRITE, "wr"), (VM_EXEC, "ex"), (VM_SHARED, "sh"),
    (VM_MAYREAD, "mr"), (VM_MAYWRITE, "mw"), (VM_MAYEXEC, "me"), (VM_MAYSHARE, "ms"),
    (VM_GROWSDOWN, "gd"), (VM_PFNMAP, "pf"), (VM_MAYBE_GUARD, "gu"), (VM_LOCKED, "lo"), (VM_IO, "io"),
    (VM_SEQ_READ, "sr"), (VM_RAND_READ, "rr"), (VM_DONTCOPY, "dc"), (VM_DONTEXPAND, "de"),
    (VM_LOCKONFAULT, "lf"), (VM_ACCOUNT, "ac"), (VM_NORESERVE, "nr"), (VM_HUGETLB, "ht"), (VM_SYNC, "sf"),
    (VM_WIPEONFORK, "wf"), (VM_DONTDUMP, "dd"), (VM_MIXEDMAP, "mm"), (VM_HUGEPAGE, "hg"),
    (VM_NOHUGEPAGE, "nh"), (VM_MERGEABLE, "mg"), (VM_DROPPABLE, "dp"), (VM_SEALED, "sl"),
)  # fmt: skip


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class VmFault:
    """struct vm_fault: what a fault handler is told and what it hands back.

    vma, address (page aligned), pgoff (page offset in the file or object), flags (FAULT_FLAG_*)
    pte_index   index of the page-table entry in RAM's words, -1 until the table exists
    page        what the mapping's ``fault`` found
    nr_tables   page-table pages of the machine when the fault began
    """

    def __init__(self, vma: "Vma", address: i64, flags: i64) -> None:
        self.vma = vma
        self.address: i64 = address
        self.flags: i64 = flags
        self.pgoff: i64 = vma.vm_pgoff + ((address - vma.vm_start) >> vma.vm_mm.system.page_shift)
        self.pte_index: i64 = -1
        self.page: Page | None = None
        self.nr_tables: i64 = 0


class VmOps:
    """struct vm_operations_struct. A mapping without one is anonymous.

    has_map_pages     faults may map the neighbours that are at hand (fault-around)
    has_page_mkwrite  the file wants to know of the first write to each shared page
    has_close         such a mapping never merges
    may_split, may_expand  what munmap and mremap may do to it
    """

    def __init__(self) -> None:
        self.has_map_pages = False
        self.has_page_mkwrite = False
        self.has_close = False
        self.may_split = True
        self.may_mremap = True

    def fault(self, vmf: VmFault) -> i64:
        """Finds the page at ``vmf.pgoff``, leaves it in ``vmf.page`` with a reference; a VM_FAULT_* mask."""
        return VM_FAULT_SIGBUS

    def map_pages(self, vmf: VmFault, start_pgoff: i64, end_pgoff: i64) -> bool:
        """Maps what is cached of the range (both ends included); True where that served the fault."""
        return False

    def page_mkwrite(self, vmf: VmFault) -> i64:
        """A shared page is about to become writable; a VM_FAULT_* mask."""
        return 0

    def open(self, vma: "Vma") -> None:
        """A VMA with these operations came to be by a split, a fork or mremap."""

    def close(self, vma: "Vma") -> None:
        """A VMA with these operations goes."""

    def name(self, vma: "Vma") -> str:
        """What maps calls it; "" for the file's path or the usual names."""
        return ""


@final
class Vma:
    """A range of an address space with one set of rights and one source of pages.

    vm_start, vm_end  bytes, page aligned, vm_start < vm_end
    vm_flags          VM_* bits
    vm_page_prot      bits of a page-table entry that vm_flags gives (read-only where writes must be noticed)
    vm_pgoff          offset in pages within the file; for private anonymous memory the page it was made at
    vm_file, vm_ops   what it maps; both None for private anonymous memory
    anon_vma          owner of its anonymous pages, None until the first
    anon_vma_chain    every AnonVma that pages of this VMA may belong to, its own first
    nr_faults         faults taken in it, for the report
    memcg             id of the memory cgroup that it is charged to, 0 for the root
    vm_policy         NUMA policy, None = the task's
    """

    def __init__(self, mm: "MmStruct", start: i64, end: i64, flags: i64, pgoff: i64) -> None:
        self.vm_mm = mm
        self.vm_start: i64 = start
        self.vm_end: i64 = end
        self.vm_flags: i64 = flags
        self.vm_page_prot: i64 = 0
        self.vm_pgoff: i64 = pgoff
        self.vm_file: File | None = None
        self.vm_ops: VmOps | None = None
        self.anon_vma: AnonVma | None = None
        self.anon_vma_chain: list[AnonVma] = []
        self.swap_ra_addr: i64 = 0
        self.swap_ra_win: i64 = 0
        self.swap_ra_hits: i64 = 4
        self.nr_faults: i64 = 0
        self.memcg: i64 = 0
        self.vm_policy: MemPolicy | None = None

    def __repr__(self) -> str:
        rights = "".join(c if self.vm_flags & bit else "-" for bit, c in ((1, "r"), (2, "w"), (4, "x")))
        return f"<Vma {self.vm_start:x}-{self.vm_end:x} {rights}{'s' if self.vm_flags & VM_MAYSHARE else 'p'}>"

    def is_anonymous(self) -> bool:
        """Private anonymous memory: no operations."""
        return self.vm_ops is None

    def nr_pages(self) -> i64:
        """Its length in pages."""
        return (self.vm_end - self.vm_start) >> self.vm_mm.system.page_shift

    def is_accessible(self) -> bool:
        """Somebody may read, write or execute it."""
        return self.vm_flags & VM_ACCESS_FLAGS != 0

    def has_recency(self) -> bool:
        """That a page of it was used says that it will be again (not where access is sequential or random)."""
        return self.vm_flags & (VM_SEQ_READ | VM_RAND_READ) == 0

    def pgoff_of(self, addr: i64) -> i64:
        """linear_page_index: the page offset that ``addr`` has in the object."""
        return self.vm_pgoff + ((addr - self.vm_start) >> self.vm_mm.system.page_shift)

    def address_of(self, pgoff: i64) -> i64:
        """The address at which the object's page ``pgoff`` is mapped, -1 where it is not."""
        if pgoff < self.vm_pgoff or pgoff >= self.vm_pgoff + self.nr_pages():
            return -1
        return self.vm_start + ((pgoff - self.vm_pgoff) << self.vm_mm.system.page_shift)
