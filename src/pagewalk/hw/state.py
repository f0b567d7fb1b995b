"""The words that the CPU's Python side and the C functions of ``callbacks`` share: what lies where.

Pointers are addresses in the host. A frame has one word in the array at STATE_OWNERS and one byte in that at
STATE_CODE.
"""

from typing import Final

from pagewalk.hw.walker import FORMAT_WORDS, OUT_WORDS

STATE_RAM: Final = 0  # address of RAM
STATE_NR_WORDS: Final = 1  # 64-bit words of RAM
STATE_OWNERS: Final = 2  # address of ``owners`` (hw/fill.py)
STATE_CODE: Final = 3  # address of ``code``
STATE_ROOT: Final = 4  # frame of the root table: CR3
STATE_STATUS: Final = 5  # how the last fill ended
STATE_FILLS: Final = 6  # fills that were asked for: TLB misses of the emulator's own TLB
STATE_EVENT: Final = 7  # EVENT_*: what stopped the program
STATE_VECTOR: Final = 8  # of EVENT_INTERRUPT
STATE_WINDOW: Final = 9  # 1 while every fetch address names a frame by its low bits: to forget code by frame
STATE_SLICE: Final = 10  # basic blocks that are left before the program is stopped
STATE_STOP: Final = 11  # address of the C function that stops the emulator
STATE_PAGES: Final = 12  # while accesses are recorded: address of ``pages`` (hw/record.py)
STATE_PAGES_GEN: Final = 13  # grows with each flush of the TLB
STATE_PEEK: Final = 14  # 1 where fills leave no marks: modelled TLBs do (cpu/tlb_model.py)
STATE_PKRU: Final = 15  # address of PKRU, a 32-bit word of the emulator's; 0 where the CPU has no protection keys
STATE_OUT: Final = 16
STATE_FORMAT: Final = STATE_OUT + OUT_WORDS
STATE_SCRATCH: Final = STATE_FORMAT + FORMAT_WORDS  # a second STATE_OUT, for walks that are not the CPU's
STATE_WORDS: Final = STATE_SCRATCH + OUT_WORDS

EVENT_NONE: Final = 0
EVENT_SYSCALL: Final = 1
EVENT_INTERRUPT: Final = 2
EVENT_REFUSED: Final = 3  # an instruction that the emulator would carry out, and a program may not

WINDOW: Final = 0x4000_0000_0000_0000  # no address of a program: non-canonical
WINDOW_MASK: Final = 0x0000_FFFF_FFFF_F000
