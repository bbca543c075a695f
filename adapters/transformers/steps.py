"""The steps, epochs and evaluations of a training, in the order of a bus.

A trainer logs a step's values after it has ended the step, evaluates an epoch after it has ended the epoch, and looks
for a request to stop only then. So a step that is about to be logged ends once it is, and an epoch that is about to be
evaluated ends with the last evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monitor_core._log import logger
from monitor_core.adapters.epochs import Epochs
from monitor_core.bus.bus import Bus

_NO_METRICS = {"epoch", "runtime", "samples_per_second", "steps_per_second", "model_preparation_time"}
"""What a trainer adds to an evaluation's metrics: how long it took."""


class Steps:
    """Feeds a bus.

    Args:
        bus: The bus.

    Attributes:
        epochs: The bus's epochs.
        micro_batches: How many micro-batches the open step has.
    """

    def __init__(self, bus: Bus) -> None:
        self.epochs = Epochs(bus)
        self.micro_batches = 1
        self._bus = bus
        self._values: dict[str, Any] | None = None
        self._is_ending = False
        self._evaluation: str | None = None
        self._awaited = 0
        self._has_warned = False

    def begin(self) -> None:
        """Begin an optimizer step."""
        self._values, self.micro_batches = {}, 1
        bus = self._bus
        bus.batch_begin(bus.run.step + 1)

    def end(self, loss: Any, *, is_logged: bool) -> None:
        """End the step.

        Args:
            loss: Its raw loss, None if unknown.
            is_logged: Whether `log` follows, at which it ends.
        """
        values = self._values
        if values is None:
            return
        if loss is not None:
            values["loss"] = loss
        elif not self._has_warned:
            self._has_warned = True
            logger.warning("the model returns no loss, or several, in a batch: the loss that is logged is recorded")
        if is_logged:
            self._is_ending = True
        else:
            self._values = None
            bus = self._bus
            bus.batch_end(bus.run.step + 1, values)

    def skip(self) -> None:
        """Drop the step: its optimizer was not called."""
        self._values = None
        self._bus.batch_abandon()

    def log(self, logs: Mapping[str, Any]) -> None:
        """Add what the trainer logs to the open step, if any, unless it is an evaluation's."""
        if self._evaluation is None and self._values is not None:
            self._values = {name: value for name, value in logs.items() if name != "epoch"} | self._values
            if self._is_ending:
                self._end()

    def _end(self) -> None:
        values, self._values, self._is_ending = self._values, None, False
        self._bus.batch_end(self._bus.run.step + 1, values)

    def await_evaluations(self, count: int) -> None:
        """End the epoch after so many evaluations, at once if there are none."""
        self._awaited = count
        if not count:
            self.end_epoch()

    def end_epoch(self) -> None:
        """End the epoch, and a step that waits to be logged."""
        if self._is_ending:
            self._end()
        self.epochs.end()

    def begin_evaluation(self, prefix: str) -> None:
        """Begin an evaluation whose metrics the trainer gives this prefix, without an underscore at its end."""
        self._evaluation = prefix
        name = prefix.removeprefix("eval").lstrip("_") or None
        self._bus.evaluation_begin(name=name)

    def end_evaluation(self, metrics: Mapping[str, Any]) -> None:
        """End the evaluation, and the epoch if it was awaiting this one."""
        prefix, self._evaluation = f"{self._evaluation}_", None
        results = {name.removeprefix(prefix): value for name, value in metrics.items()}
        results = {name: value for name, value in results.items() if name not in _NO_METRICS}
        self.epochs.end_evaluation(results, followed=False if self._awaited > 0 else None)
        self._awaited -= 1
        if self._awaited == 0:
            self.end_epoch()

    def abandon(self) -> None:
        """Drop what is open: the training raised."""
        self._values = self._evaluation = None
        self._is_ending = False
        self.epochs.abandon()
