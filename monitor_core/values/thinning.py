"""Fewer points of a curve, for small drawings: nothing that stands out is lost."""

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
        stretches: How many stretches of about equal length a longer one is divided into, at least 1.
    """
    if len(x) <= limit:
        return x, y
    kept: list[int] = []
    for part in np.array_split(np.arange(len(x)), stretches):
        finite = np.isfinite(y[part])
        places = set()
        if finite.any():
            inside = part[finite]
            places |= {int(inside[y[inside].argmin()]), int(inside[y[inside].argmax()])}
        if not finite.all():
            places.add(int(part[~finite][0]))
        kept += sorted(places)
    return x[kept], y[kept]
