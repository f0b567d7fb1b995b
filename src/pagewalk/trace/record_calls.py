"""System calls as events of a trace: what each has changed in the address space, whichever table it came through.

A call is known by the function that serves it, so 64-bit and 32-bit programs, and 64-bit programs that use int 0x80,
come to the same place. What a call that failed has changed before it did is told too.
"""

import errno
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from pagewalk.fs.procfs.task_mmu import vma_name
from pagewalk.kernel.syscall import (
    compat_file,
    compat_misc,
    file,
    mm,
    path,
    process,
    rw,
    shm,
    splice,
    table_arm64,
    transfer,
)
from pagewalk.kernel.syscall.args import fdget
from pagewalk.mm import mmap_flags as mf
from pagewalk.mm.madvise_flags import MADV_REMOVE
from pagewalk.mm.pgtable import pte_lookup
from pagewalk.mm.uaccess import untagged_addr
from pagewalk.mm.vma import VM_GROWSDOWN, VM_HUGETLB, VM_LOCKED, VM_MAYSHARE, Vma
from pagewalk.trace.events import Brk, Event, Madvise, Mlock, Mlockall, Mmap, Mprotect, Mremap, Msync, Munmap
from pagewalk.trace.events import File as FileEvent
from pagewalk.trace.record_files import FileWatch

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

__all__ = ["CallRecorder"]

_PROT: Final = mf.PROT_READ | mf.PROT_WRITE | mf.PROT_EXEC
_MREMAP_FIXED: Final = 2
_PUNCH_HOLE: Final = 2  # FALLOC_FL_PUNCH_HOLE
_IPC_SHMAT: Final = 21  # numbers of ipc(2)
_IPC_SHMDT: Final = 22

Words = tuple[int, ...]


