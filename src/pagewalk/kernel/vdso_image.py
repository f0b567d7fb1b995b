"""Building a vDSO: an ELF file with a symbol version, both hash tables and section headers, so that the dynamic linker,
readelf and gdb take it, and with an unwind table. What an architecture puts into it is a ``VdsoText``.

Sources: vdso(7); System V gABI chapters 4 and 5 (dynamic section, hash table); LSB Core, symbol versioning, .eh_frame
and .eh_frame_hdr; DWARF 4 section 6.4.

Mirrors: arch/x86/entry/vdso/vdso.lds.S, arch/arm64/kernel/vdso/vdso.lds.S (6.18)
Differs: nothing that is not said in kernel/vdso.py.
"""

import struct
from typing import Final

VVAR_PAGES: Final = 4
VCLOCK_PAGES: Final = 2
VDSO_PAGES: Final = 2

SONAME: Final = "linux-vdso.so.1"
LINUX_VERSION_CODE: Final = 0x61200

_STT_FUNC: Final = 2
_STT_OBJECT: Final = 1
_STB_GLOBAL: Final = 1
_STB_WEAK: Final = 2
_PT_GNU_EH_FRAME: Final = 0x6474_E550
_CIE_SIZE: Final = 24
_SHN_ABS: Final = 0xFFF1
_TEXT_SECTION: Final = 11
_NR_PROGRAM_HEADERS: Final = 4


class VdsoText:
    """What one architecture's vDSO says and does.

    machine   EM_*
    version   the version of its symbols
    prefix    of the names of its functions; ``plain``: each has its name without that too, as a weak symbol
    unwind    the common part of the unwind table (a CIE without its length)
    """

    def __init__(self, machine: int, version: str, prefix: str, plain: bool, unwind: bytes) -> None:
        self.machine = machine
        self.version = version
        self.prefix = prefix
        self.plain = plain
        self.unwind = unwind

    def code(self, text: int) -> tuple[bytes, list[tuple[str, int, int]], int]:
        """The machine code, which begins ``text`` bytes into the image; (name, offset, size) of each function; and how
        many bytes of it the unwind table is for."""
        raise NotImplementedError


class Symbol:
    """One entry of the dynamic symbol table; ``bind`` STB_*, ``index`` of its section."""

    def __init__(self, name: str, value: int, size: int, bind: int, kind: int, index: int) -> None:
        self.name = name
        self.value = value
        self.size = size
        self.bind = bind
        self.kind = kind
        self.index = index


class StringTable:
    """An ELF string table that grows."""

    def __init__(self) -> None:
        self.data = b"\0"

    def add(self, name: str) -> int:
        """The offset of ``name``."""
        at = self.data.find(b"\0" + name.encode() + b"\0")
        if at >= 0:
            return at + 1
        at = len(self.data)
        self.data += name.encode() + b"\0"
        return at


def sysv_hash(name: str) -> int:
    """The hash of DT_HASH tables and of version definitions."""
    value = 0
    for byte in name.encode():
        value = (value << 4) + byte
        value = (value ^ (value >> 24 & 0xF0)) & 0x0FFF_FFFF
    return value


def gnu_hash(name: str) -> int:
    """The hash of DT_GNU_HASH tables."""
    value = 5381
    for byte in name.encode():
        value = (value * 33 + byte) & 0xFFFF_FFFF
    return value


def hash_section(symbols: list[Symbol]) -> bytes:
    """DT_HASH of ``symbols`` (the null symbol, index 0, is not among them)."""
    nr_buckets = 3
    buckets = [0] * nr_buckets
    chains = [0] * (len(symbols) + 1)
    for index, symbol in enumerate(symbols, 1):
        bucket = sysv_hash(symbol.name) % nr_buckets
        chains[index] = buckets[bucket]
        buckets[bucket] = index
    words = [nr_buckets, len(chains), *buckets, *chains]
    return struct.pack(f"<{len(words)}I", *words)


