"""The epochs of a framework that has no means of its batches: kept for an adapter from an epoch's begin to its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monitor_core.bus.bus import Bus
from monitor_core.loop.resume import Resume
from monitor_core.values.means import Means


class Epochs:
    """Begin and end the epochs of a bus; an epoch's logs are the means of its batches and what else is given.

    Args:
        bus: The bus.

    Attributes:
        is_open: Whether an epoch is open.
    """

    def __init__(self, bus: Bus) -> None:
        self.is_open = False
        self._bus = bus
        self._means: Means | None = None
        self._results: dict[str, Any] = {}
        self._loaded: Mapping[str, Any] | None = None

    def begin(self, epoch: int) -> None:
        """Begin an epoch.

        Args:
            epoch: Its number, 0-based; at least that of the next one is used. An earlier one, which was open in a state
                that was loaded, ends first.
        """
        if self._loaded is not None and self._loaded["number"] < epoch:
            self._open(self._loaded["number"])
            self.end()
        self._open(max(self._bus.run.epoch + 1, epoch))

    def _open(self, epoch: int) -> None:
        loaded, self._loaded = self._loaded, None
        self._bus.epoch_begin(epoch, done=0 if loaded is None else loaded.get("done", 0))
        self.is_open = True
        self._means, self._results = Means(), {}
        if loaded is not None:
            self._means.load_state_dict(loaded["means"])
            self._results = dict(loaded["results"])
        self._bus.gather_means(self._means)

    def end_evaluation(self, results: Mapping[str, Any], *, followed: bool | None = None) -> None:
        """End the bus's evaluation, if one is open.

        Args:
            results: Its results, without a prefix.
            followed: Whether more batches follow in this epoch, None if unknown.
        """
        evaluation = self._bus.run.evaluation
        if evaluation is not None:
            self._bus.evaluation_end(results, followed=followed)
            self._results |= evaluation.renamed(results)

    def end(self, logs: Mapping[str, Any] | None = None) -> None:
        """End the open epoch, if any.

        Args:
            logs: Metrics of the epoch, besides the means of its batches and the results of its evaluations.
        """
        if self._means is not None:
            means, self._means, self.is_open = self._means, None, False
            self._bus.gather_means(None)
            self._bus.epoch_end(self._bus.run.epoch, {**means.take(), **self._results, **(logs or {})})

    def abandon(self) -> None:
        """Drop the open epoch, if any: its training raised."""
        if self._means is not None:
            self._means, self.is_open = None, False
            self._bus.gather_means(None)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the bus, and what the open epoch has so far."""
        state: dict[str, Any] = {"bus": self._bus.state_dict(), "epoch": None}
        if self._means is not None:
            number = self._bus.run.epoch
            state["bus"]["run"]["epoch"] = number - 1  # it is begun again
            state["epoch"] = {
                "number": number,
                "done": self._bus.run.epoch_step,
                "means": self._means.state_dict(),
                "results": self._results,
            }
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned; call it before train begin.

        Raises:
            ValueError: The state of the bus does not fit its sinks.
        """
        self._bus.load_state_dict(state["bus"])
        self._loaded = state["epoch"]
        if (home := self._bus.resumption.home) is not None:
            Resume(self._bus, home).continue_record()
