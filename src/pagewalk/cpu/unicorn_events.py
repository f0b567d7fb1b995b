"""What stops a program without a fault: system calls, exceptions, and instructions that a program may not carry out.

Each leaves a note in the words that hw/state.py describes (EVENT_*) and stops the emulator.
"""

from typing import Any, Final

from unicorn import x86_const as x86

from pagewalk.cpu import unicorn_lib as ulib
from pagewalk.hw.state import (
    EVENT_INTERRUPT,
    EVENT_NONE,
    EVENT_REFUSED,
    EVENT_SYSCALL,
    STATE_EVENT,
    STATE_STOP,
    STATE_VECTOR,
)

_UD: Final = 6
_GP: Final = 13


class Events:
    """The hooks of one engine. ``registers`` is read where the emulator would go on past a refused instruction."""

    def __init__(self, engine: int, state: "memoryview[int]", state_address: int, registers: ulib.Registers) -> None:
        self._engine = engine
        self._state = state
        self._state_address = state_address
        self._registers = registers
        self._hooks: list[int] = []
        self._kept: list[Any] = []  # ctypes functions that the emulator calls: they must live as long
        self.hook(ulib.SYSCALL_CALLBACK(self._on_syscall), ulib.INTERRUPT_CALLBACK(self._on_interrupt))
        for callback, instruction in (
            (ulib.IN_CALLBACK(self._on_in), x86.UC_X86_INS_IN),
            (ulib.OUT_CALLBACK(self._on_out), x86.UC_X86_INS_OUT),
            (ulib.SYSCALL_CALLBACK(self._on_sysenter), x86.UC_X86_INS_SYSENTER),
        ):
            self._kept.append(callback)
            ulib.hook_add(engine, ulib.UC_HOOK_INSN, callback, 0, instruction)

    def hook(self, on_syscall: Any, on_interrupt: Any) -> None:
        """These two (ctypes functions, or addresses of C functions) in place of what was there; not in a run."""
        for hook in self._hooks:
            ulib.hook_del(self._engine, hook)
        self._kept += [on_syscall, on_interrupt]
        state = self._state_address
        stop = ulib.emu_stop_address  # itself a hook: it takes the engine, and ignores the rest
        self._hooks = [
            ulib.hook_add(self._engine, ulib.UC_HOOK_INSN, on_syscall, state, x86.UC_X86_INS_SYSCALL),
            ulib.hook_add(self._engine, ulib.UC_HOOK_INSN, stop, state, x86.UC_X86_INS_SYSCALL),
            ulib.hook_add(self._engine, ulib.UC_HOOK_INTR, on_interrupt, state),
            ulib.hook_add(self._engine, ulib.UC_HOOK_INTR, stop, state),
        ]

    def count_blocks(self, on_block: int) -> None:
        """From now on every block calls ``on_block`` (address of a C function); not in a run. What was translated
        before does not, so the caller drops it."""
        self._state[STATE_STOP] = ulib.emu_stop_address
        ulib.hook_add(self._engine, ulib.UC_HOOK_BLOCK, on_block, self._state_address)

    def _on_syscall(self, engine: int, user_data: int) -> None:
        self._state[STATE_EVENT] = EVENT_SYSCALL

    def _on_interrupt(self, engine: int, vector: int, user_data: int) -> None:
        if self._state[STATE_EVENT] == EVENT_NONE:
            self._state[STATE_EVENT] = EVENT_INTERRUPT
            self._state[STATE_VECTOR] = vector

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