def gnu_hash_section(symbols: list[Symbol], nr_buckets: int) -> bytes:
    """DT_GNU_HASH; ``symbols`` are sorted by bucket. One Bloom word, which the hashes' bits fill."""
    shift = 6
    bloom = 0
    buckets = [0] * nr_buckets
    chain = []
    for index, symbol in enumerate(symbols, 1):
        value = gnu_hash(symbol.name)
        bloom |= 1 << (value % 64) | 1 << ((value >> shift) % 64)
        bucket = value % nr_buckets
        if buckets[bucket] == 0:
            buckets[bucket] = index
        last = index == len(symbols) or gnu_hash(symbols[index].name) % nr_buckets != bucket
        chain.append(value & ~1 | (1 if last else 0))
    head = struct.pack("<IIIIQ", nr_buckets, 1, 1, shift, bloom)
    return head + struct.pack(f"<{nr_buckets}I", *buckets) + struct.pack(f"<{len(chain)}I", *chain)


def version_definitions(strings: StringTable, version: str) -> bytes:
    """DT_VERDEF: the object itself (1), and the version of its symbols (2)."""
    out = b""
    for index, flags, name in ((1, 1, SONAME), (2, 0, version)):
        out += struct.pack("<HHHHIII", 1, flags, index, 1, sysv_hash(name), 20, 28 if index == 1 else 0)
        out += struct.pack("<II", strings.add(name), 0)
    return out


def eh_frame(common: bytes, text: int, size: int) -> bytes:
    """How to unwind from the functions, which keep nothing on the stack.

    ``common`` is the same for all; ``text`` is where the code begins relative to this section; one description serves
    all of its ``size`` bytes.
    """
    common = struct.pack("<I", 0) + common
    out = struct.pack("<I", len(common)) + common
    assert len(out) == _CIE_SIZE
    place_of_start = _CIE_SIZE + 8
    out += struct.pack("<IIiI", 20, _CIE_SIZE + 4, text - place_of_start, size) + bytes(8)
    return out + bytes(4)


def eh_frame_header(here: int, frames: int, text: int) -> bytes:
    """The unwinder's search table: version 1, where .eh_frame is (pcrel), one entry (relative to ``here``)."""
    return b"\x01\x1b\x03\x3b" + struct.pack("<iIii", frames - (here + 4), 1, text - here, frames + _CIE_SIZE - here)


def build_image(what: VdsoText) -> bytes:
    """The whole object, VDSO_PAGES pages of 4096 bytes."""
    nr_buckets = 3
    code, places, unwound = what.code(0)
    strings = StringTable()
    symbols = [Symbol(what.version, 0, 0, _STB_GLOBAL, _STT_OBJECT, _SHN_ABS)]
    for name, at, size in places:
        symbols.append(Symbol(what.prefix + name, at, size, _STB_GLOBAL, _STT_FUNC, _TEXT_SECTION))
        if what.plain:
            symbols.append(Symbol(name, at, size, _STB_WEAK, _STT_FUNC, _TEXT_SECTION))
    symbols.sort(key=bucket_of)
    for symbol in symbols:
        strings.add(symbol.name)
    verdef = version_definitions(strings, what.version)
    note = struct.pack("<III", 6, 4, 0) + b"Linux\0\0\0" + struct.pack("<I", LINUX_VERSION_CODE)
    versym = struct.pack(f"<{len(symbols) + 1}H", 0, *([2] * len(symbols)))
    # name, type, flags, contents, link, info, alignment, size of an entry
    sections: list[tuple[str, int, int, bytes, int, int, int, int]] = [
        (".hash", 5, 2, hash_section(symbols), 3, 0, 8, 4),
        (".gnu.hash", 0x6FFF_FFF6, 2, gnu_hash_section(symbols, nr_buckets), 3, 0, 8, 0),
        (".dynsym", 11, 2, bytes(24 * (len(symbols) + 1)), 4, 1, 8, 24),
        (".dynstr", 3, 2, strings.data, 0, 0, 1, 0),
        (".gnu.version", 0x6FFF_FFFF, 2, versym, 3, 0, 2, 2),
        (".gnu.version_d", 0x6FFF_FFFD, 2, verdef, 4, 2, 8, 0),
        (".note", 7, 2, note, 0, 0, 4, 0),
        (".dynamic", 6, 3, bytes(16 * 10), 4, 0, 8, 16),
        (".eh_frame_hdr", 1, 2, bytes(20), 0, 0, 4, 0),
        (".eh_frame", 1, 2, eh_frame(what.unwind, 0, unwound), 0, 0, 8, 0),
        (".text", 1, 6, code, 0, 0, 16, 0),
    ]
    offsets = place(sections, 64 + _NR_PROGRAM_HEADERS * 56)
    contents = [section[3] for section in sections]
    contents[10], _, _ = what.code(offsets[10])
    contents[2] = symbol_table(symbols, strings, offsets[10])
    contents[7] = struct.pack(
        "<20Q",
        14, strings.add(SONAME), 4, offsets[0], 0x6FFF_FEF5, offsets[1], 5, offsets[3], 6, offsets[2],
        10, len(strings.data), 11, 24, 0x6FFF_FFFC, offsets[5], 0x6FFF_FFFD, 2, 0x6FFF_FFF0, offsets[4],
    )  # fmt: skip
    contents[7] += bytes(16)
    contents[8] = eh_frame_header(offsets[8], offsets[9], offsets[10])
    contents[9] = eh_frame(what.unwind, offsets[10] - offsets[9], unwound)
    end = offsets[10] + len(code)
    return assemble(what.machine, sections, offsets, contents, end)


