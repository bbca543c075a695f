"""The LightGBM adapter: feeds a bus from ``lightgbm.train``, ``lightgbm.cv`` and the estimators.

A round is an epoch of one step (see `monitor_core.loop.rounds`), because LightGBM evaluates its sets in each round, and
its own early stopping, printed lines and plots count rounds. So a sink acts once a round: ``EarlyStopping("valid_l2",
patience=10)`` stops where ``early_stopping(10)`` does, and a CSV file has a row for each round. The set that is the
training data gives the round's own metrics, ``l2``. Any other set is an evaluation of its name: LightGBM's
``valid's l2`` is ``valid_l2``, as an evaluation ``valid`` of any other framework has it.

Contract. Hooks are called on the thread that trains. The adapter is a list of two callbacks, one before a round and one
after it. The latter's order is between ``record_evaluation`` and ``early_stopping``, so neither loses the round in
which the other stops. LightGBM calls nothing after its own early stopping or an exception: use ``with``.
"""

from __future__ import annotations

from os import PathLike
from typing import Any, NoReturn

import lightgbm

from monitor_core.adapters.attached import AttachedToRounds
from monitor_core.adapters.lightgbm.training import Callback, Training
from monitor_core.checks import require_version

__all__ = ["LightGBMAdapter"]


class LightGBMAdapter(AttachedToRounds, list[Callback]):
    """Attach sinks to ``train``, ``cv`` and ``fit``: ``callbacks=adapter``, or ``callbacks=[*adapter, other]``.

    Each training is a run of its own; with a `Loop`, all trainings inside it are one run, which counts their rounds.
    When `EarlyStopping` is among the sinks, the booster gets ``best_iteration`` and ``best_score`` and keeps the rounds
    up to the best one, as with LightGBM's own.

    Args:
        *parts: Sinks, in the order in which they are to be called; or a single `Loop`, which has its own.
        validation_data: Data for sinks that look at the model, usually ``(x, y)``.
        record: The run's folder, in which a `Journal` records, as with `Loop`.
        strict: Whether to check the order of rounds, and to let every exception of a sink propagate.

    Raises:
        HookError: A part is not a sink.
        SetupError: LightGBM is older than 4.0.
        ValueError: A loop is passed together with sinks, or with arguments that belong to the loop.

    Example:
        >>> with LightGBMAdapter(History(), EarlyStopping("valid_l2", patience=5)) as adapter:
        ...     booster = lightgbm.train(
        ...         params, data, 500, valid_sets=[valid], valid_names=["valid"], callbacks=adapter
        ...     )
    """

    def __init__(
        self,
        *parts: Any,
        validation_data: Any = None,
        record: str | PathLike[str] | None = None,
        strict: bool = False,
    ) -> None:
        require_version(type(self).__name__, "lightgbm", lightgbm.__version__, (4, 0), "lightgbm")
        options = {"validation_data": validation_data, "record": record, "strict": strict}
        self._attach(parts, options)
        training = Training(self._rounds)
        super().__init__([Callback(training.begin_round, 20, before_iteration=True), Callback(training.end_round, 25)])

    def __hash__(self) -> NoReturn:  # type: ignore[override]
        """Explain what LightGBM's own error would not, since it puts callbacks into a set."""
        raise TypeError(
            "a LightGBMAdapter must not stand in a list as it is: write callbacks=adapter, or "
            "callbacks=[*adapter, other]"
        )

    def __copy__(self) -> list[Callback]:
        """Return a list of the same callbacks: estimators copy what they are given, to add their own."""
        return list(self)
