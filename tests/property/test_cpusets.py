"""Random trees of cgroups with cpusets: effective masks as a naive twin has them, pages only where they may be."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pagewalk import Machine, Process
from pagewalk.check import check_machine
from pagewalk.mm.cpuset import effective_cpus, effective_mems
from pagewalk.mm.mbind import page_at
from pagewalk.mm.mem_cgroup import MemCgroup
from pagewalk.mm.migrate import page_to_nid

NODES = 3
CPUS = 4
PAGE = 4096
PAGES = 8


class Twin:
    """A group as a reader of the documentation would keep it: sets, and a question to the parent."""

    def __init__(self, parent: "Twin | None") -> None:
        self.parent = parent
        self.children: list[Twin] = []
        self.shares = False  # +cpuset
        self.cpus: set[int] = set()
        self.mems: set[int] = set()

    def own(self) -> bool:
        return self.parent is None or (self.parent.shares and self.parent.own())

    def effective(self, kind: str, whole: set[int]) -> set[int]:
        if self.parent is None:
            return whole
        above = self.parent.effective(kind, whole)
        asked: set[int] = getattr(self, kind) if self.own() else set()
        return (above & asked) or above


def mask(members: set[int]) -> int:
    return sum(1 << each for each in members)


class Cpusets(RuleBasedStateMachine):
    """Groups and processes; each process has one mapping, some pages of which it touches after each change."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = Machine(nodes=("32M",) * NODES, cpus=CPUS)
        self.kernel = self.machine.kernel
        self.groups: list[tuple[MemCgroup, Twin]] = [(self.machine.system.memcg.root, Twin(None))]
        self.processes: list[tuple[Process, int, int]] = []  # where: index of its group; address

    def teardown(self) -> None:
        check_machine(self.machine)
        self.machine.close()

    @precondition(lambda self: len(self.groups) < 6)
    @rule(at=st.integers(0, 5))
    def mkdir(self, at: int) -> None:
        group, twin = self.groups[at % len(self.groups)]
        made = self.machine.system.memcg.create(group, f"g{len(self.groups)}")
        assert made is not None
        below = Twin(twin)
        twin.children.append(below)
        self.groups.append((made, below))

    @rule(at=st.integers(0, 5), shares=st.booleans())
    def switch(self, at: int, shares: bool) -> None:
        group, twin = self.groups[at % len(self.groups)]
        if not twin.own() or (not shares and any(child.shares for child in twin.children)):
            return
        if shares == twin.shares:
            return
        self.kernel.update_cpuset(group, group.cpus, group.mems, shares)
        twin.shares = shares
        for child in twin.children:
            child.cpus, child.mems = set(), set()

    @rule(at=st.integers(0, 5), mems=st.sets(st.integers(0, NODES - 1)), cpus=st.sets(st.integers(0, CPUS - 1)))
    def ask(self, at: int, mems: set[int], cpus: set[int]) -> None:
        group, twin = self.groups[at % len(self.groups)]
        if twin.parent is None or not twin.own():
            return
        self.kernel.update_cpuset(group, mask(cpus), mask(mems))
        twin.cpus, twin.mems = cpus, mems

    @precondition(lambda self: len(self.processes) < 4)
    @rule(at=st.integers(0, 5), fork=st.booleans())
    def start(self, at: int, fork: bool) -> None:
        if fork and self.processes:
            parent, where, area = self.processes[0]
            self.processes.append((parent.fork(), where, area))
            return
        where = at % len(self.groups)
        process = self.machine.spawn()
        area = process.mmap(PAGES * PAGE, 3)
        self.kernel.memcg_attach(process._task, self.groups[where][0])
        self.processes.append((process, where, area))

    @precondition(lambda self: self.processes != [])
    @rule(who=st.integers(0, 3), at=st.integers(0, 5))
    def move(self, who: int, at: int) -> None:
        who %= len(self.processes)
        where = at % len(self.groups)
        process, _, area = self.processes[who]
        self.kernel.memcg_attach(process._task, self.groups[where][0])
        self.processes[who] = (process, where, area)

    @precondition(lambda self: self.processes != [])
    @rule(who=st.integers(0, 3), page=st.integers(0, PAGES - 1))
    def write(self, who: int, page: int) -> None:
        process, where, area = self.processes[who % len(self.processes)]
        value = bytes([page + 1])
        fresh = page_at(process._task.mm, area + page * PAGE) is None
        process.write(area + page * PAGE, value)
        frame = page_at(process._task.mm, area + page * PAGE)
        assert frame is not None and process.read(area + page * PAGE, 1) == value
        if fresh:
            assert page_to_nid(self.machine.system, frame) in self.groups[where][1].effective("mems", set(range(NODES)))

    @invariant()
    def masks_are_the_twins(self) -> None:
        system = self.machine.system
        for group, twin in self.groups:
            assert effective_mems(system, group) == mask(twin.effective("mems", set(range(NODES))))
            assert effective_cpus(system, group) == mask(twin.effective("cpus", set(range(CPUS))))
        for process, where, _ in self.processes:
            twin = self.groups[where][1]
            task = process._task
            everything = (1 << NODES) - 1
            assert int(task.mems_allowed) & everything == mask(twin.effective("mems", set(range(NODES))))
            assert task.cpus_allowed & (1 << CPUS) - 1 == mask(twin.effective("cpus", set(range(CPUS))))


TestCpusets = Cpusets.TestCase
TestCpusets.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
