"""Files on a disk whose contents nobody knows: what is read is zeros, what is written is forgotten.

A replay has them in place of the files that the recorded machine had.

Mirrors: nothing in Linux.
Differs: nothing.
"""

from mypy_extensions import i64

from pagewalk.mm.file import FMODE_READ, FMODE_WRITE, AddressSpace, File
from pagewalk.mm.filemap import generic_file_mmap
from pagewalk.mm.vma import Vma


class ZeroSpace(AddressSpace):
    """The pages of such a file."""

    def read_folio(self, index: i64, into: memoryview) -> int:
        """Zeros."""
        into[:] = bytes(len(into))
        return 0

    def write_folio(self, index: i64, data: memoryview) -> int:
        """Forgotten."""
        return 0


class ZeroFile(File):
    """Such a file, open for reading and writing."""

    def __init__(self, path: str) -> None:
        super().__init__(path, FMODE_READ | FMODE_WRITE)
        self.mapping = ZeroSpace()

    def can_mmap(self) -> bool:
        """Yes."""
        return True

    def mmap(self, vma: Vma) -> int:
        """Its pages are mapped."""
        return generic_file_mmap(self, vma)
