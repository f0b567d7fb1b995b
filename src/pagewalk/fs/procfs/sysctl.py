"""/proc/sys: the sysctls.

Those of the configuration show and change it; names and defaults of the others are Linux's.

Sources: Documentation/admin-guide/sysctl/{vm,kernel,fs}.rst.

Mirrors: kernel/sysctl.c, mm/util.c, ipc/ipc_sysctl.c, drivers/char/random.c (6.18)
Differs: what the model has no use for cannot be changed (EPERM, as for a read-only one).
"""

import errno
import uuid
from typing import Final

from pagewalk.fs.procfs.inodes import ProcSuper
from pagewalk.fs.procfs.sysctl_defaults import SYSCTL_DEFAULTS, USER_NAMESPACES
from pagewalk.fs.procfs.sysctl_numbers import proc_get_long
from pagewalk.fs.procfs.sysctl_zones import add_zone_sysctls
from pagewalk.fs.procfs.tree import TextSpec, Tree
from pagewalk.mm.truncate import invalidate_mapping

_LONG_MAX: Final = (1 << 63) - 1
_INT_MAX: Final = 0x7FFFFFFF

# vm.* that the configuration has: name, smallest and largest value that may be written (None: only shown)
_VM_CONFIG: Final = (
    ("overcommit_memory", 0, 2),
    ("overcommit_ratio", 0, _INT_MAX),
    ("overcommit_kbytes", 0, _LONG_MAX),
    ("max_map_count", 0, _INT_MAX),
    ("mmap_min_addr", 0, _INT_MAX),
    ("legacy_va_layout", 0, 1),
    ("swappiness", 0, 200),
    ("oom_dump_tasks", 0, 1),
    ("oom_kill_allocating_task", 0, 1),
    ("panic_on_oom", 0, 2),
)

_FIXED: Final = (
    ("kernel/arch", "x86_64"),
    ("kernel/cap_last_cap", "40"),
    ("kernel/core_pattern", "core"),
    ("kernel/core_uses_pid", "0"),
    ("kernel/dmesg_restrict", "1"),
    ("kernel/kptr_restrict", "0"),
    ("kernel/msgmax", "8192"),
    ("kernel/msgmnb", "16384"),
    ("kernel/msgmni", "32000"),
    ("kernel/ngroups_max", "65536"),
    ("kernel/numa_balancing", "0"),
    ("kernel/overflowgid", "65534"),
    ("kernel/overflowuid", "65534"),
    ("kernel/perf_event_paranoid", "2"),
    ("kernel/pid_max", "32768"),
    ("kernel/sem", "32000\t1024000000\t500\t32000"),
    ("kernel/shm_rmid_forced", "0"),
    ("kernel/shmall", "18446744073692774399"),
    ("kernel/shmmax", "18446744073692774399"),
    ("kernel/shmmni", "4096"),
    ("kernel/tainted", "0"),
    ("kernel/random/entropy_avail", "256"),
    ("kernel/random/poolsize", "256"),
    ("kernel/random/urandom_min_reseed_secs", "60"),
    ("kernel/random/write_wakeup_threshold", "256"),
    ("fs/nr_open", "1048576"),
    ("fs/pipe-max-size", "1048576"),
    ("fs/protected_fifos", "0"),
    ("fs/protected_hardlinks", "0"),
    ("fs/protected_regular", "0"),
    ("fs/protected_symlinks", "0"),
    ("vm/compaction_proactiveness", "20"),
    ("vm/dirty_background_bytes", "0"),
    ("vm/dirty_background_ratio", "10"),
    ("vm/dirty_bytes", "0"),
    ("vm/dirty_expire_centisecs", "3000"),
    ("vm/dirty_ratio", "20"),
    ("vm/dirty_writeback_centisecs", "500"),
    ("vm/extfrag_threshold", "500"),
    ("vm/memfd_noexec", "0"),
    ("vm/nr_hugepages", "0"),
    ("vm/nr_overcommit_hugepages", "0"),
    ("vm/unprivileged_userfaultfd", "0"),
    ("vm/vfs_cache_pressure", "100"),
    ("vm/zone_reclaim_mode", "0"),
)


