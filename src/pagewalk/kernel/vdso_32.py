"""The vDSO of 32-bit programs, linux-gate.so.1: the way into the kernel, the ways back from signal handlers, the time.

Made as the 64-bit one is (vdso.py): a valid ELF file whose functions do the system call after touching [vvar] and the
result. ``__kernel_vsyscall`` keeps ecx, edx and ebp on the stack, as programs that carry out SYSENTER themselves
expect it: the kernel sends them back into the middle of it.

Sources: vdso(7), "i386 functions"; i386 psABI; as vdso.py.

Mirrors: arch/x86/entry/vdso/vdso32/system_call.S, sigreturn.S, vdso32.lds.S (6.18)
Differs: as vdso.py; the way in is int 0x80 on every CPU.
"""

import struct
from typing import TYPE_CHECKING, Final

from pagewalk.kernel.vdso import kernel_frame
from pagewalk.kernel.vdso_image import (
    LINUX_VERSION_CODE,
    VCLOCK_PAGES,
    VDSO_PAGES,
    VVAR_PAGES,
    StringTable,
    gnu_hash,
    sysv_hash,
)

if TYPE_CHECKING:
    from pagewalk.mm.system import System

SONAME: Final = "linux-gate.so.1"
_VERSIONS: Final = (SONAME, "LINUX_2.6", "LINUX_2.5")  # indices 1, 2, 3

_VSYSCALL: Final = b"\x51\x52\x55\xcd\x80\x5d\x5a\x59\xc3"  # push ecx, edx, ebp; int 0x80; pop ebp, edx, ecx; ret
_LANDING_PAD: Final = 5  # behind its int 0x80
_SIGRETURN: Final = b"\x58\xb8\x77\x00\x00\x00\xcd\x80"
_RT_SIGRETURN: Final = b"\xb8\xad\x00\x00\x00\xcd\x80"
# How the stack moves in _VSYSCALL: DW_CFA_advance_loc, DW_CFA_def_cfa_offset.
_VSYSCALL_CFA: Final = bytes.fromhex("410e08 410e0c 410e10 430e0c 410e08 410e04")

# name, number of the system call, which argument is the result (0 for none), whether the first is a clock
_CALLS: Final = (
    ("clock_gettime", 265, 2, True),
    ("gettimeofday", 78, 1, False),
    ("time", 13, 1, False),
    ("clock_gettime64", 403, 2, True),
    ("clock_getres", 266, 2, True),
    ("clock_getres_time64", 406, 2, True),
    ("getcpu", 318, 0, False),
)
_FUNC: Final = 1 << 4 | 2  # STB_GLOBAL, STT_FUNC
_OBJECT: Final = 1 << 4 | 1
_SHN_ABS: Final = 0xFFF1
_TEXT_SECTION: Final = 11
_NR_BUCKETS: Final = 3
_NR_PROGRAM_HEADERS: Final = 4
_SLOT: Final = 64  # bytes of code that each function has


def call_code(number: int, result: int, clock: bool, may_be_null: bool, at: int) -> bytes:
    """One function's machine code, which begins ``at`` bytes into the image.

    As in vdso.py it reads a word of [vvar] and touches the result, but not for the clocks 2 and 3; ebx is kept in edx,
    which system calls leave alone.
    """
    guard = b"\x8b\x44\x24\x04\x83\xe8\x02\x83\xf8\x01\x76" if clock else b""  # eax = clock - 2; cmp 1; jbe
    touch = b""
    if result:
        here = at + len(guard) + (1 if clock else 0) + 5
        touch = b"\xe8\0\0\0\0\x58\x8b\x80" + struct.pack("<i", -((VVAR_PAGES + VCLOCK_PAGES) << 12) - here)
        touch += b"\x8b\x4c\x24" + bytes([4 * result])  # ecx = where it goes
        touch += (b"\x85\xc9\x74\x03" if may_be_null else b"") + b"\x83\x09\x00"  # test; jz; or dword [ecx], 0
    body = guard + bytes([len(touch)]) + touch if clock else touch
    body += b"\x89\xda\x8b\x5c\x24\x04\x8b\x4c\x24\x08"  # edx = ebx; the two arguments
    return body + b"\xb8" + struct.pack("<I", number) + b"\xcd\x80\x89\xd3\xc3"


def text_section(text: int) -> tuple[bytes, list[tuple[str, int, int, int]]]:
    """The machine code, which begins ``text`` bytes into the image, and (name, offset, size, version) of each function.

    What an unwind table describes comes first: the functions that are called.
    """
    code = b""
    places: list[tuple[str, int, int, int]] = [("__kernel_vsyscall", 0, len(_VSYSCALL), 3)]
    code += _VSYSCALL.ljust(_SLOT, b"\xcc")
    for name, number, result, clock in _CALLS:
        body = call_code(number, result, clock, not name.startswith("clock_gettime"), text + len(code))
        places.append(("__vdso_" + name, len(code), len(body), 2))
        code += body.ljust(_SLOT, b"\xcc")
    for name, body in (("__kernel_sigreturn", _SIGRETURN), ("__kernel_rt_sigreturn", _RT_SIGRETURN)):
        code += b"\x90" * 8  # unwinders look at the byte before a return address
        places.append((name, len(code), len(body), 3))
        code += body.ljust(16, b"\x90")
    return code, places


