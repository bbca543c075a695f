"""The loop: drives a bus from a custom training loop, in any framework, with or without `fit` calls inside.

Contract. A `Loop` is a context manager: the run begins on enter and ends on exit, with everything flushed, also when
the body raises or is interrupted. One epoch or evaluation is open at a time. A batch counts as finished when the next
one is asked for or, if the loop exits within it, once something was logged in it.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np

from monitor_core import frameworks
from monitor_core._log import logger
from monitor_core.background.interrupts import deferred_interrupts
from monitor_core.bus.bus import Bus
from monitor_core.bus.run import Run
from monitor_core.checks import checked_count
from monitor_core.errors import OrderError
from monitor_core.loop.leaving import is_left_by_break
from monitor_core.loop.scopes import Epoch, Evaluation, Prediction, Scope
from monitor_core.loop.streams import Streams
from monitor_core.model.handles import ModelHandle
from monitor_core.ranks.options import Ranks
from monitor_core.values.scalars import QUICK_KEEPERS

if TYPE_CHECKING:
    from monitor_core.loop.resume import Resume

T = TypeVar("T")


class Loop:
    """Drive sinks from a custom training loop; use it as a context manager.

    Args:
        *sinks: Sinks, in the order in which they are to be called.
        model: The model, for sinks that need it: a Keras model, a PyTorch module, or a handle.
        optimizer: The optimizer of a PyTorch module, for sinks that read or set the learning rate or save the
            training's state. With several modules, optimizers or schedulers, pass ``model=TorchModel(...)`` instead.
        validation_data: Data for sinks that compute outputs of the model, usually ``(x, y)``, or a dataset or loader,
            which is read without changing the training. Samples that you draw from a shuffled loader yourself use up
            random numbers and change the training that follows.
        initial_epoch: The first epoch's number, 0-based, at least 0.
        record: The run's folder, or its address in a store, such as ``s3://bucket/runs/a``. A `Journal` is written
            there; earlier runs in it are kept. See `monitor_core.loop.recording`.
        resume: The run's folder, to record in as by ``record``, and to save what the run needs to continue (weights,
            optimizer, random generators, the states of all sinks). If it holds an interrupted run, this one continues
            after its last checkpoint, with the same results as an uninterrupted run: `epochs` begins with the next
            epoch. It needs ``model``. See `monitor_core.loop.resume`.
        strict: Whether to check the order of batches, and to let every exception of a sink propagate.
        ranks: How the ranks of a job work together in this run, by default as `Ranks` has it.

    Attributes:
        bus: The bus that carries the events.

    Raises:
        HookError: An object is not a sink.
        ImportError: fsspec, or its package for the address in ``record`` or ``resume``, is not installed.
        SetupError: The store at that address refuses to be written, or has no such bucket.
        TypeError: ``record`` or ``resume`` is not a path, or ``optimizer`` is given without a PyTorch module.
        ValueError: ``initial_epoch`` is below 0; or ``record``, ``resume`` and a `Journal` name different folders.

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
        optimizer: Any = None,
        validation_data: Any = None,
        initial_epoch: int = 0,
        record: str | PathLike[str] | None = None,
        resume: str | PathLike[str] | None = None,
        strict: bool = False,
        ranks: Ranks | None = None,
    ) -> None:
        self._initial_epoch = checked_count("initial_epoch", initial_epoch)
        handle = frameworks.handle_of(model, optimizer)
        self.bus = Bus(*sinks, model=handle, validation_data=validation_data, strict=strict, ranks=ranks)
        self._resume: Resume | None = None
        if record is not None or resume is not None:
            from monitor_core.loop.recording import attach  # not before: it imports sinks

            self._resume = attach(self.bus, record=record, resume=resume)
        self._streams: Streams | None = None
        self._epoch: Epoch | None = None
        self._scope: Scope | None = None
        self._left: Scope | None = None  # an epoch that was aborted
        self._elsewhere: dict[int, Scope] = {}  # an evaluation or a prediction on another thread than the epoch's
        self._thread = 0
        self._evaluating = threading.RLock()

    def __repr__(self) -> str:
        return repr(self.bus).replace("Bus", "Loop", 1)

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
        """Whether an epoch of `epochs` is open."""
        return self._epoch is not None

    def __enter__(self) -> Self:
        """Begin a run, or continue the one in ``resume``.

        Raises:
            OrderError: With ``resume``, this is the second run.
            SetupError: A sink cannot begin, or the run in ``resume`` cannot continue.
        """
        if self._resume is not None:
            self._resume.begin()
        self.bus.train_begin()
        self._streams = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the run in any case, and let an exception propagate."""
        with deferred_interrupts:
            self._exit(error)

    def _exit(self, error: BaseException | None) -> None:
        scope, self._scope, self._epoch, self._left = self._scope or self._left, None, None, None
        self.run.data_state = self.run.epoch_state = self._streams = None
        try:
            try:
                if scope is not None:
                    scope.close()
            finally:
                self.bus.gather_means(None)
                self.bus.epoch_abandon()
        except BaseException as late:
            self.bus.exception(late if error is None else error)
            raise
        if error is not None:
            self.bus.exception(error)
        else:
            self.bus.train_end()

    def epochs(self, epochs: int, *, steps_per_epoch: int | None = None) -> Iterator[int]:
        """Yield the epochs up to a total, emitting their events, until a sink asks to stop.

        An epoch's logs are the means of the values logged in its batches; values logged outside of batches replace
        means of the same name. An epoch left by ``break`` or ``return`` ends normally if at least one batch has ended
        in it, and the journal marks it as partial. An exception leaves no record of its epoch.

        Args:
            epochs: The total number of epochs, at least 0: as in Keras, training continues from the next epoch (0,
                ``initial_epoch``, or the one after an earlier call or a resumed run) to this number.
            steps_per_epoch: How many batches an epoch has, at least 1, for training by steps: `batches` then takes
                that many from one iterator over its data, which continues from epoch to epoch, and begins again where
                the data end. With ``resume``, a resumed run continues with the next batch. Left out, an epoch
                has all batches of its data.

        Raises:
            OrderError: The loop has not been entered, or an epoch is open.
            TypeError: ``epochs`` or ``steps_per_epoch`` is not an integer.
            ValueError: One of them is too small.
        """
        total = checked_count("epochs", epochs)
        run = self._require_run("epochs")
        self._require_no_scope("epochs")
        run.epochs = total
        steps = None if steps_per_epoch is None else checked_count("steps_per_epoch", steps_per_epoch, least=1)
        if steps is not None:
            run.steps_per_epoch = steps
        if total <= self.next_epoch and total:
            logger.warning("epochs(%d): nothing is left to do, the next epoch is number %d", total, self.next_epoch)
        for epoch in range(self.next_epoch, total):
            if run.stopped:
                return
            self._scope = self._epoch = scope = self._begin_epoch(epoch, steps)
            try:
                if run.stopped:
                    self.bus.epoch_abandon()
                    return
                yield epoch
                scope.close()
            except GeneratorExit:
                self._leave(epoch, scope, partial=scope.has_batches and is_left_by_break())
                raise
            except BaseException:
                self._leave(epoch, scope, partial=False)
                raise
            finally:
                if self._epoch is scope:  # else the loop has exited meanwhile
                    self._scope = self._epoch = None
                run.epoch_state = None
            self.bus.epoch_end(epoch, scope.results(), weights=scope.weights)

    def _begin_epoch(self, epoch: int, steps: int | None) -> Epoch:
        """Begin an epoch of at most so many steps, or continue the one within which the run's state was saved."""
        loaded, self.run.loaded_epoch = self.run.loaded_epoch, None
        if steps is None:  # then its data do not continue either
            loaded = None
        self.bus.epoch_begin(epoch, done=0 if loaded is None else loaded["done"])
        scope = self._new_epoch(steps)
        if loaded is not None:
            scope.load_state_dict(loaded)
        self.run.epoch_state = None if steps is None else scope.state_dict
        self._thread = threading.get_ident()
        return scope

    def _new_epoch(self, steps: int | None) -> Epoch:
        """Return an epoch of at most so many steps; for loops whose steps are not batches."""
        return Epoch(self.bus, steps)

    def _leave(self, epoch: int, scope: Epoch, *, partial: bool) -> None:
        """End an epoch that was left; what raises here is raised when the loop exits: see `Scope.attempt`."""
        if self._epoch is not scope:  # the loop has exited meanwhile
            return
        self._left = scope
        scope.end()
        self.run.epoch_state = None
        if partial:
            scope.attempt(lambda: self.bus.epoch_end(epoch, scope.results(), partial=True, weights=scope.weights))
        else:
            self.bus.epoch_abandon()

    def batches(self, data: Iterable[T]) -> Iterator[T]:
        """Yield the batches of a dataset, emitting their events; in an evaluation, its batches.

        Args:
            data: Any iterable; if it has a length, that is the epoch's number of steps. With ``steps_per_epoch``, the
                batches that the epoch still lacks are taken from where the last epoch stopped; the same object must be
                passed each time. Data that end and cannot be read again, such as a generator, stop the run.

        Raises:
            OrderError: No epoch or evaluation is open, or a batch is.
            ValueError: With ``steps_per_epoch``, the data are empty; raised when the first batch is taken.
        """
        scope = self._require_scope("batches")
        if isinstance(scope, Epoch) and scope.steps_left is not None:
            return scope.start(self._stretch(data, scope.steps_left))
        return scope.start(data)

    def _stretch(self, data: Iterable[T], length: int) -> Iterable[T]:
        if self._streams is None:
            self._streams = Streams(self.run)
            self.run.data_state = self._streams.state
        return self._streams.stretch(data, length)

    def log(self, logs: Mapping[str, Any] | None = None, /, *, weight: Any = None, **metrics: Any) -> None:
        """Log metrics of the current batch or, outside of a batch, of the epoch or evaluation.

        Values may be on a device; this does not wait for them.

        Args:
            logs: Metrics by name, for names that are not Python identifiers, such as ``train/loss``.
            weight: The weight of these values in the epoch's mean, at least 0, such as the batch's number of samples;
                1 by default. It has no effect outside of a batch.
            **metrics: Metrics by name.

        Raises:
            OrderError: No epoch or evaluation is open.
            ValueError: ``weight`` is below 0 or not finite.
        """
        scope = self._scope
        if self._elsewhere or scope is None or scope.values is None or logs is not None or weight is not None:
            self._log(metrics if logs is None else {**logs, **metrics}, weight)
            return
        try:
            for name, value in metrics.items():
                metrics[name] = QUICK_KEEPERS[type(value)](value)
        except Exception:  # a mapping, an array of another library, or not a metric
            scope.log(metrics, None)
            return
        if scope.values:  # the batch has logged before: a later value counts, with its own weight
            scope.log(metrics, None)
        else:
            scope.values = metrics

    def _log(self, metrics: Mapping[str, Any], weight: Any) -> None:
        scope = self._require_scope("log")
        if isinstance(weight, (int, float, np.integer, np.floating)) and not 0 <= weight < math.inf:
            raise ValueError(f"weight must be >= 0 and finite (got {weight})")
        scope.log(metrics, weight)

    @contextmanager
    def evaluation(self, prefix: str | None = None, *, name: str | None = None) -> Iterator[dict[str, float]]:
        """Evaluate: metrics logged inside are added to the epoch's logs under the prefix.

        Within an epoch, at any step. If more batches follow, sinks act on the results by
        ``on_midepoch_evaluation``: at once if that is known (the data has a length, or ``steps_per_epoch`` was given),
        else before the next batch; within a batch that has logged, at that batch's end. The results of an evaluation
        that no batch follows belong to the epoch's end. Outside of an epoch, such as on test data after the last one,
        they are only passed to ``on_evaluation_end`` and stored in the yielded dict.

        Args:
            prefix: The prefix of the metrics' names in the epoch's logs, unless they begin with it already; by default
                ``val_``, or the name and an underscore.
            name: The evaluation's name, to distinguish several datasets: ``name="test"`` gives ``test_loss``.

        Yields:
            A dict that holds the results, without the prefix, once the evaluation has ended.

        Raises:
            OrderError: The loop has not been entered, or an evaluation or a prediction is open.
        """
        self._require_run("evaluation")
        with self._alone("evaluation"):
            yield from self._evaluation(prefix, name)

    def _evaluation(self, prefix: str | None, name: str | None) -> Iterator[dict[str, float]]:
        results: dict[str, float] = {}
        scope, epoch = Evaluation(self.bus), self._epoch
        step = None if epoch is None else epoch.next_evaluation_step
        self.bus.evaluation_begin(prefix, name=name, step=step, means=scope.means)
        evaluation = self.run.evaluation
        try:
            with self._within(scope):
                yield results
        except BaseException:
            self.bus.evaluation_abandon()
            raise
        among_batches = epoch is not None and epoch.values is not None
        results.update(self.bus.evaluation_results(scope.results(), weights=scope.weights, among_batches=among_batches))
        if epoch is None or evaluation is None:
            self.bus.evaluation_end(results, reduced=True)
            return
        epoch.logs.update(evaluation.renamed(results))
        followed = not self._is_elsewhere and not epoch.evaluated() and epoch.is_followed is True
        self.bus.evaluation_end(results, followed=followed, reduced=True)

    @contextmanager
    def prediction(self) -> Iterator[None]:
        """Predict: `batches` inside emit the events of prediction batches, and `log` their outputs."""
        self._require_run("prediction")
        with self._alone("prediction"):
            scope = Prediction(self.bus)
            self.bus.prediction_begin()
            with self._within(scope):
                yield
            self.bus.prediction_end(scope.logs)

    @contextmanager
    def _alone(self, method: str) -> Iterator[None]:
        """Refuse a second evaluation or prediction until the first has been delivered, whichever thread it is on."""
        if not self._evaluating.acquire(blocking=False):
            raise OrderError(f"{method}() while another thread evaluates or predicts: one at a time, so wait for it")
        try:
            self._require_no_scope(method, Evaluation, Prediction)
            yield
        finally:
            self._evaluating.release()

    @contextmanager
    def _within(self, scope: Scope) -> Iterator[None]:
        outer, is_elsewhere = self._scope, self._is_elsewhere
        if is_elsewhere:  # the training's thread continues to log into its own
            self._elsewhere = {threading.get_ident(): scope}
        else:
            self._scope = scope
        try:
            yield
            scope.close()
        finally:
            scope.end()
            if is_elsewhere:
                self._elsewhere = {}
            else:
                self._scope = outer

    @property
    def _is_elsewhere(self) -> bool:
        """Whether an epoch is open on another thread than the calling one."""
        return self._epoch is not None and threading.get_ident() != self._thread

    @property
    def _current(self) -> Scope | None:
        """What is open on the calling thread."""
        return self._elsewhere.get(threading.get_ident(), self._scope)

    def join_fit_epoch(self) -> None:
        """Claim the open epoch for one epoch of a `fit` inside it; for adapters.

        Raises:
            OrderError: A `fit` has had its epoch in this one already.
        """
        epoch = self._epoch
        if epoch is None:
            raise OrderError("join_fit_epoch() outside of an epoch")
        if epoch.joined_by_fit:
            raise OrderError(
                f"a second fit epoch inside epoch {self.run.epoch} of the loop: call fit(epochs=1) once in each "
                "epoch of loop.epochs(...), or omit loop.epochs, and each fit epoch is the run's next"
            )
        epoch.joined_by_fit = True

    def _require_run(self, method: str) -> Run:
        if self.run.status != "running":
            raise OrderError(f"{method}() outside of the loop: write `with Loop(...) as loop:` around it")
        return self.run

    def _require_no_scope(self, method: str, *kinds: type[Scope]) -> None:
        scope = self._current
        if scope is not None and isinstance(scope, kinds or Scope):
            what = f"epoch {self.run.epoch}" if scope is self._epoch else f"the {type(scope).__name__.lower()}"
            raise OrderError(f"{method}() while {what} is open: end it first")

    def _require_scope(self, method: str) -> Scope:
        scope = self._current
        if scope is None:
            raise OrderError(
                f"{method}() outside of an epoch: write `for epoch in loop.epochs(...):` or "
                "`with loop.evaluation():` around it"
            )
        return scope


def loop_among(parts: Sequence[object], *others: object) -> Loop | None:
    """Return the loop that an adapter was given, None if it was given sinks.

    Args:
        parts: What the adapter was given.
        *others: Its arguments that belong to a loop, None where left out.

    Raises:
        ValueError: A loop is given together with sinks, or with such arguments.
    """
    loop = next((part for part in parts if isinstance(part, Loop)), None)
    if loop is not None and (len(parts) > 1 or any(each is not None for each in others)):
        raise ValueError(
            "a Loop must be the only argument: pass the sinks, validation_data, record, resume and strict to the "
            "Loop itself"
        )
    return loop
