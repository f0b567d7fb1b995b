"""pagewalk: Linux's memory management as a Python program that you can run, measure and take apart."""

from typing import TYPE_CHECKING, Any

from pagewalk import _build
from pagewalk.errors import (
    BusError,
    ConfigError,
    ExecError,
    LinuxError,
    MemoryFault,
    NotModelled,
    OomKilled,
    OutOfMemory,
    PagewalkError,
    SegmentationFault,
    TraceError,
)

if TYPE_CHECKING:
    from pagewalk.config import Config
    from pagewalk.flags import Map, Prot
    from pagewalk.machine import Machine
    from pagewalk.process import Process

__all__ = [
    "BusError",
    "Config",
    "ConfigError",
    "ExecError",
    "LinuxError",
    "Machine",
    "Map",
    "MemoryFault",
    "NotModelled",
    "OomKilled",
    "OutOfMemory",
    "PagewalkError",
    "Process",
    "Prot",
    "SegmentationFault",
    "TraceError",
]

__version__ = "0.1.0"

_LATER = {
    "Config": "pagewalk.config",
    "Machine": "pagewalk.machine",
    "Map": "pagewalk.flags",
    "Process": "pagewalk.process",
    "Prot": "pagewalk.flags",
}

_build.check()


def __getattr__(name: str) -> Any:
    """Imports the heavy parts on first use: ``pagewalk --version`` needs none of them."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_LATER[name]), name)
    globals()[name] = value
    return value
