"""The ELF loader: maps a program and its interpreter, puts the heap behind it, and starts it.

Order of checks and errors is Linux's. Until ``begin_new_exec`` an error goes back to the caller; after it there is no
old
program to return to. Every sum of untrusted numbers is taken modulo 2**64 and compared with TASK_SIZE before it is
used.

Sources: elf(5), execve(2); Documentation/filesystems (6.18) names the rules for load addresses and brk.

Mirrors: fs/binfmt_elf.c (6.18)
Differs: PT_GNU_PROPERTY is read by nothing, as x86-64 reads nothing from it; there are no core dumps.
"""

import errno
from os import fsdecode
from typing import TYPE_CHECKING, Final

from pagewalk.fs.fcntl import AT_FDCWD, PATH_MAX
from pagewalk.fs.open import open_exec
from pagewalk.kernel.binfmt_script import describe_open_error
from pagewalk.kernel.binprm import LinuxBinprm, kernel_read
from pagewalk.kernel.elf import (
    EHDR_SIZE,
    EM_386,
    EM_486,
    ET_DYN,
    ET_EXEC,
    PF_R,
    PF_W,
    PF_X,
    PT_GNU_STACK,
    PT_INTERP,
    PT_LOAD,
    ElfHeader,
    ProgramHeader,
    maximum_alignment,
    page_align,
    page_start,
    parse_program_headers,
    total_mapping_size,
)
from pagewalk.kernel.elf_tables import create_elf_tables
from pagewalk.kernel.exec_setup import (
    EXSTACK_DEFAULT,
    EXSTACK_DISABLE_X,
    EXSTACK_ENABLE_X,
    MMAP_PAGE_ZERO,
    READ_IMPLIES_EXEC,
    arch_mmap_rnd,
    begin_new_exec,
    page_size_of,
    randomize_page,
    setup_arg_pages,
    setup_new_exec,
    start_thread,
    wants_randomize,
)
from pagewalk.kernel.vdso import map_vdso
from pagewalk.kernel.word import WORD, signed
from pagewalk.mm.brk import vm_brk_flags
from pagewalk.mm.mmap import vm_mmap
from pagewalk.mm.mmap_flags import (
    MAP_FIXED,
    MAP_FIXED_NOREPLACE,
    MAP_PRIVATE,
    PROT_EXEC,
    PROT_READ,
    PROT_WRITE,
)
from pagewalk.mm.munmap import vm_munmap
from pagewalk.mm.uaccess import copy_to_user

if TYPE_CHECKING:
    from pagewalk.fs.file import VfsFile
    from pagewalk.kernel.task import Task

ENOEXEC: Final = errno.ENOEXEC


class Image:
    """What loading found out, in addresses of the new program (modulo 2**64 until they are checked)."""

    def __init__(self) -> None:
        self.start_code: int = WORD
        self.end_code: int = 0
        self.start_data: int = 0
        self.end_data: int = 0
        self.elf_brk: int = 0
        self.phdr_addr: int = 0
        self.load_bias: int = 0


