"""Protection keys in an engine: the CPU model of a machine that has them, and where the emulator keeps PKRU.

The emulator carries out RDPKRU, WRPKRU, XSAVE and XRSTOR, but no CPU model that it offers has these alone: the words
that CPUID answers from are found in its memory, by what CPUID says, and get what Linux wants of a CPU before it uses
keys: PKU, and XSAVE with the state of x87, SSE and PKRU. PKRU itself is no register that its interface shows; it is
found by what changes when WRPKRU is carried out. (The emulator forgets its TLB then, and the fill looks at PKRU.)

Sources: Intel SDM volume 1, section 13.2 (CPUID leaf 0DH), volume 2 (CPUID, WRPKRU, XSETBV).
"""

import ctypes
import struct
from typing import Any, Final

from unicorn import x86_const as x86

from pagewalk.cpu.engine_memory import register_file
from pagewalk.errors import PagewalkError

CR4_OSXSAVE: Final = 1 << 18
CR4_PKE: Final = 1 << 22

_XSAVE: Final = 1 << 26  # CPUID 1, ECX
_PKU: Final = 1 << 3  # CPUID 7, ECX
_OSPKE: Final = 1 << 4
_XCR0: Final = 0x203  # x87, SSE, PKRU
_LEAF_1_ECX: Final = 1  # words of features, counted from that of CPUID 1, EDX
_LEAF_7_ECX: Final = 3
_LEAF_D_EAX: Final = 21
_LEVEL: Final = -12  # bytes from the vendor's name to the highest leaf
_FEATURES: Final = 16  # and to the first word of features
_XSAVE_LEAF: Final = 13

_REGISTERS: Final = (x86.UC_X86_REG_RAX, x86.UC_X86_REG_RCX, x86.UC_X86_REG_RDX, x86.UC_X86_REG_RBX)
_GENERAL: Final = 16 * 8  # bytes of the general registers, at the front
_STATE: Final = 1 << 15  # bytes of the engine's state, from there on, in which things are looked for
_CPUID: Final = b"\x0f\xa2"
_XSETBV: Final = b"\x0f\x01\xd1"
_WRPKRU: Final = b"\x0f\x01\xef"


def enable(uc: Any, engine: int, engine_size: int, scratch: int, cr4: int) -> int:
    """Gives the CPU its keys; the host address of PKRU, a 32-bit word.

    ``scratch`` is the address of a page of the engine's memory, for code; ``cr4`` is what CR4 holds beside. Raises
    PagewalkError where the emulator's memory does not look as it is known to.
    """
    code = scratch

    def run(instruction: bytes, **registers: int) -> None:
        nonlocal code
        code += 16  # another place each time: translations of the old code may live on
        uc.mem_write(code, instruction)
        for name, value in registers.items():
            uc.reg_write(getattr(x86, f"UC_X86_REG_{name.upper()}"), value)
        uc.emu_start(code, code + len(instruction))

    def cpuid(leaf: int) -> list[int]:
        run(_CPUID, rax=leaf, rcx=0)
        return [uc.reg_read(register) for register in (_REGISTERS[0], _REGISTERS[3], _REGISTERS[1], _REGISTERS[2])]

    registers = register_file(uc, engine, engine_size, _REGISTERS)
    level, vendor_b, vendor_c, vendor_d = cpuid(0)
    version, _, leaf_1_ecx, leaf_1_edx = cpuid(1)
    known = struct.pack("<IIII", vendor_b, vendor_d, vendor_c, version)
    state = ctypes.string_at(registers, _STATE) if registers else b""
    at = state.find(known)  # the first: behind the state there may be what an engine that is gone has left
    found = at > 0
    if found:
        words = struct.unpack_from("<4Q", state, at + _FEATURES)
        found = struct.unpack_from("<I", state, at + _LEVEL)[0] == level and words[0] == leaf_1_edx
        found = found and words[_LEAF_1_ECX] == leaf_1_ecx
    if not found:
        raise PagewalkError("pku: what CPUID answers was not found in the CPU emulator's memory")
    features = (ctypes.c_uint64 * (_LEAF_D_EAX + 1)).from_address(registers + at + _FEATURES)
    ctypes.c_uint32.from_address(registers + at + _LEVEL).value = _XSAVE_LEAF
    features[_LEAF_1_ECX] |= _XSAVE
    features[_LEAF_7_ECX] |= _PKU
    features[_LEAF_D_EAX] = _XCR0
    uc.reg_write(x86.UC_X86_REG_CR4, cr4 | CR4_OSXSAVE | CR4_PKE)
    run(_XSETBV, rax=_XCR0, rcx=0, rdx=0)
    if cpuid(7)[2] & (_PKU | _OSPKE) != _PKU | _OSPKE or cpuid(_XSAVE_LEAF)[0] != _XCR0:
        raise PagewalkError("pku: the CPU emulator does not take the features")

    def with_pkru(value: int) -> bytes:
        run(_WRPKRU, rax=value, rcx=0, rdx=0)
        return ctypes.string_at(registers, _STATE)

    values = (0x1357_9BDC, 0x2468_ACE0, 0)
    states = [with_pkru(value) for value in values]
    places = [
        place
        for place in range(_GENERAL, _STATE, 4)
        if all(struct.unpack_from("<I", each, place)[0] == value for each, value in zip(states, values, strict=True))
    ]
    if len(places) != 1:
        raise PagewalkError("pku: PKRU was not found in the CPU emulator's memory")
    return registers + places[0]
