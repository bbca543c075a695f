"""A fit as a run: its rounds, each with the scores of the estimator as it is after it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from sklearn.metrics import check_scoring
from sklearn.pipeline import Pipeline

from monitor_core.adapters.sklearn.model import SklearnModel
from monitor_core.loop.rounds import Rounds

Scores = dict[str, float]


@attrs.define(eq=False)
class Fit:
    """A run of one fit.

    Attributes:
        rounds: What feeds the bus.
        scoring: What to score each round by, as for ``sklearn.metrics.check_scoring``; ``()`` for nothing.
        validation_data: ``(x, y)`` to score on in addition to the training data, or None.
        estimator: The estimator whose fit this is, once it has begun.
    """

    rounds: Rounds
    scoring: Any
    validation_data: tuple[Any, Any] | None
    estimator: Any = attrs.field(default=None, init=False)
    _scorers: dict[int, Any] = attrs.field(factory=dict, init=False)
    _validation: tuple[Any, Any] | None = attrs.field(default=None, init=False)

    def begin(self, estimator: Any) -> None:
        """Begin the run."""
        self.estimator = estimator
        self.rounds.begin(SklearnModel(estimator), None)

    def begin_round(self) -> None:
        """Begin a round, unless a stop was requested, which not every estimator obeys."""
        if not self.rounds.run.stopped:
            self.rounds.begin_round()

    def end_round(self, estimator: Any, fitted: Any, x: Any, y: Any, metadata: Mapping[str, Any]) -> bool:
        """End a round; return whether a stop is requested.

        Args:
            estimator: The estimator that iterates: this fit's, or a part of it.
            fitted: What it would be if its fit ended here; None if this task was no round.
            x: The training data.
            y: The training targets.
            metadata: What else scorers take, such as weights of samples.
        """
        rounds = self.rounds
        if fitted is None or not rounds.is_in_round:
            rounds.abandon_round()
            return False
        training = self._scores(estimator, fitted, x, y, metadata)
        data = self._validation_for(estimator)
        evaluations = {} if data is None else {"val": self._scores(estimator, fitted, *data, {})}
        rounds.end_round(training, evaluations)
        return rounds.run.stopped

    def end(self, error: BaseException | None = None) -> None:
        """End the run: with the results of a search, or with the exception that ended the fit."""
        if not self.rounds.is_open:
            return
        if error is not None:
            self.rounds.leave(error)
            return
        self.rounds.abandon_round()
        for results in _candidates(getattr(self.estimator, "cv_results_", None)):
            self.rounds.begin_round()
            self.rounds.end_round(results, {})
        self.rounds.end()

    def _scores(self, estimator: Any, fitted: Any, x: Any, y: Any, metadata: Mapping[str, Any]) -> Scores:
        if self.scoring == ():
            return {}
        if id(estimator) not in self._scorers:
            scoring = [self.scoring] if isinstance(self.scoring, str) else self.scoring
            self._scorers[id(estimator)] = check_scoring(estimator, scoring)
        scores = self._scorers[id(estimator)](fitted, x, y, **metadata)
        return dict(scores) if isinstance(scores, Mapping) else {"score": scores}

    def _validation_for(self, estimator: Any) -> tuple[Any, Any] | None:
        """Return the validation data as an iterating estimator takes them: transformed by the steps before it."""
        if self.validation_data is None or self.scoring == () or estimator is self.estimator:
            return self.validation_data
        if self._validation is None and isinstance(self.estimator, Pipeline) and self.estimator[-1] is estimator:
            x, y = self.validation_data
            self._validation = (self.estimator[:-1].transform(x) if len(self.estimator) > 1 else x, y)
        return self._validation


def _candidates(results: Mapping[str, Any] | None) -> list[Scores]:
    """Return the means and deviations of each candidate of a search; nothing without results."""
    if results is None:
        return []
    names = [name for name in results if name.startswith(("mean_", "std_"))]
    return [{name: float(results[name][number]) for name in names} for number in range(len(results["params"]))]
