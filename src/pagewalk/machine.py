"""A machine: RAM, a kernel, a CPU, and the host's files as a program may see them.

with Machine(ram="4G") as machine:
    result = machine.run(["/bin/ls", "-l"])
    print(result.status, result.report.rss.peak)

process = Machine().spawn()       # an empty address space to call mmap, read and write on
"""

import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pagewalk import _build
from pagewalk.config import Config
from pagewalk.errors import ConfigError, NotModelled
from pagewalk.fs.namespace import host_namespace
from pagewalk.fs.procfs import ProcfsRecorder, attach, write_procfs
from pagewalk.fs.procfs.mem import cmdline
from pagewalk.fs.procfs.task_mmu import maps_text, smaps_text
from pagewalk.inherited import host_limits, inherit
from pagewalk.kernel.entry import serve_fault
from pagewalk.kernel.kernel import Kernel
from pagewalk.mm.meminfo import meminfo_text
from pagewalk.mm.show_mem import buddyinfo_text, vmstat_text, zoneinfo_text
from pagewalk.mm.swapon import configure_swap
from pagewalk.mm.system import System
from pagewalk.mm.vmscan import Reclaim
from pagewalk.view.collect_family import FamilyRecorder
from pagewalk.view.collect_oom import cgroup_record, oom_record
from pagewalk.view.report import Report

if TYPE_CHECKING:
    from pagewalk.cgroup import Cgroup
    from pagewalk.cpu.listener import Recording
    from pagewalk.cpu.tap import Tap
    from pagewalk.cpu.tlb_model import TlbModel
    from pagewalk.hw.tlb_config import TlbConfig
    from pagewalk.kernel.cpu import Cpu
    from pagewalk.kernel.task import Task
    from pagewalk.process import Process

__all__ = ["Machine", "Result"]


RUNS_PROGRAMS = ("x86_64", "x86_32", "x86_pae", "arm64")


@dataclass(frozen=True)
class Result:
    """How a program ended.

    status  as a shell shows it: the exit status, or 128 + the signal that ended it
    signal  that signal, 0 where the program ended by itself
    report  what its memory did
    """

    status: int
    signal: int
    report: Report


