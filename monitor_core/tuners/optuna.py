"""Optuna: report a metric to a trial, and end the run if the trial is to be pruned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs

from monitor_core import checks
from monitor_core.bus.copies import independent_copy
from monitor_core.bus.origin import Origin
from monitor_core.bus.run import Run
from monitor_core.bus.sink import Logs, Sink
from monitor_core.metrics.decisions import restore, state_of
from monitor_core.metrics.monitor import Monitor
from monitor_core.metrics.names import check_metric
from monitor_core.metrics.occasions import At, Occasions

RUN_ID = "monitor_core.run"
"""The user attribute of a trial that has the run's id."""


def _check_trial(_: Any, __: Any, trial: Any) -> None:
    if not all(callable(getattr(trial, name, None)) for name in ("report", "should_prune")):
        raise TypeError(f"trial must be a trial of Optuna's, as an objective gets it (got {trial!r})")
    directions = getattr(getattr(trial, "study", None), "directions", ())
    if len(directions) > 1:
        raise ValueError(
            f"trial must be of a study with one objective, not {len(directions)}: Optuna does not prune others"
        )


def _check_study(_: Any, __: Any, value: Any) -> None:
    if value is not None and (not isinstance(value, str) or not value):
        raise TypeError(f"study must be the name of a study, or None (got {value!r})")


@attrs.define(eq=False)
class OptunaPruning(Sink):
    """Report a metric to an Optuna trial after each epoch, and end the run if Optuna prunes the trial.

    The run then ends as stopped, every sink has its train end, and ``optuna.TrialPruned`` is raised: from the ``with``
    of a `Loop`, from ``fit``. An evaluation within an epoch that has the metric is reported too. What is reported is
    numbered from 0: by its epoch, where evaluations are at the ends of epochs only.

    The run is part of the study: with ``record="runs/study"``, trial 3 records in ``runs/study/trial-3``, with the
    trial's parameters as its configuration; the trial has the run's id as its user attribute ``monitor_core.run``.

    Args:
        trial: The trial, as Optuna passes it to the objective, or as ``study.ask()`` returns it.
        monitor: The metric's name; ``acc`` and ``accuracy`` find each other. A value that is missing is not reported,
            with one warning.
        interval: Every how many values to report one, at least 1: the last of each ``interval``.
        at: When a metric of the training is reported: ``"epoch"``, at each epoch's end; or ``"evaluation"``, at each
            evaluation, by its weighted mean since the one before.
        study: The study's name, where the trial does not know it, as a ``TorchDistributedTrial``; None: the trial's.

    Attributes:
        pruned: Whether Optuna has pruned the trial.

    Raises:
        SetupError: The package ``optuna`` is missing.
        TypeError: ``trial`` is not a trial, or ``interval`` is not an integer.
        ValueError: An argument breaks its rule above, or the study has several objectives.

    Example:
        >>> def objective(trial):
        ...     rate = trial.suggest_float("rate", 1e-4, 1e-1, log=True)
        ...     with Loop(OptunaPruning(trial, "val_loss"), record="runs/study") as loop:
        ...         return train(loop, rate)

    Source: Optuna's callbacks for Keras and Lightning, in optuna-integration 5.0. They report and prune at the same
    epochs, but raise within the training, so that callbacks after them are not called and the training's end is not
    known.
    """

    __copy__ = independent_copy

    read_only: ClassVar[bool] = True

    trial: Any = attrs.field(validator=_check_trial, repr=False)
    monitor: str = attrs.field(default="val_loss")
    interval: int = attrs.field(default=1, kw_only=True, validator=checks.count(least=1))
    at: At = attrs.field(default="epoch", kw_only=True, validator=checks.one_of("epoch", "evaluation"))
    study: str | None = attrs.field(default=None, kw_only=True, validator=_check_study)
    pruned: bool = attrs.field(init=False, default=False)
    _monitor: Monitor = attrs.field(init=False, repr=False)
    _occasions: Occasions = attrs.field(init=False, repr=False)

    @_monitor.default
    def _make_monitor(self) -> Monitor:
        return Monitor(self.monitor, "auto", type(self).__name__)

    @_occasions.default
    def _none_yet(self) -> Occasions:
        return Occasions(self._monitor, self.at)

    def __attrs_post_init__(self) -> None:
        checks.required("OptunaPruning", "optuna", "optuna")

    @property
    def wants_interval_means(self) -> bool:  # type: ignore[override]
        """Whether it reports means since the last evaluation."""
        return self.at == "evaluation"

    @property
    def origin(self) -> Origin:  # type: ignore[override]
        """The study, with the trial's number and its parameters so far."""
        known: str | None = getattr(getattr(self.trial, "study", None), "study_name", None)
        return Origin(
            self.study or known or "optuna", name=f"trial-{self.trial.number}", config=dict(self.trial.params)
        )

    def on_train_begin(self, run: Run) -> None:
        """Begin to count, and tell the trial which run it is.

        Raises:
            SetupError: The model knows its metrics, and the metric's name is a misspelt one of them.
        """
        check_metric(self.monitor, run.model, type(self).__name__, "monitor")
        self.pruned, self._occasions = False, self._none_yet()
        self.trial.set_user_attr(RUN_ID, run.id)

    def on_epoch_end(self, run: Run, epoch: int, logs: Logs) -> None:
        """Report the epoch's value."""
        value = self._occasions.at_epoch_end(run, logs)
        if value is not None:
            self._report(run, value, epoch)

    def on_midepoch_evaluation(self, run: Run, logs: Logs) -> None:
        """Report the evaluation's value, if it has the metric."""
        value = self._occasions.within_epoch(run, logs)
        if value is not None:
            self._report(run, value, run.epoch)
            self._occasions.count_within_epoch()

    def _report(self, run: Run, value: float, epoch: int) -> None:
        number = self._occasions.number(epoch)
        if self.pruned or (number + 1) % self.interval:
            return
        self.trial.report(value, step=number)
        if self.trial.should_prune():
            from optuna import TrialPruned

            self.pruned = True
            reason = f"Optuna pruned trial {self.trial.number}: {self.monitor} was {value:.6g} in epoch {epoch + 1}"
            run.stop(reason, raising=TrialPruned(reason))

    @property
    def identity(self) -> Mapping[str, Any]:
        """The metric."""
        return {"monitor": self.monitor}

    def state_dict(self) -> dict[str, Any]:
        """Return how many values were counted."""
        return {"occasions": state_of(self._occasions, "extra", "within_epochs")}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue to count."""
        restore(self._occasions, state["occasions"])
