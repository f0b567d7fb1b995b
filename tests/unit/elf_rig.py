"""A machine without a CPU, and ELF files made to order, for the tests of the loader."""

import struct
from dataclasses import dataclass, field

from pagewalk.config import Config
from pagewalk.fs.fcntl import AT_FDCWD, O_CREAT, O_TRUNC, O_WRONLY
from pagewalk.fs.namespace import host_namespace
from pagewalk.fs.open import do_openat
from pagewalk.kernel.binprm import LinuxBinprm
from pagewalk.kernel.exec import do_execve
from pagewalk.kernel.kernel import Kernel
from pagewalk.kernel.task import Task
from pagewalk.mm.system import System

PT_LOAD, PT_INTERP, PT_GNU_STACK = 1, 3, 0x6474E551
R, W, X = 4, 2, 1


@dataclass
class Segment:
    """One program header; ``data`` are its bytes in the file, ``filesz`` and ``memsz`` follow from it unless given."""

    vaddr: int
    data: bytes = b""
    memsz: int = -1
    flags: int = R | X
    kind: int = PT_LOAD
    align: int = 4096
    filesz: int = -1
    offset: int = -1


@dataclass
class Elf:
    """An ELF64 file for x86-64; any field can be made wrong."""

    segments: list[Segment] = field(default_factory=lambda: [Segment(0x400000, b"\x0f\x0b")])
    e_type: int = 2
    entry: int = 0x400000
    machine: int = 62
    magic: bytes = b"\x7fELF\x02\x01\x01"
    phentsize: int = 56
    phnum: int = -1
    phoff: int = 64

    def build(self) -> bytes:
        """The file."""
        headers, body = b"", b""
        start = 4096
        for segment in self.segments:
            size = len(segment.data)
            filesz = size if segment.filesz < 0 else segment.filesz
            memsz = filesz if segment.memsz < 0 else segment.memsz
            in_page = segment.vaddr & 4095
            offset = start + len(body) + in_page if segment.offset < 0 else segment.offset
            body += (bytes(in_page) + segment.data).ljust((in_page + size + 4095) & -4096, b"\0") if size else b""
            headers += struct.pack(
                "<IIQQQQQQ", segment.kind, segment.flags, offset, segment.vaddr, 0, filesz, memsz, segment.align
            )
        phnum = len(self.segments) if self.phnum < 0 else self.phnum
        head = self.magic.ljust(16, b"\0") + struct.pack(
            "<HHIQQQIHHHHHH",
            self.e_type,
            self.machine,
            1,
            self.entry,
            self.phoff,
            0,
            0,
            64,
            self.phentsize,
            phnum,
            0,
            0,
            0,
        )
        return (head + headers).ljust(start, b"\0") + body


class Rig:
    """A machine on which programs are loaded and never run."""

    def __init__(self, aslr: bool = False, ram: str = "64M") -> None:
        self.system = System(Config(aslr=aslr, ram=ram))
        self.namespace = host_namespace(self.system, rw_dirs=[], warm=True)
        self.kernel = Kernel(self.system, self.namespace)

    def put(self, path: str, data: bytes, mode: int = 0o755) -> str:
        """Writes a file of the model (below /tmp)."""
        task = self.kernel.current_task() or self.kernel.new_task()
        file = do_openat(task.fs, None, AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, mode)
        assert not isinstance(file, int), file
        assert file.write(data) == len(data)
        file.put()
        return path

    def exec(
        self, data: bytes, argv: tuple[bytes, ...] = (b"prog",), envp: tuple[bytes, ...] = ()
    ) -> tuple[Task, LinuxBinprm]:
        """A new task that executes ``data`` as /tmp/prog; whether that worked is ``bprm.error``."""
        self.put("/tmp/prog", data)
        return self.exec_path("/tmp/prog", argv, envp)

    def exec_path(
        self, path: str, argv: tuple[bytes, ...] = (b"prog",), envp: tuple[bytes, ...] = ()
    ) -> tuple[Task, LinuxBinprm]:
        """A new task that executes ``path``."""
        task = self.kernel.new_task()
        return task, do_execve(task, path, list(argv), list(envp))

    def drop(self, task: Task) -> None:
        """Ends a task and frees its memory."""
        self.kernel.do_exit(task, 9)
        self.kernel.release_task(task)


def ranges(task: Task) -> list[tuple[int, int]]:
    """(start, end) of each of the task's VMAs."""
    return [(int(vma.vm_start), int(vma.vm_end)) for vma in task.mm.vmas]
