"""The marks of what decided a run: each monitored metric's best epoch, the stop, and drops of the learning rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
from matplotlib.lines import Line2D

from monitor_core.metrics.names import find_metric
from monitor_core.metrics.outcome import Outcome, Watched
from monitor_core.plotting.curves.curves import Curve
from monitor_core.plotting.curves.smoothing import Floats
from monitor_core.plotting.curves.sources import Source
from monitor_core.plotting.curves.style import GREY

_MOST_MARKS = 2
_MOST_DROPS = 12
_RESTORING = ("completed", "stopped", "failed")
"""How a run ends at whose end the best weights are set."""


@attrs.frozen(eq=False)
class Best:
    """A point that decided.

    Attributes:
        curve: The point's curve.
        x: Its epoch, from 1, or its step.
        y: Its value.
        text: The label.
    """

    curve: Curve
    x: float
    y: float
    text: str


def best_points(source: Source, curves: Sequence[Curve]) -> list[Best]:
    """Return the best epochs of the metrics that sinks monitored; of the validation loss if no sink did."""
    by_name = {curve.name: curve for curve in curves}
    found: dict[str, Best] = {}
    for watched in sorted(source.outcome.watched, key=lambda each: (not each.restores, each.best_epoch is None)):
        name = find_metric(watched.metric, by_name)
        if name is not None and name not in found and (best := _best(source, by_name[name], watched)):
            found[name] = best
    if not source.outcome.watched:
        for curve in curves:
            if curve.quantity == "loss" and curve.is_validation and (point := curve.best("min")):
                found[curve.name] = Best(
                    curve, *point, f"lowest {curve.name} {point[1]:.4g}\n{source.unit} {point[0]:,.0f}"
                )
    return list(found.values())[:_MOST_MARKS]


def _best(source: Source, curve: Curve, watched: Watched) -> Best | None:
    point = curve.since(source.begin).best(watched.mode)  # this sink's best is that of the last run
    if point is None:
        return None
    x, y = point
    if watched.best_epoch is not None:  # the sink's best: with min_delta, a small gain does not count
        place = source.epochs.get(watched.best_epoch)
        if source.unit == "step" and watched.best_step is not None:
            place = source.begin + watched.best_step
        value = None if place is None else curve.at(place)
        x, y = (x, y) if place is None or value is None else (place, value)
    end = ", weights restored" if watched.restores and source.outcome.status in _RESTORING else ""
    return Best(curve, x, y, f"best {curve.name} {y:.4g}\n{source.unit} {x:,.0f}{end}")


def stop_of(source: Source) -> tuple[float, str] | None:
    """Return the epoch (from 1) or step after which a sink stopped the run, and why; None if there is none to draw."""
    outcome: Outcome = source.outcome
    if outcome.stop_epoch is None or outcome.stop_reason is None or outcome.stop_epoch not in source.epochs:
        return None
    return source.epochs[outcome.stop_epoch], outcome.stop_reason


def rate_drops(curves: Sequence[Curve]) -> list[float]:
    """Return the epochs after which the learning rate was lowered; none if it changes too often to mark."""
    for curve in curves:
        if curve.is_rate and len(curve.y) > 1:
            changed = np.flatnonzero(np.diff(curve.y)) + 1
            drops = [float(curve.x[place - 1]) for place in changed if curve.y[place] < curve.y[place - 1]]
            return drops if len(changed) <= _MOST_DROPS else []
    return []


def mark_best(panels: Sequence[Any], axes: Any, best: Best, colour: Any) -> None:
    """Mark a point with a dot, and its epoch with a line through all panels."""
    for each in panels:
        each.axvline(best.x, color=GREY, linewidth=1.0, linestyle=(0, (1.0, 2.0)), zorder=1.2, label="_best epoch")
    axes.plot(best.x, best.y, **dot(colour, axes.get_facecolor()))


def mark_stop(panels: Sequence[Any], x: float) -> None:
    """Mark the epoch after which the run was stopped with a line through all panels and a square on top."""
    for each in panels:
        each.axvline(x, color=GREY, linewidth=1.0, zorder=1.1, label="_stop")
    _on_top(panels[0], [x], "s", "_stopped")


def mark_drops(panels: Sequence[Any], drops: Sequence[float]) -> None:
    """Mark the epochs after which the rate was lowered with pale lines through all panels and triangles on top."""
    for each in panels:
        for x in drops:
            each.axvline(x, color=GREY, linewidth=0.8, alpha=0.5, linestyle=(0, (3.0, 2.0)), zorder=1.0, label="_drop")
    if drops:
        _on_top(panels[0], drops, "v", "_drops")


def _on_top(axes: Any, places: Sequence[float], marker: str, label: str) -> None:
    axes.plot(
        places,
        [1.0] * len(places),
        transform=axes.get_xaxis_transform(),
        marker=marker,
        markersize=5.0,
        color=GREY,
        linestyle="none",
        clip_on=False,
        label=label,
        zorder=4,
    )


def dot(colour: Any, paper: Any, *, size: float = 6.5) -> dict[str, Any]:
    """Return the properties of the dot on a best point."""
    return {
        "marker": "o",
        "markersize": size,
        "markerfacecolor": colour,
        "markeredgecolor": paper,
        "linestyle": "none",
        "zorder": 5,
        "label": "_best",
    }


def write_best(axes: Any, best: Best) -> None:
    """Write a label next to a point's line, where it covers the fewest curves; the axes' limits must be final."""
    lines = best.text.split("\n")
    points_wide, points_high = (float(each) / axes.figure.dpi * 72 for each in (axes.bbox.width, axes.bbox.height))
    size = float(axes.yaxis.label.get_fontsize()) * 0.85
    width = (0.58 * size * max(map(len, lines)) + 8) / points_wide
    height = 1.35 * size * len(lines) / points_high
    if 2.0 * width > 1.0 and len(lines) == 2:
        write_best(axes, attrs.evolve(best, text="\n".join([*lines[0].rsplit(" ", 1), *lines[1].split(", ")])))
        return
    place, side = free_place(axes, best.x, (width, height), near=best.y)
    axes.annotate(
        best.text,
        (best.x, place),
        xycoords=axes.get_xaxis_transform(),
        xytext=(6 * side, 0),
        textcoords="offset points",
        ha="left" if side > 0 else "right",
        va="center",
        fontsize=size,
        linespacing=1.3,
        annotation_clip=False,
        zorder=6,
        bbox={"facecolor": axes.get_facecolor(), "edgecolor": "none", "alpha": 0.7, "pad": 1.0},
    )


def free_place(axes: Any, x: float, size: tuple[float, float], *, near: float) -> tuple[float, int]:
    """Return the height, as a fraction of the axes, and the side of a line at ``x`` where a label covers no curve.

    If every place covers some, the one that covers the fewest; among equals, the one closest to the point.

    Args:
        axes: Where to write.
        x: The line's position.
        size: The label's width and height, as fractions of the axes'.
        near: The point's value.

    Returns:
        The height of the label's center in [0, 1], and 1 for the right side of the line, -1 for the left.
    """
    positions = np.linspace(0.0, 1.0, 201)
    heights = [_heights(axes, line, positions) for line in axes.lines if _is_in_the_way(line)]
    at, point = axes.transAxes.inverted().transform(axes.transData.transform((x, near)))
    verticals = [
        _place(axes, line) for line in axes.lines if str(line.get_label()) in ("_best epoch", "_drop", "_stop")
    ]
    width, height = size

    def cost(candidate: tuple[float, int]) -> float:
        middle, side = candidate
        start, end = (at, at + width) if side > 0 else (at - width, at)
        beside = (positions >= start) & (positions <= end)
        outside = max(0.0, -start) + max(0.0, end - 1.0)
        met = sum(int((abs(each[beside] - middle) < 0.8 * height).sum()) for each in heights)
        crossed = sum(start + 0.005 < each < end - 0.005 for each in verticals if abs(each - at) > 0.005)
        on_point = 50.0 * (abs(middle - point) < 0.7 * height)
        return float(1e4 * outside + 5.0 * met + 10.0 * crossed + 20.0 * abs(middle - point) + on_point)

    top = 1.0 - 0.6 * height
    candidates = [(float(middle), side) for middle in np.linspace(top, 1.0 - top, 24) for side in (1, -1)]
    return min(candidates, key=cost)


def _place(axes: Any, line: Line2D) -> float:
    """Return a vertical line's position, as a fraction of the axes' width."""
    at = axes.transData.transform((np.asarray(line.get_xdata(), np.float64)[0], axes.get_ylim()[0]))
    return float(axes.transAxes.inverted().transform(at)[0])


def _is_in_the_way(line: Line2D) -> bool:
    label = str(line.get_label())
    return (label == "_raw" or not label.startswith("_")) and bool(len(np.asarray(line.get_xdata())))


def _heights(axes: Any, line: Line2D, positions: Floats) -> Floats:
    """Return a line's heights at some positions, both as fractions of the axes; NaN beyond its ends.

    A single point counts as a line across the axes, so that a label avoids its height.
    """
    data = np.column_stack([np.asarray(line.get_xdata(), np.float64), np.asarray(line.get_ydata(), np.float64)])
    data = data[~np.isnan(data[:, 1])]
    x, y = axes.transAxes.inverted().transform(axes.transData.transform(data)).T
    beside = np.nan if len(x) > 1 else None
    heights: Floats = np.interp(positions, x, y, left=beside, right=beside)
    return heights
