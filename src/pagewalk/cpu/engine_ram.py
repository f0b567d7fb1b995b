"""The machine's RAM as an engine's physical memory."""

from typing import Any

from unicorn import unicorn_const as uc_const

from pagewalk.cpu.unicorn_lib import UC_ERR_OK, UC_PROT_ALL, mem_map_ptr, strerror
from pagewalk.errors import PagewalkError


def put_ram(uc: Any, engine: int, address: int, size: int) -> None:
    """Maps ``size`` bytes at the host's ``address`` as physical memory from 0 on. From now on the engine asks for every
    translation, and no address ends a run. Raises PagewalkError where the emulator refuses."""
    uc.ctl_set_tlb_mode(uc_const.UC_TLB_VIRTUAL)
    uc.ctl_exits_enabled(True)  # no address ends a run
    uc.ctl_set_exits([])
    status = mem_map_ptr(engine, 0, size, UC_PROT_ALL, address)
    if status != UC_ERR_OK:
        raise PagewalkError(f"the CPU emulator cannot map {size} bytes of RAM: {strerror(status)}")
