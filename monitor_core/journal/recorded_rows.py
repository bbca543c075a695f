"""Epochs and batches as a journal recorded them: columns of one length, looked up as in a `History`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs
import numpy as np
from numpy.typing import NDArray

from monitor_core.journal.rows import Rows, extend_table
from monitor_core.records.columns import Table
from monitor_core.records.frames import frame
from monitor_core.records.lookup import MetricColumns, Results
from monitor_core.values.labels import UNNAMED

if TYPE_CHECKING:
    import pandas as pd


class _RecordedRows(MetricColumns):
    """Rows of metrics, each with its run, epoch, step and time."""

    def __init__(self, parts: Sequence[tuple[int, Rows]]) -> None:
        self._table = Table()
        self._steps, self._times = extend_table(self._table, [rows for _, rows in parts])
        lengths = [len(rows) for _, rows in parts]
        self._epochs = np.repeat(np.array([rows.epoch for _, rows in parts], np.int64), lengths)
        self._runs = np.repeat(np.array([run for run, _ in parts], np.int64), lengths)
        for labels in (self._steps, self._times, self._epochs, self._runs):
            labels.setflags(write=False)

    def _columns(self) -> Table:
        return self._table

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} rows: {', '.join(self) or 'no metrics'})"

    @property
    def steps(self) -> NDArray[np.int64]:
        """Each row's step within its run, ``(rows,) int64``."""
        return self._steps

    @property
    def times(self) -> NDArray[np.float64]:
        """When each row was recorded, or its batch ended, seconds since 1970, ``(rows,) float64``."""
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

    where = "each batch"
    empty = "no batches are on record; Journal(per_batch=True) records them"

    def __bool__(self) -> bool:
        """Return True, also while it is empty, as a `History` does."""
        return True

    @property
    def epochs(self) -> NDArray[np.int64]:
        """Each batch's epoch, 0-based, ``(batches,) int64``."""
        return self._epochs

    @property
    def runs(self) -> NDArray[np.int64]:
        """Each batch's run, ``(batches,) int64``."""
        return self._runs


class RecordedHistory(Results, _RecordedRows):
    """The results of every epoch."""

    @property
    def epoch(self) -> list[int]:
        """Each row's epoch within its run, 0-based."""
        return [int(epoch) for epoch in self._epochs]

    @property
    def run(self) -> NDArray[np.int64]:
        """Each row's run, ``(rows,) int64``."""
        return self._runs


class RecordedEvaluations(RecordedHistory):
    """The results of every evaluation, as `History.evaluations` has them: with the prefixes of the epochs' logs."""

    where = "the record of evaluations"

    def __init__(self, parts: Sequence[tuple[int, Rows]]) -> None:
        known: dict[tuple[str, tuple[str, ...]], tuple[str, ...]] = {}
        labels = [rows.evaluation or UNNAMED for _, rows in parts]  # format 1: of validation data
        prefixed = []
        for label, (run, rows) in zip(labels, parts, strict=True):
            names = known.setdefault((label.prefix, rows.names), tuple(map(label.prefixed, rows.names)))
            prefixed.append((run, attrs.evolve(rows, names=names)))
        super().__init__(prefixed)
        self._names = [label.label for label, (_, rows) in zip(labels, parts, strict=True) for _ in range(len(rows))]

    @property
    def names(self) -> list[str]:
        """Each evaluation's name, ``val`` for one without a name: its prefix without the underscore."""
        return list(self._names)

    def to_pandas(self) -> pd.DataFrame:
        """Return a pandas frame as its base class does, with the evaluations' ``name`` after ``time``.

        Raises:
            ImportError: pandas is not installed.
        """
        labels = {"run": self._runs, "epoch": self._epochs, "step": self._steps, "time": self._times}
        return frame({**labels, "name": np.array(self._names, str)}, {name: self._table[name] for name in self._table})
