"""Prot and Map: what mmap(2) and mprotect(2) are told, for Python.

The numbers live once, in ``mm/mmap_flags.py``.
"""

from enum import IntFlag

from pagewalk.mm import mmap_flags

__all__ = ["Map", "Prot"]


class Prot(IntFlag):
    """PROT_*: what may be done with the pages of a mapping."""

    NONE = mmap_flags.PROT_NONE
    READ = mmap_flags.PROT_READ
    WRITE = mmap_flags.PROT_WRITE
    EXEC = mmap_flags.PROT_EXEC
    GROWSDOWN = mmap_flags.PROT_GROWSDOWN


class Map(IntFlag):
    """MAP_*: what kind of mapping it is, and where it may go."""

    SHARED = mmap_flags.MAP_SHARED
    PRIVATE = mmap_flags.MAP_PRIVATE
    SHARED_VALIDATE = mmap_flags.MAP_SHARED_VALIDATE
    FIXED = mmap_flags.MAP_FIXED
    ANONYMOUS = mmap_flags.MAP_ANONYMOUS
    LOW_32BIT = mmap_flags.MAP_32BIT
    GROWSDOWN = mmap_flags.MAP_GROWSDOWN
    LOCKED = mmap_flags.MAP_LOCKED
    NORESERVE = mmap_flags.MAP_NORESERVE
    POPULATE = mmap_flags.MAP_POPULATE
    NONBLOCK = mmap_flags.MAP_NONBLOCK
    STACK = mmap_flags.MAP_STACK
    HUGETLB = mmap_flags.MAP_HUGETLB
    FIXED_NOREPLACE = mmap_flags.MAP_FIXED_NOREPLACE