_READ_ONLY: Final = (
    "kernel/arch", "kernel/cap_last_cap", "kernel/ngroups_max", "kernel/random/entropy_avail",
    "kernel/random/poolsize",
)  # fmt: skip


class Constant:
    """Says always the same."""

    def __init__(self, value: str) -> None:
        self.value = value + "\n"

    def make(self, sb: ProcSuper) -> str:
        """The value."""
        return self.value

    def store(self, sb: ProcSuper, data: bytes) -> int:
        """Writing what it is already is no change."""
        return len(data) if data.strip() == self.value.strip().encode() else -errno.EPERM


class _VmSetting:
    """A vm.* sysctl of the configuration."""

    def __init__(self, name: str, low: int, high: int) -> None:
        self.name = name
        self.low = low
        self.high = high

    def make(self, sb: ProcSuper) -> str:
        """Its value."""
        return f"{int(getattr(sb.system.config, self.name))}\n"

    def store(self, sb: ProcSuper, data: bytes) -> int:
        """A new value; EINVAL where it is no number or out of range."""
        value = proc_get_long(data)
        if value is None or not self.low <= value <= self.high:
            return -errno.EINVAL
        old = getattr(sb.system.config, self.name)
        setattr(sb.system.config, self.name, bool(value) if isinstance(old, bool) else value)
        sb.system.config_changed()
        return len(data)


class _UtsName:
    """A name of uname(2)."""

    def __init__(self, field: str) -> None:
        self.field = field

    def make(self, sb: ProcSuper) -> str:
        """The name."""
        return f"{sb.kernel.uts_name(self.field)}\n"


def _randomize_va_space(sb: ProcSuper) -> str:
    return "2\n" if sb.system.config.aslr else "0\n"


def _mmap_rnd_bits(sb: ProcSuper) -> str:
    return f"{sb.system.layout.mmap_rnd_bits}\n"


def _threads_max(sb: ProcSuper) -> str:
    return f"{sb.system.totalram_pages // 32}\n"


def _max_user_processes(sb: ProcSuper) -> str:
    return f"{sb.system.totalram_pages // 64}\n"


def _ram_kb(sb: ProcSuper) -> int:
    return sb.system.totalram_pages * int(sb.system.page_size) >> 10


