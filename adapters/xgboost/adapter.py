"""The XGBoost adapter: feeds a bus from ``xgboost.train``, ``xgboost.cv`` and the estimators.

A round is an epoch of one step (see `monitor_core.loop.rounds`), because XGBoost evaluates its sets in each round, and
its own early stopping, printed lines and plots count rounds. So a sink acts once a round:
``EarlyStopping("valid_logloss", patience=10)`` stops where ``early_stopping_rounds=10`` does, and a CSV file has a row
for each round. The set that is the training data gives the round's own metrics, ``logloss``. Any other set is an
evaluation of its name: XGBoost's ``valid-logloss`` is ``valid_logloss``, as an evaluation ``valid`` of any other
framework has it.

Contract. Hooks are called on the thread that trains. Where several callbacks are in the list, order does not matter: a
round in which an earlier one stops the training is recorded when the training ends. After an exception XGBoost calls no
callback: use ``with``.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

import xgboost

from monitor_core.adapters.attached import AttachedToRounds
from monitor_core.adapters.xgboost.call import Call, find_call
from monitor_core.adapters.xgboost.model import FoldsModel, XGBoostModel
from monitor_core.checks import require_version

__all__ = ["XGBoostAdapter"]


class XGBoostAdapter(AttachedToRounds, xgboost.callback.TrainingCallback):
    """Attach sinks to XGBoost: ``callbacks=[adapter]``, of ``train``, of ``cv`` or of an estimator.

    Each training is a run of its own; with a `Loop`, all trainings inside it are one run, which counts their rounds.
    When `EarlyStopping` is among the sinks, the booster gets ``best_iteration`` and ``best_score``, as from XGBoost's
    own, so an estimator predicts with its best rounds.

    Args:
        *parts: Sinks, in the order in which they are to be called; or a single `Loop`, which has its own.
        save_best: Whether ``train`` returns the rounds up to the best one alone, as with XGBoost's ``save_best``.
        validation_data: Data for sinks that look at the model, usually ``(x, y)``.
        record: The run's folder, in which a `Journal` records, as with `Loop`.
        resume: The run's folder, for a training that continues where it was interrupted, as with `Loop`:
            ``num_boost_round`` is the total.
        strict: Whether to check the order of rounds, and to let every exception of a sink propagate.

    Attributes:
        bus: The bus that carries the events.

    Raises:
        HookError: A part is not a sink.
        SetupError: XGBoost is older than 3.0.
        ValueError: A loop is passed together with sinks, or with arguments that belong to the loop.

    Example:
        >>> with XGBoostAdapter(History(), EarlyStopping("valid_logloss", patience=5)) as adapter:
        ...     booster = xgboost.train(params, data, 500, evals=[(valid, "valid")], callbacks=[adapter])
    """

    def __init__(
        self,
        *parts: Any,
        save_best: bool = False,
        validation_data: Any = None,
        record: str | PathLike[str] | None = None,
        resume: str | PathLike[str] | None = None,
        strict: bool = False,
    ) -> None:
        require_version(type(self).__name__, "xgboost", xgboost.__version__, (3, 0), "xgboost")
        super().__init__()
        options = {"validation_data": validation_data, "record": record, "resume": resume, "strict": strict}
        self._attach(parts, options, save_best=save_best)
        self._save_best = save_best
        self._call = Call()
        self._log: Mapping[str, Any] = {}
        self._rounds_before = 0

    def before_training(self, model: Any) -> Any:
        """Begin the run, or continue it."""
        is_cv = not isinstance(model, xgboost.Booster)
        self._call = call = find_call(self)
        self._log = {}
        handle = FoldsModel(model) if is_cv else XGBoostModel(model)
        handle.is_rate_ours = not call.sets_rate
        self._rounds.begin(handle, call.rounds)
        self._rounds_before = model.num_boosted_rounds() - self._rounds.done
        return model

    def before_iteration(self, model: Any, epoch: int, evals_log: Mapping[str, Any]) -> bool:
        """Begin a round; return whether there is to be none."""
        rounds, self._log = self._rounds, evals_log
        if rounds.run.stopped or rounds.is_complete:
            return True
        rounds.begin_round()
        return rounds.run.stopped

    def after_iteration(self, model: Any, epoch: int, evals_log: Mapping[str, Any]) -> bool:
        """End a round; return whether it was the last."""
        self._end_round(evals_log)
        is_last = self.run.stopped or (self._rounds.is_complete and epoch + 1 != self._call.rounds)
        if is_last:
            self._set_best(model)
        return is_last

    def _end_round(self, evals_log: Mapping[str, Any]) -> None:
        training: dict[str, float] = {}
        evaluations: dict[str, dict[str, float]] = {}
        for name, results in evals_log.items():
            target = training if name in self._call.training else evaluations.setdefault(name, {})
            for metric, values in results.items():
                value = values[-1]
                if isinstance(value, tuple):
                    target[metric], target[f"{metric}_std"] = value
                else:
                    target[metric] = value
        reduced = xgboost.collective.is_distributed()  # by XGBoost, over its workers
        self._rounds.end_round(training, evaluations, of_all_ranks=reduced)

    def _set_best(self, model: Any) -> None:
        """Note the best round on the booster; ``cv`` needs one of every training that is stopped."""
        best = self._rounds.best
        if best is not None:
            model.set_attr(best_iteration=str(self._rounds_before + best[0]), best_score=str(best[1]))
        elif not isinstance(model, xgboost.Booster) and self._rounds.done and model.attr("best_iteration") is None:
            model.set_attr(best_iteration=str(self._rounds_before + self._rounds.done - 1))

    def after_training(self, model: Any) -> Any:
        """End the run; return the booster."""
        rounds = self._rounds
        if model.num_boosted_rounds() > self._rounds_before + rounds.done:  # an earlier callback has stopped
            self._end_round(self._log)
        self._set_best(model)
        rounds.end(is_early=not rounds.is_complete)
        best = rounds.best
        if self._save_best and best is not None and isinstance(model, xgboost.Booster):
            attributes = model.attributes()
            model = model[: self._rounds_before + best[0] + 1]
            model.set_attr(**attributes)
        return model