def load_elf_binary(task: "Task", bprm: LinuxBinprm) -> int:
    """Replaces the task's program by the ELF file of ``bprm``. 0 or a negative errno; -ENOEXEC: not for this loader."""
    assert bprm.file is not None
    header = ElfHeader(bprm.buf)
    kernel = task.kernel
    problem = header.problem(kernel.elf_machines, kernel.elf_here)
    if problem:
        return bprm.fail(ENOEXEC, problem)
    if not bprm.file.can_mmap():
        return bprm.fail(ENOEXEC, "its file system cannot map files")
    headers = load_elf_phdrs(bprm, bprm.file, header, page_size_of(task))
    if headers is None:
        return -ENOEXEC
    interp: VfsFile | None = None
    interp_header = ElfHeader(b"")
    interp_headers: list[ProgramHeader] = []
    for phdr in headers:
        if phdr.p_type == PT_INTERP:
            opened = open_interpreter(task, bprm, bprm.file, phdr)
            if isinstance(opened, int):
                return opened
            interp = opened
            break
    if interp is not None:
        read = kernel_read(interp, EHDR_SIZE, 0)
        if isinstance(read, int) or len(read) < EHDR_SIZE:
            interp.put()
            return bprm.fail(
                -read if isinstance(read, int) else errno.EIO, f"its interpreter {interp.path} is too short"
            )
        interp_header = ElfHeader(read)
        machines = tuple([m for m in kernel.elf_machines if (m in (EM_386, EM_486)) == header.narrow])
        problem = interp_header.problem(machines, kernel.elf_here)
        if not interp_header.has_magic() or (problem and interp_header.e_machine not in machines):
            interp.put()
            return bprm.fail(errno.ELIBBAD, f"its interpreter {interp.path} is {problem}")
        found = load_elf_phdrs(bprm, interp, interp_header, page_size_of(task))
        if found is None:
            bprm.reason = f"its interpreter {interp.path} has no usable program headers"
            interp.put()
            return -errno.ELIBBAD
        interp_headers = found
    error = load_elf_image(task, bprm, header, headers, interp, interp_header, interp_headers)
    if interp is not None:
        interp.put()
    return error


def load_elf_phdrs(bprm: LinuxBinprm, file: "VfsFile", header: ElfHeader, most: int) -> list[ProgramHeader] | None:
    """The program headers, or None where they are missing, cut, of another size or more than ``most`` bytes, a page."""
    each = header.phdr_size()
    if header.e_phentsize != each:
        bprm.fail(ENOEXEC, f"its program headers have {header.e_phentsize} bytes each, not {each}")
        return None
    size = header.e_phnum * each
    if size == 0 or size > most:
        bprm.fail(ENOEXEC, f"it has {header.e_phnum} program headers; 1 to {most // each} can be")
        return None
    data = elf_read(file, size, header.e_phoff)
    if isinstance(data, int):
        bprm.fail(ENOEXEC, "its program headers lie beyond the end of the file")
        return None
    return parse_program_headers(data, header.narrow)


def elf_read(file: "VfsFile", count: int, pos: int) -> bytes | int:
    """Exactly ``count`` bytes at ``pos`` (unsigned), or a negative errno: EIO where the file is too short."""
    if pos >= 1 << 63:
        return -errno.EINVAL
    data = kernel_read(file, count, pos)
    if not isinstance(data, int) and len(data) != count:
        return -errno.EIO
    return data


def open_interpreter(task: "Task", bprm: LinuxBinprm, file: "VfsFile", phdr: ProgramHeader) -> "VfsFile | int":
    """Opens the program that PT_INTERP names; a negative errno where it names none that can be opened."""
    if phdr.p_filesz > PATH_MAX or phdr.p_filesz < 2:
        return bprm.fail(ENOEXEC, f"its interpreter's name has {phdr.p_filesz} bytes")
    name = elf_read(file, phdr.p_filesz, phdr.p_offset)
    if isinstance(name, int):
        return bprm.fail(-name, "its interpreter's name lies beyond the end of the file")
    if name[-1] != 0:
        return bprm.fail(ENOEXEC, "its interpreter's name does not end")
    path = fsdecode(name[: name.index(0)])
    if not path:  # the kernel's own empty names are the working directory
        return bprm.fail(errno.EACCES, "its interpreter's name is empty")
    opened = open_exec(task.fs, task.files, AT_FDCWD, path, 0)
    if isinstance(opened, int):
        return bprm.fail(-opened, f"its interpreter {path!r} {describe_open_error(-opened)}")
    return opened


