"""/proc files about memory as hardware, devices and the kernel's tables: iomem, pagetypeinfo, slabinfo, partitions, ...

Sources: proc(5), proc_iomem(5), proc_interrupts(5), proc_slabinfo(5), proc_cgroups(5), proc_diskstats(5).

Mirrors: kernel/resource.c, mm/vmstat.c (pagetypeinfo), mm/slab_common.c, block/genhd.c, fs/proc/interrupts.c,
fs/proc/softirqs.c, kernel/cgroup/cgroup-v1.c, kernel/sched/psi.c (6.18)
Differs: no devices, interrupts, slabs, vmalloc areas and control groups, so those tables are empty; stalls
    for want of a resource are not measured.
"""

from collections.abc import Callable
from typing import Final

from pagewalk.fs.procfs.inodes import ProcSuper
from pagewalk.fs.procfs.locks import locks
from pagewalk.fs.procfs.pressure import open_idle, open_memory
from pagewalk.fs.procfs.tree import TextSpec, Tree
from pagewalk.mm.show_mem import pagetypeinfo_text

_SOFTIRQS: Final = (
    "HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU",
)  # fmt: skip
_INTERRUPTS: Final = (
    ("NMI", "Non-maskable interrupts"), ("LOC", "Local timer interrupts"), ("SPU", "Spurious interrupts"),
    ("PMI", "Performance monitoring interrupts"), ("IWI", "IRQ work interrupts"), ("RTR", "APIC ICR read retries"),
    ("RES", "Rescheduling interrupts"), ("CAL", "Function call interrupts"), ("TLB", "TLB shootdowns"),
    ("TRM", "Thermal event interrupts"),
)  # fmt: skip


def _empty(sb: ProcSuper) -> str:
    return ""


def vmallocinfo(sb: ProcSuper) -> str:
    """/proc/vmallocinfo: the areas of the kernel's vmalloc space."""
    return sb.kernel.vmallocinfo()


def iomem(sb: ProcSuper) -> str:
    """/proc/iomem: where RAM is. Addresses are 0 for a reader who may not know them."""
    shown = sb.system.current.capable
    out = ""
    ranges = [(0, 1, "Reserved")]
    shift = int(sb.system.page_shift)
    for start, end in sb.system.ranges():
        if ranges[-1][1] < start <= 0x10_0000 >> shift:
            ranges.append((ranges[-1][1], start, "Reserved"))
        ranges.append((start, end, "System RAM"))
    for start, end, what in ranges:
        first, last = (start << shift, (end << shift) - 1) if shown else (0, 0)
        out += f"{first:08x}-{last:08x} : {what}\n"
    return out


def slabinfo(sb: ProcSuper) -> str:
    """/proc/slabinfo: the caches of the kernel's own objects."""
    return sb.system.slab.slabinfo()


def pagetypeinfo(sb: ProcSuper) -> str:
    """/proc/pagetypeinfo."""
    return pagetypeinfo_text(sb.system)


def _cpu_heading(sb: ProcSuper, indent: int) -> str:
    return " " * indent + "".join([f"{f'CPU{cpu}':<11}" for cpu in range(sb.system.config.cpus)]) + "\n"


def interrupts(sb: ProcSuper) -> str:
    """/proc/interrupts."""
    zeros = "".join([f"{0:10d} "] * sb.system.config.cpus)
    out = _cpu_heading(sb, 11)
    for label, meaning in _INTERRUPTS:
        out += f"{label:>3}: {zeros}  {meaning}\n"
    return out + f"ERR: {0:10d}\nMIS: {0:10d}\n"


def softirqs(sb: ProcSuper) -> str:
    """/proc/softirqs."""
    cpus = sb.system.config.cpus
    out = " " * 20 + "".join([f"{f'CPU{cpu}':<11}" for cpu in range(cpus)]) + "\n"
    for name in _SOFTIRQS:
        out += f"{name:>12}:" + "".join([f" {0:10d}"] * cpus) + "\n"
    return out


def cgroups(sb: ProcSuper) -> str:
    """/proc/cgroups: no controllers."""
    return "#subsys_name\thierarchy\tnum_cgroups\tenabled\n"


def execdomains(sb: ProcSuper) -> str:
    """/proc/execdomains."""
    return f"0-0\t{'Linux':<16}\t[kernel]\n"


def dma(sb: ProcSuper) -> str:
    """/proc/dma."""
    return " 4: cascade\n"


def _pressure(sb: ProcSuper) -> str:
    row = "avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
    return f"some {row}full {row}"


def _memory_pressure(sb: ProcSuper) -> str:
    return sb.system.psi.text(sb.kernel.monotonic_ns())


def _tty_drivers(sb: ProcSuper) -> str:
    return f"{'/dev/tty':<20} {'/dev/tty':<8} {5:7d} {0:>7} system:/dev/tty\n"


def _sysvipc_msg(sb: ProcSuper) -> str:
    return (
        "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      stime      rtime"
        "      ctime\n"
    )


def _sysvipc_sem(sb: ProcSuper) -> str:
    heading = "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n"
    return heading + sb.kernel.sysvipc_sem_lines()


def sysvipc_shm(sb: ProcSuper) -> str:
    """/proc/sysvipc/shm."""
    return (
        "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime      "
        "dtime      ctime                   rss                  swap\n" + sb.kernel.sysvipc_shm_lines()
    )


TextMaker = Callable[[ProcSuper], str]

# name: (permission bits, what it says)
MACHINE_TEXTS: "Final[dict[str, tuple[int, TextMaker]]]" = {
    "cgroups": (0o444, cgroups),
    "consoles": (0o444, _empty),
    "diskstats": (0o444, _empty),
    "dma": (0o444, dma),
    "execdomains": (0o444, execdomains),
    "interrupts": (0o444, interrupts),
    "iomem": (0o444, iomem),
    "ioports": (0o444, _empty),
    "locks": (0o444, locks),
    "misc": (0o444, _empty),
    "pagetypeinfo": (0o400, pagetypeinfo),
    "partitions": (0o444, _empty),
    "slabinfo": (0o400, slabinfo),
    "softirqs": (0o444, softirqs),
    "vmallocinfo": (0o400, vmallocinfo),
}


def machine_trees() -> dict[str, Tree]:
    """Directories of /proc by name."""
    ipc = Tree(0)
    for name, make in (("msg", _sysvipc_msg), ("sem", _sysvipc_sem), ("shm", sysvipc_shm)):
        ipc.add(name, TextSpec(0o444, make))
    pressure = Tree(0)
    for name in ("cpu", "io"):
        pressure.add(name, TextSpec(0o666, _pressure, opener=open_idle))
    pressure.add("memory", TextSpec(0o666, _memory_pressure, opener=open_memory))
    tty = Tree(0)
    tty.add("drivers", TextSpec(0o444, _tty_drivers))
    return {"pressure": pressure, "sysvipc": ipc, "tty": tty}
