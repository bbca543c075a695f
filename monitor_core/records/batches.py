"""Every batch's values as columns of one length, with their runs, epochs, steps and times."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from monitor_core.records.columns import Column, Table
from monitor_core.records.lookup import MetricColumns


@attrs.frozen
class _Segment:
    """The labels of a stretch of a block's batches with evenly spaced steps, stored once instead of 24 bytes a row."""

    run: int
    epoch: int
    step: int
    stride: int
    rows: int
    time: float

    def up_to(self, step: int) -> _Segment:
        return attrs.evolve(self, rows=max(0, min(self.rows, (step - self.step) // self.stride + 1)))


class BatchHistory(MetricColumns):
    """Every batch's values as columns of one length: `History.batches`.

    A batch takes 8 bytes for each metric and 4 for its time; times are exact to a microsecond within a block that
    spans up to 16 seconds.
    """

    where = "each batch"
    empty = "no batches are on record; History(per_batch=True) records them"

    def __init__(self) -> None:
        self._table = Table()
        self._offsets = Column(np.float32)
        self._segments: list[_Segment] = []

    def __repr__(self) -> str:
        return f"BatchHistory({len(self.steps)} batches: {', '.join(self) or 'no metrics'})"

    def _columns(self) -> Table:
        return self._table

    @property
    def last_run(self) -> int:
        """The run of the last batch, -1 if there is none."""
        return self._segments[-1].run if self._segments else -1

    @property
    def steps(self) -> NDArray[np.int64]:
        """Each batch's step within its run, from 1, ``(batches,) int64``."""
        return joined([each.step + each.stride * np.arange(each.rows) for each in self._segments], np.int64)

    @property
    def epochs(self) -> NDArray[np.int64]:
        """Each batch's epoch, 0-based, ``(batches,) int64``."""
        return joined([np.full(each.rows, each.epoch) for each in self._segments], np.int64)

    @property
    def runs(self) -> NDArray[np.int64]:
        """Each batch's run, ``(batches,) int64``."""
        return joined([np.full(each.rows, each.run) for each in self._segments], np.int64)

    @property
    def times(self) -> NDArray[np.float64]:
        """When each batch ended, seconds since 1970, ``(batches,) float64``."""
        times: NDArray[np.float64] = self._offsets.array().astype(np.float64)
        times += joined([np.full(each.rows, each.time) for each in self._segments], np.float64)
        return times

    def extend(
        self, run: int, epoch: int, steps: NDArray[np.int64], times: NDArray[np.float64], columns: Mapping[str, Any]
    ) -> None:
        """Append batches of one epoch; the arguments are as in `Block`."""
        rows = len(steps)
        if not rows:
            return
        strides = np.diff(steps)
        first = 0
        while first < rows:
            stride = int(strides[first]) if first < rows - 1 else 1
            others = np.flatnonzero(strides[first:] != stride)
            last = first + (int(others[0]) if len(others) else rows - 1 - first)
            # float32 is exact to a microsecond for 16 seconds
            last = max(first, min(last, int(np.searchsorted(times, times[first] + 16.0)) - 1))
            segment = _Segment(run, epoch, int(steps[first]), stride, last + 1 - first, float(times[first]))
            self._segments.append(segment)
            self._offsets.extend((times[first : last + 1] - segment.time).astype(np.float32))
            first = last + 1
        self._table.extend(rows, columns)

    def truncate(self, run: int, step: int) -> None:
        """Drop the last run's batches after a step."""
        kept = [each.up_to(step) if each.run == run else each for each in self._segments]
        self._segments = [each for each in kept if each.rows]
        rows = sum(each.rows for each in self._segments)
        self._table.truncate(rows)
        self._offsets.truncate(rows)


def joined(parts: list[NDArray[Any]], dtype: type[np.generic]) -> NDArray[Any]:
    """Return the arrays joined as this dtype; the result is empty if there are none."""
    return np.concatenate(parts).astype(dtype) if parts else np.empty(0, dtype)
