"""What a loop has under way: an epoch, an evaluation or a prediction, with its batches and its results.

A batch counts as finished when its turn is over, or, if it is left by ``break``, ``return`` or an exception, once
something was logged in it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar
from weakref import WeakSet

from monitor_core.bus.bus import Bus
from monitor_core.errors import OrderError
from monitor_core.loop.means import Means
from monitor_core.values.blocks import BlockBuffer
from monitor_core.values.scalars import flatten, keep

T = TypeVar("T")


class Scope(ABC):
    """Something with batches and results: what `Loop.log` and `Loop.batches` refer to while it is under way."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.means = Means(bus.warn_skipped)
        self.logs: dict[str, Any] = {}
        self.batch_logs: dict[str, Any] | None = None
        self.number = -1
        self._weighted = -1
        self._iterators: WeakSet[Generator[Any, None, None]] = WeakSet()
        self._error: BaseException | None = None

    def log(self, values: dict[str, Any], weight: Any) -> None:
        """Log metrics of the batch under way, or outside of one."""
        if self.batch_logs is None:
            self._log_outside(values)
            return
        self.batch_logs.update(values)
        if weight is not None or self._weighted == self.number:
            self._weighted = self.number
            names = [name for name, _ in flatten(values)]
            self.means.add_weight(self.number, names, 1.0 if weight is None else weight)

    def _log_outside(self, values: dict[str, Any]) -> None:
        self.logs.update({name: keep(value) for name, value in values.items()})

    def start(self, data: Iterable[T]) -> Iterator[T]:
        """Return `batches`, to be closed with this scope if the caller holds on to it after a break."""
        iterator = self.batches(data)
        self._iterators.add(iterator)
        return iterator

    def end(self) -> None:
        """End the batches that were left and are held on to."""
        for iterator in list(self._iterators):
            iterator.close()

    def close(self) -> None:
        """End what was left open, and raise what could not be raised when it was left."""
        self.end()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _try(self, end: Callable[[], None]) -> None:
        """Keep the exception for `close`: one that is raised while a generator is closed may be lost."""
        try:
            end()
        except BaseException as error:
            self._error = self._error or error

    def batches(self, data: Iterable[T]) -> Generator[T, None, None]:
        """Yield the data with the events of each batch around it."""
        if self.batch_logs is not None:
            raise OrderError("batches() inside of a batch: one batch is open at a time")
        self._begin_batches(data)
        left = False
        try:
            for item in data:
                self._begin_batch()
                logs: dict[str, Any] = {}
                self.batch_logs = logs
                try:
                    yield item
                except GeneratorExit:  # left by break, return or an exception
                    left, self.batch_logs = True, None
                    self._try(partial(self._end_batch, logs) if logs else self.bus.batch_abandon)
                    raise
                self.batch_logs = None
                self._end_batch(logs)
                if self._is_over():
                    break
        finally:
            if left:
                self._try(self._end_batches)
            else:
                self._end_batches()

    def _begin_batches(self, data: Iterable[Any]) -> None:
        return

    def _end_batches(self) -> None:
        return

    @abstractmethod
    def _begin_batch(self) -> None: ...

    @abstractmethod
    def _end_batch(self, logs: dict[str, Any]) -> None: ...

    def _is_over(self) -> bool:
        return False

    def results(self) -> dict[str, Any]:
        """Return the means of what was logged in batches, and over them what was logged outside."""
        return {**self.means.take(), **self.logs}


class Epoch(Scope):
    """A training epoch: its batches advance the run's step, and end where a stop is requested."""

    joined_by_fit = False

    def start(self, data: Iterable[T]) -> Iterator[T]:
        """Return `batches`, of which there are none once the run is to stop."""
        return iter(()) if self._is_over() else super().start(data)

    def _begin_batches(self, data: Iterable[Any]) -> None:
        with suppress(Exception):  # it is wanted for a plan alone
            self.bus.run.steps_per_epoch = len(data)  # type: ignore[arg-type]
        self.bus.tap(self.means.add)

    def _end_batches(self) -> None:
        self.bus.tap(None)

    def _begin_batch(self) -> None:
        self.number = self.bus.run.step + 1
        self.bus.batch_begin(self.number)

    def _end_batch(self, logs: dict[str, Any]) -> None:
        self.bus.batch_end(self.number, logs)

    def _is_over(self) -> bool:
        return self.bus.run.stopped


class Evaluation(Scope):
    """An evaluation: its batches are numbered from 0 and averaged block by block."""

    def __init__(self, bus: Bus) -> None:
        super().__init__(bus)
        self._buffer = BlockBuffer(bus.warn_skipped)

    def _begin_batch(self) -> None:
        self.number += 1
        self.bus.evaluation_batch_begin(self.number)

    def _end_batch(self, logs: dict[str, Any]) -> None:
        if self._buffer.append(self.number, logs) >= self._buffer.limit:
            self._add_block()
        self.bus.evaluation_batch_end(self.number, logs)

    def _add_block(self) -> None:
        block = self._buffer.take(self.bus.run.epoch)
        if block is not None:
            self.means.add(block)

    def results(self) -> dict[str, Any]:
        """Return the means and what was logged outside, those of the last block included."""
        self._add_block()
        return super().results()


class Prediction(Scope):
    """A prediction: its batches are numbered from 0; what is logged in one is for the sinks, of any shape."""

    def _begin_batch(self) -> None:
        self.number += 1
        self.bus.prediction_batch_begin(self.number)

    def _end_batch(self, logs: dict[str, Any]) -> None:
        self.bus.prediction_batch_end(self.number, logs)

    def _log_outside(self, values: dict[str, Any]) -> None:
        self.logs.update(values)
