"""The loop: drives a bus from a training loop of one's own, in any framework, with or without `fit` calls inside.

Contract. A `Loop` is a context manager: the run begins on entering and ends on leaving, with everything flushed,
also when the body raises or is interrupted. One epoch or evaluation is open at a time. A batch counts as finished when
its turn in ``batches`` is over, or, if the loop is left inside of it, once something was logged in it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from monitor_core.blocks import Block, BlockBuffer
from monitor_core.bus import Bus, logger
from monitor_core.checks import checked_count
from monitor_core.errors import OrderError
from monitor_core.handles import ModelHandle
from monitor_core.run import Run
from monitor_core.values import OnSkip, flatten, keep, to_floats

T = TypeVar("T")


class _Means:
    """Means of batch values over an epoch or an evaluation, weighted where weights were given.

    Both sums are taken in float64 from whole blocks, so no batch waits for a device.
    """

    def __init__(self, on_skip: OnSkip) -> None:
        self._weights = BlockBuffer(on_skip)
        self._weight_rows: dict[int, dict[str, float]] = {}
        self._sums: dict[str, tuple[float, float]] = {}

    def add_weight(self, step: int, names: Iterable[str], weight: Any) -> None:
        """Weigh the values that these metrics have at this step."""
        self._weights.append(step, dict.fromkeys(names, weight))

    def add(self, block: Block) -> None:
        """Add a block's values."""
        if self._weights:
            for step, row in self._weights.take(block.epoch).rows():
                self._weight_rows.setdefault(step, {}).update(row)
        for name, column in block.columns.items():
            weights = self._column_weights(name, block)
            used = weights > 0  # a batch of no weight contributes nothing, not even its NaN
            if (mask := block.present[name]) is not None:
                used &= mask
            value, weight = self._sums.get(name, (0.0, 0.0))
            with np.errstate(invalid="ignore", over="ignore"):
                self._sums[name] = value + float(column[used] @ weights[used]), weight + float(weights[used].sum())
        for step in block.steps.tolist():
            self._weight_rows.pop(step, None)

    def _column_weights(self, name: str, block: Block) -> NDArray[np.float64]:
        rows = self._weight_rows
        if not rows:
            return np.ones(len(block))
        return np.array([rows.get(step, {}).get(name, 1.0) for step in block.steps.tolist()])

    def take(self) -> dict[str, float]:
        """Return the mean of each metric, NaN where all weights were zero, and begin anew."""
        means = {name: value / weight if weight else math.nan for name, (value, weight) in self._sums.items()}
        self._sums = {}
        return means


class _Scope(ABC):
    """Something with batches and results: what `Loop.log` and `Loop.batches` refer to while it is under way."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.means = _Means(bus.tell_skipped)
        self.logs: dict[str, Any] = {}
        self.batch_logs: dict[str, Any] | None = None
        self.number = -1
        self._weighted = -1
        self._iterators: WeakSet[Generator[Any, None, None]] = WeakSet()
        self._error: BaseException | None = None

    def log(self, values: dict[str, Any], weight: Any) -> None:
        if self.batch_logs is None:
            self.log_outside(values)
            return
        self.batch_logs.update(values)
        if weight is not None or self._weighted == self.number:
            self._weighted = self.number
            names = [name for name, _ in flatten(values)]
            self.means.add_weight(self.number, names, 1.0 if weight is None else weight)

    def log_outside(self, values: dict[str, Any]) -> None:
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
        self.begin_batches(data)
        left = False
        try:
            for item in data:
                self.begin_batch()
                logs: dict[str, Any] = {}
                self.batch_logs = logs
                try:
                    yield item
                except GeneratorExit:  # left by break, return or an exception
                    left, self.batch_logs = True, None
                    self._try(partial(self.end_batch, logs) if logs else self.bus.batch_abandon)
                    raise
                self.batch_logs = None
                self.end_batch(logs)
                if self.is_over():
                    break
        finally:
            if left:
                self._try(self.end_batches)
            else:
                self.end_batches()

    def begin_batches(self, data: Iterable[Any]) -> None:
        return

    def end_batches(self) -> None:
        return

    @abstractmethod
    def begin_batch(self) -> None: ...

    @abstractmethod
    def end_batch(self, logs: dict[str, Any]) -> None: ...

    def is_over(self) -> bool:
        return False

    def results(self) -> dict[str, Any]:
        """Return the means of what was logged in batches, and over them what was logged outside."""
        return {**self.means.take(), **self.logs}


class _Epoch(_Scope):
    """A training epoch: its batches advance the run's step, and end where a stop is requested."""

    joined_by_fit = False

    def start(self, data: Iterable[T]) -> Iterator[T]:
        return iter(()) if self.is_over() else super().start(data)

    def begin_batches(self, data: Iterable[Any]) -> None:
        with suppress(TypeError, NotImplementedError):
            self.bus.run.steps_per_epoch = len(data)  # type: ignore[arg-type]
        self.bus.tap(self.means.add)

    def end_batches(self) -> None:
        self.bus.tap(None)

    def begin_batch(self) -> None:
        self.number = self.bus.run.step + 1
        self.bus.batch_begin(self.number)

    def end_batch(self, logs: dict[str, Any]) -> None:
        self.bus.batch_end(self.number, logs)

    def is_over(self) -> bool:
        return self.bus.run.stopped


