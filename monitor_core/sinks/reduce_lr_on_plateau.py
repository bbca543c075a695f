"""The plateau rule: lowers the learning rate when a metric no longer improves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import attrs
import numpy as np

from monitor_core import checks
from monitor_core._log import logger
from monitor_core.bus.copies import independent_copy
from monitor_core.bus.run import Run
from monitor_core.bus.sink import Logs, Sink
from monitor_core.errors import SetupError
from monitor_core.metrics.decisions import Best, Mode, Patience, restore, state_of
from monitor_core.metrics.monitor import AnyMode, Monitor
from monitor_core.metrics.occasions import At, Occasions
from monitor_core.metrics.outcome import Watched
from monitor_core.model.handles import check_rate_can_be_set

Rule = Literal["keras", "pytorch"]


@attrs.define
class Plateau:
    """Whether a value has not improved for longer than patience allows.

    Attributes:
        best: The best value so far, and the rule for what is better.
        patience: How many values in a row may not improve.
        cooldown: How many values the cooldown after `begin_again` takes: they reset the count, and are not counted.
        last_counts: Whether the cooldown's last value is counted nevertheless, as in Keras.
        spared: How many values of the cooldown are left.
    """

    best: Best
    patience: Patience
    cooldown: int = 0
    last_counts: bool = False
    spared: int = 0

    def is_reached(self, value: float) -> bool:
        """Take a value into account; return whether a plateau is reached."""
        is_spared = self.spared > self.last_counts
        if self.spared:
            self.spared -= 1
            self.patience.reset()
        if self.best.update(value):
            self.patience.reset()
            return False
        return not is_spared and self.patience.wait()

    def begin_again(self) -> None:
        """Begin to count again, after the cooldown."""
        self.spared = self.cooldown
        self.patience.reset()


class _PyTorchBest(Best):
    """The best so far by PyTorch's rule: it begins at infinity, and the difference is taken on the other side.

    ``value < best - min_delta`` and ``value + min_delta < best`` may round differently.
    """

    def beats(self, value: float, reference: float | None) -> bool:
        if self.relative or reference is None or math.isnan(value):
            return super().beats(value, reference)
        sign = 1.0 if self.mode == "min" else -1.0
        return sign * value < sign * (reference - sign * self.min_delta)


def _check_factor(sink: Any, field: attrs.Attribute[Any], value: Any) -> None:
    checks.number(least=0, finite=True)(sink, field, value)
    if value >= 1:
        raise ValueError(f"factor must be < 1 (got {value})")


def _check_bounds(sink: Any, field: attrs.Attribute[Any], value: Any) -> None:
    bounds = value if isinstance(value, (tuple, list)) else [value]
    if not bounds:
        raise ValueError("min_lr must be a number, or one for each parameter group (got none)")
    for bound in bounds:
        checks.number(least=0, finite=True)(sink, field, bound)


def _magnitude(value: Any) -> Any:
    return abs(value) if isinstance(value, (int, float, np.number)) else value


@attrs.define(eq=False)
class ReduceLROnPlateau(Sink):
    """Multiply the learning rate by a factor when a metric did not improve for some epochs.

    All parameter groups are lowered together, none below its own bound. An epoch without the metric is not
    counted; NaN counts as no improvement. An evaluation within an epoch that has the metric counts as an epoch does.
    Each run starts from scratch, unless it is resumed.

    Args:
        monitor: The metric's name.
        factor: What the rate is multiplied by, at least 0 and below 1.
        patience: By Keras's rule, the rate is lowered at the end of this many epochs in a row without an improvement
            (0 acts as 1). By PyTorch's rule, this many are tolerated, and the rate is lowered after the next.
        mode: ``"min"``, ``"max"`` or ``"auto"``, which knows common metrics and never guesses; see `Monitor`.
        min_delta: What counts as an improvement: beating the best by more than this; its sign is ignored.
        cooldown: How many epochs after a reduction are not counted. By Keras's rule, ``cooldown=N`` spares N - 1
            epochs (0 and 1 are the same); by PyTorch's rule, N.
        min_lr: The rate is never lowered below this; a number, or one for each parameter group.
        rule: ``"keras"``, or ``"pytorch"`` for what ``torch.optim.lr_scheduler.ReduceLROnPlateau`` does.
        relative: Whether ``min_delta`` is a fraction of the best (PyTorch's ``threshold_mode="rel"``) instead of a
            difference. Left out, it is False by Keras's rule and True by PyTorch's. It is a fraction of the best's
            absolute value by Keras's rule; by PyTorch's, of the best itself, so that below zero a worse value beats it.
        at: When a metric of the training is judged: ``"epoch"``, at each epoch's end; or ``"evaluation"``, at each
            evaluation, by its weighted mean since the one before.
        eps: A rate is left as it is if it would fall by no more than this. Left out, it is 0 by Keras's rule and 1e-8
            by PyTorch's.

    Attributes:
        best: The best value so far, None before the first by Keras's rule, infinite by PyTorch's.
        wait: How many epochs in a row did not improve.
        cooldown_counter: How many epochs of the cooldown are left.

    Raises:
        TypeError: An argument is of another type.
        ValueError: An argument is out of its range.

    Source: Keras 3.15's ``ReduceLROnPlateau``; there a NaN that comes first remains the best, here it never is.
    With ``rule="pytorch"``, PyTorch's class of this name, whose ``threshold`` is ``min_delta`` here.

    Example:
        >>> reduce = ReduceLROnPlateau("val_loss", factor=0.2, patience=5, min_lr=1e-5)
    """

    __copy__ = independent_copy

    needs: ClassVar[tuple[str, ...]] = ("learning_rates",)
    sets_learning_rate: ClassVar[bool] = True
    read_only: ClassVar[bool] = True

    monitor: str = "val_loss"
    factor: float = attrs.field(default=0.1, kw_only=True, validator=_check_factor)
    patience: int = attrs.field(default=10, kw_only=True, validator=checks.count())
    mode: AnyMode = attrs.field(default="auto", kw_only=True)
    min_delta: float = attrs.field(
        default=1e-4, kw_only=True, converter=_magnitude, validator=checks.number(least=0, finite=True)
    )
    cooldown: int = attrs.field(default=0, kw_only=True, validator=checks.count())
    min_lr: float | Sequence[float] = attrs.field(default=0.0, kw_only=True, validator=_check_bounds)
    rule: Rule = attrs.field(default="keras", kw_only=True, validator=checks.one_of("keras", "pytorch"))
    # By `attrs.Factory`: pyright takes a field whose default is a method as required.
    relative: bool = attrs.field(
        default=attrs.Factory(lambda sink: sink.rule == "pytorch", takes_self=True),
        kw_only=True,
        validator=checks.boolean,
    )
    eps: float = attrs.field(
        default=attrs.Factory(lambda sink: 1e-8 if sink.rule == "pytorch" else 0.0, takes_self=True),
        kw_only=True,
        validator=checks.number(least=0, finite=True),
    )
    at: At = attrs.field(default="epoch", kw_only=True, validator=checks.one_of("epoch", "evaluation"))
    _monitor: Monitor = attrs.field(init=False, repr=False)
    _occasions: Occasions = attrs.field(init=False, repr=False)
    _plateau: Plateau = attrs.field(init=False, repr=False)

    @_monitor.default
    def _watch(self) -> Monitor:
        return Monitor(self.monitor, self.mode, type(self).__name__)

    @_occasions.default
    def _none_yet(self) -> Occasions:
        return Occasions(self._monitor, self.at)

    @_plateau.default
    def _idle(self) -> Plateau:
        return self._fresh("min")

    @property
    def wants_interval_means(self) -> bool:  # type: ignore[override]
        """Whether the means since the last evaluation are needed."""
        return self.at == "evaluation"

    @property
    def best(self) -> float | None:
        """The best value so far."""
        return self._plateau.best.value

    @property
    def wait(self) -> int:
        """How many epochs in a row did not improve."""
        return self._plateau.patience.waited

    @property
    def cooldown_counter(self) -> int:
        """How many epochs of the cooldown are left."""
        return self._plateau.spared

    def _fresh(self, mode: Mode) -> Plateau:
        """Return the rule's state before the first epoch."""
        if self.rule == "pytorch":
            worst = math.inf if mode == "min" else -math.inf
            best: Best = _PyTorchBest(mode, self.min_delta, self.relative, worst)
            return Plateau(best, Patience(self.patience + 1), self.cooldown)
        best = Best(mode, self.min_delta, self.relative, by_magnitude=True)
        return Plateau(best, Patience(self.patience), self.cooldown, last_counts=True)

    def on_train_begin(self, run: Run) -> None:
        """Start from scratch.

        Raises:
            SetupError: The optimizer's rate is a schedule object, the metric's direction is not known, or ``min_lr``
                does not have one bound for each parameter group.
        """
        model: Any = run.model
        check_rate_can_be_set(model, type(self).__name__)
        groups = len(model.learning_rates)
        if isinstance(self.min_lr, Sequence) and len(self.min_lr) != groups:
            raise SetupError(
                f"min_lr must have one bound for each of the optimizer's {groups} parameter groups "
                f"(got {len(self.min_lr)})"
            )
        mode = self._monitor.direction(model)
        run.watched.append(Watched(type(self).__name__, self.monitor, mode))
        self._plateau, self._occasions = self._fresh(mode), self._none_yet()

    def on_epoch_end(self, run: Run, epoch: int, logs: Logs) -> None:
        """Decide, and lower the rate."""
        value = self._occasions.at_epoch_end(run, logs)
        if value is not None:
            self._judge(run, value, f"epoch {epoch + 1}")

    def on_midepoch_evaluation(self, run: Run, logs: Logs) -> None:
        """Decide, if the evaluation has the metric."""
        value = self._occasions.within_epoch(run, logs)
        if value is not None:
            self._occasions.count_within_epoch()
            self._judge(run, value, f"step {run.step}")

    def _judge(self, run: Run, value: float, where: str) -> None:
        """Take a value into account, and lower the rate if it has reached a plateau."""
        if not self._plateau.is_reached(value):
            return
        model: Any = run.model
        before = model.learning_rates
        after = [self._lowered(rate, bound) for rate, bound in zip(before, self._bounds(len(before)), strict=True)]
        if after != before:
            model.learning_rates = after
            self._log(where, before, after, value)
        if after != before or self.rule == "pytorch":  # PyTorch's counts again even if no rate could be lowered
            self._plateau.begin_again()

    def _log(self, where: str, before: list[float], after: list[float], value: float) -> None:
        logger.info(
            "%s: reduced the learning rate from %s to %s: %s did not improve for %d %s; it is %s, its best was %s",
            where,
            ", ".join(map(str, before)),
            ", ".join(map(str, after)),
            self.monitor,
            self._plateau.patience.waited,
            "evaluations" if self._occasions.within_epochs else "epochs",
            value,
            self._plateau.best.value,
        )

    def _bounds(self, groups: int) -> Sequence[float]:
        return self.min_lr if isinstance(self.min_lr, Sequence) else [self.min_lr] * groups

    def _lowered(self, rate: float, bound: float) -> float:
        lower = max(rate * self.factor, bound)
        if not rate - lower > self.eps:
            return rate
        if self.rule == "keras" and not _float32(rate) > _float32(bound):
            return rate  # it is at its bound: Keras keeps rates in float32, rounded above or below it
        return lower

    @property
    def identity(self) -> Mapping[str, Any]:
        """The metric."""
        return {"monitor": self.monitor}

    def state_dict(self) -> dict[str, Any]:
        """Return the best value and the counts."""
        plateau = self._plateau
        return {
            "best": state_of(plateau.best, "mode", "value"),
            **state_of(plateau.patience, "waited"),
            **state_of(plateau, "spared"),
            "occasions": state_of(self._occasions, "extra", "within_epochs"),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned.

        Raises:
            ValueError: The state has another direction.
        """
        self._plateau.best.restore(state["best"])
        restore(self._plateau.patience, {"waited": state["waited"]})
        restore(self._plateau, {"spared": state["spared"]})
        restore(self._occasions, dict(state.get("occasions", {})))  # not in states of earlier releases


def _float32(value: float) -> np.float32:
    with np.errstate(over="ignore", under="ignore"):
        return np.float32(value)
