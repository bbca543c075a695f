"""The lines of the progress: human-readable numbers and durations in aligned columns.

Contract. A column is as wide as its widest cell so far in this run, so lines align from the first one on if cells keep
their length, else from the longest one on.
"""

from __future__ import annotations

from collections.abc import Mapping

METRIC_WIDTH = 6
"""Minimum width of a metric's value: four digits, a point and a zero."""
_WIDTHS = {"time": len("9.9 s in all"), "duration": len("9.9 s")}
"""Minimum widths of columns, so that short runs align from their first line on."""


def format_duration(seconds: float) -> str:
    """Return a duration in seconds, human-readable: ``35 ms``, ``0.4 s``, ``12 s``, ``3 min 20 s``."""
    if seconds < 0.095:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Columns:
    """The columns of the lines of one run."""

    def __init__(self) -> None:
        self._widths = dict(_WIDTHS)

    def line(self, cells: Mapping[str, str], separator: str) -> str:
        """Return the cells as one line, each as wide as its column."""
        for name, cell in cells.items():
            self._widths[name] = max(self._widths.get(name, 0), len(cell))
        return separator.join(cell.ljust(self._widths[name]) for name, cell in cells.items()).rstrip()
