"""Parsing ``perf script``'s samples at the speed of machine code: those whose command has no spaces in its name.

Plain Python that Numba compiles; it stands alone, since Numba's cache looks at one file only. It stops at any line that
it is not sure of, and the reader's regular expressions decide what that is.
"""

from typing import Any

import numpy as np

from pagewalk.trace.format import FETCH, READ, WRITE

__all__ = ["scan_perf"]


def scan_perf(
    data: Any, state: Any, addr: Any, kind: Any, size: Any, task: Any, cpu: Any, texts: Any, starts: Any
) -> bool:
    """``  COMM PID[/TID] [CPU] TIME: [PERIOD] EVENT: ADDR ...``, or ``address=0xADDR ... error_code=0xN`` for ADDR.

    texts, starts  b"store", b"write", b"|OP STORE", b"address=", b"error_code=" in a row, and where each begins and the
                   last one ends; then 1 where call chains follow the lines
    """
    at = state[0]
    count = state[1]
    end = len(data)
    good = True
    while at < end:
        start = at
        stop = at
        while data[stop] != 10:
            stop += 1
        if data[at] == 35:  # a comment
            at = stop + 1
            continue
        while data[at] == 32 or data[at] == 9:
            at += 1
        if at == stop:
            at = stop + 1
            continue
        hexadecimal = at > start  # so far, it may be an entry of a call chain: an address and a symbol
        while data[at] > 32:
            byte = data[at]
            hexadecimal = hexadecimal and (48 <= byte <= 57 or 97 <= byte <= 102)
            at += 1
        space = data[at] == 32 or data[at] == 9
        while data[at] == 32 or data[at] == 9:
            at += 1
        tid = 0
        digits = 0
        while 48 <= data[at] <= 57 and digits < 10:
            tid = tid * 10 + (data[at] - 48)
            digits += 1
            at += 1
        if digits > 0 and data[at] == 47:  # PID/TID
            at += 1
            tid = 0
            digits = 0
            while data[at] == 32 or data[at] == 9:
                at += 1
            while 48 <= data[at] <= 57 and digits < 10:
                tid = tid * 10 + (data[at] - 48)
                digits += 1
                at += 1
        good = space and digits > 0 and tid < 1 << 31 and (data[at] == 32 or data[at] == 9)
        while data[at] == 32 or data[at] == 9:
            at += 1
        which = 0
        if data[at] == 91:
            at += 1
            digits = 0
            while 48 <= data[at] <= 57 and digits < 4:
                which = which * 10 + (data[at] - 48)
                digits += 1
                at += 1
            good = good and digits > 0 and which < 256 and data[at] == 93
            at += data[at] == 93
            good = good and (data[at] == 32 or data[at] == 9)
            while data[at] == 32 or data[at] == 9:
                at += 1
        digits = 0
        while 48 <= data[at] <= 57:
            digits += 1
            at += 1
        good = good and digits > 0 and data[at] == 46
        at += data[at] == 46
        digits = 0
        while 48 <= data[at] <= 57:
            digits += 1
            at += 1
        good = good and digits > 0 and data[at] == 58
        at += data[at] == 58
        good = good and (data[at] == 32 or data[at] == 9)
        while data[at] == 32 or data[at] == 9:
            at += 1
        event = at
        digits = 0
        while 48 <= data[at] <= 57:
            digits += 1
            at += 1
        if digits > 0 and (data[at] == 32 or data[at] == 9):
            while data[at] == 32 or data[at] == 9:
                at += 1
            event = at
        while data[at] > 32:
            at += 1
        good = good and at > event + 1 and data[at - 1] == 58 and (data[at] == 32 or data[at] == 9)
        if not good:
            if hexadecimal and space:  # an entry of a call chain, if no time can be in it
                chain = False
                at = start
                while data[at] == 32 or data[at] == 9:
                    at += 1
                while data[at] > 32:
                    at += 1
                while data[at] == 32 or data[at] == 9:
                    at += 1
                chain = data[at] > 32
                while at < stop:
                    chain = chain and not (data[at] == 58 and (data[at + 1] == 32 or data[at + 1] == 9))
                    at += 1
                if chain:
                    at = stop + 1
                    good = True
                    continue
            at = start
            break
        what = READ
        last = at - 1
        for text in range(2):  # an event whose name has "store" or "write" in it
            length = starts[text + 1] - starts[text]
            for first in range(event, last - length + 1):
                same = 0
                while same < length:
                    byte = data[first + same]
                    if 65 <= byte <= 90:
                        byte += 32
                    if byte != texts[starts[text] + same]:
                        break
                    same += 1
                if same == length:
                    what = WRITE
        while data[at] == 32 or data[at] == 9:
            at += 1
        same = 0
        while same < starts[4] - starts[3] and data[at + same] == texts[starts[3] + same]:
            same += 1
        named = same == starts[4] - starts[3]  # address=
        if named:
            at += same
        if data[at] == 48 and data[at + 1] == 120:
            at += 2
        number = np.uint64(0)
        digits = 0
        while digits < 17:
            byte = data[at]
            if 48 <= byte <= 57:
                value = byte - 48
            elif 97 <= byte <= 102:
                value = byte - 87
            else:
                break
            number = (number << np.uint64(4)) | np.uint64(value)
            digits += 1
            at += 1
        good = 0 < digits < 17 and (data[at] == 32 or data[at] == 9 or data[at] == 10 or data[at] == 13)
        if good and not named and starts[6] == 0:  # an address, a symbol and no more is where the instruction is
            first = at
            while data[first] == 32 or data[first] == 9:
                first += 1
            same = first
            while 48 <= data[same] <= 57 or 97 <= data[same] <= 102:
                same += 1
            good = data[same] <= 32 or data[first] == 124
            while not good and same < stop:
                good = data[same] == 41 and data[same + 1] == 32
                same += 1
        while good and at < stop:
            byte = data[at]
            if byte == 124:  # |OP STORE
                same = 0
                while same < starts[3] - starts[2] and data[at + same] == texts[starts[2] + same]:
                    same += 1
                if same == starts[3] - starts[2]:
                    what = WRITE
            elif byte == 61 and not named:  # something that is named is not for here
                good = False
            elif byte == 101 and named:
                same = 0
                while same < starts[5] - starts[4] and data[at + same] == texts[starts[4] + same]:
                    same += 1
                if same == starts[5] - starts[4]:
                    good = data[at - 1] == 32
                    at += same
                    if data[at] == 48 and data[at + 1] == 120:
                        at += 2
                    bits = 0
                    digits = 0
                    while digits < 9:
                        byte = data[at]
                        if 48 <= byte <= 57:
                            bits = bits * 16 + (byte - 48)
                        elif 97 <= byte <= 102:
                            bits = bits * 16 + (byte - 87)
                        else:
                            break
                        digits += 1
                        at += 1
                    good = good and 0 < digits < 9 and data[at] <= 32
                    what = READ
                    if bits & 16 != 0:
                        what = FETCH
                    elif bits & 2 != 0:
                        what = WRITE
                    break
            at += 1
        if not good:
            at = start
            break
        if number != 0:
            addr[count] = np.int64(number)
            kind[count] = what
            size[count] = 1
            task[count] = tid
            cpu[count] = which
            count += 1
        at = stop + 1
    state[0] = at
    state[1] = count
    return good
