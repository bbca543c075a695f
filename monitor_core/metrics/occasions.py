"""When a sink judges its metric: at the ends of epochs, and at evaluations within them.

Contract. Each value is judged once. The metric of an evaluation is judged when that is delivered: within the epoch by
itself, or with the epoch's end. A metric of the training is judged at the ends of epochs, by its mean over the epoch;
with ``at="evaluation"`` wherever an evaluation is, by its mean since the one before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

import attrs

from monitor_core.metrics.monitor import Monitor

At = Literal["epoch", "evaluation"]


class _Run(Protocol):
    """What is needed of a run, see `monitor_core.bus.run.Run`."""

    evaluation: Any
    stale_metrics: frozenset[str]
    interval_means: Mapping[str, float]


@attrs.define(eq=False)
class Occasions:
    """Finds the values to judge, and counts them.

    Attributes:
        monitor: The metric.
        at: ``"epoch"``, or ``"evaluation"``.
        extra: How many more values were judged than epochs have ended.
        within_epochs: Whether a value was judged within an epoch.
    """

    monitor: Monitor
    at: At = "epoch"
    extra: int = 0
    within_epochs: bool = False

    def number(self, epoch: int) -> int:
        """Return the number, from 0, of a value that is judged in an epoch.

        Where evaluations are at the ends of epochs only, it is the epoch's number, also if some epochs have no value.
        """
        return epoch + self.extra

    def at_epoch_end(self, run: _Run, logs: Mapping[str, Any]) -> float | None:
        """Return the value to judge at an epoch's end; None, with one warning, if the metric is missing."""
        if self.at == "evaluation":
            if (found := self.monitor.find(run.interval_means)) is not None:
                return run.interval_means[found]
            if run.evaluation is None:
                self.extra -= 1
                return None
        found = self.monitor.find(logs)
        if found is not None and found in run.stale_metrics:
            self.extra -= 1
            return None
        return self.monitor.read(logs)

    def within_epoch(self, run: _Run, logs: Mapping[str, Any]) -> float | None:
        """Return the value to judge at an evaluation within an epoch; None if it does not have the metric.

        If it is judged, call `count_within_epoch` afterwards.
        """
        found, values = self.monitor.find(logs), logs
        if found is None and self.at == "evaluation":
            found, values = self.monitor.find(run.interval_means), run.interval_means
        return None if found is None or values[found] is None else self.monitor.convert(found, values[found])

    def count_within_epoch(self) -> None:
        """Count a value that was judged within an epoch."""
        self.extra += 1
        self.within_epochs = True
