"""/proc/PID against the running kernel: which files, with which modes, what each says of whom, what each takes."""

import errno
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import harness
import pytest
from proc_rig import Proc

from pagewalk.kernel.exit import do_exit
from pagewalk.kernel.task import Task

pytestmark = [pytest.mark.linux]


@pytest.fixture
def proc() -> Iterator[Proc]:
    harness.need_x86_64_linux()
    proc = Proc()
    yield proc
    proc.close()


@pytest.fixture(scope="module")
def zombie() -> Iterator[str]:
    """The directory of a native child that has ended and was not waited for.

    It has a session of its own, and so an autogroup, which a child of a machine's first processes may not have.
    """
    harness.need_reference_kernel()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os._exit(3)
    while "Z (zombie)" not in Path(f"/proc/{pid}/status").read_text():
        time.sleep(0.01)
    yield f"/proc/{pid}"
    os.waitpid(pid, 0)


def native_names(path: str) -> dict[str, str]:
    """Mode by name."""
    return {entry.name: stat.filemode(entry.lstat().st_mode) for entry in Path(path).iterdir()}


def model_names(proc: Proc, path: str) -> dict[str, str]:
    return {name: stat.filemode(proc.stat(f"{path}/{name}").st_mode) for name in proc.names(path)}


def native_read(path: str) -> bytes | str:
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError as error:
        return f"open:{errno.errorcode[error.errno or 0]}"
    try:
        return os.read(fd, 65536)
    except OSError as error:
        return f"read:{errno.errorcode[error.errno or 0]}"
    finally:
        os.close(fd)


@pytest.mark.parametrize("where", ["", "/task/TID", "/ns", "/attr"])
def test_a_process_has_the_kernels_files_with_their_modes(proc: Proc, where: str) -> None:
    harness.need_reference_kernel()
    native = native_names("/proc/self" + where.replace("TID", str(os.getpid())))
    assert model_names(proc, "/proc/self" + where.replace("TID", str(proc.task.pid))) == native


def test_every_readable_file_can_be_read(proc: Proc) -> None:
    for where in ("/proc/self", f"/proc/self/task/{proc.task.pid}"):
        for name, mode in model_names(proc, where).items():
            if mode[0] == "-" and mode[1] == "r" and name not in ("mem", "pagemap"):
                assert isinstance(proc.try_read(f"{where}/{name}"), bytes), name


def shape(text: bytes | str) -> str:
    """A text without its numbers."""
    return text if isinstance(text, str) else re.sub(r"-?\b(0x)?[0-9a-f]*[0-9][0-9a-f]*\b", "N", text.decode())


@pytest.mark.parametrize(
    "name",
    ["io", "schedstat", "cpuset", "oom_score", "oom_adj", "oom_score_adj", "coredump_filter", "timerslack_ns",
     "uid_map", "gid_map", "projid_map", "setgroups", "loginuid", "sessionid", "personality", "timens_offsets",
     "ksm_stat", "ksm_merging_pages", "timers", "autogroup"],
)  # fmt: skip
def test_a_text_has_the_kernels_form(proc: Proc, name: str) -> None:
    harness.need_reference_kernel()
    ours, theirs = proc.read(f"/proc/self/{name}"), native_read(f"/proc/self/{name}")
    if name == "autogroup" and not theirs:
        pytest.skip("no process above this one has called setsid: it has no autogroup")
    assert shape(ours) == shape(theirs)
    if name.endswith(("_map", "filter", "slack_ns", "offsets", "setgroups")):
        assert ours == theirs


def test_sched_has_lines_of_the_kernels(proc: Proc) -> None:
    harness.need_reference_kernel()
    ours, theirs = proc.text("sched").splitlines(), Path("/proc/self/sched").read_text().splitlines()
    assert re.fullmatch(r"true \(\d+, #threads: 1\)", ours[0]) and re.fullmatch(r".* \(\d+, #threads: \d+\)", theirs[0])
    assert ours[1] == theirs[1]
    known = {line.split(":")[0]: len(line) for line in theirs[2:]}
    for line in ours[2:]:
        assert known[line.split(":")[0]] == len(line)


def test_cat_counts_what_it_reads_as_it_does_natively() -> None:
    """/proc/PID/io of a static program and of a dynamic one: reads for execve and its own."""
    harness.need_reference_kernel()
    harness.check(["/bin/sh", "-c", "exec /usr/bin/head -n 4 /proc/self/io"])