def load_elf_image(
    task: "Task",
    bprm: LinuxBinprm,
    header: ElfHeader,
    headers: list[ProgramHeader],
    interp: "VfsFile | None",
    interp_header: ElfHeader,
    interp_headers: list[ProgramHeader],
) -> int:
    """The second half: from the new, empty address space to registers that are ready to run."""
    executable_stack = EXSTACK_DEFAULT
    for phdr in headers:
        if phdr.p_type == PT_GNU_STACK:
            executable_stack = EXSTACK_ENABLE_X if phdr.p_flags & PF_X else EXSTACK_DISABLE_X
    error = begin_new_exec(task, bprm)
    if error < 0:
        return error
    if header.narrow and executable_stack == EXSTACK_DEFAULT:
        task.personality |= READ_IMPLIES_EXEC
    setup_new_exec(task, header.narrow)
    error = setup_arg_pages(task, bprm, executable_stack)
    if error < 0:
        return error
    mm = task.mm
    image = Image()
    error = map_segments(task, bprm, header, headers, interp is not None, image)
    if error < 0:
        return error
    task_size = int(task.mm.task_size)
    entry = (header.e_entry + image.load_bias) & WORD
    interp_base = 0
    if interp is not None:
        interp_base = load_elf_interp(task, bprm, interp, interp_header, interp_headers, image.load_bias)
        if interp_base < 0:
            return interp_base
        start = (interp_base + interp_header.e_entry) & WORD
        if start >= task_size:
            return bprm.fail(errno.EINVAL, f"its interpreter {interp.path} has the entry point {start:#x}")
    else:
        start = entry
        if start >= task_size:
            return bprm.fail(errno.EINVAL, f"its entry point {start:#x} is no user address")
    error = map_vdso(task)
    if error < 0:
        return bprm.fail(-error, "there is no room for the vDSO")
    error = create_elf_tables(task, bprm, header, interp_base, entry, image.phdr_addr)
    if error < 0:
        return bprm.fail(-error, "there is no room for the arguments on the stack")
    mm.end_code = signed(image.end_code)
    mm.start_code = signed(image.start_code)
    mm.start_data = signed(image.start_data)
    mm.end_data = signed(image.end_data)
    mm.start_stack = bprm.p
    set_brk(task, image.elf_brk, moved=header.e_type == ET_DYN and interp is None)
    if task.personality & MMAP_PAGE_ZERO:
        vm_mmap(mm, None, 0, page_size_of(task), PROT_READ | PROT_EXEC, MAP_FIXED | MAP_PRIVATE, 0)
    start_thread(task, start, bprm.p)
    return 0


def map_segments(
    task: "Task", bprm: LinuxBinprm, header: ElfHeader, headers: list[ProgramHeader], has_interp: bool, image: Image
) -> int:
    """Maps the program's PT_LOAD segments and fills ``image``. 0 or a negative errno."""
    assert bprm.file is not None
    task_size = int(task.mm.task_size)
    first = True
    for phdr in headers:
        if phdr.p_type != PT_LOAD:
            continue
        flags = MAP_PRIVATE
        total_size = 0
        if not first:
            flags |= MAP_FIXED
        elif header.e_type == ET_EXEC:
            flags |= MAP_FIXED_NOREPLACE
        else:
            total_size = total_mapping_size(headers, page_size_of(task))
            if total_size == 0:
                return bprm.fail(errno.EINVAL, "its segments cover no memory")
            alignment = maximum_alignment(headers, page_size_of(task))
            bias = 0
            if has_interp:
                bias = task.mm.layout.et_dyn_base
                if wants_randomize(task):
                    bias += arch_mmap_rnd(task)
                if alignment:
                    bias &= ~(alignment - 1)
                flags |= MAP_FIXED_NOREPLACE
            elif alignment > page_size_of(task):
                bias = elf_load(task, bprm.file, 0, phdr, flags, total_size)
                if bias < 0 or bias >= task_size:
                    return bprm.fail(-bias if bias < 0 else errno.EINVAL, describe_segment(phdr, bias))
                vm_munmap(task.mm, bias, total_size)
                bias &= ~(alignment - 1)
                flags |= MAP_FIXED_NOREPLACE
            image.load_bias = page_start((bias - phdr.p_vaddr) & WORD, page_size_of(task))
        addr = (image.load_bias + phdr.p_vaddr) & WORD
        mapped = elf_load(task, bprm.file, addr, phdr, flags, total_size)
        if mapped < 0 or mapped >= task_size:
            return bprm.fail(-mapped if mapped < 0 else errno.EINVAL, describe_segment(phdr, mapped))
        if first:
            first = False
            if header.e_type == ET_DYN:
                image.load_bias = (image.load_bias + mapped - page_start(addr, page_size_of(task))) & WORD
        if phdr.p_offset <= header.e_phoff < phdr.p_offset + phdr.p_filesz:
            image.phdr_addr = (header.e_phoff - phdr.p_offset + phdr.p_vaddr) & WORD
        vaddr = phdr.p_vaddr
        if phdr.p_flags & PF_X and vaddr < image.start_code:
            image.start_code = vaddr
        image.start_data = max(image.start_data, vaddr)
        if segment_overflows(phdr, vaddr, task_size):
            return bprm.fail(errno.EINVAL, describe_segment(phdr, -errno.EINVAL))
        if phdr.p_flags & PF_X:
            image.end_code = max(image.end_code, vaddr + phdr.p_filesz)
        image.end_data = max(image.end_data, vaddr + phdr.p_filesz)
        image.elf_brk = max(image.elf_brk, vaddr + phdr.p_memsz)
    bias = image.load_bias
    image.phdr_addr = (image.phdr_addr + bias) & WORD
    image.elf_brk = (image.elf_brk + bias) & WORD
    image.start_code = (image.start_code + bias) & WORD
    image.end_code = (image.end_code + bias) & WORD
    image.start_data = (image.start_data + bias) & WORD
    image.end_data = (image.end_data + bias) & WORD
    return 0


