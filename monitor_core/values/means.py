"""Weighted means of batch values, taken block by block, so that no batch waits for a device."""

from __future__ import annotations

import math

import numpy as np

from monitor_core.values.blocks import Block


class Means:
    """Means of batch values over an epoch or an evaluation, weighted if weights were given.

    Both sums are taken in float64 from whole blocks.
    """

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, float]] = {}

    def add(self, block: Block) -> None:
        """Add a block's values."""
        for name, column in block.columns.items():
            weights = block.weights.get(name)
            if weights is None:
                weights = np.ones(len(block))
            used = weights > 0  # a batch of weight 0 contributes nothing, not even its NaN
            if (mask := block.present[name]) is not None:
                used &= mask
            value, weight = self._sums.get(name, (0.0, 0.0))
            with np.errstate(invalid="ignore", over="ignore"):
                self._sums[name] = value + float(column[used] @ weights[used]), weight + float(weights[used].sum())

    def take(self) -> dict[str, float]:
        """Return the mean of each metric, NaN if all weights were zero, and start again."""
        means = {name: value / weight if weight else math.nan for name, (value, weight) in self._sums.items()}
        self._sums = {}
        return means