def test_numa_maps_says_of_each_mapping_what_maps_and_smaps_say(proc: Proc) -> None:
    harness.need_reference_kernel()
    pattern = (
        r"[0-9a-f]+ default( file=\S+| heap| stack)?( anon=\d+)?( dirty=\d+)?( mapped=\d+)?( mapmax=\d+)?"
        r"( active=\d+)?( N0=\d+ kernelpagesize_kB=4)?"
    )
    native = harness.native(["/bin/cat", "/proc/self/numa_maps"]).stdout.decode()
    ours, theirs = proc.text("numa_maps").splitlines(), native.splitlines()
    for line in ours + theirs:
        assert re.fullmatch(pattern, line), line
    assert [line.split()[0] for line in ours] == [line.split("-")[0] for line in proc.text("maps").splitlines()[:-1]]
    resident = sum(int(pages) for pages in re.findall(r" N0=(\d+)", proc.text("numa_maps")))
    assert resident == proc.task.mm.get_mm_rss()


def test_map_files_has_a_link_for_each_mapping_of_a_file(proc: Proc) -> None:
    names = proc.names("/proc/self/map_files")
    expected = [line.split()[0] for line in proc.text("maps").splitlines() if " /" in line]
    assert names == expected
    assert proc.readlink(f"/proc/self/map_files/{names[0]}") == os.path.realpath("/bin/true")
    assert proc.read(f"/proc/self/map_files/{names[0]}", 4) == b"\x7fELF"
    start, end = names[0].split("-")
    for wrong in (f"0{start}-{end}", f"{start}-{end}x", f"{start}", f"{start}-{int(end, 16) + 4096:x}", "-"):
        assert proc.readlink(f"/proc/self/map_files/{wrong}") == "open:ENOENT"


def test_namespaces_are_those_of_a_machine_without_containers(proc: Proc) -> None:
    assert proc.readlink("/proc/self/ns/pid") == "pid:[4026531836]"
    assert proc.stat("/proc/self/ns/pid", 0).st_ino == 4026531836
    assert proc.try_read("/proc/self/ns/pid") == "read:EINVAL"
    other = proc.spawn()
    assert proc.stat(f"/proc/{other.pid}/ns/mnt", 0).st_ino == proc.stat("/proc/self/ns/mnt", 0).st_ino


def test_net_is_the_readers_own(proc: Proc) -> None:
    harness.need_reference_kernel()
    assert proc.readlink("/proc/net") == "self/net"
    for name in ("dev", "tcp", "tcp6", "udp", "udp6", "raw", "raw6", "unix", "packet", "route", "arp", "icmp", "icmp6"):
        ours, theirs = proc.read(f"/proc/net/{name}"), Path(f"/proc/net/{name}").read_bytes()
        assert ours.splitlines()[0] == theirs.splitlines()[0], name


# --- writing --------------------------------------------------------------------------------------------------------

WRITES = [
    ("clear_refs", [b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"x", b"1 ", b"1\n", b"12", b"0x1", b""]),
    (
        "coredump_filter",
        [b"0x7f", b"ffff", b"1234567", b"-1", b"junk", b"", b"0x33\n", b"017", b"0", b"4294967295", b"4294967296"],
    ),
    ("timerslack_ns", [b"100", b"0", b"-5", b"x", b"70000\n"]),
    ("comm", [b"name-that-is-much-too-long", b"x\ny", b"a\0b", b"shell\n"]),
    ("setgroups", [b"deny", b"allow", b"bla", b"allow\n"]),
    ("uid_map", [b"0 0 1", b"junk"]),
    ("autogroup", [b"0", b"junk", b"", b"20"]),
    ("attr/current", [b"0", b""]),
    ("oom_adj", [b"5", b"junk", b"0x10", b" 7", b"15", b"16", b"-18", b"0xf"]),
    ("oom_score_adj", [b"1000", b"1001", b"-1001", b"", b"junk"]),
]


