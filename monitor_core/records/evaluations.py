"""Every evaluation's results as columns of one length, with their runs, epochs, steps, times and names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from monitor_core.records.columns import Table
from monitor_core.records.lookup import Results


@attrs.frozen
class _Label:
    """Which evaluation a row is of."""

    run: int
    epoch: int
    step: int
    time: float
    name: str


class EvaluationHistory(Results):
    """Every evaluation's results, within an epoch, at its end or between epochs: `History.evaluations`.

    The metrics have the evaluation's prefix, as in the epoch's logs: ``evaluations["val_loss"]``; a metric of another
    evaluation is NaN.
    """

    where = "the record of evaluations"

    def __init__(self) -> None:
        self._table = Table()
        self._labels: list[_Label] = []
        self._first_open = 0

    def _columns(self) -> Table:
        return self._table

    def __repr__(self) -> str:
        return f"EvaluationHistory({len(self)} rows: {', '.join(self) or 'no metrics'})"

    @property
    def last_run(self) -> int:
        """The run of the last evaluation, -1 if there is none."""
        return self._labels[-1].run if self._labels else -1

    @property
    def run(self) -> NDArray[np.int64]:
        """Each evaluation's run, ``(evaluations,) int64``."""
        return np.array([each.run for each in self._labels], np.int64)

    @property
    def epoch(self) -> list[int]:
        """Each evaluation's epoch, 0-based; that of the epoch before for one between epochs, -1 before the first."""
        return [each.epoch for each in self._labels]

    @property
    def steps(self) -> NDArray[np.int64]:
        """How many steps of its run came before each evaluation, ``(evaluations,) int64``."""
        return np.array([each.step for each in self._labels], np.int64)

    @property
    def times(self) -> NDArray[np.float64]:
        """When each evaluation ended, seconds since 1970, ``(evaluations,) float64``."""
        return np.array([each.time for each in self._labels], np.float64)

    @property
    def names(self) -> list[str]:
        """Each evaluation's name, ``val`` for one without a name: see `Evaluation.label`."""
        return [each.name for each in self._labels]

    def append(self, logs: Mapping[str, float], *, run: int, epoch: int, step: int, time: float, name: str) -> None:
        """Append an evaluation; the metrics have their prefixes."""
        self._table.append(logs)
        self._labels.append(_Label(run, epoch, step, time, name))

    def extend(self, labels: Mapping[str, Any], columns: Mapping[str, NDArray[np.float64]]) -> None:
        """Append evaluations, given by their labels ``run``, ``epoch``, ``step``, ``time`` and ``name``."""
        rows = zip(*(np.asarray(labels[field.name]).tolist() for field in attrs.fields(_Label)), strict=True)
        new = [_Label(int(run), int(epoch), int(step), time, name) for run, epoch, step, time, name in rows]
        self._table.extend(len(new), columns)
        self._labels += new

    def begin_epoch(self) -> None:
        """Begin an epoch, whose evaluations may not know their step yet."""
        self._first_open = len(self)

    def settle(self) -> None:
        """Note that more batches follow the first evaluation of the epoch that is not settled: its step is right."""
        self._first_open = min(self._first_open + 1, len(self))

    def end_epoch(self, step: int) -> None:
        """Set the step of the evaluations that no batch followed: some adapters know it only at the epoch's end."""
        ended = [attrs.evolve(each, step=step) for each in self._labels[self._first_open :]]
        self._labels[self._first_open :] = ended
        self._first_open = len(self)

    def truncate(self, run: int, epoch: int, step: int) -> None:
        """Drop the last run's evaluations from an epoch on and after a step."""
        rows = len(self)
        while rows and (last := self._labels[rows - 1]).run == run and (last.epoch >= epoch or last.step > step):
            rows -= 1
        self._table.truncate(rows)
        del self._labels[rows:]
        self._first_open = min(self._first_open, rows)


def evaluation_arrays(evaluations: Any) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[np.float64]]]:
    """Return the labels and the values of evaluations as `EvaluationHistory.extend` takes them.

    Args:
        evaluations: An `EvaluationHistory`, or what a journal has of a run's evaluations.
    """
    labels: dict[str, NDArray[Any]] = {
        "run": evaluations.run,
        "epoch": np.array(evaluations.epoch, np.int64),
        "step": evaluations.steps,
        "time": evaluations.times,
        "name": np.array(evaluations.names, str),
    }
    return labels, {name: evaluations[name] for name in evaluations}
