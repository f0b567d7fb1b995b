"""Further steps of random programs under pressure: on the file they share, on memory cgroups, on memory nodes."""

import errno
from typing import TYPE_CHECKING

from pagewalk import Process
from pagewalk.mm.filemap import filemap_fsync, filemap_read, filemap_write
from pagewalk.mm.mbind import MPOL_MF_MOVE, do_migrate_pages, mbind
from pagewalk.mm.mempolicy import MPOL_BIND, MPOL_DEFAULT, MPOL_INTERLEAVE, MPOL_PREFERRED, mpol_new, mpol_set_nodemask
from pagewalk.mm.truncate import invalidate_mapping

if TYPE_CHECKING:
    from pressure_driver import Area, Pressure

PAGE = 4096
FILE_PAGES = 64


class FileSteps:
    """read(2), write(2), fsync(2), ftruncate(2) of the file, and dropping what is cached of it."""

    def __init__(self, state: "Pressure", process: Process) -> None:
        self.state = state
        self.random = state.random
        self.system = state.machine.system
        process._enter()  # it is the one that runs, and it may be dead
        self.file = process._open(state.path, True)
        assert self.file.mapping is not None
        self.mapping = self.file.mapping

    def step(self) -> None:
        """One of them."""
        what = self.random.randrange(6)
        if what <= 1:
            self.write()
        elif what <= 3:
            self.read()
        elif what == 4:
            assert filemap_fsync(self.system, self.mapping) == 0
            if self.random.random() < 0.5:
                invalidate_mapping(self.system, self.mapping)
        elif self.random.random() < 0.3:
            self.truncate()
        self.file.put()

    def write(self) -> None:
        """A few pages in a row get other contents. Where memory ends, it is written up to there."""
        first = self.random.randrange(FILE_PAGES)
        count = min(self.random.choice((1, 3, 12)), FILE_PAGES - first)
        values = [self.random.randbytes(7) + b"\1" for _ in range(count)]
        data = b"".join([value + bytes(PAGE - 8) for value in values])
        done = filemap_write(self.system, self.mapping, first * PAGE, data)
        assert done == -errno.ENOMEM or done % PAGE == 0, done
        for page in range(first, first + max(done, 0) // PAGE):
            self.state.file[page] = values[page - first]

    def read(self) -> None:
        """A few pages in a row hold what they must."""
        first = self.random.randrange(FILE_PAGES)
        count = min(self.random.choice((1, 3, 12)), FILE_PAGES - first)
        data = filemap_read(self.system, self.mapping, self.file.f_ra, first * PAGE, count * PAGE)
        if isinstance(data, int):
            assert data == -errno.ENOMEM
            return
        for at in range(0, len(data), PAGE):
            page = first + at // PAGE
            expected = self.state.file.get(page, bytes(8))
            assert data[at : at + 8] == expected, f"page {page} of the file: {data[at : at + 8]!r}, not {expected!r}"

    def truncate(self) -> None:
        """The file is cut and made as long again: what was behind is zero, in private copies as well."""
        length = self.random.randrange(FILE_PAGES)
        for size in (length, FILE_PAGES):
            assert self.file.inode.truncate(size * PAGE) == 0
        private = [area.data for areas in self.state.areas.values() for area in areas if area.kind == 3]
        for data in [self.state.file, *private]:
            for page in range(length, FILE_PAGES):
                data.pop(page, None)


class GroupSteps:
    """Processes move between memory cgroups, whose limits change."""

    def __init__(self, state: "Pressure", process: Process) -> None:
        self.random = state.random
        self.process = process
        self.groups = state.groups

    def step(self) -> None:
        """One of them."""
        group = self.random.choice(self.groups)
        what = self.random.randrange(6)
        pages = self.random.choice((None, 24, 40, 60, 80))
        size = None if pages is None else pages * PAGE
        if what <= 1:
            self.process._enter()
            group.add(self.process)
        elif what == 2:
            group.set(memory_max=size)
        elif what == 3:
            group.set(memory_high=size)
        elif what == 4:
            group.set(swap_max=size, memory_low=self.random.choice((None, 20 * PAGE)))
        else:
            group.reclaim(self.random.randrange(1, 30) * PAGE)


def move_between_nodes(state: "Pressure", process: Process, area: "Area") -> None:
    """mbind(2) of a mapping, set_mempolicy(2), or migrate_pages(2)."""
    process._enter()
    choice = state.random
    mm = process._task.mm
    nodes = choice.randrange(1, 1 << state.nodes)
    mode = choice.choice((MPOL_DEFAULT, MPOL_PREFERRED, MPOL_BIND, MPOL_INTERLEAVE))
    mask = 0 if mode == MPOL_DEFAULT else nodes
    what = choice.randrange(3)
    if what == 0:
        flags = choice.choice((0, MPOL_MF_MOVE))
        failed = mbind(mm, area.start, area.pages * PAGE, mode, 0, mask, flags)
        assert failed in (0, -errno.ENOMEM), failed
    elif what == 1:
        made = mpol_new(state.machine.system, mode, 0, mask)
        if not isinstance(made, int):
            assert mpol_set_nodemask(state.machine.system, made) == 0
            state.machine.system.has_policies = True
        process._task.mempolicy = None if isinstance(made, int) else made
    else:
        do_migrate_pages(mm, choice.randrange(1, 1 << state.nodes), nodes, move_all=choice.random() < 0.5)
