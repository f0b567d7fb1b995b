"""/proc about the machine, and /proc/sys, against the running kernel: names, modes, layouts, defaults."""

import re
import stat
from collections.abc import Iterator
from pathlib import Path

import harness
import pytest
from proc_rig import Proc

pytestmark = [pytest.mark.linux]

# What belongs to hardware, drivers, tracing, crypto, keys and watchdogs, which the model does not have.
NOT_MODELLED = {
    "acpi", "bus", "config.gz", "crypto", "driver", "fb", "fs", "irq", "kallsyms", "kcore", "key-users", "keys", "kmsg",
    "latency_stats", "mdstat", "modules", "mpt", "mtrr", "sched_debug", "schedstat", "scsi", "sysrq-trigger",
    "timer_list", "vmcore", "dynamic_debug", "bootconfig", "allocinfo",
}  # fmt: skip
SYSCTLS_NOT_MODELLED = re.compile(
    r"kernel/(acct|auto_msgmni|bootloader_.*|ftrace.*|firmware_config/.*|.*nmi.*|.*lockup.*|.*watchdog.*|init_private.*|"
    r"real-root-dev|traceoff.*|tracepoint.*|usermodehelper/.*|modprobe|modules_disabled|hotplug|kexec.*|sysrq|"
    r"sched_(schedstats|util.*|energy.*|itmt.*)|stack_tracer.*|yama/.*|apparmor.*|latencytop|kstack.*|perf_user.*|"
    r"seccomp/.*|unprivileged_userns.*|keys/.*|ftrace_dump.*|user_events_max|loadpin/.*|tracing.*)|"
    r"fs/(fuse|nfs|xfs|binfmt_misc|verity|quota|cachefiles|ntfs|fscache|lockd)/.*|fs/fuse.*|"
    r"vm/(hugetlb_optimize_vmemmap|enable_soft_offline|memory_failure.*|.*lru_gen.*|block_dump|nr_trim_pages|"
    r"mem_profiling.*|mmap_rnd_compat_bits)|debug/kprobes.*|abi/.*"
)
DEPEND_ON_THE_MACHINE = re.compile(
    r"vm/(min_free_kbytes|user_reserve_kbytes|admin_reserve_kbytes|swappiness|dirty_.*|drop_caches|overcommit_.*|max_map_count)|"
    r"kernel/(osrelease|version|hostname|domainname|threads-max|ns_last_pid|random/.*|panic|printk|pid_max|core_pattern|"
    r"pty/nr|tainted|perf_event_.*|hung_task_.*|core_uses_pid|.*_paranoid|dmesg_restrict|kptr_restrict|randomize_.*|"
    r"unprivileged_bpf.*|sched_.*|cad_pid|panic_.*|numa_balancing)|"
    r"fs/(file-max|file-nr|dentry-.*|inode-.*|epoll/.*|inotify/.*|fanotify/.*|protected_.*|aio-.*|nr_open|suid_dumpable)|"
    r"user/.*|fs/quota/.*"
)


@pytest.fixture
def proc() -> Iterator[Proc]:
    harness.need_x86_64_linux()
    proc = Proc()
    yield proc
    proc.close()


def test_proc_has_the_kernels_files_with_their_modes(proc: Proc) -> None:
    harness.need_reference_kernel()
    names = {name for name in proc.names("/proc") if not name.isdigit()}
    native = {entry.name: entry for entry in Path("/proc").iterdir() if not entry.name.isdigit()}
    assert names <= set(native)
    assert set(native) - names <= NOT_MODELLED
    for name in names:
        ours, theirs = proc.stat(f"/proc/{name}").st_mode, native[name].lstat().st_mode
        assert stat.filemode(ours) == stat.filemode(theirs), name


def test_every_file_can_be_read(proc: Proc) -> None:
    for name in proc.names("/proc"):
        if stat.S_ISREG(proc.stat(f"/proc/{name}").st_mode) and not name.startswith("kpage"):
            assert isinstance(proc.try_read(f"/proc/{name}"), bytes), name


@pytest.mark.parametrize(
    "name", ["pagetypeinfo", "slabinfo", "softirqs", "interrupts", "cgroups", "execdomains", "dma"]
)
def test_a_table_has_the_kernels_heading_and_columns(proc: Proc, name: str) -> None:
    harness.need_reference_kernel()
    try:
        native = Path(f"/proc/{name}").read_text().splitlines()
    except PermissionError:
        pytest.skip(f"/proc/{name} needs root")
    ours = proc.read(f"/proc/{name}").decode().splitlines()
    known = [re.sub(r"\d+", "N", line) for line in native]
    if name in ("softirqs", "interrupts"):  # as many columns as CPUs
        heading = re.match(r" *CPU0 {7}", native[0])
        assert heading is not None and ours[0] == heading[0]
        labels = [line.split(":")[0] for line in ours[1:]]
        assert [line.split(":")[0] for line in native if line.split(":")[0] in labels] == labels
        width = {line.split(":")[0]: re.match(r"[^:]*: *\d+", line) for line in native[1:]}
        for line in ours[1:]:
            there, here = width[line.split(":")[0]], re.match(r"[^:]*: *\d+", line)
            assert there is not None and here is not None and here.end() == there.end(), line
        return
    assert re.sub(r"\d+", "N", ours[0]) == known[0]
    if name == "pagetypeinfo":
        assert [len(line) for line in ours[:6]] == [len(line) for line in native[:6]]
        assert ours[-1][:13] == native[-1][:13] and len(ours[-1]) == len(native[-1])


