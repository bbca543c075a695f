"""How curves look: colours that stay distinct on the user's background, line styles, and the styling of axes.

The user's settings decide the colours of text and background, so that a dark style stays dark; nothing is set globally.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps, rcParams
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter
from numpy.typing import NDArray

from monitor_core.plotting.curves.curves import Curve
from monitor_core.plotting.curves.panels import Scale
from monitor_core.plotting.curves.smoothing import Floats, automatic_smoothing, envelope, smooth
from monitor_core.plotting.figures import PALETTE

GREY = "0.55"
DASHES = (0, (4.0, 1.4))
_FEW_POINTS = 10
_FEW_SCATTERED = 30
_MANY_POINTS = 300
_MARGIN = 0.05


def is_dark() -> bool:
    """Return whether the user's style is dark, judged by its text, since the background may be transparent."""
    return float(np.dot(to_rgb(rcParams["text.color"]), (0.299, 0.587, 0.114))) > 0.5


def colours(count: int, *, dark: bool = False) -> list[Any]:
    """Return distinct colours; beyond the size of the palette, a scale that begins with the strongest."""
    if count <= len(PALETTE):
        return [_lightened(colour) if dark else colour for colour in PALETTE[:count]]
    first, last = (0.95, 0.25) if dark else (0.0, 0.88)
    return [colormaps["viridis"](position) for position in np.linspace(first, last, count)]


def _lightened(colour: str) -> tuple[float, ...]:
    red, green, blue = 1.0 - 0.65 * (1.0 - np.array(to_rgb(colour)))
    return float(red), float(green), float(blue)


def draw_curve(
    axes: Any, curve: Curve, colour: Any, *, label: str, smoothing: float | None, **style: Any
) -> tuple[Line2D, float]:
    """Draw a curve; if it is smoothed, with its pale raw values below it.

    Args:
        axes: Where to draw.
        curve: What to draw.
        colour: Its colour.
        label: Its line's label.
        smoothing: As in `smooth`; None decides by the curve.
        style: Additional properties of its line.

    Returns:
        Its line, and how much it was smoothed.
    """
    smoothing = automatic_smoothing(curve.y) if smoothing is None else smoothing
    look: dict[str, Any] = {
        "color": colour,
        "linestyle": DASHES if curve.is_validation else "solid",
        "linewidth": 1.6 if smoothing or len(curve.x) <= _MANY_POINTS else 1.2,
        "solid_capstyle": "round",
        "marker": "o" if _shows_points(curve) else None,
        "markersize": 3.0 if len(curve.x) > 1 else 5.0,
    } | style
    x, values = curve.x, curve.y
    if smoothing:
        pale = {**look, "linestyle": "solid", "linewidth": 0.6, "alpha": 0.3, "zorder": 1.5}
        axes.plot(*envelope(x, values), label="_raw", **pale)
        values = smooth(values, smoothing)
    if curve.is_rate:
        look |= {"drawstyle": "steps-pre", "marker": None if len(curve.x) > 1 else "o"}
    elif not smoothing:
        _bridge_gaps(axes, x, values, look)
        x, values = _with_gaps(x, values)
    x, values = (x, values) if np.isnan(values).any() else envelope(x, values)
    line: Line2D = axes.plot(x, values, label=label, **look)[0]
    return line, smoothing


def _gaps(x: Floats) -> NDArray[np.intp]:
    """Return the indices before which values are missing: the step between rows is larger than usual."""
    steps = np.diff(x)
    return np.flatnonzero(steps > 1.5 * np.median(steps)) + 1 if len(steps) > 1 else np.empty(0, np.intp)


def _with_gaps(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return the points with a NaN in each gap, which interrupts the line."""
    gaps = _gaps(x)
    return np.insert(x, gaps, x[gaps - 1]), np.insert(y, gaps, np.nan)


def _bridge_gaps(axes: Any, x: Floats, y: Floats, look: dict[str, Any]) -> None:
    """Draw a pale thin line over each gap."""
    for gap in _gaps(x):
        bridge = {"color": look["color"], "linewidth": 0.8, "alpha": 0.4, "linestyle": (0, (1.0, 1.5)), "zorder": 1.5}
        axes.plot(x[gap - 1 : gap + 1], y[gap - 1 : gap + 1], label="_gap", **bridge)


def _shows_points(curve: Curve) -> bool:
    """Return whether a curve has so few points that each gets a marker; the limit is higher if values are missing."""
    return len(curve.x) <= (_FEW_POINTS if len(curve.x) == len(curve.rows) else _FEW_SCATTERED)


def dress(axes: Any, scale: Scale, *, label: str, small: bool) -> None:
    """Give axes their frame, grid and scale."""
    for name, spine in axes.spines.items():
        spine.set(linewidth=0.7, edgecolor=GREY, visible=name in ("bottom", "left"))
    axes.tick_params(width=0.7, length=3.0, color=GREY)
    axes.set_axisbelow(True)
    axes.grid(visible=True, color=GREY, alpha=0.25, linewidth=0.6)
    axes.set_ylabel(re.sub(r"[_ ]", "\n", label) if small and len(label) > 8 else label)
    _limit(axes, scale)
    if scale.kind == "log":
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(numticks=4 if small else 7))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(nbins=3 if small else 6, steps=[1, 2, 2.5, 5, 10]))


def _limit(axes: Any, scale: Scale) -> None:
    """Set the limits of a scale that is logarithmic or excludes values, with the usual margin."""
    if scale == Scale():
        return
    values = np.concatenate([np.asarray(line.get_ydata(), dtype=np.float64) for line in axes.lines])
    shown = [value for value in values[np.isfinite(values)].tolist() if scale.shows(value)]
    low, high = min(shown), max(shown)
    if scale.kind == "log":
        low, high = math.log10(low), math.log10(high)
    margin = _MARGIN * (high - low) or 0.5
    low, high = low - margin, high + margin
    if scale.kind == "log":
        low, high = 10.0 ** max(low, -300.0), 10.0**high
    axes.set_ylim(low, high)


def dress_x(axes: Any, curves: Sequence[Curve], x_label: str | None) -> None:
    """Set the x axis, with room for rows without a value; ``x_label`` is None above other axes."""
    first = min(float(curve.rows[0]) for curve in curves if len(curve.rows))
    last = max(float(curve.rows[-1]) for curve in curves if len(curve.rows))
    margin = 0.015 * (last - first) or 0.5
    axes.set_xlim(first - margin, last + margin)
    axes.xaxis.set_major_locator(_FromOne(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10], first=first, last=last))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    if x_label is None:
        axes.tick_params(labelbottom=False)
    else:
        axes.set_xlabel(x_label)


class _FromOne(MaxNLocator):
    """Ticks at round numbers, with the first row's number in place of a zero before it."""

    def __init__(self, *, first: float, last: float, **options: Any) -> None:
        super().__init__(nbins="auto", **options)
        self._first, self._last = first, last

    def tick_values(self, vmin: float, vmax: float) -> Any:
        ticks = np.asarray(super().tick_values(vmin, vmax))
        if self._first == 1.0 and len(ticks) > 1 and ticks[1] - ticks[0] != 2.0:
            ticks = np.where(ticks == 0.0, 1.0, ticks)
        return np.unique(ticks[(ticks >= self._first) & (ticks <= self._last)])