def eh_frame(text: int) -> bytes:
    """How to unwind: ``text`` is where the code begins relative to this section."""
    # version 1, "zR", code alignment 1, data alignment -4, return address in column 8, pointers pcrel sdata4;
    # DW_CFA_def_cfa esp+4, DW_CFA_offset column 8 at cfa-4, two DW_CFA_nop
    common = struct.pack("<I", 0) + b"\x01zR\0\x01\x7c\x08\x01\x1b\x0c\x04\x04\x88\x01\0\0"
    out = struct.pack("<I", len(common)) + common
    for start, size, moves in ((0, _SLOT, _VSYSCALL_CFA), (_SLOT, _SLOT * len(_CALLS), b"")):
        begin = len(out)
        body = struct.pack("<iI", text + start - (begin + 8), size) + b"\0" + moves
        body += bytes(-(len(body)) & 3)
        out += struct.pack("<II", len(body) + 4, begin + 4) + body
    return out + bytes(4)


def eh_frame_header(here: int, frames: int, text: int) -> bytes:
    """The unwinder's search table: version 1, where .eh_frame is (pcrel), two entries (relative to ``here``)."""
    table = eh_frame(0)
    first = 4 + struct.unpack_from("<I", table)[0]
    second = first + 4 + struct.unpack_from("<I", table, first)[0]
    places = (text - here, frames + first - here, text + _SLOT - here, frames + second - here)
    return b"\x01\x1b\x03\x3b" + struct.pack("<iIiiii", frames - (here + 4), 2, *places)


def gnu_hash_section(names: list[str]) -> bytes:
    """DT_GNU_HASH with a Bloom word of 32 bits; ``names`` are sorted by bucket."""
    bloom = 0
    buckets = [0] * _NR_BUCKETS
    chain = []
    for index, name in enumerate(names, 1):
        value = gnu_hash(name)
        bloom |= 1 << (value % 32) | 1 << ((value >> 5) % 32)
        bucket = value % _NR_BUCKETS
        if buckets[bucket] == 0:
            buckets[bucket] = index
        last = index == len(names) or gnu_hash(names[index]) % _NR_BUCKETS != bucket
        chain.append(value & ~1 | (1 if last else 0))
    words = [_NR_BUCKETS, 1, 1, 5, bloom, *buckets, *chain]
    return struct.pack(f"<{len(words)}I", *words)


def hash_section(names: list[str]) -> bytes:
    """DT_HASH."""
    buckets = [0] * _NR_BUCKETS
    chains = [0] * (len(names) + 1)
    for index, name in enumerate(names, 1):
        bucket = sysv_hash(name) % _NR_BUCKETS
        chains[index] = buckets[bucket]
        buckets[bucket] = index
    words = [_NR_BUCKETS, len(chains), *buckets, *chains]
    return struct.pack(f"<{len(words)}I", *words)


def version_definitions(strings: StringTable) -> bytes:
    """DT_VERDEF."""
    out = b""
    for index, name in enumerate(_VERSIONS, 1):
        following = 28 if index < len(_VERSIONS) else 0
        out += struct.pack("<HHHHIII", 1, 1 if index == 1 else 0, index, 1, sysv_hash(name), 20, following)
        out += struct.pack("<II", strings.add(name), 0)
    return out


def bucket_of(place: tuple[str, int, int, int]) -> int:
    """Where DT_GNU_HASH wants a symbol."""
    return gnu_hash(place[0]) % _NR_BUCKETS


