"""Termination of a training whose values are no longer finite."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, Literal

import attrs
import numpy as np

from monitor_core import checks
from monitor_core.bus.copies import independent_copy
from monitor_core.bus.run import Run
from monitor_core.bus.sink import Logs, Sink
from monitor_core.metrics.monitor import Monitor
from monitor_core.values.blocks import Block
from monitor_core.values.scalars import flatten, scalar

Every = Literal["batch", "block"]


@attrs.define(eq=False)
class TerminateOnNaN(Sink):
    """Stop the training as failed when a metric is NaN or infinite.

    The reason names the metric, the epoch and the step. Epoch logs are checked too, for loops that log nothing per
    batch. Values that are not numbers are ignored. If the metric is in no log at all, a warning is logged once.

    Args:
        monitor: The metric's name; None checks every metric, validation metrics included.
        every: When to check the batches. ``"batch"``: immediately, which waits for the device at each batch.
            ``"block"``: when their values are fetched together, without waiting, up to 256 batches or 1 second later.
        raise_error: Whether to raise a RuntimeError that ends the training, instead of asking the run to stop.

    Raises:
        TypeError: ``raise_error`` is not a bool.
        ValueError: ``monitor`` is not a name, or ``every`` neither of these.

    Example:
        >>> with Loop(TerminateOnNaN()) as loop:
        ...     for epoch in loop.epochs(1):
        ...         for x, y in loop.batches(train_data):
        ...             loop.log(loss=math.nan)
        >>> loop.run.stop_reason
        'loss is nan at step 1, in epoch 1'

    Source: Keras's callback of the same name, which checks only the batches' ``loss``.
    """

    __copy__ = independent_copy

    read_only: ClassVar[bool] = True
    background: ClassVar[bool] = True

    monitor: str | None = attrs.field(default="loss")
    every: Every = attrs.field(default="batch", kw_only=True, validator=checks.one_of("batch", "block"))
    raise_error: bool = attrs.field(default=False, kw_only=True, validator=checks.boolean)
    _monitor: Monitor | None = attrs.field(init=False, repr=False)
    _seen: bool = attrs.field(init=False, repr=False, default=False)

    @_monitor.default
    def _make_monitor(self) -> Monitor | None:
        return None if self.monitor is None else Monitor(self.monitor, "min", type(self).__name__)

    @property
    def critical(self) -> bool:  # type: ignore[override]
        """Whether what it raises ends the training."""
        return self.raise_error

    def wants_hook(self, hook: str) -> bool:
        """Listen to batches or to blocks, not to both."""
        return hook != ("on_block" if self.every == "batch" else "on_batch_end")

    def on_batch_end(self, run: Run, step: int, logs: Logs) -> None:
        """Check a batch's values, waiting for the device."""
        for name, value in self._watched(logs):
            if not math.isfinite(value):
                self._end(run, f"{name} is {value} at step {step}, in epoch {run.epoch + 1}")
                return

    def on_block(self, run: Run, block: Block) -> None:
        """Check the values of some batches, the earliest first."""
        found: list[tuple[int, str]] = []
        for name in self._names(block.columns):
            wrong = ~np.isfinite(block.columns[name])
            if (mask := block.present[name]) is not None:
                wrong &= mask
            if wrong.any():
                found.append((int(wrong.argmax()), name))
        if found:
            row, name = min(found, key=lambda each: each[0])
            value, step = float(block.columns[name][row]), int(block.steps[row])
            self._end(run, f"{name} is {value} at step {step}, in epoch {block.epoch + 1}")

    def on_epoch_end(self, run: Run, epoch: int, logs: Logs) -> None:
        """Check the epoch's values."""
        for name, value in self._watched(logs):
            if not math.isfinite(value):
                self._end(run, f"{name} is {value} at the end of epoch {epoch + 1}, step {run.step}")
                return
        if self._monitor is not None and not self._seen:
            self._monitor.warn_missing(logs, "this epoch")
        self._seen = False

    def on_midepoch_evaluation(self, run: Run, logs: Logs) -> None:
        """Check an evaluation's values."""
        for name, value in self._watched(logs):
            if not math.isfinite(value):
                self._end(run, f"{name} is {value} in the evaluation at step {run.step}, in epoch {run.epoch + 1}")
                return

    def _end(self, run: Run, reason: str) -> None:
        if self.raise_error:
            raise RuntimeError(reason)
        run.stop(reason, failed=True)

    def _watched(self, logs: Logs) -> Iterator[tuple[str, float]]:
        """Yield the metrics to check that are numbers."""
        monitor = self._monitor
        if monitor is None:
            for name, value in flatten(logs):
                try:
                    yield name, scalar(value)
                except (TypeError, ValueError):
                    continue
        elif (found := monitor.find(logs)) is not None and logs[found] is not None:
            self._seen = True
            if (converted := monitor.convert(found, logs[found])) is not None:
                yield found, converted

    def _names(self, available: Logs) -> list[str]:
        if self._monitor is None:
            return list(available)
        name = self._monitor.find(available)
        if name is None:
            return []
        self._seen = True
        return [name]
