"""/proc and /sys: what the model says of itself, in Linux's words."""

from pagewalk.fs.procfs.export import ProcfsRecorder, check_directory, write_procfs
from pagewalk.fs.procfs.root import attach

__all__ = ["ProcfsRecorder", "attach", "check_directory", "write_procfs"]
