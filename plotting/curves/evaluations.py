"""Evaluations within epochs: a run's epochs and evaluations as rows of one table, by step. Needs NumPy alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from monitor_core.plotting.curves.smoothing import Floats


@attrs.frozen(eq=False)
class Recorded:
    """Rows as recorded, of epochs or of evaluations.

    Attributes:
        runs: ``(n,) int64``: each row's run.
        epochs: ``(n,) int64``: each row's epoch, 0-based; -1 before the first.
        steps: ``(n,) int64``: how many steps of its run had ended.
        columns: Each metric's values, ``(n,) float64``, with their prefixes; NaN where there is none.
    """

    runs: NDArray[np.int64]
    epochs: NDArray[np.int64]
    steps: NDArray[np.int64]
    columns: Mapping[str, Floats]

    def only(self, rows: NDArray[np.bool_]) -> Recorded:
        """Return some of the rows."""
        columns = {name: np.asarray(column)[rows] for name, column in self.columns.items()}
        return Recorded(self.runs[rows], self.epochs[rows], self.steps[rows], columns)

    def filled(self) -> Recorded:
        """Return the rows without the metrics that none of them has."""
        return attrs.evolve(
            self, columns={name: each for name, each in self.columns.items() if not np.isnan(each).all()}
        )

    @property
    def places(self) -> list[tuple[int, int]]:
        """Each row's run and epoch."""
        return list(zip(self.runs.tolist(), self.epochs.tolist(), strict=True))


@attrs.frozen(eq=False)
class BySteps:
    """Epochs and evaluations as one table.

    Attributes:
        rows: ``(n,) float64``, ascending: each row's step; the steps of several runs are counted on.
        columns: Each metric's values.
        ends: The epochs of the last run, 0-based, and the steps at their ends.
        begin: The step at which the last run begins.
    """

    rows: Floats
    columns: dict[str, Floats]
    ends: dict[int, float]
    begin: float


def by_steps(epochs: Recorded, evaluations: Recorded) -> BySteps | None:
    """Return epochs and the evaluations within them by step, None if the epochs' steps do not tell them apart.

    An epoch has the results of its last evaluation. Where that was within the epoch, its row has the results, and the
    epoch's has none.
    """
    begins = _begins(epochs, evaluations)
    steps = np.array([begins[run] for run in epochs.runs.tolist()], np.float64) + epochs.steps
    if not (np.diff(steps, prepend=0.0) > 0).all():
        return None
    is_within = within_epochs(epochs, evaluations)
    within, at_ends = evaluations.only(is_within).filled(), evaluations.only(~is_within)
    own = {name: _fresh(name, np.asarray(values), epochs, within, at_ends) for name, values in epochs.columns.items()}
    rows = np.concatenate([steps, np.array([begins[run] for run in within.runs.tolist()], np.float64) + within.steps])
    order = np.argsort(rows, kind="stable")
    columns = {
        name: np.concatenate([_column(own, name, len(steps)), _column(within.columns, name, len(rows) - len(steps))])
        for name in dict.fromkeys([*own, *within.columns])
    }
    last = max(begins, default=0)
    ends = {epoch: step for (run, epoch), step in zip(epochs.places, steps.tolist(), strict=True) if run == last}
    return BySteps(rows[order], {name: values[order] for name, values in columns.items()}, ends, begins.get(last, 0.0))


def within_epochs(epochs: Recorded, evaluations: Recorded) -> NDArray[np.bool_]:
    """Return for each evaluation whether it was within an epoch: more batches followed, or the epoch did not end."""
    ends = dict(zip(epochs.places, epochs.steps.tolist(), strict=True))
    rows = zip(evaluations.places, evaluations.steps.tolist(), strict=True)
    return np.array([place[1] >= 0 and step < ends.get(place, np.inf) for place, step in rows], np.bool_)


def _begins(*parts: Recorded) -> dict[int, float]:
    """Return the step at which each run begins, counted on from the runs before."""
    runs, steps = (np.concatenate([getattr(each, name) for each in parts]) for name in ("runs", "steps"))
    begins, total = {}, 0.0
    for run in np.unique(runs).tolist():
        begins[run] = total
        total += float(steps[runs == run].max())
    return begins


def _column(columns: Mapping[str, Any], name: str, count: int) -> Floats:
    return np.asarray(columns[name], np.float64) if name in columns else np.full(count, np.nan)


def _fresh(name: str, values: Floats, epochs: Recorded, within: Recorded, at_ends: Recorded) -> Floats:
    """Return a metric's values at the epochs' ends without those of an evaluation within the epoch."""
    if name not in within.columns:
        return values
    earlier = _values_by_place(within, name)
    again = _values_by_place(at_ends, name)
    stale = [
        place in earlier and place not in again and earlier[place] == value
        for place, value in zip(epochs.places, values.tolist(), strict=True)
    ]
    return np.where(stale, np.nan, values)


def _values_by_place(rows: Recorded, name: str) -> dict[tuple[int, int], float]:
    """Return the last value of a metric in each epoch that has one."""
    if name not in rows.columns:
        return {}
    pairs = zip(rows.places, np.asarray(rows.columns[name]).tolist(), strict=True)
    return {place: value for place, value in pairs if not np.isnan(value)}
