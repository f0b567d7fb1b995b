"""/proc and /sys: what the model says of itself, in Linux's words."""

from pagewalk.fs.procfs.root import attach

__all__ = ["attach"]
