"""What a loop has open: an epoch, an evaluation or a prediction, with its batches and its results.

A batch counts as finished when the next one is asked for or, if it is left by ``break``, ``return`` or an exception,
once something was logged in it. A value is kept as it was when it was logged.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar
from weakref import WeakSet

from monitor_core.bus.bus import Bus
from monitor_core.bus.run import Waiting
from monitor_core.errors import OrderError
from monitor_core.values.means import Means
from monitor_core.values.scalars import Unusable, keep, named, to_floats

T = TypeVar("T")


class Scope:
    """Something with batches and results: what `Loop.log` and `Loop.batches` refer to while it is open.

    Args:
        bus: The bus.
        begin: Begins a batch; takes its number.
        end: Ends a batch; takes its number and its logs: see `Bus.batch_end_kept`.
        number: The number before that of the first batch.

    Attributes:
        bus: The bus.
        logs: What was logged outside of a batch.
        values: What was logged in the current batch, kept; None outside of a batch.
        number: The number of the last batch.
    """

    stops = False
    """Whether its batches end when a stop is requested."""

    def __init__(self, bus: Bus, begin: Callable[[int], None], end: Callable[..., None], number: int = -1) -> None:
        self.bus = bus
        self.logs: dict[str, Any] = {}
        self.values: dict[str, Any] | None = None
        self.number = number
        self._begin_batch = begin
        self._end_batch = end
        self._weights: dict[str, Any] | None = None
        self._raw: dict[str, Any] | None = None
        self._iterators: WeakSet[Generator[Any, None, None]] = WeakSet()
        self._error: BaseException | None = None

    def log(self, values: Mapping[str, Any], weight: Any) -> None:
        """Log metrics of the current batch, or outside of one: any values, at any depth, with any weight."""
        flat = dict(named(values))
        if self.values is None:
            self._log_outside(flat)
            return
        for name, value in flat.items():
            self.values[name] = kept = keep(value)
            if isinstance(kept, Unusable):
                self._raw = {**(self._raw or {}), name: value}
        if weight is not None or self._weights is not None:
            self._weights = {**(self._weights or {}), **dict.fromkeys(flat, 1.0 if weight is None else keep(weight))}

    def _log_outside(self, values: dict[str, Any]) -> None:
        self.logs.update({name: keep(value) for name, value in values.items()})

    def start(self, data: Iterable[T]) -> Iterator[T]:
        """Return `batches`, to be closed with this scope if the caller keeps a reference to it after a break."""
        iterator = self.batches(data)
        self._iterators.add(iterator)
        return iterator

    def end(self) -> None:
        """End batches that were left and are still referenced."""
        for iterator in list(self._iterators):
            iterator.close()

    def close(self) -> None:
        """End what was left open, and raise the exception that `attempt` kept."""
        self.end()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def attempt(self, end: Callable[[], None]) -> None:
        """Keep the exception for `close`: one that is raised while a generator is closed may be lost."""
        try:
            end()
        except BaseException as error:
            self._error = self._error or error

    def batches(self, data: Iterable[T]) -> Generator[T, None, None]:
        """Yield the data with the events of each batch around it."""
        if self.values is not None:
            raise OrderError("batches() inside of a batch: one batch is open at a time")
        run, begin, end = self.bus.run, self._begin_batch, self._end_batch
        self._begin_batches(data)
        left = False
        try:
            for item in self._shown(data):
                number = self.number + 1
                begin(number)
                self.values = {}
                try:
                    yield item
                except GeneratorExit:  # left by break, return or an exception
                    left, values = True, self.values
                    self.attempt(partial(end, number, *self._take()) if values else self._abandon_batch)
                    raise
                self.number = number
                if self._weights is None and self._raw is None:  # the usual case, 0.2 us faster
                    values, self.values = self.values, None
                    end(number, values)
                else:
                    end(number, *self._take())
                    self._ended()
                if run.stop_reason is not None and self.stops:
                    break
        finally:
            if left:
                self.attempt(self._end_batches)
            else:
                self._end_batches()

    def _take(self) -> tuple[dict[str, Any], dict[str, Any] | None, dict[str, Any] | None]:
        """Return the values, weights and raw values of the current batch, and end it."""
        taken = (self.values or {}, self._weights, self._raw)
        self.values = self._weights = self._raw = None
        return taken

    def _abandon_batch(self) -> None:
        self._take()
        self.bus.batch_abandon()

    def _ended(self) -> None:
        """Called after a batch that has weights, raw values, or was evaluated in."""

    def _begin_batches(self, data: Iterable[Any]) -> None:
        return

    def _shown(self, data: Iterable[T]) -> Iterable[T]:
        """Return the data, possibly observed."""
        return data

    def _end_batches(self) -> None:
        return

    def results(self) -> dict[str, Any]:
        """Return what was logged outside of batches."""
        return self.logs


class Averaged(Scope):
    """A scope whose results are the means of its batches, updated with what was logged outside of batches.

    Attributes:
        means: The means of the batches that were delivered.
    """

    def __init__(self, bus: Bus, begin: Callable[[int], None], end: Callable[..., None]) -> None:
        super().__init__(bus, begin, end)
        self.means = Means()

    def results(self) -> dict[str, Any]:
        """Return the means of what was logged in batches, updated with what was logged outside."""
        return {**self.means.take(), **self.logs}

    def weights(self) -> dict[str, float]:
        """Return the weights of those of the last results that are means over batches."""
        return {name: weight for name, weight in self.means.taken_weights().items() if name not in self.logs}


class Epoch(Averaged):
    """A training epoch: its batches advance the run's step, and end when a stop is requested.

    Args:
        bus: The bus.
        steps: How many batches it takes at most; None for all.
    """

    stops = True
    joined_by_fit = False

    def __init__(self, bus: Bus, steps: int | None = None) -> None:
        super().__init__(bus, bus.batch_begin, bus.batch_end_kept)
        self.steps = steps
        self._last_step: int | None = None  # of the batches that are being read
        self._is_evaluated = False

    @property
    def has_batches(self) -> bool:
        """Whether at least one batch has ended."""
        return self.bus.run.epoch_step > 0

    @property
    def is_followed(self) -> bool | None:
        """Whether more batches follow in this epoch, such as the open one that has not logged; None if unknown."""
        if self.values is not None and not self.values:
            return True
        if self._last_step is None:
            return None
        return self.next_evaluation_step < self._last_step

    @property
    def next_evaluation_step(self) -> int:
        """How many steps come before an evaluation that begins now: the open batch counts if it has logged."""
        return self.bus.run.step + bool(self.values)

    def evaluated(self) -> bool:
        """Note that an evaluation has ended; return whether it was within a batch, at whose end it is delivered."""
        if not self.values:
            return False
        self._is_evaluated = True
        self._raw = self._raw or {}  # so that the batch's end calls `_ended`
        return True

    def _ended(self) -> None:
        if self._is_evaluated:
            self._is_evaluated = False
            if self.is_followed:
                self.bus.settle_evaluations()

    def start(self, data: Iterable[T]) -> Iterator[T]:
        """Return `batches`; there are none once a stop is requested."""
        return iter(()) if self.bus.run.stopped else super().start(data)

    @property
    def steps_left(self) -> int | None:
        """How many batches the epoch still takes; None if it takes all that there are."""
        return None if self.steps is None else max(0, self.steps - self.bus.run.epoch_step)

    def state_dict(self) -> dict[str, Any]:
        """Return what the epoch has so far, as JSON values."""
        logs = to_floats(self.logs, _skip)
        return {"done": self.bus.run.epoch_step, "means": self.means.state_dict(), "logs": logs}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        self.means.load_state_dict(state["means"])
        self.logs = dict(state["logs"])

    def _begin_batches(self, data: Iterable[Any]) -> None:
        run = self.bus.run
        self.number = run.step
        self._last_step = None
        with suppress(Exception):  # only the plan needs it
            length = len(data)  # type: ignore[arg-type]
            self._last_step = run.step + length
            if self.steps is None:
                run.steps_per_epoch = length
        self.bus.gather_means(self.means)

    def _shown(self, data: Iterable[T]) -> Iterable[T]:
        """Return the data, whose first item is shown to the sink that wants a sample, before its batch begins.

        The time that it takes to get them is measured, if a sink wants that.
        """
        run = self.bus.run
        if run.waiting is not None:
            data = _timed(data, run.waiting)
        show, run.on_sample = run.on_sample, None
        return data if show is None else _with_first_shown(data, show)

    def _end_batches(self) -> None:
        self._last_step = None
        self.bus.gather_means(None)


def _skip(name: str, reason: str) -> None:
    """Leave a value out that is not a number; the epoch's end warns of it."""