@pytest.mark.parametrize(("name", "data"), [(name, data) for name, each in WRITES for data in each])
def test_a_write_is_taken_or_refused_as_the_kernel_does(proc: Proc, name: str, data: bytes) -> None:
    """A forked child writes natively; both say the same, and read the same afterwards."""
    harness.need_reference_kernel()
    readable = name not in ("clear_refs", "attr/current")
    before = proc.read(f"/proc/self/{name}") if readable else b""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if name == "autogroup":  # which comes with a session
                os.setsid()
            if name == "oom_adj" or name == "oom_score_adj":
                Path("/proc/self/oom_score_adj").write_text("0")
            fd = os.open(f"/proc/self/{name}", os.O_WRONLY)
            try:
                done: int | str = os.write(fd, data)
            except OSError as error:
                done = errno.errorcode[error.errno or 0]
            after = native_read(f"/proc/self/{name}") if readable else b""
            os.write(write_end, repr((done, after)).encode())
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        done, after = eval(pipe.read())
    os.waitpid(pid, 0)
    assert proc.write(f"/proc/self/{name}", data) == done
    if readable:
        now = proc.read(f"/proc/self/{name}")
        assert now == before if isinstance(done, str) else now == after or name == "autogroup"


def test_clear_refs_forgets_what_was_referenced(proc: Proc) -> None:
    def referenced() -> list[int]:
        return [int(size) for size in re.findall(r"Referenced: +(\d+) kB", proc.text("smaps"))]

    before = referenced()
    files = [" /" in line for line in re.findall(r"(?m)^[0-9a-f]+-.*$", proc.text("smaps"))]
    assert sum(before) > 0
    proc.write("/proc/self/clear_refs", b"2")
    for was, now, file in zip(before, referenced(), files, strict=True):
        assert now == (was if file else 0)
    proc.write("/proc/self/clear_refs", b"3")
    assert sum(referenced()) == 0
    assert proc.read("/proc/self/cmdline").startswith(b"true\0")


def test_clear_refs_5_starts_the_peak_anew(proc: Proc) -> None:
    mm = proc.task.mm
    mm.hiwater_rss = 12345
    assert "VmHWM:\t   49380 kB" in proc.text("status")
    proc.write("/proc/self/clear_refs", b"5")
    assert f"VmHWM:\t{mm.get_mm_rss() * 4:8} kB" in proc.text("status")


def test_only_a_task_itself_names_it(proc: Proc) -> None:
    other = proc.task
    proc.task = proc.spawn()
    assert proc.write(f"/proc/{other.pid}/comm", b"new") == "EINVAL"


# --- several tasks --------------------------------------------------------------------------------------------------


def test_each_process_has_its_own_directory(proc: Proc) -> None:
    first = proc.task
    second = proc.task = proc.spawn()
    listed = [name for name in proc.names("/proc") if name.isdigit()]
    assert listed == [str(first.pid), str(second.pid)]
    assert proc.readlink("/proc/self") == str(second.pid)
    assert proc.readlink("/proc/thread-self") == f"{second.pid}/task/{second.pid}"
    assert proc.read(f"/proc/{first.pid}/maps") != proc.read(f"/proc/{second.pid}/maps")
    assert proc.read(f"/proc/{first.pid}/stat").split()[0] == str(first.pid).encode()


def test_threads_are_listed_below_their_process_alone(proc: Proc) -> None:
    leader = proc.task
    thread = Task(proc.kernel, 2000, leader.mm, leader.fs)
    thread.tgid = leader.pid
    thread.signal = leader.signal
    leader.signal.threads.append(thread)
    proc.kernel.tasks_by_pid[2000] = thread
    try:
        assert [name for name in proc.names("/proc") if name.isdigit()] == [str(leader.pid)]
        assert proc.names("/proc/self/task") == [str(leader.pid), "2000"]
        assert proc.stat("/proc/self/task").st_nlink == 4
        assert "Threads:\t2\n" in proc.text("status")
        assert proc.text("stat").rsplit(") ", 1)[1].split()[17] == "2"
        assert "Pid:\t2000" in proc.read("/proc/self/task/2000/status").decode()
        assert proc.readlink("/proc/2000/exe") == proc.readlink("/proc/self/exe")
        thread.ioac.count_read(100)
        assert int(proc.text("io").split()[1]) == leader.ioac.rchar + 100
    finally:
        del proc.kernel.tasks_by_pid[2000]
        leader.signal.threads.remove(thread)


def test_children_are_told_by_the_parents_thread(proc: Proc) -> None:
    parent = proc.task
    pids = []
    for _ in range(2):
        child = proc.spawn()
        child.real_parent = parent
        parent.children.append(child)
        pids.append(child.pid)
    assert proc.read(f"/proc/{parent.pid}/task/{parent.pid}/children") == b"%d %d " % tuple(pids)
    assert proc.read(f"/proc/{pids[0]}/stat").split()[3] == str(parent.pid).encode()


