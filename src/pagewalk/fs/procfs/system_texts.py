"""/proc files about the machine: cpuinfo, stat, uptime, loadavg, version, filesystems, devices, swaps, cmdline, and
memory.

Mirrors: fs/proc/{stat,uptime,loadavg,version,devices,meminfo}.c, arch/x86/kernel/cpu/proc.c (6.18)
Differs: the CPU is the emulator's, its speed is nominal; load averages are 0 (one task runs).
"""

import time
from collections.abc import Callable
from typing import Final

from pagewalk.fs.procfs.inodes import ProcSuper
from pagewalk.mm.meminfo import meminfo_text
from pagewalk.mm.show_mem import buddyinfo_text, vmstat_text, zoneinfo_text

# What CPUID answers on the emulated CPU (Unicorn 2.1.4's x86-64 model), in /proc/cpuinfo's order; tests/linux runs a
# program that asks. The last word are the features that Linux itself sets for such a CPU.
CPU_VENDOR: Final = "GenuineIntel"
CPU_MODEL: Final = (6, 44, 1)  # family, model, stepping
CPU_NAME: Final = "Westmere E56xx/L56xx/X56xx (Nehalem-C)"
CPU_LEVEL: Final = 11
CPU_FLAGS: Final = (
    "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 syscall nx lm "
    "constant_tsc rep_good nopl cpuid pni pclmulqdq ssse3 cx16 sse4_1 sse4_2 popcnt aes hypervisor lahf_lm arat"
)
PKU_LEVEL: Final = 13
_CPU_MHZ: Final = 1000.0


def _uptime_ns(sb: ProcSuper) -> int:
    return max(0, time.monotonic_ns() - sb.kernel.boot_ns)


def _cpu_times(sb: ProcSuper) -> tuple[int, int, int]:
    """(user, system, idle) in ticks of 1/100 s."""
    user = system = 0
    for task in sb.kernel.tasks():
        user += task.utime_ns
        system += task.stime_ns
        if task.is_leader():
            user += task.signal.utime_ns + task.signal.cutime_ns
            system += task.signal.stime_ns + task.signal.cstime_ns
    idle = max(0, _uptime_ns(sb) - user - system)
    return user // 10_000_000, system // 10_000_000, idle // 10_000_000


def cpuinfo(sb: ProcSuper) -> str:
    """/proc/cpuinfo."""
    if sb.system.config.arch == "arm64":
        return str(sb.kernel.cpuinfo_text())
    cpus = sb.system.config.cpus
    bits = 48 if sb.system.config.levels == 4 else 57
    level, flags = CPU_LEVEL, CPU_FLAGS
    if sb.system.pku:
        level = PKU_LEVEL
        flags = flags.replace(" aes ", " aes xsave ") + " pku ospke"
    out = ""
    for cpu in range(cpus):
        out += (
            f"processor\t: {cpu}\nvendor_id\t: {CPU_VENDOR}\ncpu family\t: {CPU_MODEL[0]}\nmodel\t\t: {CPU_MODEL[1]}\n"
            f"model name\t: {CPU_NAME}\nstepping\t: {CPU_MODEL[2]}\n"
            f"cpu MHz\t\t: {_CPU_MHZ:.3f}\ncache size\t: 4096 KB\nphysical id\t: 0\nsiblings\t: {cpus}\n"
            f"core id\t\t: {cpu}\ncpu cores\t: {cpus}\napicid\t\t: {cpu}\ninitial apicid\t: {cpu}\n"
            f"fpu\t\t: yes\nfpu_exception\t: yes\ncpuid level\t: {level}\nwp\t\t: yes\n"
            f"flags\t\t: {flags}\nbugs\t\t:\nbogomips\t: {2 * _CPU_MHZ:.2f}\n"
            "clflush size\t: 64\ncache_alignment\t: 64\n"
            f"address sizes\t: 40 bits physical, {bits} bits virtual\npower management:\n\n"
        )
    return out


