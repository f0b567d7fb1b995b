"""Curves as one HTML file that tells the value at any size, and loads nothing from anywhere."""

import json
from pathlib import Path
from typing import Final

from pagewalk.lab.curve_report import Curves
from pagewalk.lab.curve_text import notes, title

__all__ = ["page", "write"]

_POINTS: Final = 2000  # of a curve
_TEMPLATE: Final = Path(__file__).with_name("curve.html")


def page(curves: Curves, name: str, points: int | None = None) -> str:
    """The whole file."""
    found = curves.as_dict(points or _POINTS)
    found["title"] = title(curves, name)
    found["page_sizes"] = sorted({curve.page_size for curve in curves.curves})
    found["notes"] = notes(curves)
    # A name with "</script>" in it must not end the script.
    text = json.dumps(found).replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return _TEMPLATE.read_text(encoding="utf-8").replace("@DATA@", text)


def write(path: Path, curves: Curves, name: str, points: int | None = None) -> None:
    """Writes it."""
    path.write_text(page(curves, name, points), encoding="utf-8")
