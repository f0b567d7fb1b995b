"""A process as Python drives it: the memory calls of Linux, and accesses as its program would make them.

    p = Machine().spawn()
    a = p.mmap("64M")
    p.write(a, b"hello")
    print(p.explain(a))

Every call answers what the system call would, or raises LinuxError with its errno. Addresses and lengths are bytes;
lengths may be text such as ``"64M"``.
"""

from typing import TYPE_CHECKING, NoReturn

from pagewalk.config import parse_size
from pagewalk.errors import BusError, ConfigError, LinuxError, OomKilled, OutOfMemory, SegmentationFault
from pagewalk.flags import Map, Prot
from pagewalk.fs.fcntl import AT_FDCWD, O_RDONLY, O_RDWR
from pagewalk.fs.open import do_openat
from pagewalk.fs.procfs.task_mmu import maps_text, smaps_text
from pagewalk.mm import brk as mm_brk
from pagewalk.mm import madvise as mm_madvise
from pagewalk.mm import mincore as mm_mincore
from pagewalk.mm import mlock as mm_mlock
from pagewalk.mm import mprotect as mm_mprotect
from pagewalk.mm import mremap as mm_mremap
from pagewalk.mm import munmap as mm_munmap
from pagewalk.mm import pkeys as mm_pkeys
from pagewalk.mm.current import RLIMIT_STACK
from pagewalk.mm.fault import FAULT_ACCERR, FAULT_BUS, FAULT_OOM, FAULT_PKUERR, READ, WRITE
from pagewalk.mm.file import File
from pagewalk.mm.mm_types import MmStruct
from pagewalk.mm.mmap import vm_mmap
from pagewalk.mm.uaccess import touch_user, user_paddr
from pagewalk.mm.unmapped_area import pick_mmap_layout
from pagewalk.mm.vma import VM_LOCKED, VM_LOCKONFAULT, VM_MAYSHARE

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task
    from pagewalk.machine import Machine
    from pagewalk.view.explain import Explanation

__all__ = ["Process"]

Size = int | str

_SIGNED = 1 << 63
_SEGV_CODES = {FAULT_ACCERR: (2, "SEGV_ACCERR"), FAULT_PKUERR: (4, "SEGV_PKUERR")}


def _word(value: int) -> int:
    """A 64-bit word as the kernel rooms hold it, signed."""
    return value - (1 << 64) if value >= _SIGNED else value


