"""What stops a program without a fault: system calls and exceptions.

Each leaves a note in the words that hw/state.py describes (EVENT_*) and stops the emulator.
"""

from typing import Any

from pagewalk.cpu import unicorn_lib as ulib
from pagewalk.hw.state import EVENT_INTERRUPT, EVENT_NONE, EVENT_SYSCALL, STATE_EVENT, STATE_STOP, STATE_VECTOR


class Events:
    """The hooks of one engine.

    syscall_instruction  the number that Unicorn has for an instruction that makes system calls; -1 where these are
                         exceptions like any other
    """

    def __init__(
        self, engine: int, state: "memoryview[int]", state_address: int, syscall_instruction: int = -1
    ) -> None:
        self._engine = engine
        self._state = state
        self._state_address = state_address
        self._syscall_instruction = syscall_instruction
        self._hooks: list[int] = []
        self._kept: list[Any] = []  # ctypes functions that the emulator calls: they must live as long
        self.hook(ulib.SYSCALL_CALLBACK(self._on_syscall), ulib.INTERRUPT_CALLBACK(self._on_interrupt))

    def hook(self, on_syscall: Any, on_interrupt: Any) -> None:
        """These two (ctypes functions, or addresses of C functions) in place of what was there; not in a run."""
        for hook in self._hooks:
            ulib.hook_del(self._engine, hook)
        self._kept += [on_syscall, on_interrupt]
        state = self._state_address
        stop = ulib.emu_stop_address  # itself a hook: it takes the engine, and ignores the rest
        self._hooks = [
            ulib.hook_add(self._engine, ulib.UC_HOOK_INTR, on_interrupt, state),
            ulib.hook_add(self._engine, ulib.UC_HOOK_INTR, stop, state),
        ]
        if self._syscall_instruction >= 0:
            for callback in (on_syscall, stop):
                kind = ulib.UC_HOOK_INSN
                self._hooks.append(ulib.hook_add(self._engine, kind, callback, state, self._syscall_instruction))

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
