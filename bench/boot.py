"""What a machine costs: booting one of 1 TiB, and the model's own memory for each frame that a program touches."""

from bench.measure import Measurement, in_child

BOOT = """
import time
from bench.measure import resident
from pagewalk import Machine
import pagewalk.machine, pagewalk.process
start = time.perf_counter()
machine = Machine(ram="1T")
process = machine.spawn()
print(time.perf_counter() - start, resident())
"""

# The frames' own bytes are the machine's RAM, not the model's: what grew beside them is the model's.
FRAMES = """
from bench.measure import resident
from pagewalk import Machine, Prot
size = 512 << 20
machine = Machine(ram="2G", aslr=False)
process = machine.spawn()
area = process.mmap(size, Prot.READ | Prot.WRITE)
process.touch(area, 4 << 20, write=True)
before = resident()
process.touch(area + (4 << 20), size - (4 << 20), write=True)
frames = (size - (4 << 20)) >> 12
print((resident() - before) / frames - 4096, frames)
"""


def measure() -> list[Measurement]:
    """Boot time and memory, bytes per frame."""
    seconds, memory = (float(word) for word in in_child(BOOT).split())
    each, frames = (float(word) for word in in_child(FRAMES).split())
    return [
        Measurement("machine of 1 TiB, boot", seconds, "s", 1.0),
        Measurement("machine of 1 TiB, resident", memory / (1 << 20), "MiB", 200.0, detail="interpreter included"),
        Measurement("model per touched frame", each, "bytes", 200.0, detail=f"{frames:,.0f} frames, tables included"),
    ]
