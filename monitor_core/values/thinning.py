"""Fewer points of a curve: nothing that stands out is lost."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def thinned(x: Floats, y: Floats, *, limit: int, stretches: int) -> tuple[Floats, Floats]:
    """Return a curve of few points: of each stretch the lowest, the highest, and one that is a gap.

    Args:
        x: The places, ascending, ``(n,)``.
        y: The values, ``(n,)``; what is not finite is a gap.
        limit: Up to how many points the curve is returned as it is.
        stretches: Into how many stretches of about equal length a longer one is divided at most, at least 1.
    """
    if len(x) <= limit:
        return x, y
    kept = standing_out(y, stretches)
    return x[kept], y[kept]


def standing_out(y: Floats, stretches: int, *, middle: bool = False) -> NDArray[np.int64]:
    """Return the places of a curve's points that a thinned curve keeps, ascending, ``(kept,) int64``.

    Args:
        y: The values, ``(n,)``; what is not finite is a gap.
        stretches: As for `thinned`.
        middle: Whether to keep a stretch's median value too, so that medians of the thinned curve are true.
    """
    size = max(1, -(-len(y) // stretches))
    rows = -(-len(y) // size)
    padded = np.full(rows * size, np.nan)
    padded[: len(y)] = y
    table = padded.reshape(rows, size)
    begins = np.arange(rows) * size
    finite = np.isfinite(table)
    counts = finite.sum(axis=1)
    some = counts > 0
    raised = np.where(finite, table, np.inf)
    low, high = raised.argmin(axis=1), np.where(finite, table, -np.inf).argmax(axis=1)
    found = [(begins + low)[some], (begins + high)[some]]
    if middle:
        order = raised.argsort(axis=1, kind="stable")
        found.append((begins + order[np.arange(rows), np.maximum(counts - 1, 0) // 2])[some])
    is_gap = ~finite
    is_gap[-1, len(y) - begins[-1] :] = False  # what fills up the last stretch
    gapped = is_gap.any(axis=1)
    found.append((begins + is_gap.argmax(axis=1))[gapped])
    return np.unique(np.concatenate(found))
