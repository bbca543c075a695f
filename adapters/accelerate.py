"""Accelerate: a `Loop` whose steps are those of the optimizer, however many batches accumulate. It imports accelerate.

In: an ``Accelerator``, and what it has prepared. Out: a loop. Public: `AccelerateLoop`.

Contract. A batch within ``accelerator.accumulate(model)`` is a micro-batch: the step begins with the first one and ends
with the one at which gradients are synchronized. It has the mean of what is logged in its micro-batches, by their
weights; nothing is read on the host. A step that a loss scaler skips is dropped.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from accelerate import Accelerator

from monitor_core.adapters.torch.scheduled import ScheduledModel
from monitor_core.bus.bus import Bus
from monitor_core.loop.loop import Loop
from monitor_core.loop.scopes import Epoch

__all__ = ["AccelerateLoop"]

T = TypeVar("T")


class AccelerateLoop(Loop):
    """Drive sinks from a loop in Accelerate's idiom; use it as a `Loop`.

    Args:
        accelerator: The ``Accelerator``.
        *sinks: Sinks, in the order in which they are to be called.
        model: The model, for sinks that need it, as ``accelerator.prepare`` returned it.
        optimizer: Its optimizer, prepared.
        scheduler: Its learning rate scheduler, prepared. A rate that a sink sets scales the rest of its schedule.
        **options: As for `Loop`.

    Example:
        >>> with AccelerateLoop(accelerator, History(), model=model, optimizer=optimizer) as loop:
        ...     for epoch in loop.epochs(3):
        ...         for x, y in loop.batches(loader):
        ...             with accelerator.accumulate(model):
        ...                 loss = loss_of(model(x), y)
        ...                 accelerator.backward(loss)
        ...                 optimizer.step()
        ...                 optimizer.zero_grad()
        ...             loop.log(loss=loss)
    """

    def __init__(
        self,
        accelerator: Accelerator,
        *sinks: object,
        model: Any = None,
        optimizer: Any = None,
        scheduler: Any = None,
        **options: Any,
    ) -> None:
        if model is not None:
            model = ScheduledModel(
                accelerator.unwrap_model(model),
                getattr(optimizer, "optimizer", optimizer),
                getattr(scheduler, "scheduler", scheduler),
            )
        super().__init__(*sinks, model=model, **options)
        self._accumulation = accelerator.gradient_accumulation_steps
        steps = _Steps(accelerator, self.bus)
        self.bus.batch_begin, self.bus.batch_end_kept = steps.begin, steps.end  # type: ignore[method-assign]

    def batches(self, data: Iterable[T]) -> Iterator[T]:
        """Yield the batches of data, in an epoch as micro-batches of its steps."""
        scope = self._scope
        if not isinstance(scope, Epoch):
            yield from super().batches(data)
        elif scope.steps is None:
            yield from super().batches(_InSteps(data, self._accumulation))
        else:
            while scope.steps_left and not self.run.stopped:  # a loop takes as many batches as steps are left
                yield from super().batches(data)


class _Steps:
    """The begin and the end of a bus's batches: those of a step, for the micro-batches that it is called with."""

    def __init__(self, accelerator: Accelerator, bus: Bus) -> None:
        self._accelerator = accelerator
        self._bus: Bus = weakref.proxy(bus)
        self._begin, self._end = bus.batch_begin, bus.batch_end_kept
        self._found: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self._open_in: int | None = None  # the epoch of the open step

    def begin(self, step: int) -> None:
        """Begin a step, unless this micro-batch belongs to the open one."""
        run = self._bus.run
        if self._open_in is not None and self._open_in != run.epoch:  # its epoch was left
            self._abandon()
        if self._open_in is None:
            self._open_in = run.epoch
            self._begin(run.step + 1)

    def end(self, step: int, values: dict[str, Any], weights: dict[str, Any] | None = None, raw: Any = None) -> None:
        """End the step, if its gradients were synchronized."""
        self._found.append((values, weights or {}))
        if not self._accelerator.sync_gradients:
            return
        if self._accelerator.optimizer_step_was_skipped:
            self._abandon()
            return
        found, self._found, self._open_in = self._found, [], None
        if len(found) > 1:
            values, weights = _means(found)
        self._end(self._bus.run.step + 1, values, weights, raw)

    def _abandon(self) -> None:
        self._found, self._open_in = [], None
        self._bus.batch_abandon()


class _InSteps(Iterable[T]):
    """Data with a length in steps."""

    def __init__(self, data: Iterable[T], accumulation: int) -> None:
        self._data = data
        self._accumulation = accumulation

    def __iter__(self) -> Iterator[T]:
        return iter(self._data)

    def __len__(self) -> int:
        return math.ceil(len(self._data) / self._accumulation)  # type: ignore[arg-type]


def _means(found: list[tuple[dict[str, Any], dict[str, Any]]]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return the weighted mean of each value over the micro-batches that have it, and the sums of their weights."""
    means, sums = {}, {}
    for name in {name: None for values, _ in found for name in values}:
        entries = [(values[name], weights.get(name, 1.0)) for values, weights in found if name in values]
        weight = sum(each for _, each in entries)
        try:
            means[name] = sum(value * each for value, each in entries) / weight
            sums[name] = weight
        except (TypeError, ArithmeticError):  # not a metric
            means[name] = entries[-1][0]
    return means, sums if any(weights for _, weights in found) else None
