"""Epochs and batches as a journal recorded them: columns of one length, looked up as those of a `History` are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from monitor_core.journal.rows import Rows, extend_table
from monitor_core.metrics.names import find_metric, unknown_metric
from monitor_core.records.columns import Table
from monitor_core.records.frames import frame

if TYPE_CHECKING:
    import pandas as pd


class _RecordedRows:
    """Rows of metrics, each with its run, epoch, step and time."""

    _where = "this record"

    def __init__(self, parts: Sequence[tuple[int, Rows]]) -> None:
        self._table = Table()
        self._steps, self._times = extend_table(self._table, [rows for _, rows in parts])
        lengths = [len(rows) for _, rows in parts]
        self._epochs = np.repeat(np.array([rows.epoch for _, rows in parts], np.int64), lengths)
        self._runs = np.repeat(np.array([run for run, _ in parts], np.int64), lengths)
        for labels in (self._steps, self._times, self._epochs, self._runs):
            labels.setflags(write=False)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._table)

    def __bool__(self) -> bool:
        """Answer True, also while it is empty, as a `History` does."""
        return True

    def __iter__(self) -> Iterator[str]:
        """Iterate over the metrics' names, in the order of their first appearance."""
        return iter(self._table)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} rows: {', '.join(self) or 'no metrics'})"

    def keys(self) -> list[str]:
        """Return the metrics' names, in the order of their first appearance."""
        return list(self._table)

    def __contains__(self, name: object) -> bool:
        """Answer whether the metric is there, under either spelling of accuracy."""
        return isinstance(name, str) and find_metric(name, self.keys()) is not None

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        """Return a metric's values, ``(rows,) float64``, read-only, NaN where missing.

        Raises:
            KeyError: There is no such metric; the message lists the names.
        """
        found = find_metric(name, self.keys())
        if found is None:
            raise KeyError(unknown_metric(name, self, self._where))
        return self._table[found]

    @property
    def steps(self) -> NDArray[np.int64]:
        """Each row's step within its run, ``(rows,) int64``."""
        return self._steps

    @property
    def times(self) -> NDArray[np.float64]:
        """When each was recorded, or the batch ended, seconds since 1970, ``(rows,) float64``."""
        return self._times

    def to_pandas(self) -> pd.DataFrame:
        """Return a pandas frame with the columns ``run``, ``epoch``, ``step`` and ``time``, then the metrics.

        Raises:
            ImportError: pandas is not installed.
        """
        labels = {"run": self._runs, "epoch": self._epochs, "step": self._steps, "time": self._times}
        return frame(labels, {name: self._table[name] for name in self._table})


class RecordedBatches(_RecordedRows):
    """The values of every batch, in the order in which they were trained."""

    _where = "each batch"

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        """Return a metric's values, ``(batches,) float64``, read-only, NaN where missing.

        Raises:
            KeyError: There is no such metric; the message lists the names.
        """
        if not len(self):
            raise KeyError("no batches are on record; Journal(per_batch=True) records them")
        return super().__getitem__(name)

    @property
    def epochs(self) -> NDArray[np.int64]:
        """Each batch's epoch, 0-based, ``(batches,) int64``."""
        return self._epochs

    @property
    def runs(self) -> NDArray[np.int64]:
        """Each batch's run, ``(batches,) int64``."""
        return self._runs


class RecordedHistory(_RecordedRows):
    """The results of every epoch, or of every evaluation."""

    _where = "this history"

    @property
    def history(self) -> dict[str, list[float]]:
        """Each metric's values as a list, as in Keras's ``History.history``."""
        return {name: self._table[name].tolist() for name in self._table}

    @property
    def epoch(self) -> list[int]:
        """Each row's epoch within its run, 0-based."""
        return [int(epoch) for epoch in self._epochs]

    @property
    def run(self) -> NDArray[np.int64]:
        """Each row's run, ``(rows,) int64``."""
        return self._runs
