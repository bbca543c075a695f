"""The epochs of a framework that has no means of its batches: kept for an adapter from an epoch's begin to its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monitor_core.bus.bus import Bus
from monitor_core.values.means import Means


class Epochs:
    """Begin and end the epochs of a bus; an epoch's logs are the means of its batches and what else is given.

    Args:
        bus: The bus.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._means: Means | None = None
        self._results: dict[str, float] = {}

    @property
    def is_open(self) -> bool:
        """Whether an epoch is open."""
        return self._means is not None

    def begin(self, epoch: int) -> None:
        """Begin an epoch.

        Args:
            epoch: Its number, 0-based; at least that of the next one is used.
        """
        self._bus.epoch_begin(max(self._bus.run.epoch + 1, epoch))
        self._means, self._results = Means(), {}
        self._bus.gather_means(self._means)

    def end_evaluation(self, results: Mapping[str, Any]) -> None:
        """End the bus's evaluation; its results, under its prefix, are among the open epoch's logs."""
        evaluation = self._bus.run.evaluation
        if evaluation is not None:
            self._bus.evaluation_end(results)
            self._results |= {
                name if name.startswith(evaluation.prefix) else evaluation.prefix + name: value
                for name, value in results.items()
            }

    def end(self, logs: Mapping[str, Any] | None = None) -> None:
        """End the open epoch, if any.

        Args:
            logs: Metrics of the epoch, besides the means of its batches and the results of its evaluations.
        """
        if self._means is not None:
            means, self._means = self._means, None
            self._bus.gather_means(None)
            self._bus.epoch_end(self._bus.run.epoch, {**means.take(), **self._results, **(logs or {})})

    def abandon(self) -> None:
        """Drop the open epoch, if any: its training raised."""
        if self._means is not None:
            self._means = None
            self._bus.gather_means(None)

    def state_dict(self) -> dict[str, Any]:
        """Return the bus's state; an epoch that is open in it is begun again where the state is loaded."""
        state = self._bus.state_dict()
        if self.is_open:
            state["run"]["epoch"] -= 1
        return state
