"""Curves as a picture, PNG or SVG, drawn by matplotlib (``pip install 'pagewalk[pictures]'``)."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np

from pagewalk.errors import ConfigError
from pagewalk.lab.curve_report import Curve, Curves
from pagewalk.lab.curve_text import title
from pagewalk.view.units import size as size_text

__all__ = ["check", "write"]

_POINTS: Final = 2000  # of a curve; more are not seen
_WIDE: Final = 50  # times
_WIDTH, _HEIGHT = 9.0, 5.5  # inches, of each chart


def check(option: str) -> None:
    """Raises ConfigError where matplotlib is missing."""
    if find_spec("matplotlib") is None:
        raise ConfigError(f"{option}: expected matplotlib, which is not installed (pip install 'pagewalk[pictures]'); "
                          "--html needs nothing")  # fmt: skip


def write(path: Path, curves: Curves, name: str, points: int | None = None) -> None:
    """Draws all curves, a chart for each number of sets; ``path`` ends in .svg, or it is a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    groups = sorted({curve.sets for curve in curves.curves})
    figure: Any = Figure(figsize=(_WIDTH, _HEIGHT * len(groups)), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title(curves, name), fontsize=11)
    charts = figure.subplots(len(groups), 1, squeeze=False)[:, 0]
    for chart, sets in zip(charts, groups, strict=True):
        for curve in curves.curves:
            if curve.sets == sets:
                _draw(chart, curves.what, curve, points or _POINTS)
        group = [curve for curve in curves.curves if curve.sets == sets]
        _label(chart, curves.what, sets, logarithmic=_wide(group))
    kind = "svg" if path.suffix.lower() == ".svg" else "png"
    figure.savefig(path, format=kind, dpi=120, metadata={"Date": None} if kind == "svg" else None)


def _draw(chart: Any, what: str, curve: Curve, points: int) -> None:
    """One curve, as steps; a sample's error as a band."""
    kept = curve.thinned(points)
    kept = kept[curve.sizes[kept] > 0]
    scale = curve.page_size if what == "ram" else 1
    sizes = curve.sizes[kept] * scale
    whole = max(1, curve.lookups)
    ratio = 100 * curve.counts[kept] / whole
    sizes = np.append(sizes, sizes[-1] * 2)
    ratio = np.append(ratio, ratio[-1])
    line = chart.step(sizes, ratio, where="post", label=f"{size_text(curve.page_size)} pages", linewidth=1.6)[0]
    if curve.rate < 1:
        error = np.append(100 * curve.errors[kept] / whole, 100 * curve.errors[kept][-1] / whole)
        low = np.maximum(ratio - error, ratio / 100)  # a logarithmic axis has no 0
        chart.fill_between(sizes, low, ratio + error, step="post", alpha=0.2, linewidth=0, color=line.get_color())


def _wide(group: list[Curve]) -> bool:
    """Whether ratios differ so much that a linear scale hides most of the curves."""
    ratios = np.concatenate([curve.counts[1:] / max(1, curve.lookups) for curve in group])
    ratios = ratios[ratios > 0]
    return len(ratios) > 0 and float(ratios.max()) > _WIDE * float(ratios.min())


def _label(chart: Any, what: str, sets: int, *, logarithmic: bool) -> None:
    from matplotlib.ticker import FuncFormatter

    chart.set_xscale("log", base=2)
    if logarithmic:
        chart.set_yscale("log")
        chart.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        chart.set_ylim(bottom=0)
    text = size_text if what == "ram" else lambda number: f"{number:,}"
    chart.xaxis.set_major_formatter(FuncFormatter(lambda value, _: text(int(value))))
    unit = {"ram": "RAM", "tlb": "TLB entries" if sets == 1 else f"ways of {sets} sets"}[what]
    chart.set_xlabel(unit)
    chart.set_ylabel("faults, % of accesses" if what == "ram" else "misses, % of look-ups")
    chart.grid(True, which="major", alpha=0.3)
    chart.legend()
