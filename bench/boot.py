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

# The machine's RAM is the frames' own bytes, not the model's: what of it is resident is taken off on both sides.
FRAMES = """
from bench.measure import resident, resident_within
from pagewalk import Machine, Prot
size, start = 512 << 20, 4 << 20
machine = Machine(ram="2G", aslr=False)
ram = machine.system.ram
process = machine.spawn()
area = process.mmap(size, Prot.READ | Prot.WRITE)
process.touch(area, start, write=True)
before = resident() - resident_within(ram.address, ram.address + ram.size)
process.touch(area + start, size - start, write=True)
after = resident() - resident_within(ram.address, ram.address + ram.size)
frames = (size - start) >> 12
print((after - before) / frames, frames)
"""


def measure() -> list[Measurement]:
    """Boot time and memory, bytes per frame."""
    seconds, memory = (float(word) for word in in_child(BOOT).split())
    each, frames = (float(word) for word in in_child(FRAMES).split())
    return [
        Measurement("machine of 1 TiB, boot", seconds, "s", 1.0),
        Measurement("machine of 1 TiB, resident", memory / (1 << 20), "MiB", 200.0, detail="interpreter included"),
        Measurement(
            "model per touched frame", each, "bytes", 200.0, detail=f"{frames:,.0f} frames, beside the RAM itself"
        ),
    ]
