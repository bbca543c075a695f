"""Early stopping: end the training when a metric no longer improves, and restore the best weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any, ClassVar, Literal

import attrs
import numpy as np

from monitor_core import checks
from monitor_core._log import logger
from monitor_core.bus.copies import independent_copy
from monitor_core.bus.run import Run
from monitor_core.bus.sink import Logs, Sink
from monitor_core.metrics.decisions import Best, Patience, restore, state_of
from monitor_core.metrics.monitor import AnyMode, Monitor
from monitor_core.metrics.occasions import At, Occasions
from monitor_core.metrics.outcome import Watched
from monitor_core.model.handles import Array
from monitor_core.values.blocks import Block

Unit = Literal["epoch", "step"]


def _as_float(value: Any) -> Any:
    """Return a number as a float, so that all comparisons are in float64; other values are left to the validator."""
    return float(value) if isinstance(value, Real) else value


def _as_difference(value: Any) -> Any:
    return math.fabs(value) if isinstance(value, Real) else value


_OPTIONAL = attrs.validators.optional(checks.number())


@attrs.frozen
class _Judged:
    """The last value that was judged.

    Attributes:
        value: The value.
        epoch: Its epoch, 0-based.
        step: The run's step at that time.
        is_spared: Whether it could not exhaust patience: it was better than the best, or the very first.
        number: Its number among the values that were judged, see `Occasions.number`.
    """

    value: float
    epoch: int
    step: int
    is_spared: bool
    number: int


_JUDGED = tuple(field.name for field in attrs.fields(_Judged))


@attrs.define(eq=False)
class EarlyStopping(Sink):
    """Stop the training when a metric no longer improves, and restore the best weights if asked.

    An epoch is better if its value beats the best so far by more than ``min_delta``; the first value is the best at
    once. After ``patience`` epochs in a row that were not better, the run is asked to stop, with the reason in
    ``run.stop_reason``. An epoch without the metric is not counted, with one warning; NaN is never the best and counts
    as not better. An evaluation within an epoch that has the metric is judged and counted as an epoch is, where the
    weights are then those of its step.

    Each run is judged from scratch; a `Loop` makes many `fit` calls one run. A resumed run continues with its best
    value and counts, but with the present arguments: if its last value would stop it by them, it ends before its next
    epoch, with a warning that says which argument to change.

    Args:
        monitor: The metric's name; ``acc`` and ``accuracy`` find each other.
        min_delta: By how much a value must beat the best, strictly; its sign is ignored.
        relative: Whether ``min_delta``, below 1, is a fraction of the best's absolute value instead of a difference.
        patience: How many epochs in a row may pass that are not better, at least 0; 0 acts as 1.
        mode: ``"min"``, ``"max"``, or ``"auto"``: the metric's own direction on a Keras model, else that of its name
            in `monitor_core.metrics.DIRECTIONS`.
        baseline: A value to beat (by ``min_delta``) as well: until one does, every epoch counts against the patience.
            It never becomes the best; an epoch that beats the best does not stop the run.
        restore_best_weights: Whether to set the best epoch's weights when the run ends, whether stopped, completed or
            aborted. They are kept in host memory and fetched whenever an epoch is better.
        start_from_epoch: The first value to judge, 0-based: an epoch's or, where there are evaluations within epochs,
            the evaluation's; earlier ones are ignored (but see ``check_finite``).
        stopping_threshold: A value that is good enough: one that reaches it stops the run at once.
        divergence_threshold: A value that is too bad: one that is worse stops the run at once, as failed.
        check_finite: Whether a value that is NaN or infinite stops the run at once, as failed, in any epoch.
        unit: ``"epoch"``, or ``"step"``: judge the batches' values instead and count those that have the metric.
            They are fetched together, without waiting for the device at each batch, so the run stops up to 256 batches
            or 1 second after the deciding batch. Keras's batch values are means since the epoch began.
        at: When a metric of the training is judged: ``"epoch"``, at each epoch's end; or ``"evaluation"``, at each
            evaluation, by its weighted mean since the one before.

    Attributes:
        best: The best value so far, None before the first.
        best_epoch: Its epoch, 0-based; 0 before the first.
        best_step: The run's step at that time.
        best_weights: The weights at that time, None unless they are to be restored.
        stopped_epoch: The epoch in which this sink asked to stop, 0-based; 0 if it did not.
        stopped_step: The step that decided it; 0 if none did.
        wait: How many epochs in a row were not better.

    Raises:
        TypeError: ``patience`` or ``start_from_epoch`` is not an integer, or an option is of a wrong type.
        ValueError: An argument breaks its rule above, or weights are to be restored with ``unit="step"``: they are read
            at the end of an epoch only.

    Example:
        >>> with Loop(EarlyStopping("val_loss", patience=2)) as loop:
        ...     for epoch in loop.epochs(50):
        ...         loop.log(val_loss=max(0.5, 1 - epoch / 4))
        >>> loop.run.stop_reason
        'val_loss did not improve for 2 epochs; its best was 0.5 in epoch 3'

    Source: Keras 3.15's callback of the same name, whose decisions these are, except that there NaN stays the best
    where it comes first, and values are compared in float32. The thresholds and ``check_finite`` are as in Lightning's,
    where a value must be better than ``stopping_threshold`` instead of reaching it.
    """

    __copy__ = independent_copy

    read_only: ClassVar[bool] = True

    monitor: str = attrs.field(default="val_loss")
    min_delta: float = attrs.field(
        default=0.0, kw_only=True, converter=_as_difference, validator=checks.number(finite=True)
    )
    relative: bool = attrs.field(default=False, kw_only=True, validator=checks.boolean)
    patience: int = attrs.field(default=0, kw_only=True, validator=checks.count())
    mode: AnyMode = attrs.field(default="auto", kw_only=True)
    baseline: float | None = attrs.field(default=None, kw_only=True, converter=_as_float, validator=_OPTIONAL)
    restore_best_weights: bool = attrs.field(default=False, kw_only=True, validator=checks.boolean)
    start_from_epoch: int = attrs.field(default=0, kw_only=True, validator=checks.count())
    stopping_threshold: float | None = attrs.field(default=None, kw_only=True, converter=_as_float, validator=_OPTIONAL)
    divergence_threshold: float | None = attrs.field(
        default=None, kw_only=True, converter=_as_float, validator=_OPTIONAL
    )
    check_finite: bool = attrs.field(default=False, kw_only=True, validator=checks.boolean)
    unit: Unit = attrs.field(default="epoch", kw_only=True, validator=checks.one_of("epoch", "step"))
    at: At = attrs.field(default="epoch", kw_only=True, validator=checks.one_of("epoch", "evaluation"))
    best_epoch: int = attrs.field(init=False, default=0)
    best_step: int = attrs.field(init=False, default=0)
    best_weights: list[Array] | None = attrs.field(init=False, repr=False, default=None)
    stopped_epoch: int = attrs.field(init=False, default=0)
    stopped_step: int = attrs.field(init=False, default=0)
    _monitor: Monitor = attrs.field(init=False, repr=False)
    _occasions: Occasions = attrs.field(init=False, repr=False)
    _best: Best = attrs.field(init=False, repr=False, factory=lambda: Best("min"))
    _patience: Patience = attrs.field(init=False, repr=False, factory=lambda: Patience(0))
    _watched: Watched = attrs.field(init=False, repr=False)
    _last: _Judged | None = attrs.field(init=False, repr=False, default=None)
    _run: Run | None = attrs.field(init=False, repr=False, default=None)
    _stopped: bool = attrs.field(init=False, repr=False, default=False)
    _raised: bool = attrs.field(init=False, repr=False, default=False)
    _batch_names: set[str] = attrs.field(init=False, repr=False, factory=set)

    @_monitor.default
    def _make_monitor(self) -> Monitor:
        return Monitor(self.monitor, self.mode, type(self).__name__)

    @_occasions.default
    def _none_yet(self) -> Occasions:
        return Occasions(self._monitor, self.at)

    @_watched.default
    def _not_yet_watched(self) -> Watched:
        return Watched(type(self).__name__, self.monitor, "min")

    def __attrs_post_init__(self) -> None:
        if self.unit == "step" and self.at == "evaluation":
            raise ValueError("at must be 'epoch' with unit='step' (got 'evaluation'): each batch is judged by itself")
        if self.relative and self.min_delta >= 1:
            raise ValueError(f"min_delta must be < 1 where it is relative (got {self.min_delta})")
        if self.restore_best_weights and self.unit == "step":
            raise ValueError(
                "restore_best_weights must be False with unit='step' (got True): weights are read at the end of an "
                "epoch only"
            )

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """What the model's handle must have: weights, if they are to be restored."""
        return ("get_weights", "set_weights") if self.restore_best_weights else ()

    @property
    def best(self) -> float | None:
        """The best value so far, None before the first."""
        return self._best.value

    @property
    def wait(self) -> int:
        """How many epochs in a row were not better."""
        return self._patience.waited

    def wants_hook(self, hook: str) -> bool:
        """Listen to blocks only if steps are counted, to evaluations only if they are not."""
        return hook != ("on_midepoch_evaluation" if self.unit == "step" else "on_block")

    @property
    def wants_interval_means(self) -> bool:  # type: ignore[override]
        """Whether the means since the last evaluation are needed."""
        return self.at == "evaluation"

    def on_train_begin(self, run: Run) -> None:
        """Begin from scratch.

        Raises:
            SetupError: The direction is not known.
        """
        mode = self._monitor.direction(run.model)
        self._best = Best(mode, self.min_delta, self.relative, by_magnitude=True)
        self._patience = Patience(self.patience)
        self._occasions = self._none_yet()
        self._run, self._last, self.best_weights = run, None, None
        self.best_epoch = self.best_step = self.stopped_epoch = self.stopped_step = 0
        self._batch_names.clear()
        self._stopped = self._raised = False
        self._watched = Watched(type(self).__name__, self.monitor, mode, self.restore_best_weights)
        if self.unit == "epoch":
            run.watched.append(self._watched)

    def on_epoch_end(self, run: Run, epoch: int, logs: Logs) -> None:
        """Judge the epoch; with ``unit="step"`` only check that its batches had the metric."""
        if self.unit == "epoch":
            value = self._occasions.at_epoch_end(run, logs)
            if value is not None:
                self._judge(run, value, epoch, run.step, self._occasions.number(epoch))
        elif self._monitor.find(self._batch_names) is None:
            self._monitor.warn_missing(self._batch_names, "a batch of this epoch")
        self._batch_names.clear()

    def on_midepoch_evaluation(self, run: Run, logs: Logs) -> None:
        """Judge the evaluation, if it has the metric."""
        value = self._occasions.within_epoch(run, logs)
        if value is not None:
            step = run.step if run.evaluation is None else run.evaluation.step
            self._judge(run, value, run.epoch, step, self._occasions.number(run.epoch))
            self._occasions.count_within_epoch()

    def on_block(self, run: Run, block: Block) -> None:
        """Judge the batches, one after another."""
        self._batch_names.update(block.columns)
        name = self._monitor.find(block.columns)
        if name is None:
            return
        mask = block.present[name]
        rows = np.arange(len(block)) if mask is None else mask.nonzero()[0]
        for value, step in zip(block.columns[name][rows].tolist(), block.steps[rows].tolist(), strict=True):
            self._judge(run, value, block.epoch, step, block.epoch, is_first=step == 1)

    def _judge(
        self, run: Run, value: float, epoch: int, step: int, number: int, *, is_first: bool | None = None
    ) -> None:
        """Take a value into account and stop the run if it says so. The very first never exhausts patience."""
        if self._stopped:
            return
        if self.check_finite and not math.isfinite(value):
            self._stop(run, epoch, step, f"{self.monitor} is {value}", failed=True)
            return
        if number < self.start_from_epoch:
            return
        better = self._best.beats(value, self._best.value)
        if better:
            if self.restore_best_weights:
                model: Any = run.model
                self.best_weights = model.get_weights()
            self.best_epoch, self.best_step = epoch, step
            self._watched.best_epoch, self._watched.best_step = epoch, step
        self._patience.wait()
        if self._best.update(value) and (self.baseline is None or self._best.beats(value, self.baseline)):
            self._patience.reset()
        is_first = number == 0 if is_first is None else is_first
        self._last = _Judged(value, epoch, step, is_spared=better or is_first, number=number)
        complaint = self._complaint(self._last)
        if self._diverges(value) and not self._is_good_enough(value):
            reason = f"{self.monitor} is {value:.6g}, worse than {self.divergence_threshold:.6g}"
            self._stop(run, epoch, step, reason, failed=True)
        elif complaint is not None:
            self._stop(run, epoch, step, complaint[0])

    def _complaint(self, last: _Judged) -> tuple[str, str] | None:
        """Return why the last value stops the run, and by which argument; None if it does not."""
        if self._is_good_enough(last.value):
            threshold = f"{self.stopping_threshold:.6g}"
            return f"{self.monitor} is {last.value:.6g} and has reached {threshold}", f"stopping_threshold={threshold}"
        if not last.is_spared and self._patience.has_run_out:
            return self._verdict(), f"patience={self.patience}"
        return None

    def _is_good_enough(self, value: float) -> bool:
        return self.stopping_threshold is not None and self._best.reaches(value, self.stopping_threshold)

    def _diverges(self, value: float) -> bool:
        threshold = self.divergence_threshold
        return threshold is not None and not math.isnan(value) and not self._best.reaches(value, threshold)

    def _stop(self, run: Run, epoch: int, step: int, reason: str, *, failed: bool = False) -> None:
        self._stopped = True
        self.stopped_epoch, self.stopped_step = epoch, step
        run.stop(reason, failed=failed)

    def _verdict(self) -> str:
        """Return the reason for which patience has run out."""
        by_steps = self.unit == "step" or self._occasions.within_epochs
        what = "step" if self.unit == "step" else "evaluation" if by_steps else "epoch"
        waited = f"{self.wait} {what}{'s' if self.wait > 1 else ''}"
        best = self._best.value
        if best is None:
            return f"{self.monitor} has been nan for {waited}"
        where = f"at step {self.best_step}" if by_steps else f"in epoch {self.best_epoch + 1}"
        what = "improve"
        if self.baseline is not None and not self._best.beats(best, self.baseline):
            what = f"beat the baseline {self.baseline:.6g}"
        return f"{self.monitor} did not {what} for {waited}; its best was {best:.6g} {where}"

    def on_exception(self, run: Run, error: BaseException) -> None:
        """Remember that the training raised, so that train end restores the weights."""
        self._raised = True

    def on_train_end(self, run: Run, logs: Logs) -> None:
        """Set the best weights, if asked.

        Not if the run ends only because the next one begins (`fit` does not report that it raised), or never began: by
        then, something else may have set the model's weights.
        """
        self._run = None
        if not self.restore_best_weights or self.best_weights is None:
            return
        if self._raised or run.status in ("completed", "stopped") or (run.status == "failed" and run.failed):
            model: Any = run.model
            model.set_weights(self.best_weights)
        elif run.status == "interrupted":
            logger.warning(
                "%s did not restore the weights of epoch %d: an exception left the run open until the next one began; "
                "use adapter.fit(...) or a Loop, which restore them immediately",
                type(self).__name__,
                self.best_epoch + 1,
            )

    @property
    def identity(self) -> Mapping[str, Any]:
        """The metric, and whether epochs or steps are judged."""
        return {"monitor": self.monitor, "unit": self.unit}

    def state_dict(self) -> dict[str, Any]:
        """Return the decisions so far and the best weights."""
        return {
            "best": state_of(self._best, "mode", "value"),
            "patience": state_of(self._patience, "waited"),
            "last": None if self._last is None else state_of(self._last, *_JUDGED),
            **state_of(self, "best_epoch", "best_step"),
            "occasions": state_of(self._occasions, "extra", "within_epochs"),
            "best_weights": None if self.best_weights is None else list(self.best_weights),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned, and stop the run at once if its last value does so.

        Raises:
            ValueError: The state has another direction.
        """
        self._best.restore(state["best"])
        restore(self._patience, state["patience"])
        restore(self, {name: state[name] for name in ("best_epoch", "best_step")})
        restore(self._occasions, dict(state.get("occasions", {})))  # not in states of earlier releases
        if self.best is not None:
            self._watched.best_epoch, self._watched.best_step = self.best_epoch, self.best_step
        weights, last = state["best_weights"], state["last"]
        self.best_weights = None if weights is None else list(weights)
        if last is not None:
            self._last = _Judged(**{"number": last["epoch"], **last, "value": float(last["value"])})
            self._judge_again(self._last)

    def _judge_again(self, last: _Judged) -> None:
        """Stop a resumed run if, by the present arguments, its last value does."""
        complaint = self._complaint(last) if last.number >= self.start_from_epoch else None
        if self._run is not None and complaint is not None:
            reason, argument = complaint
            logger.warning(
                "%s ends the run before its next epoch: %s; change %s to continue",
                type(self).__name__,
                reason,
                argument,
            )
            self._stop(self._run, last.epoch, last.step, reason)
