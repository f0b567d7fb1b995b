"""libunicorn through its C interface: the calls that a running program needs, with plain integers as arguments.

The Python package ``unicorn`` brings the library and opens engines; its own wrappers cost several microseconds a call
and cannot take a C function as a hook, which is what makes a TLB miss and a system call cheap here.
"""

import ctypes
from typing import Any, Final

from unicorn.unicorn_py3.unicorn import uclib

UC_ERR_OK: Final = 0
UC_ERR_INSN_INVALID: Final = 10
UC_ERR_EXCEPTION: Final = 21

UC_HOOK_INTR: Final = 1 << 0
UC_HOOK_INSN: Final = 1 << 1
UC_HOOK_CODE: Final = 1 << 2
UC_HOOK_BLOCK: Final = 1 << 3
UC_HOOK_TLB_FILL: Final = 1 << 17

UC_PROT_ALL: Final = 7

# uc_ctl: the call, the number of arguments << 26, the direction (1 = write, 3 = both ways) << 30
CTL_TB_REQUEST_CACHE: Final = (8 | 2 << 26 | 3 << 30) - (1 << 32)
CTL_TB_REMOVE_CACHE: Final = 9 | 2 << 26 | 1 << 30
CTL_TB_FLUSH: Final = 10 | 1 << 30
CTL_TLB_FLUSH: Final = 11 | 1 << 30

lib: Final = ctypes.CDLL(uclib._name)

_ptr = ctypes.c_void_p
_u64 = ctypes.c_uint64
_int = ctypes.c_int

emu_start: Final = lib.uc_emu_start  # (engine, begin, until, timeout, count)
emu_start.argtypes = [_ptr, _u64, _u64, _u64, ctypes.c_size_t]
emu_stop: Final = lib.uc_emu_stop  # (engine)
emu_stop.argtypes = [_ptr]
reg_read_batch: Final = lib.uc_reg_read_batch  # (engine, int *ids, void **values, count)
reg_read_batch.argtypes = [_ptr, _ptr, _ptr, _int]
reg_write_batch: Final = lib.uc_reg_write_batch
reg_write_batch.argtypes = [_ptr, _ptr, _ptr, _int]
mem_map_ptr: Final = lib.uc_mem_map_ptr  # (engine, address, size, rights, host address)
mem_map_ptr.argtypes = [_ptr, _u64, _u64, ctypes.c_uint32, _ptr]
tlb_flush: Final = lib.uc_ctl
tlb_flush.argtypes = [_ptr, _int]
remove_cache: Final = ctypes.CDLL(uclib._name).uc_ctl  # (engine, CTL_TB_REMOVE_CACHE, begin, end)
remove_cache.argtypes = [_ptr, _int, _u64, _u64]

request_cache: Final = ctypes.CDLL(uclib._name).uc_ctl  # (engine, CTL_TB_REQUEST_CACHE, address, TranslationBlock *)
request_cache.argtypes = [_ptr, _int, _u64, _ptr]


class TranslationBlock(ctypes.Structure):
    """struct uc_tb: where translated code begins, how many instructions it is, and of how many bytes."""

    _fields_ = (("pc", ctypes.c_uint64), ("icount", ctypes.c_uint16), ("size", ctypes.c_uint16))


FILL_CALLBACK: Final = ctypes.CFUNCTYPE(ctypes.c_bool, _ptr, _u64, _int, _ptr, _ptr)
INTERRUPT_CALLBACK: Final = ctypes.CFUNCTYPE(None, _ptr, ctypes.c_uint32, _ptr)
SYSCALL_CALLBACK: Final = ctypes.CFUNCTYPE(None, _ptr, _ptr)
CODE_CALLBACK: Final = ctypes.CFUNCTYPE(None, _ptr, _u64, ctypes.c_uint32, _ptr)
IN_CALLBACK: Final = ctypes.CFUNCTYPE(ctypes.c_uint32, _ptr, ctypes.c_uint32, _int, _ptr)
OUT_CALLBACK: Final = ctypes.CFUNCTYPE(None, _ptr, ctypes.c_uint32, _int, ctypes.c_uint32, _ptr)

emu_stop_address: Final = int(ctypes.cast(emu_stop, _ptr).value or 0)


def strerror(code: int) -> str:
    """Unicorn's own words for an error."""
    text: bytes = uclib.uc_strerror(code)
    return text.decode()


def hook_add(
    engine: int,
    kind: int,
    callback: Any,
    user_data: int,
    instruction: int | None = None,
    begin: int = 1,
    end: int = 0,
) -> int:
    """Adds a hook behind those of its kind; what ``hook_del`` takes.

    ``begin`` and ``end`` are the first and the last address that it is for; all addresses where they are not given.
    ``callback`` is an address or a ctypes function, which the caller keeps alive.
    """
    address = callback if isinstance(callback, int) else ctypes.cast(callback, _ptr).value
    hook = ctypes.c_size_t()
    more = [] if instruction is None else [_int(instruction)]
    status = lib.uc_hook_add(
        _ptr(engine), ctypes.byref(hook), _int(kind), _ptr(address), _ptr(user_data), _u64(begin), _u64(end), *more
    )
    if status != UC_ERR_OK:
        raise RuntimeError(f"uc_hook_add: {strerror(status)}")
    return hook.value


def hook_del(engine: int, hook: int) -> None:
    """Removes a hook; not while the emulator runs."""
    lib.uc_hook_del(_ptr(engine), ctypes.c_size_t(hook))


class Registers:
    """A fixed set of 64-bit registers, read and written in one call."""

    def __init__(self, ids: list[int]) -> None:
        self.count = len(ids)
        self._ids = (ctypes.c_int * self.count)(*ids)
        self.values = (ctypes.c_int64 * self.count)()
        base = ctypes.addressof(self.values)
        self._pointers = (ctypes.c_void_p * self.count)(*[base + 8 * at for at in range(self.count)])
        self.bytes = memoryview(self.values).cast("B")
        self._arguments = (ctypes.addressof(self._ids), ctypes.addressof(self._pointers), self.count)

    def read(self, engine: int) -> None:
        """From the engine into ``values``."""
        reg_read_batch(engine, *self._arguments)

    def write(self, engine: int) -> None:
        """From ``values`` into the engine."""
        reg_write_batch(engine, *self._arguments)
