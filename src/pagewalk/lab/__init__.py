"""Experiments: what another size of TLB or RAM would do.

    from pagewalk.lab import miss_curves
    from pagewalk.trace.open import open_trace

    curves = miss_curves(open_trace("app.pwt"), what="tlb")
    print(curves.of("4K").misses(64))

The names are imported when they are first used: Numba, which they need, takes 0.3 s.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pagewalk.lab.curve import CurveRun, miss_curves
    from pagewalk.lab.curve_report import Curve, Curves

__all__ = ["Curve", "CurveRun", "Curves", "miss_curves"]

_MODULES: Final = {"Curve": "curve_report", "CurveRun": "curve", "Curves": "curve_report", "miss_curves": "curve"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"pagewalk.lab.{_MODULES[name]}"), name)
