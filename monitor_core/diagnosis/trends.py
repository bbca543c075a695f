"""Whether a series falls or rises, and how noisy it is, robustly."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def noise(values: Floats) -> float:
    """Return the standard deviation of a series around its own slow change, from second differences.

    Second differences are 0 for a straight line, and have 6 times the variance of independent noise; the median of
    their magnitudes ignores a few jumps.
    """
    if len(values) < 4:
        return math.inf
    return 1.4826 * float(np.median(np.abs(np.diff(values, 2)))) / math.sqrt(6)


def score(values: Floats) -> float:
    """Return the Mann-Kendall score of a trend: about a standard normal variable where there is none.

    Of many values, the medians of 40 stretches are compared, which also weakens the correlation of neighbors.

    Source: Mann 1945, Kendall 1975.
    """
    if len(values) > 40:
        values = _medians(values, 40)
    n = len(values)
    if n < 3:
        return 0.0
    signs = np.sign(values[None, :] - values[:, None])
    total = float(np.triu(signs, 1).sum())
    spread = math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    return (total - math.copysign(1, total)) / spread if total else 0.0


def _medians(values: Floats, parts: int) -> Floats:
    """Return the medians of so many stretches, the same as those of `np.array_split`."""
    length, longer = divmod(len(values), parts)
    split = longer * (length + 1)
    stretches = (values[:split].reshape(longer, length + 1), values[split:].reshape(parts - longer, length))
    return np.concatenate([np.median(each, axis=1) for each in stretches])


def falls(values: Floats, level: float = 2.0) -> bool:
    """Return whether a series falls beyond chance; of three or four values, whether each is below the one before."""
    if len(values) < 5:
        return len(values) > 1 and bool((np.diff(values) < 0).all())
    return score(values) < -level


def rises(values: Floats, level: float = 2.0) -> bool:
    """Return whether a series rises beyond chance."""
    return falls(-values, level)
