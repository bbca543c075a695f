"""An epoch whose steps are those of the optimizer: the micro-batches that are accumulated make up one step.

Contract. After each micro-batch, ``sync_gradients`` says whether the optimizer was called in it. Means of micro-batches
are computed where their values are; nothing is read on the host. Micro-batches after the last step belong to none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import torch

from monitor_core.bus.bus import Bus
from monitor_core.loop.scopes import Epoch

T = TypeVar("T")


class AccumulatedEpoch(Epoch):
    """A training epoch with an accelerator.

    Args:
        bus: The bus.
        steps: How many optimizer steps it takes at most; None for all.
        accelerator: The accelerator.
    """

    def __init__(self, bus: Bus, steps: int | None, accelerator: Any) -> None:
        super().__init__(bus, steps)
        self._accelerator = accelerator
        self._gradient_state = accelerator.gradient_state
        self._begin_batch = self._begin_micro_batch
        self._end_batch = self._end_micro_batch
        self._is_open = False
        self._group: list[tuple[Any, ...]] = []

    def _begin_micro_batch(self, number: int) -> None:
        if not self._is_open:
            self._is_open = True
            self.bus.batch_begin(self.bus.run.step + 1)

    def _end_micro_batch(self, number: int, *taken: Any) -> None:
        """Keep the values of a micro-batch; end the step if the optimizer was called."""
        if not self._gradient_state.sync_gradients:
            self._group.append(taken)
            return
        self._is_open = False
        if self._group:
            group, self._group = [*self._group, taken], []
            taken = _means(group)
        bus = self.bus
        if self._accelerator.scaler is not None and self._accelerator.optimizer_step_was_skipped:
            bus.batch_abandon()
        else:
            bus.batch_end_kept(bus.run.step + 1, *taken)

    def _abandon_batch(self) -> None:
        self._is_open, self._group = False, []
        super()._abandon_batch()

    def start(self, data: Iterable[T]) -> Iterator[T]:
        """Return `batches`, which end with the last step that the epoch takes."""
        return super().start(data if self.steps is None else self._limited(data))

    def _limited(self, data: Iterable[T]) -> Iterator[T]:
        for item in data:
            yield item
            if not self.steps_left:
                return

    def _begin_batches(self, data: Iterable[Any]) -> None:
        super()._begin_batches(data)
        run = self.bus.run
        if self.steps_left is not None:
            self._last_step = run.step + self.steps_left
        elif self._last_step is not None:
            steps = math.ceil((self._last_step - run.step) / self._gradient_state.num_steps)
            self._last_step, run.steps_per_epoch = run.step + steps, steps

    def _end_batches(self) -> None:
        if self._is_open:
            self._abandon_batch()
        super()._end_batches()


def _means(group: list[tuple[Any, ...]]) -> tuple[dict[str, Any], dict[str, Any] | None, dict[str, Any] | None]:
    """Return the weighted mean of each value of some micro-batches, its weight, and their values for hooks."""
    values: dict[str, list[Any]] = {}
    weights: dict[str, list[Any]] = {}
    raw: dict[str, Any] = {}
    for found, given, other in ((*taken, None, None)[:3] for taken in group):
        raw |= other or {}
        for name, value in found.items():
            values.setdefault(name, []).append(value)
            weights.setdefault(name, []).append((given or {}).get(name, 1.0))
    means = {name: _mean(each, weights[name]) for name, each in values.items()}
    if not any(len(taken) > 1 and taken[1] for taken in group):
        return means, None, raw or None
    return means, {name: sum(each) for name, each in weights.items()}, raw or None


def _mean(values: list[Any], weights: list[Any]) -> Any:
    """Return a weighted mean; the last value if they are not all numbers, of which the bus warns."""
    if not all(isinstance(value, (int, float, torch.Tensor)) for value in values):
        return values[-1]
    total = sum(weights)
    with suppress(ZeroDivisionError):  # then its weight is 0
        return sum(_wide(value) * weight for value, weight in zip(values, weights, strict=True)) / total
    return values[-1]


def _wide(value: Any) -> Any:
    return value.float() if isinstance(value, torch.Tensor) else value


def plain(mapped: Any, change: Any) -> Any:
    """Return what `change` makes of an object, or of each one of several by name; None of None."""
    if isinstance(mapped, Mapping):
        return {name: change(each) for name, each in mapped.items()}
    return None if mapped is None else change(mapped)
