"""Parsing drmemtrace's lines at the speed of machine code: those that are accesses, and the second lines of long
instructions, which have nothing but bytes behind the thread, below those of the first.

Plain Python that Numba compiles; it stands alone, since Numba's cache looks at one file only. It stops at any other
line, and the reader decides what that is.
"""

from typing import Any

import numpy as np

from pagewalk.trace.format import FETCH, READ, WRITE

__all__ = ["scan_memref"]


def scan_memref(data: Any, state: Any, addr: Any, kind: Any, size: Any, task: Any, cpu: Any, middle: Any) -> bool:
    """``  47446 37770: 2765543 read 8 byte(s) @ 0x00007fdf64e2adc8 ...``; ``middle`` is b" byte(s) @ 0x"."""
    at = state[0]
    count = state[1]
    instructions = state[2]
    end = len(data)
    good = True
    while at < end:
        start = at
        nr_numbers = 0
        while nr_numbers < 3:
            while data[at] == 32 or data[at] == 9:
                at += 1
            if not 48 <= data[at] <= 57:
                break
            while 48 <= data[at] <= 57:
                at += 1
            nr_numbers += 1
        good = 1 <= nr_numbers <= 2 and data[at] == 58
        if not good:
            at = start
            break
        at += 1
        while data[at] == 32 or data[at] == 9:
            at += 1
        if data[at] == 87:  # W0.
            at += 1
            while 48 <= data[at] <= 57:
                at += 1
            if data[at] == 46:
                at += 1
        if data[at] == 84:
            at += 1
        tid = 0
        digits = 0
        while 48 <= data[at] <= 57 and digits < 11:
            tid = tid * 10 + (data[at] - 48)
            digits += 1
            at += 1
        good = digits > 0 and tid < 1 << 31 and (data[at] == 32 or data[at] == 9)
        gap = at
        while data[at] == 32 or data[at] == 9:
            at += 1
        if good and at - gap > 12:
            gap = at
            while 48 <= data[at] <= 57 or 97 <= data[at] <= 102 or data[at] == 32 or data[at] == 13:
                at += 1
            if data[at] == 10 and at > gap:
                at += 1
                continue
            good = False
            at = start
            break
        letter = data[at]
        length = 0
        if letter == 114:
            what = READ
            length = 4
        elif letter == 119:
            what = WRITE
            length = 5
        else:
            what = FETCH
            length = 6
        word = (letter, data[at + 1] if data[at] != 10 else 0)
        good = good and (word == (114, 101) or word == (119, 114) or word == (105, 102))  # re(ad), wr(ite), if(etch)
        letters = 0
        while 97 <= data[at] <= 122:
            at += 1
            letters += 1
        good = good and letters == length and (data[at] == 32 or data[at] == 9)
        while data[at] == 32 or data[at] == 9:
            at += 1
        nr_bytes = 0
        digits = 0
        while 48 <= data[at] <= 57 and digits < 6:
            nr_bytes = nr_bytes * 10 + (data[at] - 48)
            digits += 1
            at += 1
        good = good and 1 <= nr_bytes <= 65535
        matched = 0
        while matched < len(middle) and data[at] == middle[matched]:
            at += 1
            matched += 1
        good = good and matched == len(middle)
        number = np.uint64(0)
        digits = 0
        while good:
            byte = data[at]
            if 48 <= byte <= 57:
                value = byte - 48
            elif 97 <= byte <= 102:
                value = byte - 87
            else:
                break
            if number >> np.uint64(60) != 0:
                good = False
            number = (number << np.uint64(4)) | np.uint64(value)
            digits += 1
            at += 1
        good = good and digits > 0 and (data[at] == 32 or data[at] == 10 or data[at] == 13 or data[at] == 9)
        if not good:
            at = start
            break
        about = 0
        for byte in b" non-f":  # "non-fetched instruction": a string instruction goes on
            if data[at] != byte:
                break
            at += 1
            about += 1
        while data[at] != 10:
            at += 1
        at += 1
        if about == 6:
            continue
        addr[count] = np.int64(number)
        kind[count] = what
        size[count] = nr_bytes
        task[count] = tid
        count += 1
        if what == FETCH:
            instructions += 1
    state[0] = at
    state[1] = count
    state[2] = instructions
    return good