def build_image() -> bytes:
    """The whole object, VDSO_PAGES pages."""
    code, functions = text_section(0)
    places = list(functions)
    for version in _VERSIONS[1:]:
        places.append((version, -1, 0, _VERSIONS.index(version) + 1))
    places.sort(key=bucket_of)
    names = [place[0] for place in places]
    strings = StringTable()
    for name in names:
        strings.add(name)
    verdef = version_definitions(strings)
    note = struct.pack("<III", 6, 4, 0) + b"Linux\0\0\0" + struct.pack("<I", LINUX_VERSION_CODE)
    versym = struct.pack(f"<{len(places) + 1}H", 0, *[place[3] for place in places])
    # name, type, flags, contents, link, info, alignment, size of an entry
    sections: list[tuple[str, int, int, bytes, int, int, int, int]] = [
        (".hash", 5, 2, hash_section(names), 3, 0, 4, 4),
        (".gnu.hash", 0x6FFF_FFF6, 2, gnu_hash_section(names), 3, 0, 4, 0),
        (".dynsym", 11, 2, bytes(16 * (len(places) + 1)), 4, 1, 4, 16),
        (".dynstr", 3, 2, strings.data, 0, 0, 1, 0),
        (".gnu.version", 0x6FFF_FFFF, 2, versym, 3, 0, 2, 2),
        (".gnu.version_d", 0x6FFF_FFFD, 2, verdef, 4, 3, 4, 0),
        (".note", 7, 2, note, 0, 0, 4, 0),
        (".dynamic", 6, 3, bytes(8 * 11), 4, 0, 4, 8),
        (".eh_frame_hdr", 1, 2, bytes(28), 0, 0, 4, 0),
        (".eh_frame", 1, 2, eh_frame(0), 0, 0, 4, 0),
        (".text", 1, 6, code, 0, 0, 16, 0),
    ]
    offsets = []
    at = 52 + _NR_PROGRAM_HEADERS * 32
    for section in sections:
        at = (at + section[6] - 1) & -section[6]
        offsets.append(at)
        at += len(section[3])
    text = offsets[10]
    contents = [section[3] for section in sections]
    contents[10], _ = text_section(text)
    contents[2] = bytes(16)
    for name, offset, size, _ in places:
        where = (text + offset, size, _FUNC, 0, _TEXT_SECTION) if offset >= 0 else (0, 0, _OBJECT, 0, _SHN_ABS)
        contents[2] += struct.pack("<IIIBBH", strings.add(name), *where)
    contents[7] = struct.pack(
        "<22I",
        14, strings.add(SONAME), 4, offsets[0], 0x6FFF_FEF5, offsets[1], 5, offsets[3], 6, offsets[2],
        10, len(strings.data), 11, 16, 0x6FFF_FFFC, offsets[5], 0x6FFF_FFFD, 3, 0x6FFF_FFF0, offsets[4], 0, 0,
    )  # fmt: skip
    contents[8] = eh_frame_header(offsets[8], offsets[9], text)
    contents[9] = eh_frame(text - offsets[9])
    return assemble(sections, offsets, contents, at)


def assemble(
    sections: list[tuple[str, int, int, bytes, int, int, int, int]], offsets: list[int], contents: list[bytes], end: int
) -> bytes:
    """Header, program headers, contents and section headers, padded to whole pages."""
    names = StringTable()
    image = bytearray(VDSO_PAGES * 4096)
    headers = bytes(40)
    for section, offset, data in zip(sections, offsets, contents, strict=True):
        assert len(data) == len(section[3])
        image[offset : offset + len(data)] = data
        name, kind, flags, _, link, info, align, entry = section
        headers += struct.pack(
            "<10I", names.add(name), kind, flags, offset, offset, len(data), link, info, align, entry
        )
    headers += struct.pack("<10I", names.add(".shstrtab"), 3, 0, 0, end, len(names.data), 0, 0, 1, 0)
    table = (end + len(names.data) + 3) & ~3
    assert table + len(headers) <= len(image)
    image[end : end + len(names.data)] = names.data
    image[table : table + len(headers)] = headers
    ident = b"\x7fELF\x01\x01\x01" + bytes(9)
    nr_sections = len(sections) + 2
    image[0:52] = ident + struct.pack(
        "<HHIIIIIHHHHHH",
        3, 3, 1, offsets[10], 52, table, 0, 52, 32, _NR_PROGRAM_HEADERS, 40, nr_sections, nr_sections - 1,
    )  # fmt: skip
    headers = b""
    for kind, offset, size, flags, align in (
        (1, 0, end, 5, 4096),
        (2, offsets[7], len(contents[7]), 4, 4),
        (4, offsets[6], len(contents[6]), 4, 4),
        (0x6474_E550, offsets[8], len(contents[8]), 4, 4),
    ):
        headers += struct.pack("<8I", kind, offset, offset, offset, size, size, flags, align)
    image[52 : 52 + len(headers)] = headers
    return bytes(image)


class Vdso32:
    """The machine's 32-bit vDSO: the image in frames of RAM that every address space shares. ``vvar_pfns`` are the
    frames of [vvar], which both vDSOs read; it makes those that are missing.

    vsyscall, landing_pad, sigreturn, rt_sigreturn  bytes from its start to ``__kernel_vsyscall``, to the place where
                                                    that comes back from the kernel, to ``__kernel_sigreturn``, ...
    """

    def __init__(self, system: "System", vvar_pfns: list[int]) -> None:
        self.image = build_image()
        while len(vvar_pfns) < VVAR_PAGES:  # a 32-bit kernel has no 64-bit vDSO that made them
            vvar_pfns.append(kernel_frame(system))
        self.pfns: list[int] = []
        for index in range(VDSO_PAGES):
            pfn = kernel_frame(system)
            system.ram.page(pfn)[:] = self.image[index * 4096 : (index + 1) * 4096]
            self.pfns.append(pfn)
        text = int.from_bytes(self.image[24:28], "little")
        places = {name: text + offset for name, offset, _, _ in text_section(text)[1]}
        self.vsyscall = places["__kernel_vsyscall"]
        self.landing_pad = self.vsyscall + _LANDING_PAD
        self.sigreturn = places["__kernel_sigreturn"]
        self.rt_sigreturn = places["__kernel_rt_sigreturn"]
