"""The OOM reaper: takes the memory of a victim before it ends by itself.

Mirrors: mm/oom_kill.c (__oom_reap_task_mm, oom_reap_task_mm) (6.18)
Differs: at once, not by a thread of its own.
"""

from pagewalk.mm.mm_types import MM_ANONPAGES, MM_FILEPAGES, MM_SHMEMPAGES, MmStruct
from pagewalk.mm.mmu_gather import zap_pte_range
from pagewalk.mm.vma import VM_HUGETLB, VM_PFNMAP, VM_SHARED


def oom_reap_task_mm(mm: MmStruct) -> int:
    """Unmaps what is private in an address space whose tasks are being killed; shared memory and files that others may
    look at stay until it ends. Pages that it had less afterwards. The killer looks for somebody else from now on."""
    before = mm.get_mm_rss()
    for vma in mm.vmas:
        if vma.vm_flags & (VM_HUGETLB | VM_PFNMAP):
            continue
        if (vma.is_anonymous() or not vma.vm_flags & VM_SHARED) and zap_pte_range(
            vma, vma.vm_start, vma.vm_end, keep_anon=False, drop_markers=False
        ):
            mm.flush_tlb_range(vma.vm_start, vma.vm_end)
    mm.oom_skip = True
    return before - mm.get_mm_rss()


def reaped_line(pid: int, comm: str, mm: MmStruct) -> str:
    """What the kernel's log says then, and what is left."""
    kb = int(mm.system.page_size) >> 10
    anon, file, shmem = [mm.rss_stat[kind] * kb for kind in (MM_ANONPAGES, MM_FILEPAGES, MM_SHMEMPAGES)]
    return f"oom_reaper: reaped process {pid} ({comm}), now anon-rss:{anon}kB, file-rss:{file}kB, shmem-rss:{shmem}kB"