class Process:
    """One process of a machine; ``machine.spawn()`` makes it.

    pid  its process id
    """

    def __init__(self, machine: "Machine", task: "Task") -> None:
        self.machine = machine
        self._task = task
        self.pid = task.pid
        self._page_size = int(machine.system.page_size)
        if not task.mm.mmap_base:  # no exec has laid the address space out
            pick_mmap_layout(task.mm, task.rlim_cur[RLIMIT_STACK], machine.config.aslr)

    def __repr__(self) -> str:
        mm = self._task.mm
        return (
            f"<Process {self.pid}: {mm.map_count()} mappings, {mm.get_mm_rss() * self._page_size >> 10} KiB resident>"
        )

    @property
    def cpu(self) -> int:
        """The CPU that it runs on; its accesses go through that one's TLBs. May be set, 0 to ``config.cpus`` - 1."""
        return self._task.cpu

    @cpu.setter
    def cpu(self, number: int) -> None:
        cpus = self.machine.config.cpus
        if not 0 <= number < cpus:
            raise ConfigError(f"cpu: expected 0 to {cpus - 1}, got {number!r}")
        self._task.cpu = number

    # Mappings.

    def mmap(
        self,
        length: Size,
        prot: int = Prot.READ | Prot.WRITE,
        flags: int = Map.PRIVATE | Map.ANONYMOUS,
        *,
        addr: int = 0,
        path: str | None = None,
        offset: Size = 0,
    ) -> int:
        """mmap(2); ``path`` opens a file of the machine for it (for writing where a shared mapping asks for it). The
        address."""
        self._enter()
        file = None
        if path is not None:
            flags &= ~Map.ANONYMOUS
            file = self._open(path, writable=bool(prot & Prot.WRITE and flags & Map.SHARED))
        start = parse_size(offset, "offset")
        if start % self._page_size:
            raise LinuxError("mmap", 22)
        found = vm_mmap(
            self._task.mm, file, _word(addr), _word(parse_size(length, "length")), int(prot), int(flags), start
        )
        if file is not None:
            file.put()
        return self._answer("mmap", int(found))

    def munmap(self, addr: int, length: Size) -> None:
        """munmap(2)."""
        self._enter()
        self._answer("munmap", mm_munmap.vm_munmap(self._task.mm, _word(addr), _word(parse_size(length, "length"))))

    def mprotect(self, addr: int, length: Size, prot: int) -> None:
        """mprotect(2)."""
        self._enter()
        failed = mm_mprotect.mprotect(self._task.mm, _word(addr), _word(parse_size(length, "length")), int(prot))
        self._answer("mprotect", failed)

    def pkey_alloc(self, rights: int = 0) -> int:
        """pkey_alloc(2): a protection key, of which ``pkru`` then allows all but ``rights``: 1 closes it for accesses,
        2 for writes. EINVAL on a machine whose CPU has no keys (``Config.pku``)."""
        self._enter()
        return self._answer("pkey_alloc", mm_pkeys.pkey_alloc(self._task.mm, 0, rights))

    def pkey_free(self, key: int) -> None:
        """pkey_free(2); mappings that have the key keep it."""
        self._enter()
        self._answer("pkey_free", mm_pkeys.mm_pkey_free(self._task.mm, key))

    def pkey_mprotect(self, addr: int, length: Size, prot: int, key: int) -> None:
        """pkey_mprotect(2): rights, and a protection key."""
        self._enter()
        size = _word(parse_size(length, "length"))
        self._answer("pkey_mprotect", mm_mprotect.mprotect(self._task.mm, _word(addr), size, int(prot), key))

    def pkey_set(self, key: int, rights: int) -> None:
        """What pkey_set(3) does: changes what ``pkru`` says of one key. ConfigError for what is no key, or no right."""
        if not 0 <= key < mm_pkeys.NR_PKEYS:
            raise ConfigError(f"key: expected 0 to {mm_pkeys.NR_PKEYS - 1}, got {key!r}")
        if not 0 <= rights <= mm_pkeys.PKEY_ACCESS_MASK:
            raise ConfigError(f"rights: expected 0 (all), 1 (no access), 2 (no write) or 3, got {rights!r}")
        self.pkru = self._task.pkru & ~(mm_pkeys.PKEY_ACCESS_MASK << 2 * key) | rights << 2 * key

    @property
    def pkru(self) -> int:
        """The register PKRU: two bits for each protection key, no access and no write. It may be set, as WRPKRU does;
        ConfigError where that is no 32-bit word, or the CPU has no keys."""
        return self._task.pkru

    @pkru.setter
    def pkru(self, value: int) -> None:
        if not self.machine.config.pku:
            raise ConfigError("pkru: this machine's CPU has no protection keys; Config(pku=True) gives it some")
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 32:
            raise ConfigError(f"pkru: expected a 32-bit word, got {value!r}")
        self._task.pkru = value

    def mremap(self, addr: int, old: Size, new: Size, flags: int = 1, new_addr: int = 0) -> int:
        """mremap(2), by default with MREMAP_MAYMOVE (1). The address."""
        self._enter()
        sizes = _word(parse_size(old, "old length")), _word(parse_size(new, "new length"))
        return self._answer("mremap", int(mm_mremap.mremap(self._task.mm, _word(addr), *sizes, flags, _word(new_addr))))

    def brk(self, addr: int = 0) -> int:
        """The raw brk(2): sets the end of the heap where it can, and returns it."""
        self._enter()
        return int(mm_brk.brk(self._task.mm, _word(addr)))

    def madvise(self, addr: int, length: Size, advice: int) -> None:
        """madvise(2); ``advice`` is an MADV_* number."""
        self._enter()
        failed = mm_madvise.madvise(self._task.mm, _word(addr), _word(parse_size(length, "length")), advice)
        self._answer("madvise", failed)

    def mlock(self, addr: int, length: Size, *, onfault: bool = False) -> None:
        """mlock(2), or mlock2(2) with MLOCK_ONFAULT."""
        self._enter()
        flags = VM_LOCKED | (VM_LOCKONFAULT if onfault else 0)
        self._answer("mlock", mm_mlock.mlock(self._task.mm, _word(addr), _word(parse_size(length, "length")), flags))

    def munlock(self, addr: int, length: Size) -> None:
        """munlock(2)."""
        self._enter()
        self._answer("munlock", mm_mlock.munlock(self._task.mm, _word(addr), _word(parse_size(length, "length"))))

    def mincore(self, addr: int, length: Size) -> list[bool]:
        """mincore(2): for each page whether it is in memory. (The vector is not stored in the process.)"""
        self._enter()
        mm = self._task.mm
        size = parse_size(length, "length")
        if addr % self._page_size:
            raise LinuxError("mincore", 22)
        resident: list[bool] = []
        at = addr
        end = addr + int(mm.system.page_align(size))
        while at < end:
            vma = mm.vma_lookup(_word(at))
            if vma is None:
                raise LinuxError("mincore", 12)
            upto = min(end, int(vma.vm_end))
            resident += [bool(byte) for byte in mm_mincore.residency(vma, at, (upto - at) // self._page_size)]
            at = upto
        return resident

    # Accesses.

    def read(self, addr: int, length: Size) -> bytes:
        """Loads bytes as the program would: faults are taken and counted. SegmentationFault or BusError where it
        would get the signal, OutOfMemory where no frame is left."""
        self._enter()
        ram = self.machine.system.ram
        parts = []
        size = parse_size(length, "length")
        while size > 0:
            paddr = self._translate(addr, READ)
            step = min(self._page_size - addr % self._page_size, size)
            parts.append(bytes(ram.bytes[paddr : paddr + step]))
            addr += step
            size -= step
        return b"".join(parts)

    def write(self, addr: int, data: bytes) -> None:
        """Stores bytes as the program would; errors as ``read``. What lies before the failing page is stored."""
        self._enter()
        ram = self.machine.system.ram
        done = 0
        while done < len(data):
            paddr = self._translate(addr + done, WRITE)
            step = min(self._page_size - (addr + done) % self._page_size, len(data) - done)
            ram.bytes[paddr : paddr + step] = data[done : done + step]
            ram.stored_to(paddr // self._page_size)
            done += step

    def touch(self, addr: int, length: Size = 1, *, write: bool = True) -> None:
        """One access to every page of the range; errors as ``read``."""
        self._enter()
        if self.machine.tlb is not None:
            self._touch_each(addr, parse_size(length, "length"), WRITE if write else READ)
            return
        failed = touch_user(self._task.mm, _word(addr), parse_size(length, "length"), WRITE if write else READ)
        if failed:
            mm = self._task.mm
            at = addr
            while user_paddr(mm, _word(at), WRITE if write else READ) >= 0:
                at += self._page_size - at % self._page_size
            self._refuse(at, WRITE if write else READ, failed)

    # What it looks like.

    def maps(self) -> str:
        """/proc/PID/maps."""
        return maps_text(self._task.mm)

    def smaps(self) -> str:
        """/proc/PID/smaps."""
        return smaps_text(self._task.mm)

    def explain(self, addr: int) -> "Explanation":
        """All that is known of an address: VMA, each level of the walk with its bits, the frame, who shares it, what
        the machine's TLBs hold of it. Printable; looking leaves no mark."""
        from pagewalk.view.collect_explain import explain_address

        tlb = self.machine.tlb
        entries = tlb.entries(self._task.mm, _word(addr)) if tlb is not None else None
        marks = tlb.config.marks if tlb is not None else "format"
        return explain_address(self._task.mm, addr, self.maps(), self._owner, entries, marks, self._task.pkru)

    @property
    def minor_faults(self) -> int:
        """Faults served without reading a file (ru_minflt)."""
        return self._task.min_flt

    @property
    def major_faults(self) -> int:
        """Faults that had to read a file (ru_majflt)."""
        return self._task.maj_flt

    @property
    def rss(self) -> dict[str, int]:
        """Resident bytes: file, anon, shmem."""
        file, anon, _, shmem = self._task.mm.rss_stat
        size = self._page_size
        return {"anon": anon * size, "file": file * size, "shmem": shmem * size}

    def fork(self) -> "Process":
        """fork(2): the child, with a copy of the memory that is shared until one of the two writes."""
        from pagewalk.kernel.fork import CloneArgs, copy_process
        from pagewalk.kernel.signal_types import SIGCHLD

        self._enter()
        child = copy_process(self._task, CloneArgs(0, SIGCHLD))
        if isinstance(child, int):
            raise LinuxError("fork", -child)
        child.held = True
        return Process(self.machine, child)

    def exit(self) -> None:
        """Ends the process and frees its memory."""
        self.machine.kernel.do_exit(self._task, 0)
        self.machine.kernel.release_task(self._task)

    @property
    def oom_score_adj(self) -> int:
        """/proc/PID/oom_score_adj, -1000 (never killed for memory) to 1000 (first); ConfigError where it is set to
        something else."""
        return self._task.oom_score_adj

    @oom_score_adj.setter
    def oom_score_adj(self, value: int) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not -1000 <= value <= 1000:
            raise ConfigError(f"oom_score_adj: expected -1000 to 1000, got {value!r}")
        self._task.oom_score_adj = value

    @property
    def oom_score(self) -> int:
        """/proc/PID/oom_score."""
        return self._task.oom_score()

    @property
    def alive(self) -> bool:
        """False once it has ended, or the OOM killer has ended it."""
        return not self._task.is_ended()

    # Behind the face.

    def _enter(self) -> None:
        """This process is the one that runs. OomKilled where the OOM killer has ended it."""
        if self._task.mm.oom_victim:
            self._killed()
        self.machine.system.current = self._task
        if self._task.memcg:
            self.machine.system.memcg.settle()
        if self.machine.tlb is not None:
            self.machine.tlb.in_kernel(self._task.cpu)

    def _killed(self) -> NoReturn:
        """The OOM killer has chosen this process: it ends, where it has not yet."""
        kernel = self.machine.kernel
        if not self._task.is_ended():
            kernel.oom.end_task(self._task)
        raise OomKilled(f"process {self.pid} was killed: {kernel.oom.message_of(self.pid)}")

    def _answer(self, call: str, value: int) -> int:
        if value < 0 and self._task.mm.oom_victim:
            self._killed()
        if -4096 < value < 0:
            raise LinuxError(call, -value)
        return value

    def _open(self, path: str, writable: bool) -> File:
        """The machine's file at ``path``, for a mapping."""
        flags = O_RDWR if writable else O_RDONLY
        file = do_openat(self._task.fs, self._task.files, AT_FDCWD, path, flags, 0)
        if isinstance(file, int):
            raise LinuxError(f"open {path}", -file)
        return file

    def _translate(self, addr: int, access: int) -> int:
        """Physical address behind ``addr``, looked up in the TLBs, its fault served; raises what the program would
        get."""
        tlb = self.machine.tlb
        if tlb is not None:
            outcome = tlb.access(self._task, _word(addr), access)
            if outcome:
                self._refuse(addr, access, outcome)
        paddr = int(user_paddr(self._task.mm, _word(addr), access))
        if paddr < 0:
            self._refuse(addr, access, -paddr)
        return paddr

    def _touch_each(self, addr: int, length: int, access: int) -> None:
        """``touch``, page by page."""
        end = addr + length
        while addr < end:
            self._translate(addr, access)
            addr += self._page_size - addr % self._page_size

    def _refuse(self, addr: int, access: int, outcome: int) -> NoReturn:
        """Raises the signal, or the lack of memory, that a fault ended in."""
        if self._task.mm.oom_victim:
            self._killed()
        what = "write to" if access == WRITE else "read of"
        if outcome == FAULT_OOM:
            raise OutOfMemory(f"{what} {addr:#x}: no frame for {self.machine.system.node.last_failure}")
        vma = self._task.mm.vma_lookup(_word(addr))
        where = "no mapping"
        if vma is not None:
            rights = "".join(letter if vma.vm_flags & bit else "-" for bit, letter in ((1, "r"), (2, "w"), (4, "x")))
            kind = "s" if vma.vm_flags & VM_MAYSHARE else "p"
            where = f"{rights}{kind}, vma {vma.vm_start:#x}-{vma.vm_end:#x}"
        if outcome == FAULT_PKUERR and vma is not None:
            where += f", protection key {mm_pkeys.vma_pkey(vma)}"
        if outcome == FAULT_BUS:
            raise BusError(f"bus error: {what} {addr:#x} ({where}): BUS_ADRERR", addr, what.split()[0], 2)
        code, name = _SEGV_CODES.get(outcome, (1, "SEGV_MAPERR"))
        raise SegmentationFault(f"segmentation fault: {what} {addr:#x} ({where}): {name}", addr, what.split()[0], code)

    def _owner(self, mm: MmStruct) -> tuple[int, str]:
        """(pid, comm) of the process that an address space belongs to; (0, "") where it has none any more."""
        for task in self.machine.kernel.tasks():
            if task.mm is mm:
                return task.pid, task.comm
        return 0, ""
