"""What a page grants to the kernel: the same entries as in hw/walker.py, read for an access at CPL 0, EL1 or S-mode.

An access of the kernel ends where one of user mode does not, and the other way round: x86 asks CR0.WP, CR4.SMEP and
CR4.SMAP, arm64 has PXN, PXNTable and PAN, RISC-V keeps S-mode out of user pages unless SUM is set and never executes
them.

Sources: Intel SDM volume 3, section 5.6 (determination of access rights); AMD64 Architecture Programmer's Manual volume
2, section 5.6; Arm Architecture Reference Manual, D8.4 (a page that EL0 may write is not executed at EL1); RISC-V
Privileged Architecture, sstatus.SUM and "Virtual Address Translation Process".
Differs: WXN, MXR and the protection keys of kernel pages are not there.
"""

from pagewalk.arch.format import PageFormat
from pagewalk.hw.walker import RIGHT_EXECUTE, RIGHT_READ, RIGHT_WRITE, Walk

__all__ = ["kernel_rights"]


def kernel_rights(fmt: PageFormat, walked: Walk, *, wp: bool = True, smep: bool = True, smap: bool = True) -> int:
    """RIGHT_* bits that the page of a walk (any kind of access, PEEK too) grants to the kernel; 0 where it found none.

    wp    x86: CR0.WP, a read-only page is read-only for the kernel too
    smep  x86: CR4.SMEP, pages of user mode are not executed
    smap  pages of user mode are neither read nor written: x86 CR4.SMAP with EFLAGS.AC clear, arm64 PSTATE.PAN, RISC-V
          sstatus.SUM clear; Linux clears it only while it copies from or to user memory
    """
    if walked.pfn < 0:
        return 0
    kernel = fmt.kernel
    leaf = walked.steps[-1].entry
    tables = [step.entry for step in walked.steps[:-1] if step.level.rights]
    user_page = fmt.user.test(leaf) and all(fmt.table_read.test(table) for table in tables)
    read = kernel.read.test(leaf)
    write = (kernel.write.test(leaf) or kernel.modifier.test(leaf)) and all(
        kernel.table_write.test(table) for table in tables
    )
    if not wp and kernel.wp:
        write = True
    execute = kernel.execute.test(leaf) and all(kernel.table_execute.test(table) for table in tables)
    if user_page:
        if smap:
            read = write = False
        if not kernel.executes_user or (smep and kernel.smep):
            execute = False
        if kernel.user_writes_pxn and walked.rights & RIGHT_WRITE:
            execute = False
    return RIGHT_READ * read | RIGHT_WRITE * write | RIGHT_EXECUTE * execute
