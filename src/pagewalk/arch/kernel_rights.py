"""What an entry says of accesses by the kernel, as data beside what it says of user mode (arch/format.py).

Sources: those of each format.

Mirrors: arch/*/include/asm/pgtable*.h (6.18)
Differs: one description of data in place of each architecture's macros.
"""

from pagewalk.arch.bits import ALWAYS, NEVER, Bits


class KernelRights:
    """The bits that grant the kernel an access.

    read, write, execute        of a leaf
    modifier        a leaf that the hardware makes writable with the first store
    table_write, table_execute  what an entry that points to a table must say for it
    wp              write is asked only where CR0.WP is set
    smep            pages of user mode may be executed where CR4.SMEP is clear
    executes_user   whether pages of user mode may be executed at all
    user_writes_pxn a page that user mode may write is not executed
    """

    def __init__(
        self,
        write: Bits,
        execute: Bits,
        *,
        read: Bits = ALWAYS,
        modifier: Bits = NEVER,
        table_write: Bits = ALWAYS,
        table_execute: Bits = ALWAYS,
        wp: bool = False,
        smep: bool = False,
        executes_user: bool = True,
        user_writes_pxn: bool = False,
    ) -> None:
        self.read = read
        self.write = write
        self.execute = execute
        self.modifier = modifier
        self.table_write = table_write
        self.table_execute = table_execute
        self.wp = wp
        self.smep = smep
        self.executes_user = executes_user
        self.user_writes_pxn = user_writes_pxn


def x86_kernel_rights(rw: int, nx: int) -> KernelRights:
    """x86: R/W and NX at every level; ``nx`` 0 without NX."""
    write, execute = Bits(rw, rw), Bits(nx, 0)
    return KernelRights(write, execute, table_write=write, table_execute=execute, wp=True, smep=True)