def bucket_of(symbol: Symbol) -> int:
    """Where DT_GNU_HASH wants a symbol."""
    return gnu_hash(symbol.name) % 3


def place(sections: list[tuple[str, int, int, bytes, int, int, int, int]], start: int) -> list[int]:
    """The offset of each section's contents; the dynamic section is 16 bytes longer than it was declared."""
    offsets = []
    for section in sections:
        start = (start + section[6] - 1) & -section[6]
        offsets.append(start)
        start += len(section[3]) + (16 if section[0] == ".dynamic" else 0)
    return offsets


def symbol_table(symbols: list[Symbol], strings: StringTable, text: int) -> bytes:
    """DT_SYMTAB."""
    out = bytes(24)
    for symbol in symbols:
        value = symbol.value + text if symbol.index == _TEXT_SECTION else symbol.value
        info = symbol.bind << 4 | symbol.kind
        out += struct.pack("<IBBHQQ", strings.add(symbol.name), info, 0, symbol.index, value, symbol.size)
    return out


def assemble(
    machine: int,
    sections: list[tuple[str, int, int, bytes, int, int, int, int]],
    offsets: list[int],
    contents: list[bytes],
    end: int,
) -> bytes:
    """Header, program headers, contents and section headers, padded to whole pages."""
    names = StringTable()
    image = bytearray(VDSO_PAGES * 4096)
    for offset, data in zip(offsets, contents, strict=True):
        image[offset : offset + len(data)] = data
    headers = bytes(64)
    for section, offset, data in zip(sections, offsets, contents, strict=True):
        name, kind, flags, _, link, info, align, entry = section
        headers += struct.pack(
            "<IIQQQQIIQQ", names.add(name), kind, flags, offset, offset, len(data), link, info, align, entry
        )
    name_at = names.add(".shstrtab")
    headers += struct.pack("<IIQQQQIIQQ", name_at, 3, 0, 0, end, len(names.data), 0, 0, 1, 0)
    table = (end + len(names.data) + 7) & ~7
    image[end : end + len(names.data)] = names.data
    image[table : table + len(headers)] = headers
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    image[0:64] = ident + struct.pack(
        "<HHIQQQIHHHHHH",
        3,
        machine,
        1,
        offsets[10],
        64,
        table,
        0,
        64,
        56,
        _NR_PROGRAM_HEADERS,
        64,
        len(sections) + 2,
        len(sections) + 1,
    )
    program_headers = (
        struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, end, end, 4096)
        + struct.pack("<IIQQQQQQ", 2, 4, offsets[7], offsets[7], offsets[7], len(contents[7]), len(contents[7]), 8)
        + struct.pack("<IIQQQQQQ", 4, 4, offsets[6], offsets[6], offsets[6], len(contents[6]), len(contents[6]), 4)
        + struct.pack("<IIQQQQQQ", _PT_GNU_EH_FRAME, 4, offsets[8], offsets[8], offsets[8], 20, 20, 4)
    )
    image[64 : 64 + len(program_headers)] = program_headers
    return bytes(image)
