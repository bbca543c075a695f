"""The values of every batch as columns of one length, with their runs, epochs, steps and times."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from monitor_core.metrics.names import find_metric, unknown_metric
from monitor_core.records.columns import Column, Table


class MetricLists(dict[str, list[float]]):
    """Each metric's values as a list, as in Keras's ``History.history``; ``acc`` finds ``accuracy`` and vice versa."""

    def __missing__(self, name: str) -> list[float]:
        """Return the column under its other spelling, or raise a KeyError that lists the names."""
        found = find_metric(name, self.keys())
        if found is None:
            raise KeyError(unknown_metric(name, self, "this history"))
        return self[found]


@attrs.frozen
class _Segment:
    """A stretch of batches of one block with evenly spaced steps: their labels, once instead of 24 bytes a row."""

    run: int
    epoch: int
    step: int
    stride: int
    rows: int
    time: float

    def up_to(self, step: int) -> _Segment:
        return attrs.evolve(self, rows=max(0, min(self.rows, (step - self.step) // self.stride + 1)))


class BatchHistory:
    """The values of every batch as columns of one length: `History.batches`.

    A batch takes 8 bytes for each metric and 4 for its time; times are exact to a microsecond within a block that
    spans up to 16 seconds.
    """

    def __init__(self) -> None:
        self._table = Table()
        self._offsets = Column(np.float32)
        self._segments: list[_Segment] = []

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self._table)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the metrics' names."""
        return iter(self._table)

    def __contains__(self, name: object) -> bool:
        """Answer whether the metric is there, under either spelling of accuracy."""
        return isinstance(name, str) and find_metric(name, list(self._table)) is not None

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        """Return a metric's values, ``(batches,) float64``, NaN where missing.

        Raises:
            KeyError: There is no such metric; the message lists the names.
        """
        if not len(self):
            raise KeyError("no batches are on record; History(per_batch=True) records them")
        return column(self._table, name, "each batch")

    @property
    def last_run(self) -> int:
        """The run of the last batch, -1 where there is none."""
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
    """Return arrays as one of this dtype, empty where there are none."""
    return np.concatenate(parts).astype(dtype) if parts else np.empty(0, dtype)


def column(table: Table, name: str, where: str) -> NDArray[np.float64]:
    """Return a metric's column under either spelling of accuracy, or raise a KeyError that lists the names."""
    found = find_metric(name, list(table))
    if found is None:
        raise KeyError(unknown_metric(name, table, where))
    return table[found]
