"""Labels at the ends of lines that do not overlap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from monitor_core.plotting.curves.smoothing import Floats

_LINE_HEIGHT = 1.3
"""Of a label, in sizes of its font."""


@attrs.frozen
class EndLabel:
    """A label for the end of a line.

    Attributes:
        text: The label.
        colour: Its colour, the same as its line's.
        x: The line's last x.
        y: The line's last value.
    """

    text: str
    colour: Any
    x: float
    y: float


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> Floats:
    """Move heights apart, with the least sum of squared moves.

    Args:
        wanted: The heights, in any order.
        gap: The least distance between two heights; it shrinks if they do not all fit.
        low: The lowest allowed height.
        high: The highest allowed height.

    Returns:
        ``(n,) float64``: the heights, in the same order.

    Source:
        After subtracting ``i * gap`` from the i-th of the sorted heights, this is isotonic regression, solved by
        pooling adjacent violators (Ayer et al., 1955).
    """
    count = len(wanted)
    if not count:
        return np.empty(0)
    gap = min(gap, (high - low) / max(count - 1, 1))
    order = np.argsort(np.asarray(wanted, dtype=np.float64), kind="stable")
    offsets = gap * np.arange(count)
    pools: list[tuple[float, int]] = []
    for target in np.asarray(wanted, dtype=np.float64)[order] - offsets:
        mean, size = float(target), 1
        while pools and pools[-1][0] > mean:
            before, more = pools.pop()
            mean, size = (mean * size + before * more) / (size + more), size + more
        pools.append((mean, size))
    flat = np.repeat([mean for mean, _ in pools], [size for _, size in pools])
    heights = np.empty(count)
    heights[order] = np.clip(flat, low, high - offsets[-1]) + offsets
    return heights


def label_ends(axes: Any, labels: Sequence[EndLabel]) -> None:
    """Write labels to the right of axes whose limits are final, each connected to the end of its line."""
    if not labels:
        return
    figure = axes.figure
    size = 0.92 * figure_font_size(axes)
    points_high = axes.bbox.height / figure.dpi * 72
    points_wide = axes.bbox.width / figure.dpi * 72
    ends = axes.transAxes.inverted().transform(axes.transData.transform([(each.x, each.y) for each in labels]))
    gap = _LINE_HEIGHT * size / points_high
    heights = spread(np.clip(ends[:, 1], 0.0, 1.0).tolist(), gap, min(gap / 3, 0.5), max(1 - gap / 3, 0.5))
    for label, end, height in zip(labels, ends, heights, strict=True):
        axes.annotate(
            label.text,
            (label.x, label.y) if 0.0 <= end[1] <= 1.0 else (1.0, float(np.clip(end[1], 0.0, 1.0))),
            xycoords="data" if 0.0 <= end[1] <= 1.0 else "axes fraction",
            xytext=(1.0 + 9 / points_wide, height),
            textcoords="axes fraction",
            color=label.colour,
            fontsize=size,
            va="center",
            ha="left",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": label.colour,
                "alpha": 0.45,
                "linewidth": 0.7,
                "shrinkA": 1.0,
                "shrinkB": 2.5,
                "relpos": (0.0, 0.5),
            },
        )


def figure_font_size(axes: Any) -> float:
    """Return the size of an axis's own label, in points."""
    return float(axes.yaxis.label.get_fontsize())