class _Evaluation(_Scope):
    """An evaluation: its batches are numbered from 0 and averaged block by block."""

    def __init__(self, bus: Bus) -> None:
        super().__init__(bus)
        self._buffer = BlockBuffer(bus.tell_skipped)

    def begin_batch(self) -> None:
        self.number += 1
        self.bus.evaluation_batch_begin(self.number)

    def end_batch(self, logs: dict[str, Any]) -> None:
        if self._buffer.append(self.number, logs):
            self.means.add(self._buffer.take(self.bus.run.epoch))
        self.bus.evaluation_batch_end(self.number, logs)

    def results(self) -> dict[str, Any]:
        if self._buffer:
            self.means.add(self._buffer.take(self.bus.run.epoch))
        return super().results()


class _Prediction(_Scope):
    """A prediction: its batches are numbered from 0; what is logged in one is for the sinks, of any shape."""

    def begin_batch(self) -> None:
        self.number += 1
        self.bus.prediction_batch_begin(self.number)

    def end_batch(self, logs: dict[str, Any]) -> None:
        self.bus.prediction_batch_end(self.number, logs)

    def log_outside(self, values: dict[str, Any]) -> None:
        self.logs.update(values)


class Loop:
    """Drive sinks from a training loop of one's own; use it as a context manager.

    Args:
        *sinks: Sinks, in the order in which they are to be called.
        model: The model's handle, such as ``KerasModel(model)``, for sinks that need one.
        validation_data: Data lent to sinks that look at the model, usually ``(x, y)``.
        initial_epoch: The first epoch's number, 0-based, at least 0.
        strict: Whether to check the order of batches, and to let every exception of a sink propagate.

    Attributes:
        bus: The bus that carries the events.

    Raises:
        HookError: An object is no sink.
        ValueError: ``initial_epoch`` is below 0.

    Example:
        >>> with Loop(History()) as loop:
        ...     for epoch in loop.epochs(50):
        ...         for x, y in loop.batches(train_data):
        ...             loop.log(loss=train_step(x, y))
    """

    def __init__(
        self,
        *sinks: object,
        model: ModelHandle | None = None,
        validation_data: Any = None,
        initial_epoch: int = 0,
        strict: bool = False,
    ) -> None:
        self._initial_epoch = checked_count("initial_epoch", initial_epoch)
        self.bus = Bus(*sinks, model=model, validation_data=validation_data, strict=strict)
        self._epoch: _Epoch | None = None
        self._scope: _Scope | None = None
        self._left: _Scope | None = None  # an epoch that was broken off

    @property
    def run(self) -> Run:
        """The current run."""
        return self.bus.run

    @property
    def next_epoch(self) -> int:
        """The number that the next epoch will have, 0-based."""
        return max(self.run.epoch + 1, self._initial_epoch)

    @property
    def in_epoch(self) -> bool:
        """Whether an epoch of `epochs` is under way."""
        return self._epoch is not None

    def __enter__(self) -> Self:
        """Begin a run."""
        self.bus.train_begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the run, whatever happened, and let an exception go on."""
        scope, self._scope, self._epoch, self._left = self._scope or self._left, None, None, None
        try:
            try:
                if scope is not None:
                    scope.close()
            finally:
                self.bus.tap(None)
                self.bus.epoch_abandon()
        except BaseException as late:
            self.bus.exception(late if error is None else error)
            raise
        if error is not None:
            self.bus.exception(error)
        else:
            self.bus.train_end()

    def epochs(self, epochs: int) -> Iterator[int]:
        """Yield the epochs up to a total, emitting their events, until a sink asks to stop.

        An epoch's logs are the means of what was logged in its batches, then what was logged outside of them, which
        wins. An epoch that is left by ``break`` or an exception ends without a record; breaking out of `batches`
        alone leaves it in force.

        Args:
            epochs: The total number of epochs, at least 0: as in Keras, training goes on from the next epoch (0, or
                ``initial_epoch``, or where an earlier call or a resumed run left off) to this number.

        Raises:
            OrderError: The loop has not been entered, or an epoch is open.
        """
        total = checked_count("epochs", epochs)
        run = self._require_run("epochs")
        self._require_no_scope("epochs")
        run.epochs = total
        if total <= self.next_epoch and total:
            logger.warning("epochs(%d): nothing is left to do, the next epoch is number %d", total, self.next_epoch)
        for epoch in range(self.next_epoch, total):
            if run.stopped:
                return
            self.bus.epoch_begin(epoch)
            self._scope = self._epoch = scope = _Epoch(self.bus)
            recorded = False
            try:
                if run.stopped:
                    return
                yield epoch
                scope.close()
                recorded = True
            finally:
                if self._epoch is scope:  # else the loop was left meanwhile
                    self._scope = self._epoch = None
                    if not recorded:
                        self._left = scope
                        scope.end()
                        self.bus.epoch_abandon()
            self.bus.epoch_end(epoch, scope.results())

    def batches(self, data: Iterable[T]) -> Iterator[T]:
        """Yield the batches of a data set, emitting their events; in an evaluation, its batches.

        Args:
            data: Any iterable; where it has a length, that is the epoch's number of steps.

        Raises:
            OrderError: No epoch and no evaluation is under way, or a batch is.
        """
        return self._require_scope("batches").start(data)

    def log(self, logs: Mapping[str, Any] | None = None, /, *, weight: Any = None, **metrics: Any) -> None:
        """Log metrics of the batch under way, or, outside of a batch, of the epoch or evaluation.

        Device values are welcome and not waited for.

        Args:
            logs: Metrics by name, for names that are no Python identifiers, such as ``train/loss``.
            weight: What these values weigh in the epoch's mean, at least 0, such as the batch's number of samples;
                1 if left out. It has no meaning outside of a batch.
            **metrics: Metrics by name.

        Raises:
            OrderError: No epoch and no evaluation is under way.
            ValueError: ``weight`` is below 0 or not finite.
        """
        scope = self._require_scope("log")
        if isinstance(weight, (int, float, np.integer, np.floating)) and not 0 <= weight < math.inf:
            raise ValueError(f"weight must be >= 0 and finite (got {weight})")
        scope.log(metrics if logs is None else {**logs, **metrics}, weight)

    @contextmanager
    def evaluation(self, prefix: str = "val_") -> Iterator[dict[str, float]]:
        """Evaluate: what is logged inside arrives in the epoch's logs under the prefix.

        Args:
            prefix: What the names of the metrics get in the epoch's logs.

        Yields:
            A dict that holds the results, without the prefix, once the evaluation has ended.
        """
        self._require_run("evaluation")
        self._require_no_scope("evaluation", _Evaluation, _Prediction)
        results: dict[str, float] = {}
        scope = _Evaluation(self.bus)
        self.bus.evaluation_begin()
        with self._within(scope):
            yield results
        results.update(to_floats(scope.results(), self.bus.tell_skipped))
        self.bus.evaluation_end(results)
        if self._epoch is not None:
            self._epoch.logs.update({prefix + name: value for name, value in results.items()})

    @contextmanager
    def prediction(self) -> Iterator[None]:
        """Predict: `batches` inside emit the events of prediction batches, and `log` their outputs."""
        self._require_run("prediction")
        self._require_no_scope("prediction", _Evaluation, _Prediction)
        scope = _Prediction(self.bus)
        self.bus.prediction_begin()
        with self._within(scope):
            yield
        self.bus.prediction_end(scope.logs)

    @contextmanager
    def _within(self, scope: _Scope) -> Iterator[None]:
        outer, self._scope = self._scope, scope
        try:
            yield
            scope.close()
        finally:
            scope.end()
            self._scope = outer

    def join_fit_epoch(self) -> None:
        """Claim the epoch under way for one epoch of a `fit` inside it; for adapters.

        Raises:
            OrderError: A `fit` has had its epoch in this one already.
        """
        epoch = self._epoch
        if epoch is None:
            raise OrderError("join_fit_epoch() outside of an epoch")
        if epoch.joined_by_fit:
            raise OrderError(
                f"a second fit epoch inside epoch {self.run.epoch} of the loop: call fit(epochs=1) once in each "
                "epoch of loop.epochs(...), or leave loop.epochs away, and each fit epoch is the run's next"
            )
        epoch.joined_by_fit = True

    def _require_run(self, method: str) -> Run:
        if self.run.status != "running":
            raise OrderError(f"{method}() outside of the loop: write `with Loop(...) as loop:` around it")
        return self.run

    def _require_no_scope(self, method: str, *kinds: type[_Scope]) -> None:
        scope = self._scope
        if scope is not None and isinstance(scope, kinds or _Scope):
            what = f"epoch {self.run.epoch}" if scope is self._epoch else f"an {type(scope).__name__[1:].lower()}"
            raise OrderError(f"{method}() while {what} is open: end it first")

    def _require_scope(self, method: str) -> _Scope:
        if self._scope is None:
            raise OrderError(
                f"{method}() outside of an epoch: write `for epoch in loop.epochs(...):` or "
                "`with loop.evaluation():` around it"
            )
        return self._scope