def test_pagetypeinfo_adds_up_to_the_zones(proc: Proc) -> None:
    text = proc.read("/proc/pagetypeinfo").decode()
    free = 0
    for counts in re.findall(r"(?m)^Node .* type .*?\S+ ((?: *\d+ )+)$", text):
        free += sum(int(count) << order for order, count in enumerate(counts.split()))
    assert free == proc.system.node.nr_free_pages()


def test_iomem_is_the_memory_map(proc: Proc) -> None:
    harness.need_reference_kernel()
    text = proc.read("/proc/iomem").decode()
    sizes = [int(end, 16) + 1 - int(start, 16) for start, end in re.findall(r"(\w+)-(\w+) : System RAM", text)]
    assert sum(sizes) >> 12 == sum(zone.present_pages for zone in proc.system.node.zones)
    assert text.splitlines()[0] == Path("/proc/iomem").read_text().splitlines()[0]
    proc.task.euid = proc.task.fsuid = 1000
    proc.task.sync_cred()
    assert set(re.findall(r"(\w+-\w+)", proc.read("/proc/iomem").decode())) == {"00000000-00000000"}


def test_pressure_has_the_kernels_lines(proc: Proc) -> None:
    assert proc.read("/proc/pressure/memory").decode().splitlines() == [
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=0",
        "full avg10=0.00 avg60=0.00 avg300=0.00 total=0",
    ]


def test_stat_counts_what_runs(proc: Proc) -> None:
    proc.spawn()
    text = proc.read("/proc/stat").decode()
    assert "procs_running 2\n" in text and re.search(r"(?m)^cpu0 ", text)
    assert proc.read("/proc/loadavg").split()[3] == b"2/2"
    assert int(proc.read("/proc/loadavg").split()[4]) == max(task.pid for task in proc.kernel.tasks())


def sysctls(proc: Proc) -> list[str]:
    found = []
    waiting = [""]
    while waiting:
        path = waiting.pop()
        for name in proc.names(f"/proc/sys/{path}"):
            below = f"{path}/{name}".lstrip("/")
            if stat.S_ISDIR(proc.stat(f"/proc/sys/{below}").st_mode):
                waiting.append(below)
            else:
                found.append(below)
    return sorted(found)


def test_every_sysctl_of_the_kernel_is_there_with_its_mode(proc: Proc) -> None:
    harness.need_reference_kernel()
    ours = set(sysctls(proc))
    root = Path("/proc/sys")
    native = {str(path.relative_to(root)) for top in ("vm", "kernel", "fs", "user", "debug") for path in
              (root / top).rglob("*") if path.is_file()}  # fmt: skip
    missing = [path for path in sorted(native - ours) if not SYSCTLS_NOT_MODELLED.fullmatch(path)]
    assert missing == []
    for path in sorted(ours & native):
        assert proc.stat(f"/proc/sys/{path}").st_mode & 0o777 == (root / path).stat().st_mode & 0o777, path


def test_sysctls_have_the_kernels_defaults(proc: Proc) -> None:
    harness.need_reference_kernel()
    different = {}
    for path in sysctls(proc):
        native = Path("/proc/sys") / path
        if DEPEND_ON_THE_MACHINE.fullmatch(path) or not native.exists() or not native.stat().st_mode & 0o444:
            continue
        try:
            theirs = native.read_text()
        except OSError:
            continue
        ours = proc.read(f"/proc/sys/{path}").decode()
        if ours != theirs:
            different[path] = (ours, theirs)
    assert different == {}


def test_limits_that_follow_from_ram_are_those_of_a_machine_with_as_much(proc: Proc) -> None:
    """The same formulas on this machine's own RAM give this machine's limits, to half a percent."""
    harness.need_reference_kernel()
    pages = int(Path("/proc/meminfo").read_text().split()[1]) // 4
    proc.system.totalram_pages = pages
    for path in ("kernel/threads-max", "fs/epoll/max_user_watches", "fs/inotify/max_user_watches",
                 "fs/fanotify/max_user_marks", "user/max_pid_namespaces"):  # fmt: skip
        ours, theirs = int(proc.read(f"/proc/sys/{path}")), int((Path("/proc/sys") / path).read_text())
        assert ours == pytest.approx(theirs, rel=0.005), path
