"""One metric of one recorded run as a curve, over its epochs, steps or time."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from typing import Literal, get_args

import attrs
import numpy as np
from numpy.typing import NDArray

from monitor_core.journal.evaluations import epochs_and_evaluations
from monitor_core.journal.facts import Plan
from monitor_core.journal.files import Kind
from monitor_core.journal.recorded_rows import RecordedBatches
from monitor_core.journal.rows import presence
from monitor_core.journal.run_records import RunRecord
from monitor_core.metrics.decisions import Mode
from monitor_core.metrics.monitor import AnyMode, Monitor
from monitor_core.metrics.names import find_metric
from monitor_core.replay import NO_PLAN, RecordedModel

By = Literal["epoch", "step", "time"]
Floats = NDArray[np.float64]


@attrs.frozen(eq=False)
class Curve:
    """A metric's values where it has some.

    Attributes:
        x: Their places, ascending, ``(n,) float64``: epochs from 0, steps, or seconds since the run began.
        y: The values, ``(n,) float64``, NaN where that was the value.
    """

    x: Floats
    y: Floats

    def __len__(self) -> int:
        """Return the number of values."""
        return len(self.x)


class RunCurves:
    """The curves of a run: of its epochs and the evaluations within them, or of its batches where no epoch has ended.

    Args:
        run: The run's record.
    """

    def __init__(self, run: RunRecord) -> None:
        self._points: dict[str, list[tuple[float, float, float, float]]] = {}
        self._run = run
        for kind, rows in epochs_and_evaluations(run):
            epoch = float(rows.epoch) if kind is Kind.EPOCH else np.nan
            step, time = rows.place()
            for name, value in rows.epoch_logs().items():
                self._points.setdefault(name, []).append((epoch, step, time - run.began, value))
        self._parts = [] if self._points else run.rows(Kind.BATCHES)
        self._batches = None if self._points else RecordedBatches([(0, rows) for rows in self._parts])

    @property
    def names(self) -> list[str]:
        """The metrics' names."""
        return list(self._points if self._batches is None else self._batches)

    def curve(self, name: str, by: By = "epoch") -> Curve:
        """Return a metric's curve, empty if the run does not have the metric, or not by that place.

        Args:
            name: The metric's name; ``acc`` finds ``accuracy`` and vice versa.
            by: Over what. By epoch, evaluations within epochs are left out.
        """
        found = find_metric(name, self.names)
        if found is None:
            return Curve(np.empty(0), np.empty(0))
        if self._batches is not None:
            return self._by_batch(self._batches, found, by)
        table = np.array(self._points[found], np.float64).reshape(-1, 4)
        x, y = table[:, get_args(By).index(by)], table[:, 3]
        known = ~np.isnan(x)
        return Curve(x[known], y[known])

    @cached_property
    def _present(self) -> dict[str, NDArray[np.bool_]]:
        return presence(self._parts)

    def _by_batch(self, batches: RecordedBatches, name: str, by: By) -> Curve:
        values = batches[name]
        known = self._present[name] & (by != "epoch")
        x = batches.steps.astype(np.float64) if by == "step" else batches.times - self._run.began
        return Curve(x[known], values[known])


def direction_of(name: str, mode: AnyMode, runs: Collection[RunRecord], owner: str) -> Mode:
    """Return the direction in which a metric improves, by the rule of `EarlyStopping`.

    Args:
        name: The metric's name.
        mode: ``"min"``, ``"max"``, or ``"auto"``: as the runs' models knew it, else as `DIRECTIONS` has it.
        runs: The runs' records.
        owner: What asks, for messages.

    Raises:
        SetupError: The mode is ``"auto"``, and the direction is not known.
        ValueError: ``mode`` is none of these.
    """
    known = {metric: way for run in runs for plan in run.facts(Plan)[:1] for metric, way in plan.directions.items()}
    model = RecordedModel()
    model.begin(attrs.evolve(NO_PLAN, directions=known))
    return Monitor(name=name, mode=mode, owner=owner).direction(model)
