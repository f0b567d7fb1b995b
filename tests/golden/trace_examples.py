"""What each tool prints of a handful of accesses, and the accesses that are meant: rows of Batch's columns."""

import numpy as np

from pagewalk.trace.format import FETCH, READ, WRITE
from pagewalk.trace.readers.champsim import RECORD

LACKEY = b"""==9== Lackey, an example Valgrind tool
==9== Command: ls -l /
==9==
I  0401ab70,3
 S 1fff000758,8
 L 1fff000750,4
 M 0425747c,1
==9== Counted 0 calls to main()
"""
DIN = b"2 0\n0 1000 a comment\n4 0\n1 70f60890\n"
CSV = b"0x1000,r\n0x7fff0000,w\n0x2000,R\n"
CSV_TITLES = b"# made by hand\npc,vaddr,rw,size,tid,cpu\n1,ff000,W,4,7,1\n2,1000,ifetch,2,8,0\n"
GEM5 = b"3,r,4096,64,10,1000\n4,w,8192,64,10,2000\n5,u,8192,64,10,2500\n"
DYNAMORIO = b"""Output format:
<--record#-> <--instr#->: <---tid---> <record details>
------------------------------------------------------------
           1           0:     2765542 <marker: version 5>
           5           0:     2765542 <marker: page size 16384>
       47445       37770:     2765543 ifetch       5 byte(s) @ 0x0000000000404a7e 48 8b 5c 24 08       mov    8(%rsp) -> %rbx
       47446       37770:     2765543 read         8 byte(s) @ 0x00007fdf64e2adc8 by PC 0x0000000000404a7e
       47447       37771:     W0.T2765544 write        4 byte(s) @ 0x00007fdf64e2adc0 by PC 0x0000000000404a7e
       47448       37772:     2765543 pref-r-L1    0 byte(s) @ 0x00007fdf64e2adc8 by PC 0x0000000000404a7e
View tool results:
          37772 : total instructions
"""  # noqa: E501
PERF = b"""# captured on: today
     ls  1234/1235  [003]   123.456789:          1 page-faults:      7ffff7fe3d90     7ffff7fd0100 _start+0x0 (/ld.so)
            7ffff7fd0100 _start+0x0 (/ld.so)

two words  77 [000] 1.000001: exceptions:page_fault_user: address=0x7f0000001000 ip=0x401000 error_code=0x6
sh 78 [000] 1.000002: cpu/mem-loads,ldlat=30/P:     55d0a0001008 |OP LOAD|LVL L1 hit|SNP None
sh 78 [000] 1.000003: cpu/mem-stores/P:     55d0a0001010 |OP STORE|LVL L1 hit
sh 78 [000] 1.000004: page-faults:  0 401000 main
"""
HIGH = 0xFFFF_FFFF_FFFF_F000 - (1 << 64)


def champsim(*instructions: tuple[int, list[int], list[int]]) -> bytes:
    records = np.zeros(len(instructions), RECORD)
    for record, (ip, reads, writes) in zip(records, instructions, strict=True):
        record["ip"] = ip
        record["source_memory"][: len(reads)] = reads
        record["destination_memory"][: len(writes)] = writes
    return records.tobytes()


CHAMPSIM = champsim((0x401000, [0x7FFF0000, 0x10], [HIGH]), (0x401004, [], []))

Row = tuple[int, int, int, int, int]
EXAMPLES: dict[str, tuple[str, bytes, list[Row]]] = {
    "lackey": (
        "lackey",
        LACKEY,
        [
            (0x401AB70, FETCH, 3, 0, 0),
            (0x1FFF000758, WRITE, 8, 0, 0),
            (0x1FFF000750, READ, 4, 0, 0),
            (0x425747C, READ, 1, 0, 0),
            (0x425747C, WRITE, 1, 0, 0),
        ],
    ),
    "din": ("din", DIN, [(0, FETCH, 1, 0, 0), (0x1000, READ, 1, 0, 0), (0x70F60890, WRITE, 1, 0, 0)]),
    "csv": ("csv", CSV, [(0x1000, READ, 1, 0, 0), (0x7FFF0000, WRITE, 1, 0, 0), (0x2000, READ, 1, 0, 0)]),
    "csv with titles": ("csv", CSV_TITLES, [(0xFF000, WRITE, 4, 7, 1), (0x1000, FETCH, 2, 8, 0)]),
    "csv of addresses": ("csv", b"4096\n18446744073709547520\n", [(4096, READ, 1, 0, 0), (HIGH, READ, 1, 0, 0)]),
    "csv, kind first": ("csv", b"W, 0xfffffffffffff000, 8\r\nr, 0x8, 2", [(HIGH, WRITE, 8, 0, 0), (8, READ, 2, 0, 0)]),
    "gem5": ("gem5", GEM5, [(4096, READ, 64, 0, 0), (8192, WRITE, 64, 0, 0)]),
    "gem5 without ids": ("gem5", b"r,4096,64,1000,5\n", [(4096, READ, 64, 0, 0)]),
    "dynamorio": (
        "dynamorio",
        DYNAMORIO,
        [
            (0x404A7E, FETCH, 5, 2765543, 0),
            (0x7FDF64E2ADC8, READ, 8, 2765543, 0),
            (0x7FDF64E2ADC0, WRITE, 4, 2765544, 0),
        ],
    ),
    "perf": (
        "perf",
        PERF,
        [
            (0x7FFFF7FE3D90, READ, 1, 1235, 3),
            (0x7F0000001000, WRITE, 1, 77, 0),
            (0x55D0A0001008, READ, 1, 78, 0),
            (0x55D0A0001010, WRITE, 1, 78, 0),
        ],
    ),
    "champsim": (
        "champsim",
        CHAMPSIM,
        [
            (0x401000, FETCH, 1, 0, 0),
            (0x7FFF0000, READ, 1, 0, 0),
            (0x10, READ, 1, 0, 0),
            (HIGH, WRITE, 1, 0, 0),
            (0x401004, FETCH, 1, 0, 0),
        ],
    ),
}
