"""Parsing lines of columns at the speed of machine code: CSV and ``din``.

Plain Python that Numba compiles; it stands alone, since Numba's cache looks at one file only.
"""

from typing import Any, Final

import numpy as np

from pagewalk.trace.format import FETCH, READ, WRITE

__all__ = ["ADDR", "CPU", "FLAG", "KIND", "NOTHING", "SIZE", "TASK", "scan_table"]

# What a column holds.
NOTHING: Final = 0  # that is read
ADDR: Final = 1
KIND: Final = 2
SIZE: Final = 3
TASK: Final = 4
CPU: Final = 5
FLAG: Final = 6  # whether it is a write: 0, 1, false, true, no, yes

_LARGEST: Final = np.uint64((1 << 64) // 10)  # a decimal number up to this can take one more digit, this one up to 5


def scan_table(
    data: Any,
    state: Any,
    addr: Any,
    kind: Any,
    size: Any,
    task: Any,
    cpu: Any,
    roles: Any,
    separator: int,
    base: int,
    exact: bool,
    aside: bool,
) -> bool:
    """One access a line; comments (#) and empty lines are passed over.

    roles      for each column, what it holds; columns beyond them hold nothing, or (``exact``) may not be
    separator  the byte between columns; a space stands for spaces and tabs
    base       of addresses without 0x: 10 or 16
    aside      lines of the kinds u, 3 and 4 are no accesses, and not malformed
    """
    at = state[0]
    count = state[1]
    instructions = state[2]
    end = len(data)
    nr_roles = len(roles)
    good = True
    while at < end:
        start = at
        while data[at] == 32 or data[at] == 9 or data[at] == 13:
            at += 1
        if data[at] == 35 or data[at] == 10:
            while data[at] != 10:
                at += 1
            at += 1
            continue
        column = 0
        what = READ
        take = True
        addr[count] = 0
        size[count] = 1
        while True:
            role = roles[column] if column < nr_roles else NOTHING
            if role == NOTHING:
                while data[at] != 10 and data[at] != separator and not (separator == 32 and data[at] == 9):
                    at += 1
                if exact and column >= nr_roles:
                    good = False
            elif role == KIND:
                letter = data[at] | 32
                if letter == 114 or letter == 108 or data[at] == 48:  # r, l, 0
                    what = READ
                elif letter == 119 or letter == 115 or data[at] == 49:  # w, s, 1
                    what = WRITE
                elif letter == 105 or letter == 102 or data[at] == 50:  # i, f, 2
                    what = FETCH
                elif aside and (letter == 117 or data[at] == 51 or data[at] == 52):
                    take = False
                else:
                    good = False
                word_like = letter >= 97
                while 48 <= data[at] <= 57 or 97 <= (data[at] | 32) <= 122:
                    at += 1
                    if not word_like:
                        break
            elif role == FLAG:
                letter = data[at] | 32
                if letter == 102 or letter == 110 or letter == 114 or data[at] == 48:  # f, n, r, 0
                    what = READ
                elif letter == 116 or letter == 121 or letter == 119 or data[at] == 49:  # t, y, w, 1
                    what = WRITE
                else:
                    good = False
                word_like = letter >= 97
                while 48 <= data[at] <= 57 or 97 <= (data[at] | 32) <= 122:
                    at += 1
                    if not word_like:
                        break
            else:
                number = np.uint64(0)
                digits = 0
                radix = base if role == ADDR else 10
                if data[at] == 48 and data[at + 1] | 32 == 120:
                    radix = 16
                    at += 2
                while True:
                    byte = data[at]
                    if 48 <= byte <= 57:
                        value = byte - 48
                    elif radix == 16 and 97 <= byte | 32 <= 102:
                        value = (byte | 32) - 87
                    else:
                        break
                    if radix == 16:
                        if number >> np.uint64(60) != 0:
                            good = False
                        number = (number << np.uint64(4)) | np.uint64(value)
                    else:
                        if number > _LARGEST or (number == _LARGEST and value > 5):
                            good = False
                        number = number * np.uint64(10) + np.uint64(value)
                    digits += 1
                    at += 1
                if digits == 0:
                    good = False
                elif role == ADDR:
                    addr[count] = np.int64(number)
                elif role == SIZE:
                    if take and (number < 1 or number > 65535):
                        good = False
                    size[count] = np.uint16(number & np.uint64(65535))
                elif role == TASK:
                    if number >= 1 << 31:
                        good = False
                    task[count] = np.int32(number)
                else:
                    if number > 255:
                        good = False
                    cpu[count] = np.uint8(number)
            while data[at] == 32 or data[at] == 9 or data[at] == 13:
                at += 1
            column += 1
            if data[at] == 10:
                break
            if separator != 32:
                if data[at] != separator:
                    good = False
                else:
                    at += 1
                    while data[at] == 32 or data[at] == 9:
                        at += 1
            elif data[at - 1] != 32 and data[at - 1] != 9:
                good = False
            if not good:
                break
        if not good or column < nr_roles:
            at = start
            good = False
            break
        at += 1
        if take:
            kind[count] = what
            count += 1
            if what == FETCH:
                instructions += 1
    state[0] = at
    state[1] = count
    state[2] = instructions
    return good
