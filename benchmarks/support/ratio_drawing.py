"""Draw the ratios of a benchmark: a panel for each table, a dot with its quartiles for each row."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from monitor_core.plotting.curves.curves import Floats
from monitor_core.plotting.figures import PALETTE, HistoryFigure

Row = Mapping[str, Any]
Tables = Mapping[str, Sequence[Row]]

CONTROL = "A/A control"
"""The variant that is a copy of the floor: its scatter is noise."""
_BLUE, _GREY = PALETTE[0], "0.55"
_ROW_INCHES, _PANEL_INCHES = 0.24, 0.95
_LABEL_INCHES, _AXIS_INCHES = 0.075, 4.2
_LEAST = 1.05
"""How far an axis extends at least beyond the floor, so that noise does not fill a panel."""
_TICKS = (0.1, 0.2, 0.5, 0.8, 0.9, 0.95, 0.98, 1, 1.02, 1.05, 1.1, 1.2, 1.5, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)
_MOST_TICKS = 7


def draw(tables: Tables, *, title: str | None = None, figsize: tuple[float, float] | None = None) -> Figure:
    """Draw tables of at least one row each, in two columns if there are more than two.

    Args:
        tables: What to draw, in order, as in `plot_ratios`.
        title: A title above the plot.
        figsize: Width and height in inches.
    """
    panels = list(tables.items())
    columns = 1 if len(panels) <= 2 else 2
    counts = [len(rows) for _, rows in panels]
    heights = [max(counts[first : first + columns]) for first in range(0, len(panels), columns)]
    figure = HistoryFigure(figsize=figsize or _size(tables, heights, columns), layout="constrained")
    FigureCanvasAgg(figure)
    if title is not None:
        figure.suptitle(title, fontsize="large", fontweight="bold")
    grid = figure.subplots(len(heights), columns, squeeze=False, height_ratios=[2 + height for height in heights])
    for axes, (name, rows) in zip(grid.flat, panels, strict=False):
        _draw_panel(axes, name, rows)
    for axes in grid.flat[len(panels) :]:
        axes.remove()
    return figure


def _size(tables: Tables, heights: Sequence[int], columns: int) -> tuple[float, float]:
    longest = max(len(str(row["variant"])) for rows in tables.values() for row in rows)
    width = columns * (_AXIS_INCHES + _LABEL_INCHES * longest)
    return width, sum(_PANEL_INCHES + _ROW_INCHES * height for height in heights)


def _is_floor(row: Row) -> bool:
    return bool(row["ratio"] == 1 and set(row["quartiles"]) == {1})


def _draw_panel(axes: Any, title: str, rows: Sequence[Row]) -> None:
    floor = next((str(row["variant"]) for row in rows if _is_floor(row)), "the floor")
    drawn = [row for row in rows if not _is_floor(row)]
    places = np.arange(len(drawn))
    ratios = np.array([row["ratio"] for row in drawn], dtype=np.float64)
    quartiles = np.array([row["quartiles"] for row in drawn], dtype=np.float64).reshape(-1, 2)
    colours = [_GREY if row["variant"] == CONTROL else _BLUE for row in drawn]
    noise = [abs(math.log(each)) for row in drawn if row["variant"] == CONTROL for each in row["quartiles"]]
    if noise:
        axes.axvspan(math.exp(-max(noise)), math.exp(max(noise)), color=_GREY, alpha=0.18, linewidth=0, zorder=0)
    axes.axvline(1.0, color=_GREY, linewidth=1.0, zorder=1)
    axes.hlines(places, quartiles[:, 0], quartiles[:, 1], colors=colours, linewidth=2.2, zorder=2)
    axes.scatter(ratios, places, s=26, c=colours, edgecolors="white", linewidths=0.8, zorder=3)
    axes.set_yticks(places, [str(row["variant"]) for row in drawn])
    axes.set_ylim(len(drawn) - 0.4, -0.6)
    axes.set_title(title, loc="left", fontsize="medium", fontweight="bold")
    axes.set_xlabel(f"ratio to: {floor}", fontsize="small")
    _scale(axes, [*ratios, *quartiles.flat])
    _write_figures(axes, ratios)
    _dress(axes)


def _scale(axes: Any, ratios: Sequence[float]) -> None:
    """Give an axis a logarithmic scale, and ticks at round ratios that do not overlap."""
    low, high = min(1 / 1.01, *ratios), max(_LEAST, *ratios)
    margin = (high / low) ** 0.03
    axes.set_xscale("log")
    axes.set_xlim(low / margin, high * margin)
    ticks = [tick for tick in _TICKS if low / margin <= tick <= high * margin]
    apart = math.log(high / low) / _MOST_TICKS
    axes.xaxis.set_major_locator(FixedLocator(_spread(ticks, apart)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))


def _spread(ticks: Sequence[float], apart: float) -> list[float]:
    """Return the ticks that are far enough apart, from 1 on in both directions."""
    kept = [1.0]
    for tick in ticks:
        if tick > 1 and math.log(tick / max(kept)) >= apart:
            kept.append(tick)
    for tick in reversed(ticks):
        if tick < 1 and math.log(min(kept) / tick) >= apart:
            kept.append(tick)
    return sorted(kept)


def _write_figures(axes: Any, ratios: Floats) -> None:
    """Write each ratio at the panel's right side, in one column."""
    for place, ratio in enumerate(ratios.tolist()):
        text = f"{ratio:.2f}" if ratio < 9.995 else f"{ratio:.3g}" if ratio < 999.5 else f"{ratio:.0f}"
        axes.annotate(
            text,
            (1.0, place),
            xycoords=axes.get_yaxis_transform(),
            xytext=(34, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize="small",
            annotation_clip=False,
        )


def _dress(axes: Any) -> None:
    for name, spine in axes.spines.items():
        spine.set(linewidth=0.7, edgecolor=_GREY, visible=name == "bottom")
    axes.tick_params(width=0.7, length=3.0, color=_GREY, labelsize="small")
    axes.tick_params(axis="y", length=0)
    axes.set_axisbelow(True)
    axes.grid(visible=True, axis="x", color=_GREY, alpha=0.25, linewidth=0.6)
