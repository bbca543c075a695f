"""Which curves share a panel (those of one unit), and which range of values each panel shows. Needs only NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import attrs
import numpy as np

from monitor_core.plotting.curves.curves import Curve
from monitor_core.plotting.curves.smoothing import Floats

_MANY = 300
_DECADES = 3.0
"""From this many on a scale is logarithmic."""
_RANGES_BEYOND = 2.0
"""A run is off the scale if it leaves that of the middle run by more than this many times its height."""


@attrs.frozen(eq=False)
class Panel:
    """Curves that share an axis.

    Attributes:
        label: What the axis measures.
        curves: At least one.
        is_main: Whether it is drawn large, as one of the panels that readers look at first.
    """

    label: str
    curves: tuple[Curve, ...]
    is_main: bool = True

    @property
    def is_rate(self) -> bool:
        """Whether it shows the learning rate."""
        return all(curve.is_rate for curve in self.curves)


def panels_of_run(curves: Sequence[Curve]) -> list[Panel]:
    """Return a panel for the losses, one for the metrics between 0 and 1, and a small one for each other quantity."""
    losses = [curve for curve in curves if curve.is_loss]
    shares = [curve for curve in curves if curve.is_share]
    others = [curve for curve in curves if not curve.is_loss and not curve.is_share]
    panels = [_panel(group) for group in (losses, shares) if group]
    for group in _by_quantity(others):
        panels.append(_panel(group, is_main=not panels))
    return panels


def panels_of_runs(curves: Sequence[Curve], *, apart: bool) -> list[Panel]:
    """Return a panel for each quantity; if there are losses or shares, the panels of other quantities are small.

    Args:
        curves: The curves of all runs.
        apart: Whether training and validation have separate panels.
    """
    panels = []
    groups = _by_quantity(curves)
    any_main = any(group[0].is_loss or group[0].is_share for group in groups)
    for group in groups:
        is_main = not any_main or group[0].is_loss or group[0].is_share
        parts = [[curve for curve in group if curve.is_validation is of_validation] for of_validation in (False, True)]
        if not apart or not all(parts):
            panels.append(_panel(group, is_main=is_main))
        else:
            panels += [
                Panel(f"{which} {group[0].quantity}", tuple(part), is_main)
                for which, part in zip(("training", "validation"), parts, strict=True)
            ]
    return panels


def _panel(curves: Sequence[Curve], *, is_main: bool = True) -> Panel:
    names = list(dict.fromkeys(curve.quantity for curve in curves))
    if len(names) > 1 and all(curve.is_loss for curve in curves):
        return Panel("loss", tuple(curves), is_main)
    label = ", ".join(names) if len(names) <= 2 else "between 0 and 1"
    return Panel(label, tuple(curves), is_main)


def _by_quantity(curves: Sequence[Curve]) -> list[list[Curve]]:
    groups: dict[str, list[Curve]] = {}
    for curve in curves:
        groups.setdefault(curve.quantity, []).append(curve)
    return list(groups.values())


@attrs.frozen
class Scale:
    """The range of values that a panel shows.

    Attributes:
        kind: ``"log"`` beyond three decades of positive values.
        low: The lowest value to show; None follows the curves.
        high: The highest value to show; None follows the curves.
    """

    kind: Literal["linear", "log"] = "linear"
    low: float | None = None
    high: float | None = None

    def shows(self, value: float) -> bool:
        """Return whether a value is shown."""
        return (self.high is None or value <= self.high) and (self.low is None or value >= self.low)


def scale_of(panel: Panel) -> Scale:
    """Return the range that a panel shows: everything, unless a few of several runs would flatten all others."""
    points = [curve.y for curve in panel.curves if len(curve.y)]
    if not points or all(curve.is_share for curve in panel.curves):
        return Scale()
    low, high = _robust_limits(panel)
    shown = np.concatenate(points)
    shown = shown[(shown >= (-np.inf if low is None else low)) & (shown <= (np.inf if high is None else high))]
    return Scale("log" if _spans_decades(shown) else "linear", low, high)


def _spans_decades(values: Floats) -> bool:
    """Return whether positive values span three decades; of many values, the lowest hundredth is ignored."""
    if len(values) < 2 or values.min() <= 0:
        return False
    lowest = np.percentile(values, 1.0, method="lower") if len(values) >= _MANY else values.min()
    return bool(np.log10(values.max()) - np.log10(lowest) >= _DECADES)


def _robust_limits(panel: Panel) -> tuple[float | None, float | None]:
    """Return limits that exclude the few runs that go far beyond the others; None if no run does."""
    runs: dict[str | None, list[Curve]] = {}
    for curve in panel.curves:
        if len(curve.y):
            runs.setdefault(curve.run, []).append(curve)
    if len(runs) < 3:
        return None, None
    lows = np.array([min(float(each.y.min()) for each in curves) for curves in runs.values()])
    highs = np.array([max(float(each.y.max()) for each in curves) for curves in runs.values()])
    middle_low, middle_high = float(np.median(lows)), float(np.median(highs))
    room = _RANGES_BEYOND * (middle_high - middle_low)
    within_low, within_high = lows >= middle_low - room, highs <= middle_high + room
    few = len(runs) / 3
    high = None if within_high.all() or (~within_high).sum() > few else float(highs[within_high].max())
    low = None if within_low.all() or (~within_low).sum() > few else float(lows[within_low].min())
    return low, high