def segment_overflows(phdr: ProgramHeader, addr: int, task_size: int) -> bool:
    """Whether a segment at ``addr`` is larger in the file than in memory, or reaches out of user space."""
    memsz = phdr.p_memsz
    return addr >= task_size or phdr.p_filesz > memsz or memsz > task_size or task_size - memsz < addr


def describe_segment(phdr: ProgramHeader, error: int) -> str:
    """One line on a segment that could not be mapped."""
    name = errno.errorcode.get(-error, "bad address") if error < 0 else "bad address"
    return (
        f"its segment at {phdr.p_vaddr:#x} (offset {phdr.p_offset:#x}, {phdr.p_filesz:#x} bytes of file, "
        f"{phdr.p_memsz:#x} of memory) cannot be mapped: {name}"
    )


def elf_load(task: "Task", file: "VfsFile", addr: int, phdr: ProgramHeader, flags: int, total_size: int) -> int:
    """Maps one segment at ``addr`` and zeros behind it; ``total_size`` reserves that much. The address or -errno."""
    prot = make_prot(phdr.p_flags)
    page_size = page_size_of(task)
    in_page = phdr.p_vaddr & (page_size - 1)
    if phdr.p_filesz:
        mapped = elf_map(task, file, addr, phdr, prot, flags, total_size)
        if mapped < 0 or mapped >= int(task.mm.task_size):
            return mapped
        if phdr.p_memsz <= phdr.p_filesz:
            return mapped
        zero_start = mapped + in_page + phdr.p_filesz
        zero_end = mapped + in_page + phdr.p_memsz
        rest = -zero_start & (page_size - 1)
        # A segment that may not be written keeps the file's bytes behind its end.
        if rest and not copy_to_user(task.mm, zero_start, bytes(rest)) and prot & PROT_WRITE:
            return -errno.EFAULT
    else:
        mapped = page_start(addr, page_size)
        if phdr.p_memsz == 0:
            return signed(mapped)
        zero_start = mapped
        zero_end = mapped + in_page + phdr.p_memsz
    start = page_align(zero_start & WORD, page_size)
    length = (page_align(zero_end & WORD, page_size) - start) & WORD
    error = brk_flags(task, start, length, bool(prot & PROT_EXEC))
    return error if error else signed(mapped)


def elf_map(
    task: "Task", file: "VfsFile", addr: int, phdr: ProgramHeader, prot: int, flags: int, total_size: int
) -> int:
    """Maps the part of a segment that the file holds. Its address or -errno."""
    page_size = page_size_of(task)
    in_page = phdr.p_vaddr & (page_size - 1)
    size = page_align((phdr.p_filesz + in_page) & WORD, page_size)
    offset = (phdr.p_offset - in_page) & WORD
    addr = page_start(addr, page_size)
    if size == 0:
        return signed(addr)
    if total_size == 0:
        return map_file(task, file, addr, size, prot, flags, offset)
    total_size = page_align(total_size, page_size)
    mapped = map_file(task, file, addr, total_size, prot, flags, offset)
    if 0 <= mapped < int(task.mm.task_size) and total_size > size:
        vm_munmap(task.mm, mapped + size, total_size - size)
    return mapped