def _with_first_shown(data: Iterable[T], show: Callable[[T], None]) -> Iterator[T]:
    iterator = iter(data)
    for item in iterator:
        show(item)
        yield item
        break
    yield from iterator


def _timed(data: Iterable[T], waiting: Waiting) -> Iterator[T]:
    """Yield the data, and add up how long it takes to get each item, and to use it."""
    ended = time.perf_counter()
    for item in data:
        got = time.perf_counter()
        yield item
        began, ended = ended, time.perf_counter()
        waiting.waited += got - began
        waiting.total += ended - began


class Evaluation(Averaged):
    """An evaluation: its batches are numbered from 0."""

    def __init__(self, bus: Bus) -> None:
        super().__init__(bus, bus.evaluation_batch_begin, bus.evaluation_batch_end_kept)

    def results(self) -> dict[str, Any]:
        """Return the means of all batches, updated with what was logged outside."""
        self.bus.evaluation_flush()
        return super().results()


class Prediction(Scope):
    """A prediction: its batches are numbered from 0; logged outputs may have any shape and go to the sinks."""

    def __init__(self, bus: Bus) -> None:
        super().__init__(bus, bus.prediction_batch_begin, bus.prediction_batch_end)

    def log(self, values: Mapping[str, Any], weight: Any) -> None:
        """Log outputs of the current batch, or of the prediction, unchanged."""
        (self.logs if self.values is None else self.values).update(values)
