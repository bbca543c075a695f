"""Weighted means of batch values, taken block by block, so that no batch waits for a device."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from monitor_core.values.blocks import Block


class Means:
    """Means of batch values over an epoch or an evaluation, weighted if weights were given.

    Both sums are taken in float64 from whole blocks.
    """

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, float]] = {}
        self._taken: dict[str, tuple[float, float]] = {}

    def add(self, block: Block) -> None:
        """Add a block's values."""
        with np.errstate(invalid="ignore", over="ignore"):
            if block.weights or any(mask is not None for mask in block.present.values()):
                self._add_weighted(block)
            elif block.columns:
                # All at once: there may be 100,000 metrics.
                totals = np.array(list(block.columns.values())) @ np.ones(len(block))
                for name, total in zip(block.columns, totals.tolist(), strict=True):
                    self._add_one(name, total, len(block))

    def _add_weighted(self, block: Block) -> None:
        for name, column in block.columns.items():
            weights = block.weights.get(name)
            if weights is None:
                weights = np.ones(len(block))
            used = weights > 0  # a batch of weight 0 contributes nothing, not even its NaN
            if (mask := block.present[name]) is not None:
                used &= mask
            self._add_one(name, float(column[used] @ weights[used]), float(weights[used].sum()))

    def _add_one(self, name: str, total: float, weight: float) -> None:
        before, weight_before = self._sums.get(name, (0.0, 0.0))
        self._sums[name] = before + total, weight_before + weight

    def take(self) -> dict[str, float]:
        """Return the mean of each metric, NaN if all weights were zero, and start again."""
        means = {name: value / weight if weight else math.nan for name, (value, weight) in self._sums.items()}
        self._taken, self._sums = self._sums, {}
        return means

    def taken_weights(self) -> dict[str, float]:
        """Return the weight of each mean that was taken last: the sum of its batches' weights."""
        return {name: weight for name, (_, weight) in self._taken.items()}

    def state_dict(self) -> dict[str, list[float]]:
        """Return the sum and the weight of each metric, as JSON values."""
        return {name: [value, weight] for name, (value, weight) in self._sums.items()}

    def load_state_dict(self, state: Mapping[str, Sequence[float]]) -> None:
        """Continue from what `state_dict` returned."""
        self._sums = {name: (float(value), float(weight)) for name, (value, weight) in state.items()}
