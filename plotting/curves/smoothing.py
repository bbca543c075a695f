"""Long and noisy curves: a readable average, and no more points than a plot can show. Needs only NumPy."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

COLUMNS = 2000
"""Columns of an envelope: more than a plot 13 inches wide has pixels at 150 dots per inch."""
_BLOCK = 64
_LONG = 200
"""From this many points on a curve is smoothed unasked, if it is noisy."""
_POINTS_IN_MEAN = 30
"""What part of a long curve, as a divisor, the average that is chosen unasked spans: 33 of 1,000 points."""


def automatic_smoothing(values: Floats) -> float:
    """Return how much to smooth a curve by default: 0 unless it is long and noisy.

    It is noisy if the sum of its moves is a hundred times its range; the first tenth, in which losses fall steeply, is
    ignored.
    """
    settled = values[len(values) // 10 :]
    if len(values) < _LONG:
        return 0.0
    low, high = np.percentile(settled, [2.0, 98.0])
    steps = abs(np.diff(settled))
    if not np.minimum(steps, high - low).sum() > len(settled) / 12 * (high - low):
        return 0.0
    return 1.0 - 2.0 / (1.0 + len(values) / _POINTS_IN_MEAN)


def smooth(values: Floats, smoothing: float) -> Floats:
    """Return the exponential moving average, corrected for its bias towards zero at the beginning.

    Args:
        values: ``(n,) float64``, finite.
        smoothing: The factor by which a value's weight shrinks with each further value, in [0, 1).

    Returns:
        ``(n,) float64``: at each position the mean of all values up to it, weighted by ``smoothing ** age``.

    Source:
        The bias correction is that of Kingma and Ba, Adam (2015), section 3; TensorBoard smooths the same way.
    """
    if smoothing == 0.0:
        return values
    with np.errstate(under="ignore"):
        sums = _decayed_sums(values * (1.0 - smoothing), smoothing)
        # 1 - smoothing**n, exact where smoothing is close to 1
        weights: Floats = -np.expm1(np.arange(1, len(values) + 1) * math.log(smoothing))
    return sums / weights


def _decayed_sums(values: Floats, decay: float) -> Floats:
    """Return ``sums[t] = values[t] + decay * sums[t - 1]``.

    A product with a triangular matrix gives the sums within blocks; the sums at the blocks' ends follow the same
    recurrence with another decay. No term ever grows, unlike in the cumulative sum of ``values / decay**t``.
    """
    rows = -(-len(values) // _BLOCK)
    blocks = np.zeros((rows, _BLOCK))
    blocks.reshape(-1)[: len(values)] = values
    ages = np.arange(_BLOCK)
    sums: Floats = blocks @ np.triu(decay ** np.maximum(ages[None, :] - ages[:, None], 0))
    if rows > 1:
        ends = _decayed_sums(sums[:-1, -1], decay**_BLOCK)
        sums[1:] += ends[:, None] * decay ** (ages + 1)
    return sums.reshape(-1)[: len(values)]


def envelope(x: Floats, y: Floats, columns: int = COLUMNS) -> tuple[Floats, Floats]:
    """Keep the visible points of a long curve: the lowest and the highest in each of many columns.

    Args:
        x: ``(n,) float64``, ascending.
        y: ``(n,) float64``, finite.
        columns: The number of columns, each with the same number of points.

    Returns:
        The remaining points in order, at most ``2 * columns + 4``, including the first and the last; all points if
        there are at most four for each column.
    """
    count = len(y)
    if count <= 4 * columns:
        return x, y
    width = -(-count // columns)
    whole = count - count % width
    starts = np.arange(0, whole, width)
    table = y[:whole].reshape(-1, width)
    ends = [0, count - 1]
    if whole < count:
        ends += [whole + int(y[whole:].argmin()), whole + int(y[whole:].argmax())]
    kept = np.unique(np.concatenate([starts + table.argmin(axis=1), starts + table.argmax(axis=1), ends]))
    return x[kept], y[kept]
