"""The picture of a benchmark's ratios: `plot_ratios`."""

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
    """Draw what variants take in relation to a floor: a panel for each table, a dot with its quartiles for each row.

    The axis is logarithmic, with a line at the floor. The grey band is what the A/A control scatters by, between its
    quartiles and their mirror images: what lies within cannot be told from noise.

    Args:
        tables: Rows by their table's title. A row has ``variant``, a name, ``ratio``, and ``quartiles``, two ratios.
            The row whose figures are all 1 is the floor itself; it is named at the axis and has no dot.
        title: A title above the picture.
        to_file: A path with the suffix ``.png`` or ``.svg`` to write the picture to; what was there is replaced in
            one go, once the new picture is complete.
        figsize: Width and height in inches; chosen by the number of rows if None.

    Returns:
        The figure; its axes are the panels in their order.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: There is no table, a table has no row, a ratio is not finite and above 0, or the suffix is another.

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
        raise ValueError("tables must hold at least one table (got none)")
    for title, rows in tables.items():
        if not rows:
            raise ValueError(f"table {title!r} must have at least one row (got none)")
        for row in rows:
            for ratio in (row["ratio"], *row["quartiles"]):
                if not 0 < ratio < math.inf:
                    raise ValueError(f"ratios of {row['variant']!r} must be finite and > 0 (got {ratio})")