def map_file(task: "Task", file: "VfsFile", addr: int, size: int, prot: int, flags: int, offset: int) -> int:
    """vm_mmap with numbers that may be anything: those that are no signed word are refused as Linux refuses them."""
    if (offset + size) & WORD < offset or offset & (page_size_of(task) - 1):
        return -errno.EINVAL
    if size > int(task.mm.task_size) or addr >= int(task.mm.task_size):
        return -errno.ENOMEM
    return vm_mmap(task.mm, file, addr, size, prot, flags, signed(offset))


def brk_flags(task: "Task", start: int, length: int, executable: bool) -> int:
    """vm_brk_flags with numbers that may be anything."""
    if length == 0:
        return 0
    if length > int(task.mm.task_size) or start >= int(task.mm.task_size):
        return -errno.ENOMEM
    return vm_brk_flags(task.mm, start, length, executable)


def load_elf_interp(
    task: "Task", bprm: LinuxBinprm, interp: "VfsFile", header: ElfHeader, headers: list[ProgramHeader], no_base: int
) -> int:
    """Maps the interpreter; the bias of its addresses, or a negative errno."""
    task_size = int(task.mm.task_size)
    if header.e_type not in (ET_EXEC, ET_DYN) or not interp.can_mmap():
        problem = header.problem(task.kernel.elf_machines, task.kernel.elf_here) or "on a strange file system"
        return bprm.fail(errno.EPERM, f"its interpreter {interp.path} is {problem}")
    total_size = total_mapping_size(headers, page_size_of(task))
    if total_size == 0:
        return bprm.fail(errno.EINVAL, f"its interpreter {interp.path} has no segments")
    load_addr = 0
    load_addr_set = False
    for phdr in headers:
        if phdr.p_type != PT_LOAD:
            continue
        flags = MAP_PRIVATE
        if header.e_type == ET_EXEC or load_addr_set:
            flags |= MAP_FIXED
        elif no_base and header.e_type == ET_DYN:
            load_addr = -phdr.p_vaddr & WORD
        mapped = elf_load(task, interp, (load_addr + phdr.p_vaddr) & WORD, phdr, flags, total_size)
        total_size = 0
        if mapped < 0 or mapped >= task_size:
            code = -mapped if mapped < 0 else errno.EINVAL
            return bprm.fail(code, f"its interpreter {interp.path}: {describe_segment(phdr, mapped)}")
        if not load_addr_set and header.e_type == ET_DYN:
            load_addr = (mapped - page_start(phdr.p_vaddr, page_size_of(task))) & WORD
            load_addr_set = True
        if segment_overflows(phdr, (load_addr + phdr.p_vaddr) & WORD, task_size):
            return bprm.fail(errno.ENOMEM, f"its interpreter {interp.path}: {describe_segment(phdr, -errno.ENOMEM)}")
    return signed(load_addr)


def set_brk(task: "Task", elf_brk: int, moved: bool) -> None:
    """Puts the heap behind the program; a loader that runs by itself (``moved``) gets it where a PIE would be."""
    if moved:
        elf_brk = task.mm.layout.et_dyn_base
    start = page_align(elf_brk, page_size_of(task))
    if wants_randomize(task):
        start = randomize_page(task, start, task.mm.layout.brk_rnd_bytes)
    task.mm.start_brk = signed(start)
    task.mm.brk = signed(start)


def make_prot(p_flags: int) -> int:
    """PROT_* of a segment's flags."""
    prot = 0
    if p_flags & PF_R:
        prot |= PROT_READ
    if p_flags & PF_W:
        prot |= PROT_WRITE
    if p_flags & PF_X:
        prot |= PROT_EXEC
    return prot
