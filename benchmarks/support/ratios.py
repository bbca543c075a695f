"""The plot of a benchmark's ratios: `plot_ratios`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

from monitor_core.plotting.curves.plot import image_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_ratios(
    tables: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    title: str | None = None,
    to_file: str | PathLike[str] | None = None,
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Plot the times of variants relative to a floor: a panel for each table, a dot with its quartiles for each row.

    The axis is logarithmic, with a line at the floor. The grey band is the scatter of the A/A control, between its
    quartiles and their mirror images: ratios within it cannot be distinguished from noise.

    Args:
        tables: Rows by table title. A row has ``variant``, a name, ``ratio``, and ``quartiles``, two ratios.
            The row whose figures are all 1 is the floor; it is named at the axis and has no dot.
        title: A title above the plot.
        to_file: A path with the suffix ``.png`` or ``.svg`` to write the plot to; an existing file is replaced
            atomically, once the new one is complete.
        figsize: Width and height in inches; chosen by the number of rows if None.

    Returns:
        The figure; its axes are the panels in order.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: There is no table, a table has no row, a ratio is not finite and above 0, or the suffix is neither.

    Example:
        >>> rows = [{"variant": "bus", "ratio": 1.02, "quartiles": [1.01, 1.04]}]
        >>> figure = plot_ratios({"10 listeners": rows})
        >>> [axes.get_title(loc="left") for axes in figure.axes]
        ['10 listeners']
    """
    path = None if to_file is None else image_path(to_file)
    _check(tables)

    from monitor_core.plotting import figures
    from support import ratio_drawing

    figure = ratio_drawing.draw(tables, title=title, figsize=figsize)
    if path is not None:
        figures.save(figure, path)
    return figure


def _check(tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    if not tables:
        raise ValueError("tables must have at least one table (got none)")
    for title, rows in tables.items():
        if not rows:
            raise ValueError(f"table {title!r} must have at least one row (got none)")
        for row in rows:
            for ratio in (row["ratio"], *row["quartiles"]):
                if not 0 < ratio < math.inf:
                    raise ValueError(f"ratios of {row['variant']!r} must be finite and > 0 (got {ratio})")