class CallRecorder:
    """Turns calls into events, which it gives to ``note``. ``executed`` is told of a task that has a new program;
    ``page_size`` is the machine's, in bytes."""

    def __init__(self, note: Callable[[Event], None], executed: Callable[["Task"], None], page_size: int) -> None:
        self._note = note
        self._executed = executed
        self._page = page_size
        self._files = FileWatch(page_size)
        self._attached: dict[tuple[int, int], int] = {}  # lengths of System V segments, by address space and address
        self._served: dict[Any, Callable[[Task, Words, int], None]] = {
            mm.sys_mmap: self._mmap,
            table_arm64.sys_mmap: self._mmap,
            compat_file.sys_mmap2: self._mmap2,
            compat_file.sys_old_mmap: self._old_mmap,
            mm.sys_mprotect: self._mprotect,
            mm.sys_pkey_mprotect: self._mprotect,
            mm.sys_munmap: self._munmap,
            mm.sys_brk: self._brk,
            mm.sys_mremap: self._mremap,
            mm.sys_remap_file_pages: self._remap_file_pages,
            mm.sys_madvise: self._madvise,
            mm.sys_msync: self._msync,
            mm.sys_mlock: self._mlock,
            mm.sys_mlock2: self._mlock2,
            mm.sys_munlock: self._munlock,
            mm.sys_mlockall: self._mlockall,
            mm.sys_munlockall: self._munlockall,
            compat_misc.sys_ipc: self._ipc,
            shm.sys_shmat: self._shmat,
            shm.sys_shmdt: self._shmdt,
            process.sys_execve: self._exec,
            process.sys_execveat: self._exec,
        }
        self._sized: Final = frozenset((
            mm.sys_mmap, table_arm64.sys_mmap, compat_file.sys_mmap2, compat_file.sys_old_mmap, mm.sys_munmap,
            mm.sys_brk, process.sys_execve, process.sys_execveat,
        ))  # fmt: skip
        by_descriptor = (
            (rw.sys_pwritev2, 0), (compat_file.sys_pwritev2_32, 0), (file.sys_ftruncate, 0), (file.sys_fallocate, 0),
            (transfer.sys_sendfile, 0), (transfer.sys_copy_file_range, 2), (splice.sys_splice, 2),
            (file.sys_fadvise64, 0),
        )  # fmt: skip
        self._descriptor: dict[Any, int] = dict(by_descriptor)
        self._writes: Final = (rw.sys_write, rw.sys_writev)
        self._pwrites: Final = {rw.sys_pwrite64: 3, rw.sys_pwritev: 3}
        self._syncs: Final = (file.sys_fsync, file.sys_sync_file_range)
        self._any_file: Final = (path.sys_truncate, file.sys_open, file.sys_openat, file.sys_openat2, file.sys_creat)

    def changes_entries(self, function: Any) -> bool:
        """Whether a call may have changed entries of page tables without a flush, and no sizes."""
        function = table_arm64.UNTAGGED.get(function, function)
        return function in self._served and function not in self._sized

    def begins(self, task: "Task", function: Any, words: Words) -> None:
        """``function`` is about to serve a call: where that populates a mapping of a file, which pages there are before
        is noted."""
        vma: Vma | None = None
        function, words = _plain(function, words)
        if function in (mm.sys_mmap, table_arm64.sys_mmap, compat_file.sys_mmap2):
            populates = words[3] & (mf.MAP_POPULATE | mf.MAP_LOCKED) or task.mm.def_flags & VM_LOCKED
            if populates and not words[3] & mf.MAP_ANONYMOUS:
                opened = fdget(task, words[4])
                self._files.hold(opened.mapping if opened is not None else None)
            return
        if function is mm.sys_remap_file_pages:
            vma = task.mm.vma_lookup(words[0] & -self._page)
        elif function is mm.sys_mremap and words[1] == 0:
            vma = task.mm.vma_lookup(words[0])
        elif function is shm.sys_shmat and task.mm.def_flags & VM_LOCKED:
            segment = task.kernel.shm.find(words[0])
            self._files.hold(segment.mapping() if segment is not None else None)
        if vma is not None and vma.vm_file is not None:
            self._files.hold(vma.vm_file.mapping)

    def served(self, task: "Task", function: Any, words: Words, result: int) -> None:
        """``function`` has answered ``result`` to a system call with the arguments ``words``."""
        function, words = _plain(function, words)
        handler = self._served.get(function)
        if handler is not None:
            handler(task, words, result)
            self._files.hold(None)
        elif function is file.sys_fallocate and words[1] & _PUNCH_HOLE and result == 0:
            self._file_changed(task, words[0], hole=words[2], hole_length=words[3])
        elif function in self._writes or function in self._pwrites:
            if result > 0:
                self._written(
                    task, words[0], words[self._pwrites[function]] if function in self._pwrites else -1, result
                )
        elif function in self._descriptor:
            self._file_changed(task, words[self._descriptor[function]])
        elif function in self._syncs and result >= 0:
            self._file_changed(task, words[0], synced=True)
        elif function in self._any_file and result >= 0:
            self._tell_files(task, self._files.changes(None))
        elif function is file.sys_sync or function is file.sys_syncfs:
            self._tell_files(task, self._files.changes(None, synced=True))

    def mapping(self, task: "Task", vma: Vma) -> Mmap:
        """A VMA as the mmap(2) that would make it."""
        flags = mf.MAP_SHARED if vma.vm_flags & VM_MAYSHARE else mf.MAP_PRIVATE
        for bit, flag in ((VM_GROWSDOWN, mf.MAP_GROWSDOWN), (VM_HUGETLB, mf.MAP_HUGETLB), (VM_LOCKED, mf.MAP_LOCKED)):
            if vma.vm_flags & bit:
                flags |= flag
        if vma.vm_file is None:
            flags |= mf.MAP_ANONYMOUS
        return Mmap(
            task=task.pid,
            cpu=task.cpu,
            addr=int(vma.vm_start),
            length=int(vma.vm_end - vma.vm_start),
            prot=int(vma.vm_flags) & _PROT,
            flags=flags,
            name=vma_name(vma),
            offset=int(vma.vm_pgoff) * self._page if vma.vm_file is not None else 0,
            **self._files.about(vma),
        )

    def break_is(self, task: "Task") -> None:
        """The heap of a new program."""
        space = task.mm
        self._note(Brk(task=task.pid, cpu=task.cpu, addr=int(space.brk), start=int(space.start_brk)))

    def _pages(self, length: int) -> int:
        """Bytes of the pages that ``length`` bytes take."""
        return -(-length // self._page) * self._page

    # Mappings.

    def _mmap(self, task: "Task", words: Words, result: int) -> None:
        addr, length, _, flags, _, offset = words
        unit = 2 << 20 if flags & mf.MAP_HUGETLB else self._page
        length = -(-length // unit) * unit
        if result < 0:
            if flags & mf.MAP_FIXED:
                self._lost(task, addr, length)
            return
        vma = task.mm.find_vma(result)
        if vma is None:
            return
        if vma.vm_flags & VM_LOCKED:
            flags |= mf.MAP_LOCKED  # mlockall(2) with MCL_FUTURE
        anonymous = flags & mf.MAP_ANONYMOUS
        about = {} if anonymous and flags & mf.MAP_PRIVATE else self._files.about(vma)
        if anonymous and about:
            about["pages"] = ""  # the file is new: what there is of it, the call itself has populated
        self._note(
            Mmap(
                task=task.pid, cpu=task.cpu, addr=result, length=length, prot=int(vma.vm_flags) & _PROT, flags=flags,
                name="" if anonymous else vma_name(vma), offset=0 if anonymous else offset,
                **about,
            )
        )  # fmt: skip

    def _mmap2(self, task: "Task", words: Words, result: int) -> None:
        self._mmap(task, (*words[:5], words[5] << 12), result)

    def _old_mmap(self, task: "Task", words: Words, result: int) -> None:
        """Its arguments are in memory."""
        data = _peek(task, words[0], 24)
        if len(data) == 24:
            self._mmap(task, struct.unpack("<6I", data), result)

    def _munmap(self, task: "Task", words: Words, result: int) -> None:
        if result == 0:
            self._note(Munmap(task=task.pid, cpu=task.cpu, addr=words[0], length=self._pages(words[1])))

    def _lost(self, task: "Task", start: int, length: int) -> None:
        """A call that failed may have unmapped a range before; not one that does not begin with a page."""
        if start % self._page:
            return
        if 0 < length <= task.mm.task_size and 0 <= start <= task.mm.task_size - length:
            for first, end in _holes(task, start, start + length):
                self._note(Munmap(task=task.pid, cpu=task.cpu, addr=first, length=end - first))

    def _mprotect(self, task: "Task", words: Words, result: int) -> None:
        """All of the range has the new rights, or, where the call failed, its beginning."""
        start, length = words[0], self._pages(words[1])
        first = task.mm.vma_lookup(start) if start % self._page == 0 else None
        if first is None or length <= 0 or (result < 0 and result not in (-errno.ENOMEM, -errno.EACCES)):
            return
        prot = words[2] & _PROT
        end = start + length
        if result == 0:
            prot = int(first.vm_flags) & _PROT  # PROT_GROWSDOWN has changed what is below, READ_IMPLIES_EXEC the rights
            start = min(start, int(first.vm_start)) if words[2] & mf.PROT_GROWSDOWN else start
        else:
            end = start
            for vma in task.mm.vmas_in(start, start + length):
                if vma.vm_start > end or int(vma.vm_flags) & _PROT != prot:
                    break
                end = min(int(vma.vm_end), start + length)
        if end > start:
            self._note(Mprotect(task=task.pid, cpu=task.cpu, addr=start, length=end - start, prot=prot))

    def _mremap(self, task: "Task", words: Words, result: int) -> None:
        addr, old, new = words[0], self._pages(words[1]), self._pages(words[2])
        if result < 0:
            if words[3] & _MREMAP_FIXED:
                self._lost(task, words[4], new)
                self._lost(task, addr + new, old - new)
        elif words[1] == 0:  # another mapping of the same shared pages
            self._mapped(task, result)
        else:
            self._note(
                Mremap(task=task.pid, cpu=task.cpu, addr=addr, length=old, new_addr=result, new_length=new,
                       flags=words[3])
            )  # fmt: skip

    def _remap_file_pages(self, task: "Task", words: Words, result: int) -> None:
        """Its range is a mapping of its own now, and populated."""
        start, length = words[0] & -self._page, words[1] & -self._page
        vma = task.mm.find_vma(start)
        if result < 0 or vma is None:
            return
        whole = self.mapping(task, vma)
        offset = whole.offset + start - whole.addr
        flags = whole.flags | mf.MAP_POPULATE
        self._note(replace(whole, addr=start, length=length, offset=offset, flags=flags))

    def _brk(self, task: "Task", words: Words, result: int) -> None:
        space = task.mm
        self._note(Brk(task=task.pid, cpu=task.cpu, addr=result, start=int(space.start_brk)))

    def _ipc(self, task: "Task", words: Words, result: int) -> None:
        """shmat, which stores the address, and shmdt among the calls of ipc(2)."""
        if words[0] & 0xFFFF == _IPC_SHMAT and result == 0:
            self._shmat(task, words, int.from_bytes(_peek(task, words[3], 4), "little"))
        elif words[0] & 0xFFFF == _IPC_SHMDT:
            self._shmdt(task, words[4:], result)

    def _shmat(self, task: "Task", words: Words, result: int) -> None:
        if result >= 0:
            vma = self._mapped(task, result)
            if vma is not None:
                self._attached[task.mm.ident, result] = int(vma.vm_end - vma.vm_start)

    def _shmdt(self, task: "Task", words: Words, result: int) -> None:
        """What was attached there, and was not unmapped or replaced since, is gone."""
        length = self._attached.pop((task.mm.ident, words[0]), 0) if result == 0 else 0
        if length:
            self._lost(task, words[0], length)

    def _mapped(self, task: "Task", addr: int) -> Vma | None:
        """A mapping that came to be at ``addr``."""
        vma: Vma | None = task.mm.find_vma(addr)
        if vma is not None:
            self._note(self.mapping(task, vma))
        return vma

    def _exec(self, task: "Task", words: Words, result: int) -> None:
        if result == 0:
            self._executed(task)

    # What is advised and locked.

    def _madvise(self, task: "Task", words: Words, result: int) -> None:
        addr, length, advice = words[0], self._pages(words[1]), words[2]
        if length <= 0 or (result == -errno.EINVAL and addr % self._page):
            return
        self._note(Madvise(task=task.pid, cpu=task.cpu, addr=addr, length=length, advice=advice, failed=-result))
        if advice == MADV_REMOVE:
            for _ in self._files.changes(None):
                pass  # the replay's own call does the same

    def _msync(self, task: "Task", words: Words, result: int) -> None:
        if words[1]:
            self._note(Msync(task=task.pid, cpu=task.cpu, addr=words[0], length=self._pages(words[1]), flags=words[2]))

    def _mlock(self, task: "Task", words: Words, result: int) -> None:
        self._lock(task, words, 1, result)

    def _mlock2(self, task: "Task", words: Words, result: int) -> None:
        self._lock(task, words, 3 if words[2] else 1, result)

    def _munlock(self, task: "Task", words: Words, result: int) -> None:
        self._lock(task, words, 0, result)

    def _lock(self, task: "Task", words: Words, flags: int, result: int) -> None:
        start = words[0] & -self._page
        length = self._pages(words[0] + words[1] - start)
        if length > 0 and result not in (-errno.EPERM, -errno.EINVAL):
            locked = task.mm.vma_lookup(start)
            if result < 0 and flags and (locked is None or not locked.vm_flags & VM_LOCKED):
                return  # RLIMIT_MEMLOCK
            self._note(Mlock(task=task.pid, cpu=task.cpu, addr=start, length=length, flags=flags, failed=-result))

    def _mlockall(self, task: "Task", words: Words, result: int) -> None:
        if result == 0:
            self._note(Mlockall(task=task.pid, cpu=task.cpu, flags=words[0]))

    def _munlockall(self, task: "Task", words: Words, result: int) -> None:
        self._note(Mlockall(task=task.pid, cpu=task.cpu, flags=0))

    # Files.

    def _file_changed(
        self, task: "Task", fd: int, *, synced: bool = False, hole: int = 0, hole_length: int = 0
    ) -> None:
        opened = fdget(task, fd)
        mapping = opened.mapping if opened is not None else None
        if mapping is not None:
            changes = self._files.changes(mapping, synced=synced, hole=hole, hole_length=hole_length)
            self._tell_files(task, changes)

    def _written(self, task: "Task", fd: int, pos: int, count: int) -> None:
        opened = fdget(task, fd)
        if opened is not None and opened.mapping is not None:
            start = pos if pos >= 0 else int(opened.f_pos) - count
            self._tell_files(task, self._files.written(opened.mapping, start, start + count))

    def _tell_files(self, task: "Task", changes: Any) -> None:
        for fields in changes:
            self._note(FileEvent(task=task.pid, cpu=task.cpu, **fields))


def _holes(task: "Task", start: int, end: int) -> list[tuple[int, int]]:
    """The parts of [start, end) where nothing is mapped."""
    holes = []
    for vma in task.mm.vmas_in(start, end):
        if vma.vm_start > start:
            holes.append((start, int(vma.vm_start)))
        start = max(start, int(vma.vm_end))
    if start < end:
        holes.append((start, end))
    return holes


def _peek(task: "Task", addr: int, length: int) -> bytes:
    """Bytes of user memory, without a fault or a mark; fewer where pages are missing."""
    space = task.mm
    fmt = space.system.format
    found = b""
    while len(found) < length:
        index = int(pte_lookup(space, addr + len(found)))
        entry = int(space.system.ram.words[index]) if index >= 0 else 0
        if not fmt.present.test(entry):
            break
        offset = (addr + len(found)) % int(space.system.page_size)
        found += bytes(space.system.ram.page(int(fmt.pfn(entry)))[offset : offset + length - len(found)])
    return found


def _plain(function: Any, words: Words) -> tuple[Any, Words]:
    """A call of arm64's that takes an address with a tag, as the call without one that it comes to."""
    plain = table_arm64.UNTAGGED.get(function)
    return (function, words) if plain is None else (plain, (untagged_addr(words[0]), *words[1:]))
