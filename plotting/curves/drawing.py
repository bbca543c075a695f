"""Drawing: curves as a matplotlib figure, without pyplot.

Colours of text and paper are left to the user's own settings, so that a dark style stays dark; nothing is set globally.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import attrs
import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from monitor_core.plotting.curves.curves import Curve, Floats, envelope, smooth
from monitor_core.plotting.figures import PALETTE, HistoryFigure

_GREY = "0.55"
_DASHES = (0, (4.0, 1.4))
_FEW_POINTS = 30
_MANY_POINTS = 300


def draw(
    curves: Sequence[Curve],
    *,
    x_label: str,
    smoothing: float = 0.0,
    mark_best: bool = False,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Draw one run into a diagram with two axes, several into a diagram for each quantity.

    Args:
        curves: What to draw, at least one, in the order of the legends.
        x_label: What the places of the values count.
        smoothing: As in `smooth`.
        mark_best: Whether to mark the lowest validation loss.
        title: A title above the picture.
        figsize: Width and height in inches.
    """
    runs = list(dict.fromkeys(curve.run for curve in curves))
    quantities = list(dict.fromkeys(curve.quantity for curve in curves))
    alone = len(runs) == 1 and runs[0] is None
    columns = 1 if alone else min(len(quantities), 2)
    rows = 1 if alone else -(-len(quantities) // columns)
    size = (8.5, 4.6) if alone else (5.8 * columns + 2.4, 4.4 * rows)
    figure = HistoryFigure(figsize=figsize or size, layout="constrained")
    FigureCanvasAgg(figure)
    if title is not None:
        figure.suptitle(title, fontsize="large", fontweight="bold")
    if alone:
        _draw_run(figure, curves, smoothing)
    else:
        grid = figure.subplots(rows, columns, squeeze=False).flat
        _draw_comparison(figure, list(grid), curves, smoothing, mark_best=mark_best)
    for axes in figure.axes:
        _dress(axes, curves, x_label)
    if alone and mark_best and (best := _best(curves)):
        _annotate(figure.axes, *best)
    return figure


def _colours(count: int) -> list[Any]:
    if count <= len(PALETTE):
        return list(PALETTE[:count])
    return [colormaps["viridis"](position) for position in np.linspace(0.0, 0.9, count)]


def _own_colours(curves: Sequence[Curve]) -> dict[str, Any]:
    """Return each metric's colour: two for each quantity, so that none changes when validation appears later."""
    quantities = list(dict.fromkeys(curve.quantity for curve in curves))
    colours = _colours(2 * len(quantities))
    return {curve.name: colours[2 * quantities.index(curve.quantity) + curve.is_validation] for curve in curves}


@attrs.frozen
class _Look:
    colour: Any
    label: str

    def draw(self, axes: Any, curve: Curve, smoothing: float) -> Line2D:
        style: dict[str, Any] = {
            "color": self.colour,
            "linestyle": _DASHES if curve.is_validation else "solid",
            "solid_capstyle": "round",
        }
        if len(curve.x) <= _FEW_POINTS:
            style |= {"marker": "o", "markersize": 3.5}
        values = curve.y
        width = 1.6 if smoothing or len(curve.x) <= _MANY_POINTS else 1.2
        if smoothing:
            pale = {**style, "linestyle": "solid", "linewidth": 0.8, "alpha": 0.28, "zorder": 1.5}
            axes.plot(*envelope(curve.x, values), label="_raw", **pale)
            values = smooth(values, smoothing)
        line: Line2D = axes.plot(*envelope(curve.x, values), label=self.label, linewidth=width, **style)[0]
        return line


def _draw_run(figure: Figure, curves: Sequence[Curve], smoothing: float) -> None:
    left = [curve for curve in curves if not curve.is_share]
    right = [curve for curve in curves if curve.is_share]
    axes = figure.add_subplot()
    sides = [(axes, left or right)]
    if left and right:
        sides.append((axes.twinx(), right))
        sides[1][0].margins(y=0.1)  # else the extremes of both axes would be at the same heights
    colours = _own_colours(curves)
    for number, (side, drawn) in enumerate(sides):
        lines = [_Look(colours[curve.name], curve.name).draw(side, curve, smoothing) for curve in drawn]
        side.set_ylabel(_joined(curve.quantity for curve in drawn))
        # Above the diagram, each at its own axis: there no curve can run into it.
        side.legend(
            handles=lines,
            loc="lower right" if number else "lower left",
            bbox_to_anchor=(1.0 if number else 0.0, 1.0),
            ncols=_legend_columns(lines, figure.get_figwidth() / len(sides)),
            frameon=False,
            borderaxespad=0.2,
            columnspacing=1.4,
        )


def _draw_comparison(
    figure: Figure, grid: list[Any], curves: Sequence[Curve], smoothing: float, *, mark_best: bool
) -> None:
    runs = list(dict.fromkeys(curve.run for curve in curves))
    quantities = list(dict.fromkeys(curve.quantity for curve in curves))
    handles: list[Line2D] = []
    heading = None
    for run, colour in zip(runs, _colours(len(runs)), strict=True):
        label = str(run)
        own = [curve for curve in curves if curve.run == run]
        for curve in own:
            axes = grid[quantities.index(curve.quantity)]
            _Look(colour, f"{label}: {curve.name}").draw(axes, curve, smoothing)
        if mark_best and (best := _best(own)):
            curve, x, y = best
            grid[quantities.index(curve.quantity)].plot(x, y, **_marker(colour))
            heading = f"lowest {curve.name} @ epoch"
            label += f"   {y:.4g} @ {x:,.0f}"
        handles.append(Line2D([], [], color=colour, label=label, linewidth=2.0))
    if len({curve.is_validation for curve in curves}) > 1:
        handles.append(Line2D([], [], color=_GREY, label="training"))
        handles.append(Line2D([], [], color=_GREY, linestyle=_DASHES, label="validation"))
    for axes, quantity in zip(grid, quantities, strict=False):
        axes.set_ylabel(quantity)
    for axes in grid[len(quantities) :]:
        axes.remove()
    columns = -(-len(handles) // int(4 * figure.get_figheight()))
    figure.legend(
        handles=handles, title=heading, loc="outside right upper", ncols=columns, frameon=False, alignment="left"
    )


def _joined(quantities: Iterable[str]) -> str:
    names = list(dict.fromkeys(quantities))
    return ", ".join(names) if len(names) <= 3 else "value"


def _legend_columns(handles: Sequence[Line2D], width: float) -> int:
    """Return how many entries surely stand beside each other in a width in inches."""
    widest = max(len(str(handle.get_label())) for handle in handles) * 0.085 + 0.55
    return max(1, min(len(handles), int((width - 0.5) / widest)))


def _dress(axes: Any, curves: Sequence[Curve], x_label: str) -> None:
    """Give a diagram its frame, its grid and its places, those without a value included."""
    is_right = axes.yaxis.get_label_position() == "right"
    for name, spine in axes.spines.items():
        spine.set(linewidth=0.7, edgecolor=_GREY, visible=name in ("bottom", "right" if is_right else "left"))
    axes.tick_params(width=0.7, length=3.0, color=_GREY)
    axes.locator_params(axis="y", nbins=7)
    if is_right:
        axes.grid(visible=False)
        return
    axes.set_axisbelow(True)
    axes.grid(visible=True, color=_GREY, alpha=0.25, linewidth=0.6)
    axes.set_xlabel(x_label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    first = min(float(curve.rows[0]) for curve in curves if len(curve.rows))
    last = max(float(curve.rows[-1]) for curve in curves if len(curve.rows))
    margin = 0.02 * (last - first) or 0.5
    axes.set_xlim(first - margin, last + margin)


def _best(curves: Iterable[Curve]) -> tuple[Curve, float, float] | None:
    for curve in curves:
        if curve.is_validation and curve.quantity == "loss" and (lowest := curve.lowest()):
            return curve, *lowest
    return None


def _marker(colour: Any) -> dict[str, Any]:
    return {
        "marker": "o",
        "markersize": 6.5,
        "markerfacecolor": colour,
        "markeredgecolor": "white",
        "linestyle": "none",
        "zorder": 5,
        "label": "_best",
    }


def _annotate(sides: Sequence[Any], curve: Curve, x: float, y: float) -> None:
    """Mark the best epoch by a line, a dot, and its value where the fewest curves are in its way."""
    left = sides[0]
    line = next(each for each in left.lines if each.get_label() == curve.name)
    left.axvline(x, color=_GREY, linewidth=1.0, linestyle=(0, (1.0, 2.0)), zorder=1.2, label="_best epoch")
    left.plot(x, y, **_marker(line.get_color()))
    text = f"lowest {curve.name} {y:.4g}\nat epoch {x:,.0f}"
    size = 0.088 * max(map(len, text.split("\n"))) / left.figure.get_figwidth(), 0.45 / left.figure.get_figheight()
    place, side = _free_place(sides, x, size)
    sides[-1].annotate(  # the right axis is drawn after the left one
        text,
        (x, place),
        xycoords=left.get_xaxis_transform(),
        xytext=(7 * side, 0),
        textcoords="offset points",
        ha="left" if side > 0 else "right",
        va="center",
        fontsize="small",
        linespacing=1.35,
        annotation_clip=False,
        zorder=6,
    )


def _free_place(sides: Sequence[Any], x: float, size: tuple[float, float]) -> tuple[float, int]:
    """Return the height, as a part of the diagram, and the side of a line at ``x`` where a text meets no curve.

    Args:
        sides: The left axis, and the right one if there is one.
        x: Where the line stands.
        size: The text's width and height, as parts of the diagram's.

    Returns:
        The middle of the text's height in [0, 1], and 1 for the right side of the line, -1 for the left.
    """
    positions = np.linspace(0.0, 1.0, 201)
    heights = [
        _heights(axes, line, positions)
        for axes in sides
        for line in axes.lines
        if not line.get_label().startswith("_best") and len(line.get_xdata())
    ]
    first, last = sides[0].get_xlim()
    at = (x - first) / (last - first)
    width, height = size

    def crossings(candidate: tuple[float, int]) -> int:
        middle, side = candidate
        start, end = (at, at + width) if side > 0 else (at - width, at)
        if start < 0.0 or end > 1.0:
            return len(heights) * len(positions) + 1
        beside = (positions >= start) & (positions <= end)
        return sum(int((abs(each[beside] - middle) < 0.75 * height).sum()) for each in heights)

    candidates = [(float(middle), side) for middle in np.arange(0.93, 0.06, -0.04) for side in (1, -1)]
    return min(candidates, key=crossings)


def _heights(axes: Any, line: Line2D, positions: Floats) -> Floats:
    """Return a line's heights at some positions, both as parts of the diagram; NaN beside its ends.

    A single point has its height everywhere, so that a text keeps clear of it.
    """
    (x0, x1), (y0, y1) = axes.get_xlim(), axes.get_ylim()
    x, y = np.asarray(line.get_xdata(), dtype=np.float64), np.asarray(line.get_ydata(), dtype=np.float64)
    beside = np.nan if len(x) > 1 else None
    heights: Floats = np.interp(positions, (x - x0) / (x1 - x0), (y - y0) / (y1 - y0), left=beside, right=beside)
    return heights