def file_max(sb: ProcSuper) -> int:
    """Open files of the whole machine: a tenth of RAM in KiB."""
    return max(_ram_kb(sb) // 10, 8192)


def _file_max(sb: ProcSuper) -> str:
    return f"{file_max(sb)}\n"


def _watches(sb: ProcSuper, share: int, cost: int) -> int:
    """How many things of ``cost`` bytes fit into one part in ``share`` of RAM."""
    return sb.system.totalram_pages // share * int(sb.system.page_size) // cost


def _epoll_watches(sb: ProcSuper) -> str:
    return f"{_watches(sb, 25, 184)}\n"


def _inotify_watches(sb: ProcSuper) -> str:
    return f"{min(max(_watches(sb, 100, 1312), 8192), 1048576)}\n"


def _fanotify_marks(sb: ProcSuper) -> str:
    return f"{min(max(_watches(sb, 100, 1232), 8192), 1048576)}\n"


def _user_reserve(sb: ProcSuper) -> str:
    return f"{min(_ram_kb(sb) // 32, 131072)}\n"


def _admin_reserve(sb: ProcSuper) -> str:
    return f"{min(_ram_kb(sb) // 32, 8192)}\n"


def _ns_last_pid(sb: ProcSuper) -> str:
    return f"{max(sb.kernel.next_pid - 1, 0)}\n"


def _dentry_state(sb: ProcSuper) -> str:
    return "0\t0\t45\t0\t0\t0\n"


def _inode_nr(sb: ProcSuper) -> str:
    return "0\t0\n"


def _inode_state(sb: ProcSuper) -> str:
    return "0\t0\t0\t0\t0\t0\t0\n"


def _file_nr(sb: ProcSuper) -> str:
    count = sum([len(task.files.fds()) for task in sb.kernel.tasks()])
    return f"{count}\t0\t{file_max(sb)}\n"


def _boot_id(sb: ProcSuper) -> str:
    return f"{uuid.UUID(int=sb.boot_id, version=4)}\n"


def _uuid(sb: ProcSuper) -> str:
    return f"{uuid.UUID(int=sb.system.random.getrandbits(128), version=4)}\n"


def _nothing(sb: ProcSuper) -> str:
    return ""


def _inotify_instances(sb: ProcSuper) -> str:
    return "128\n"


def _compact_memory(sb: ProcSuper, data: bytes) -> int:
    """1 asks for compaction, of which there is none."""
    return len(data) if data.strip() == b"1" else -errno.EINVAL


def _taken(sb: ProcSuper, data: bytes) -> int:
    """Counters are always fresh."""
    return len(data)


def _drop_caches(sb: ProcSuper, data: bytes) -> int:
    """1 and 3 drop the clean pages of host files that nobody maps; 2 has nothing to drop."""
    value = data.strip()
    if value not in (b"1", b"2", b"3"):
        return -errno.EINVAL
    if value != b"2":
        for mapping in sb.ns.cache.mappings.values():
            invalidate_mapping(sb.system, mapping)
        sb.system.vmstat.drop_pagecache += 1
    return len(data)


def sysctl_tree() -> Tree:
    """The tree below /proc/sys."""
    tree = Tree(0)
    add_zone_sysctls(tree)
    for name, low, high in _VM_CONFIG:
        setting = _VmSetting(name, low, high)
        tree.add(f"vm/{name}", TextSpec(0o644, setting.make, setting.store))
    cluster = _VmSetting("page_cluster", 0, 31)
    tree.add("vm/page-cluster", TextSpec(0o644, cluster.make, cluster.store))
    for field, attribute in (
        ("ostype", "sysname"), ("osrelease", "release"), ("version", "version"), ("hostname", "nodename"),
        ("domainname", "domainname"),
    ):  # fmt: skip
        mode = 0o644 if field in ("hostname", "domainname") else 0o444
        tree.add(f"kernel/{field}", TextSpec(mode, _UtsName(attribute).make))
    for path, value in _FIXED:
        constant = Constant(value)
        tree.add(path, TextSpec(0o444 if path in _READ_ONLY else 0o644, constant.make, constant.store))
    for path, mode, make in (
        ("vm/mmap_rnd_bits", 0o600, _mmap_rnd_bits),
        ("kernel/randomize_va_space", 0o644, _randomize_va_space),
        ("kernel/threads-max", 0o644, _threads_max),
        ("kernel/random/boot_id", 0o444, _boot_id),
        ("kernel/random/uuid", 0o444, _uuid),
        ("fs/file-max", 0o644, _file_max),
        ("fs/file-nr", 0o444, _file_nr),
        ("fs/epoll/max_user_watches", 0o644, _epoll_watches),
        ("fs/inotify/max_user_watches", 0o644, _inotify_watches),
        ("fs/fanotify/max_user_marks", 0o644, _fanotify_marks),
        ("fs/dentry-state", 0o444, _dentry_state),
        ("fs/inode-nr", 0o444, _inode_nr),
        ("fs/inode-state", 0o444, _inode_state),
        ("vm/user_reserve_kbytes", 0o644, _user_reserve),
        ("vm/admin_reserve_kbytes", 0o644, _admin_reserve),
        ("kernel/ns_last_pid", 0o666, _ns_last_pid),
        ("user/max_inotify_instances", 0o644, _inotify_instances),
        ("user/max_inotify_watches", 0o644, _inotify_watches),
        ("user/max_fanotify_groups", 0o644, _inotify_instances),
        ("user/max_fanotify_marks", 0o644, _fanotify_marks),
    ):
        tree.add(path, TextSpec(mode, make))
    for kind in USER_NAMESPACES:
        tree.add(f"user/max_{kind}_namespaces", TextSpec(0o644, _max_user_processes))
    for path, mode, value in SYSCTL_DEFAULTS:
        default = Constant(value)
        tree.add(path, TextSpec(mode, default.make, default.store))
    tree.add("vm/compact_memory", TextSpec(0o200, _nothing, _compact_memory))
    tree.add("vm/stat_refresh", TextSpec(0o600, _nothing, _taken))
    tree.add("vm/drop_caches", TextSpec(0o200, _nothing, _drop_caches))
    return tree