def test_a_zombie_shows_what_the_kernel_shows_of_one(proc: Proc, zombie: str) -> None:
    other = proc.task
    proc.task = proc.spawn()
    do_exit(other, 3 << 8)
    ours = f"/proc/{other.pid}"
    names = model_names(proc, ours)
    assert names == native_names(zombie)
    for name, mode in names.items():
        here, there = f"{ours}/{name}", f"{zombie}/{name}"
        if mode[0] == "l":
            with pytest.raises(OSError) as raised:
                os.readlink(there)
            assert proc.readlink(here) == f"open:{errno.errorcode[raised.value.errno or 0]}", name
        elif mode[0] == "d":
            if name != "net":
                assert len(proc.names(here)) == len(os.listdir(there)), name
        elif name == "status":
            labels = [re.split(":", line)[0] for line in proc.read(here).decode().splitlines()]
            assert labels == [line.split(":")[0] for line in Path(there).read_text().splitlines()]
            assert "State:\tZ (zombie)\n" in proc.read(here).decode()
        elif name == "stat":
            assert proc.read(here).split()[22:29] == Path(there).read_bytes().split()[22:29]
            assert proc.read(here).split()[51] == b"768"
        elif name not in ("comm", "cgroup", "sched", "limits", "arch_status", "clear_refs"):
            assert shape(proc.try_read(here)) == shape(native_read(there)), name


def test_whoever_holds_a_file_of_a_process_that_is_gone_finds_nothing(proc: Proc) -> None:
    from pagewalk.fs.fcntl import AT_FDCWD
    from pagewalk.fs.open import do_openat

    other = proc.task
    proc.task = proc.spawn()
    base = f"/proc/{other.pid}"
    held = {}
    for name in ("", "/stat", "/fd", "/status"):
        file = do_openat(proc.task.fs, proc.task.files, AT_FDCWD, base + name, 0, 0)
        assert not isinstance(file, int)
        held[name] = file
    do_exit(other, 0)
    proc.kernel.release_task(other)
    assert held["/stat"].read(10) == -errno.ESRCH
    assert held["/status"].read(10) == -errno.ESRCH
    fd = proc.task.files.install(held[""], cloexec=False)
    for name in ("stat", "fd", "exe"):
        assert do_openat(proc.task.fs, proc.task.files, fd, name, 0, 0) == -errno.ESRCH
    assert proc.try_read(f"{base}/stat") == "open:ENOENT"
    assert str(other.pid) not in proc.names("/proc")


# --- who may look ---------------------------------------------------------------------------------------------------


def as_user(task: Task, uid: int) -> None:
    for name in ("uid", "euid", "suid", "fsuid", "gid", "egid", "sgid", "fsgid"):
        setattr(task, name, uid)
    task.sync_cred()


@pytest.mark.parametrize(
    ("prepare", "seen"),
    [
        (lambda task: None, "open:EACCES"),
        (lambda task: as_user(task, 1000), "bytes"),
    ],
)
def test_a_user_looks_into_processes_of_his_own(proc: Proc, prepare: Callable[[Task], None], seen: str) -> None:
    other = proc.task
    proc.task = proc.spawn()
    as_user(proc.task, 1000)
    prepare(other)
    for name in ("maps", "smaps", "numa_maps", "environ", "auxv", "mem", "pagemap", "smaps_rollup"):
        found = proc.try_read(f"/proc/{other.pid}/{name}", 8, 0)
        assert (found if isinstance(found, str) and found.startswith("open") else "bytes") == seen, name
    assert proc.readlink(f"/proc/{other.pid}/exe").startswith("open:EACCES" if seen != "bytes" else "/")
    assert isinstance(proc.try_read(f"/proc/{other.pid}/status"), bytes)


def test_files_of_a_process_that_may_not_be_dumped_belong_to_root(proc: Proc) -> None:
    other = proc.task
    as_user(other, 1000)
    proc.task = proc.spawn()
    assert proc.stat(f"/proc/{other.pid}/maps").st_uid == 1000
    other.dumpable = 0
    assert proc.stat(f"/proc/{other.pid}/maps").st_uid == 0
    assert proc.stat(f"/proc/{other.pid}").st_uid == 1000
    as_user(proc.task, 1000)
    assert proc.try_read(f"/proc/{other.pid}/maps") == "open:EACCES"
