"""Recorded results as a notebook shows them: a small curve, and each metric's last and best value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from monitor_core.metrics.monitor import DIRECTIONS
from monitor_core.values.html import card, sparkline, table
from monitor_core.values.text import format_value

_METRICS = 30
"""How many metrics the table has at most."""

Floats = NDArray[np.float64]


def results_html(
    title: str,
    lines: Iterable[str],
    columns: Mapping[str, Floats],
    epochs: Iterable[int],
    directions: Mapping[str, str] | None = None,
) -> str:
    """Return results by epoch as HTML.

    Args:
        title: The title.
        lines: Lines of text under it.
        columns: Each metric's values, ``(rows,) float64``, NaN where missing.
        epochs: Each row's epoch, 0-based.
        directions: Which way metrics improve, where that is known otherwise than by their names.
    """
    numbers = np.array(list(epochs), np.float64) + 1
    if len(numbers) > 1 and not (np.diff(numbers) > 0).all():  # several runs
        numbers = np.arange(1.0, 1 + len(numbers))
    main = next((name for name in ("loss", *columns) if name in columns), "loss")
    curves = {name: (numbers, columns[name]) for name in (main, f"val_{main}") if name in columns}
    rows = [_row(name, values, numbers, directions or {}) for name, values in list(columns.items())[:_METRICS]]
    pieces = [sparkline(curves), table(("metric", "last", "best", "in epoch"), rows, right=(1, 2, 3))] if rows else []
    left_out = len(columns) - len(rows)
    return card(title, [*lines, *([f"and {left_out} more metrics"] if left_out else [])], *pieces)


def _row(name: str, values: Floats, numbers: Floats, directions: Mapping[str, str]) -> tuple[str, str, str, str]:
    there = (~np.isnan(values)).nonzero()[0]
    last = format_value(float(values[there[-1]])) if len(there) else "nan"
    mode = directions.get(name) or DIRECTIONS.get(name.removeprefix("val_").lower())
    if mode is None or not len(there):
        return name, last, "", ""
    known = values[there]
    best = there[known.argmin() if mode == "min" else known.argmax()]
    return name, last, format_value(float(values[best])), f"{numbers[best]:.0f}"