def stat(sb: ProcSuper) -> str:
    """/proc/stat. Times are the machine's; they are told of its CPUs in equal parts."""
    cpus = sb.system.config.cpus
    user, system, idle = _cpu_times(sb)
    boot = int(time.time()) - _uptime_ns(sb) // 1_000_000_000
    tasks = sb.kernel.tasks()
    switches = sum([task.nvcsw + task.nivcsw for task in tasks])
    out = f"cpu  {user} 0 {system} {idle} 0 0 0 0 0 0\n"
    for cpu in range(cpus):
        out += f"cpu{cpu} {user // cpus} 0 {system // cpus} {idle // cpus} 0 0 0 0 0 0\n"
    return out + (
        f"intr 0\nctxt {switches}\nbtime {boot}\nprocesses {max(sb.kernel.next_pid - 1, 0)}\n"
        f"procs_running {nr_running(sb)}\nprocs_blocked 0\nsoftirq 0 0 0 0 0 0 0 0 0 0 0\n"
    )


def nr_running(sb: ProcSuper) -> int:
    """Tasks that run or could."""
    return sum([1 for task in sb.kernel.tasks() if task.exit_code is None and task.state == 0])


def uptime(sb: ProcSuper) -> str:
    """/proc/uptime: seconds since boot, seconds idle."""
    _, _, idle = _cpu_times(sb)
    return f"{_uptime_ns(sb) / 1e9:.2f} {idle / 100:.2f}\n"


def loadavg(sb: ProcSuper) -> str:
    """/proc/loadavg."""
    tasks = sb.kernel.tasks()
    return f"0.00 0.00 0.00 {nr_running(sb)}/{len(tasks)} {max(sb.kernel.next_pid - 1, 0)}\n"


def version(sb: ProcSuper) -> str:
    """/proc/version."""
    name = sb.kernel.uts_name
    return f"{name('sysname')} version {name('release')} (pagewalk) {name('version')}\n"


def filesystems(sb: ProcSuper) -> str:
    """/proc/filesystems: those that are there."""
    nodev = ("sysfs", "tmpfs", "proc", "devtmpfs", "pipefs")
    root = sb.ns.mounts[0].sb.fstype
    return "".join([f"nodev\t{name}\n" for name in nodev]) + f"\t{root}\n"


def swaps(sb: ProcSuper) -> str:
    """/proc/swaps."""
    text = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
    for area in sb.system.swap.areas:
        if area is not None:
            kind = "partition" if area.partition else "file\t"
            size, used = area.pages * 4, int(area.inuse_pages) * 4
            tabs = ["\t" if kilobytes < 10000000 else "" for kilobytes in (size, used)]
            path = area.name + " " * max(1, 40 - len(area.name)) if len(area.name) < 40 else area.name + " "
            text += f"{path}{kind}\t{size}\t{tabs[0]}{used}\t{tabs[1]}{area.prio}\n"
    return text


def devices(sb: ProcSuper) -> str:
    """/proc/devices."""
    return "Character devices:\n  1 mem\n  5 /dev/tty\n136 pts\n\nBlock devices:\n"


def cmdline(sb: ProcSuper) -> str:
    """/proc/cmdline: the boot command line."""
    return "\n"


def _meminfo(sb: ProcSuper) -> str:
    return meminfo_text(sb.system)


def _vmstat(sb: ProcSuper) -> str:
    return vmstat_text(sb.system)


def _zoneinfo(sb: ProcSuper) -> str:
    return zoneinfo_text(sb.system)


def _buddyinfo(sb: ProcSuper) -> str:
    return buddyinfo_text(sb.system)


TextMaker = Callable[[ProcSuper], str]

SYSTEM_TEXTS: "Final[dict[str, TextMaker]]" = {
    "buddyinfo": _buddyinfo,
    "cmdline": cmdline,
    "cpuinfo": cpuinfo,
    "devices": devices,
    "filesystems": filesystems,
    "loadavg": loadavg,
    "meminfo": _meminfo,
    "stat": stat,
    "swaps": swaps,
    "uptime": uptime,
    "version": version,
    "vmstat": _vmstat,
    "zoneinfo": _zoneinfo,
}
