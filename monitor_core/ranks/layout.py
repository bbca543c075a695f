"""The results of a rank as one vector, and those of all ranks as one result.

Contract. All ranks have the same layout: a value and a weight for each name that any rank has reported so far. A name
that is new to it is first made known to all. Every rank computes from the same numbers in the same order, so the
results are equal to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Reduction = Literal["mean", "sum", "min", "max"]
REDUCTIONS = ("mean", "sum", "min", "max")

_ABSENT = -1.0
"""The weight of a name that a rank does not report."""


class Layout:
    """Which metric is where in the vector."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}

    def unknown(self, names: Iterable[str]) -> list[str]:
        """Return the names that have no place."""
        return [name for name in names if name not in self._places]

    def add(self, names: Iterable[str]) -> None:
        """Give names a place, in this order."""
        for name in names:
            self._places.setdefault(name, len(self._places))

    def pack(self, results: Mapping[str, float], weights: Mapping[str, float]) -> NDArray[np.float64]:
        """Return results and their weights, 1 by default, as ``(2 * names,) float64``; other names are left out."""
        packed = np.zeros((2, len(self._places)))
        packed[1] = _ABSENT
        for name, value in results.items():
            if (place := self._places.get(name)) is not None:
                packed[:, place] = value, max(0.0, weights.get(name, 1.0))
        return packed.ravel()

    def reduce(self, rows: NDArray[np.float64], reductions: Mapping[str, Reduction] | None) -> dict[str, float]:
        """Return one result for each name that any rank reports.

        Args:
            rows: What each rank packed, ``(ranks, 2 * names) float64``.
            reductions: How values become one, where it is not the mean; None for the value of the first rank that
                reports it.
        """
        values, weights = rows.reshape(len(rows), 2, len(self._places)).transpose(1, 2, 0)
        present = weights != _ABSENT
        if reductions is None:
            return {
                name: float(values[place, present[place].argmax()])
                for name, place in self._places.items()
                if present[place].any()
            }
        return {
            name: reduced(values[place], weights[place], reductions.get(name, "mean"))
            for name, place in self._places.items()
            if present[place].any()
        }


def reduced(values: NDArray[np.float64], weights: NDArray[np.float64], reduction: Reduction) -> float:
    """Return one value for several, NaN if no weight is above 0.

    Args:
        values: ``(ranks,) float64``.
        weights: ``(ranks,) float64``; a value whose weight is not above 0 does not count, even if it is NaN.
        reduction: The weighted mean, or the sum, minimum or maximum.
    """
    used = weights > 0
    values, weights = values[used], weights[used]
    if not len(values):
        return math.nan
    if reduction in {"min", "max"}:
        return float(values.max() if reduction == "max" else values.min())
    if reduction == "mean" and (values == values[0]).all():
        return float(values[0])  # not one bit off
    with np.errstate(invalid="ignore", over="ignore"):
        if reduction == "mean":
            shares = weights / weights.max()
            values = values * (shares / math.fsum(shares))
        return math.fsum(values) if np.isfinite(values).all() else float(values.sum())