class Machine:
    """One modelled machine. Keyword arguments are the fields of ``Config``: ``Machine(ram="512M", aslr=False)``.

    ``rw`` names the directories of the host below which its programs may write; everything else is read-only to them.
    ``tlb`` is the translation caches of its CPUs: a preset or parts (as ``--tlb`` has them), or a TlbConfig; ``tlb`` of
    the machine is then their model, else None.
    Raises ConfigError where they cannot be, NotModelled where they are not modelled yet.
    """

    def __init__(
        self, config: Config | None = None, *, rw: Sequence[str] = (), tlb: "str | TlbConfig | None" = None,
        **settings: Any,
    ) -> None:  # fmt: skip
        if config is not None and settings:
            raise ConfigError("a machine: expected a Config or its fields, got both")
        try:
            self.config = config if config is not None else Config(**settings)
        except TypeError:
            known = ", ".join(Config.__dataclass_fields__)
            wrong = ", ".join(sorted(set(settings) - set(Config.__dataclass_fields__)))
            raise ConfigError(f"a machine has no setting {wrong}; expected some of: {known}") from None
        self.system = System(self.config)
        reclaim = Reclaim(self.system)
        for node in self.system.nodes:
            node.reclaim = reclaim
        configure_swap(self.system)
        self.namespace = host_namespace(self.system, rw_dirs=list(rw), warm=self.config.warm)
        self.kernel = Kernel(self.system, self.namespace)
        self._proc = attach(self.namespace, self.kernel)
        self.tlb: TlbModel | None = None if tlb is None else self._make_tlb(tlb)
        self._recording: Recording | None = None
        self._cpu: Cpu | None = None
        self._running: Task | None = None
        self._recorder: ProcfsRecorder | None = None
        self._family: FamilyRecorder | None = None
        self._early: Report | None = None
        self.kernel.on_exit = self._before_exit
        self.kernel.on_exec = self._before_exec
        self.kernel.on_idle = self._on_idle
        self.kernel.on_mm_release = self._on_mm_release

    def __repr__(self) -> str:
        size = self.system.totalram_pages * int(self.system.page_size) >> 20
        return f"<Machine {self.config.arch}, {size} MiB, Linux {self.config.linux}>"

    def __enter__(self) -> "Machine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the machine's memory and of what it holds of the host. Its processes cannot be used any more."""
        for task in self.kernel.tasks():
            self.kernel.release_task(task)
        self.kernel.close()
        self.namespace.close()
        self.system.mem_map.forget()

    def _make_tlb(self, tlb: "str | TlbConfig") -> "TlbModel":
        """The model of the TLBs; ConfigError where ``tlb`` says none."""
        from pagewalk.cpu.tlb_model import TlbModel
        from pagewalk.hw.tlb_parse import parse_tlb

        config = parse_tlb(tlb) if isinstance(tlb, str) else tlb
        return TlbModel(config, self.system, self.config.cpus, serve_fault)

    # Processes.

    def spawn(self) -> "Process":
        """A process without a program: an empty address space, whose calls Python makes. Raises OutOfMemory."""
        from pagewalk.process import Process

        return Process(self, self.kernel.new_task())

    def cgroup(self, name: str, **settings: "int | str | None") -> "Cgroup":
        """A new memory cgroup below the root: ``memory_max``, ``memory_high``, ``memory_low``, ``memory_min``,
        ``swap_max`` (bytes or text, None for none) and ``oom_group`` are its settings. ConfigError where one cannot
        be."""
        from pagewalk.cgroup import make_cgroup

        return make_cgroup(self, self.system.memcg.root, name, settings)

    def run(
        self,
        argv: Sequence[str | bytes],
        *,
        program: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        timeout: float | None = None,
        detail: bool = False,
        procfs: str | None = None,
        record: "Recording | None" = None,
        dump_ram: str | None = None,
        cgroup: "Cgroup | None" = None,
    ) -> Result:
        """Runs a program to its end, with this process's standard streams as its own.

        argv     its arguments, the first one its name
        program  the path of the file to execute, ``argv[0]`` where it is not given; there is no search in PATH
        env      its environment, this process's own where it is not given
        cwd      its working directory, this process's own where it is not given; it and the program's are visible,
                 read-only, also below /tmp, which is private otherwise
        timeout  seconds after which it is killed
        detail   the report's ``smaps`` are wanted too
        procfs   a directory that gets the machine's /proc as files: all processes as they were when most of them were
                 there, those that lived at other times as they were before they ended
        dump_ram a file that gets the machine's RAM as it was when the program ended, an ELF core
        cgroup   the memory cgroup that it runs in; its memory is charged from the first page of the program on
        record   who gets everything that the program and its children access, and what changes their address spaces

        Raises ExecError where the program cannot be executed, OutOfMemory where the machine's RAM does not suffice.
        """
        if not argv:
            raise ConfigError("run: expected a program, got an empty argv")
        if self.config.arch not in RUNS_PROGRAMS:
            known = ", ".join(RUNS_PROGRAMS)
            raise NotModelled(f"running programs on {self.config.arch} (on {known} they run; spawn() works on all)")
        path = program if program is not None else os.fsdecode(argv[0])
        recorder = None if procfs is None else ProcfsRecorder(self._proc, procfs)
        environment = os.environ if env is None else env
        directory = os.path.abspath(cwd) if cwd is not None else os.getcwd()
        program_path = os.path.join(directory, path)
        for place in (directory, os.path.dirname(program_path), program_path):
            self.namespace.show(place)
        task = self.kernel.spawn(
            path,
            [os.fsencode(word) for word in argv],
            [os.fsencode(f"{key}={value}") for key, value in environment.items()],
            cwd=directory,
            rlimits=host_limits(),
            memcg=0 if cgroup is None else cgroup.ident,
        )
        inherit(task)
        self._recorder = recorder
        return self._run_task(task, [os.fsdecode(word) for word in argv], timeout, detail, record, dump_ram)

    def _run_task(
        self,
        task: "Task",
        command: list[str],
        timeout: float | None,
        detail: bool,
        record: "Recording | None" = None,
        dump_ram: str | None = None,
    ) -> Result:
        """Runs a task that has its program; the report, then its memory is freed."""
        from pagewalk.kernel.sched import run

        timer = threading.Timer(timeout, self.stop, [f"timeout of {timeout:g} s"]) if timeout is not None else None
        start = time.monotonic()
        tap: Tap | None = None
        self._running = task
        self._early = None
        self._family = FamilyRecorder(self.kernel, cmdline)
        kills_before = len(self.kernel.oom.kills)
        try:
            if timer is not None:
                timer.daemon = True
                timer.start()
            if record is not None or self.tlb is not None:
                if self.tlb is not None:
                    self.tlb.reset()
                tap = self._tap(record)
                if record is not None:
                    record.begin(self.kernel, tap, task)
                    self._recording = record
            status = run(self.kernel, self._the_cpu(), task)
            report = self._report(task, command, status, time.monotonic() - start, detail)
            report.cgroup = cgroup_record(self.system.memcg.groups[task.memcg], int(self.system.page_size))
            report.oom_kills = [
                oom_record(kill, int(self.system.page_size)) for kill in self.kernel.oom.kills[kills_before:]
            ]
            if dump_ram is not None:
                self.dump_ram(dump_ram)
        finally:
            if timer is not None:
                timer.cancel()
            self._running = None
            if tap is not None:
                tap.close()
            self.kernel.do_exit(task, 9)
            self.kernel.release_task(task)
            for left in self.kernel.tasks():
                if left.stack is not None:
                    self.kernel.release_task(left)
            if record is not None:
                record.end()
            self._recording = None
            self.namespace.sync()
            self.kernel.stop_reason = ""
            self._family = None
            self._recorder = None
            self._early = None
        if self.tlb is not None:
            report.tlb = self.tlb.as_dict()
        return Result(report.status, report.signal, report)

    def _tap(self, record: "Recording | None") -> "Tap":
        """Listens to the CPU for the TLBs and for who records."""
        from pagewalk.cpu.tap import Tap

        return Tap(self.kernel, self._the_cpu(), self.tlb, record)

    def _the_cpu(self) -> "Cpu":
        """The machine's CPU, made on first use: a process that Python drives needs none."""
        if self._cpu is None:
            from pagewalk.cpu.make import make_cpu

            self._cpu = make_cpu(self.system)
        return self._cpu

    def _report(self, task: "Task", command: list[str], status: int, seconds: float, detail: bool) -> Report:
        """What the task's memory did."""
        from pagewalk.view.collect import collect_machine, collect_mm

        stop = (status >> 8) & 0x7F if status & 0xFF == 0x7F else 0
        ended_by = stop or status & 0x7F
        report = Report(
            command=command,
            status=128 + ended_by if ended_by else status >> 8 & 0xFF,
            signal=ended_by,
            stopped=self.kernel.stop_reason,
            pid=task.pid,
            minor=task.min_flt,
            major=task.maj_flt,
            seconds=seconds,
            interpreted=_build.interpreted_because(),
        )
        if self._early is None:
            collect_mm(report, task.mm, maps_text(task.mm))
            report.smaps = smaps_text(task.mm) if detail else ""
        else:
            report.take_memory(self._early)
        collect_machine(report, self.system)
        if self._family is not None:
            report.processes = self._family.finish()
            report.unknown_calls = dict(self._family.unknown_calls)
            report.syscalls = dict(self._family.calls)
        return report

    def stop(self, reason: str) -> None:
        """Ends what runs, soon; ``reason`` is what the report says. May be called from another thread."""
        self.kernel.stop(reason)

    def progress(self) -> tuple[int, int, int]:
        """Faults, resident bytes and system calls of what runs, so far. May be called from another thread."""
        task = self._running
        if task is None:
            return 0, 0, 0
        return task.min_flt + task.maj_flt, task.mm.get_mm_rss() << int(self.system.page_shift), task.nr_syscalls

    def _before_exit(self, task: "Task") -> None:
        """A task is about to end: what is to be kept of it is taken now. The memory of the program that a run is about
        stays until its report is made, unless the OOM killer wants it."""
        if self._recorder is not None:
            self._recorder.before_exit(task)
        if self._family is not None:
            self._family.before_exit(task)
        if task.keep_mm and task is self._running and task.mm.oom_victim and task.signal.live == 1:
            from pagewalk.view.collect import collect_mm

            self._early = Report(command=[])
            collect_mm(self._early, task.mm, maps_text(task.mm))
            self._early.smaps = smaps_text(task.mm)
            task.keep_mm = False

    def _before_exec(self, task: "Task") -> None:
        """The program of a task is about to be replaced."""
        if self._family is not None:
            self._family.before_exec(task)

    def _on_idle(self, cpu: int) -> None:
        """A CPU has nothing to run."""
        if self.tlb is not None:
            self.tlb.idle(cpu)
        if self._recording is not None:
            self._recording.on_idle(cpu)

    def _on_mm_release(self, task: "Task") -> None:
        """A task has given its address space up."""
        if self.tlb is not None:
            self.tlb.idle(task.cpu)
        if self._recording is not None:
            self._recording.on_mm_release(task)

    # What /proc says of the machine, in Linux's own words.

    def write_procfs(self, directory: str | os.PathLike[str]) -> None:
        """Writes /proc, as it is at this moment, to a directory of the host: for programs that read another machine's
        /proc, such as psutil. The directory is new, empty, or holds what an earlier call wrote (which is replaced);
        ConfigError where it is something else. ``mem``, ``pagemap`` and the tables of frames are left out."""
        write_procfs(self._proc, os.fspath(directory))

    def dump_ram(self, file: str | os.PathLike[str], *, format: str = "elf") -> None:
        """Writes the machine's RAM to a file of the host, unused frames as holes: an ELF core ("elf", a PT_LOAD segment
        for each range of RAM, with its physical address) or an image in which a byte's place is its physical address
        ("raw"), for tools that analyse memory. ConfigError where it cannot be written."""
        from pagewalk.view.dump_ram import used_frames, write_core, write_raw

        system = self.system
        ranges = system.ranges()
        frames = used_frames(system.mem_map, system.init_mm.boot_pfns if system.init_mm is not None else [])
        if format == "raw":
            write_raw(os.fspath(file), system.ram, ranges, frames)
        elif format == "elf":
            tasks = [
                {"pid": task.pid, "comm": task.comm, "root": f"{int(task.mm.pgd_pfn) << int(system.page_shift):#x}"}
                for task in self.kernel.tasks()
                if task.mm.pgd_pfn >= 0
            ]
            about: dict[str, object] = {"arch": self.config.arch, "format": system.format.name, "tasks": tasks}
            if system.init_mm is not None:
                about["kernel_root"] = f"{int(system.init_mm.pgd_pfn) << int(system.page_shift):#x}"
            write_core(os.fspath(file), system.ram, ranges, frames, self.config.arch, about)
        else:
            raise ConfigError(f"dump_ram: expected the format elf or raw, got {format!r}")

    def dmesg(self) -> str:
        """What the OOM killer has printed, report after report, as it would be in the kernel's log."""
        return "".join(f"{line}\n" for line in self.kernel.oom.log)

    def buddyinfo(self) -> str:
        """/proc/buddyinfo: free blocks by zone and order."""
        return buddyinfo_text(self.system)

    def zoneinfo(self) -> str:
        """/proc/zoneinfo: each zone's sizes, watermarks and per-CPU lists."""
        return zoneinfo_text(self.system)

    def meminfo(self) -> str:
        """/proc/meminfo."""
        return meminfo_text(self.system)

    def vmstat(self) -> str:
        """/proc/vmstat: events since boot, pages by use."""
        return vmstat_text(self.system)
