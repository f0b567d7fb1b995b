"""What stops an x86 program beside exceptions: SYSCALL, and instructions that a program may not carry out."""

from typing import Final

from unicorn import x86_const as x86

from pagewalk.cpu import unicorn_lib as ulib
from pagewalk.cpu.unicorn_events import Events
from pagewalk.hw.state import EVENT_NONE, EVENT_REFUSED, STATE_EVENT, STATE_VECTOR

_UD: Final = 6
_GP: Final = 13


class X86Events(Events):
    """The hooks of one engine. ``registers`` is read where the emulator would go on past a refused instruction."""

    def __init__(self, engine: int, state: "memoryview[int]", state_address: int, registers: ulib.Registers) -> None:
        super().__init__(engine, state, state_address, x86.UC_X86_INS_SYSCALL)
        self._registers = registers
        for callback, instruction in (
            (ulib.IN_CALLBACK(self._on_in), x86.UC_X86_INS_IN),
            (ulib.OUT_CALLBACK(self._on_out), x86.UC_X86_INS_OUT),
            (ulib.SYSCALL_CALLBACK(self._on_sysenter), x86.UC_X86_INS_SYSENTER),
        ):
            self._kept.append(callback)
            ulib.hook_add(engine, ulib.UC_HOOK_INSN, callback, 0, instruction)

    def _on_in(self, engine: int, port: int, size: int, user_data: int) -> int:
        self._refuse(_GP)
        return 0

    def _on_out(self, engine: int, port: int, size: int, value: int, user_data: int) -> None:
        self._refuse(_GP)

    def _on_sysenter(self, engine: int, user_data: int) -> None:
        self._refuse(_UD)

    def _refuse(self, vector: int) -> None:
        """Port input and output, SYSENTER: the emulator would carry them out.

        It goes on to the end of the block; what that does to registers is undone.
        """
        if self._state[STATE_EVENT] == EVENT_NONE:
            self._registers.read(self._engine)
            self._state[STATE_EVENT] = EVENT_REFUSED
            self._state[STATE_VECTOR] = vector
        ulib.emu_stop(self._engine)
