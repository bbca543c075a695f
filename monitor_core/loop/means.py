"""Weighted means of batch values, taken block by block, so that no batch waits for a device."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor_core.values.blocks import Block, BlockBuffer
from monitor_core.values.scalars import OnSkip


class Means:
    """Means of batch values over an epoch or an evaluation, weighted where weights were given.

    Both sums are taken in float64 from whole blocks, so no batch waits for a device.
    """

    def __init__(self, on_skip: OnSkip) -> None:
        self._weights = BlockBuffer(on_skip)
        self._weight_rows: dict[int, dict[str, float]] = {}
        self._sums: dict[str, tuple[float, float]] = {}

    def add_weight(self, step: int, names: Iterable[str], weight: Any) -> None:
        """Weigh the values that these metrics have at this step."""
        self._weights.append(step, dict.fromkeys(names, weight))

    def add(self, block: Block) -> None:
        """Add a block's values."""
        while (given := self._weights.take(block.epoch)) is not None:
            for step, row in given.rows():
                self._weight_rows.setdefault(step, {}).update(row)
        with np.errstate(invalid="ignore", over="ignore"):
            if self._weight_rows or any(mask is not None for mask in block.present.values()):
                self._add_weighted(block)
            elif block.columns:
                # All at once: there may be 100,000 metrics.
                totals = np.array(list(block.columns.values())) @ np.ones(len(block))
                for name, total in zip(block.columns, totals.tolist(), strict=True):
                    self._add_one(name, total, len(block))
        for step in block.steps.tolist():
            self._weight_rows.pop(step, None)

    def _add_weighted(self, block: Block) -> None:
        for name, column in block.columns.items():
            weights = self._column_weights(name, block)
            used = weights > 0  # a batch of no weight contributes nothing, not even its NaN
            if (mask := block.present[name]) is not None:
                used &= mask
            self._add_one(name, float(column[used] @ weights[used]), float(weights[used].sum()))

    def _add_one(self, name: str, total: float, weight: float) -> None:
        before, weight_before = self._sums.get(name, (0.0, 0.0))
        self._sums[name] = before + total, weight_before + weight

    def _column_weights(self, name: str, block: Block) -> NDArray[np.float64]:
        rows = self._weight_rows
        if not rows:
            return np.ones(len(block))
        return np.array([rows.get(step, {}).get(name, 1.0) for step in block.steps.tolist()])

    def take(self) -> dict[str, float]:
        """Return the mean of each metric, NaN where all weights were zero, and begin anew."""
        means = {name: value / weight if weight else math.nan for name, (value, weight) in self._sums.items()}
        self._sums = {}
        return means
