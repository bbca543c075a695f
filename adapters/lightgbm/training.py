"""What the adapter's callbacks do before a round and after it.

Contract. They hold what feeds the bus and nothing holds them but the adapter, so that a bus is freed with its last
reference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import lightgbm
from lightgbm.callback import CallbackEnv, EarlyStopException

from monitor_core._log import logger
from monitor_core.adapters.lightgbm.model import FoldsModel, LightGBMModel
from monitor_core.loop.rounds import Rounds


@attrs.define(eq=False, slots=False)  # LightGBM sets a default order in `__dict__`
class Callback:
    """A callback as LightGBM sorts and calls it."""

    run: Callable[[CallbackEnv], None]
    order: int
    before_iteration: bool = False

    def __call__(self, env: CallbackEnv) -> None:
        """Call the function."""
        self.run(env)


@attrs.define(eq=False)
class Training:
    """What the two callbacks do; apart from the adapter, which holds them, so that nothing holds itself.

    Attributes:
        rounds: What feeds the bus.
    """

    rounds: Rounds
    _best: list[Any] = attrs.field(factory=list, init=False)
    _is_void: bool = attrs.field(default=False, init=False)
    _has_warned: bool = attrs.field(default=False, init=False)

    def begin_round(self, env: CallbackEnv) -> None:
        """Begin the run before its first round, and a round; LightGBM cannot stop here."""
        rounds = self.rounds
        if env.iteration == env.begin_iteration:
            self._has_warned = False
            model = FoldsModel(env.model.boosters) if _is_cv(env) else LightGBMModel(env.model)
            rounds.begin(model, env.end_iteration - env.begin_iteration)
        if not rounds.run.stopped:
            rounds.begin_round()
        self._is_void = rounds.run.stopped

    def end_round(self, env: CallbackEnv) -> None:
        """End a round; stop if a sink has asked for it.

        Raises:
            EarlyStopException: As LightGBM expects it from what stops a training.
        """
        rounds = self.rounds
        if self._is_void:  # a stop was requested before the round, which LightGBM has trained nevertheless
            env.model.rollback_one_iter()
            rounds.end()
            raise EarlyStopException(env.iteration - 1, [])
        results = env.evaluation_result_list or []
        rounds.end_round(*self._by_set(env, results))
        best = rounds.best
        if best is not None and best[0] == rounds.done - 1:
            self._best = results
        is_last = env.iteration + 1 == env.end_iteration
        if rounds.run.stopped or is_last:
            rounds.end()
            if best is not None:
                raise EarlyStopException(env.begin_iteration + best[0], self._best)
            if not is_last:
                raise EarlyStopException(env.iteration, results)

    def _by_set(self, env: CallbackEnv, results: list[Any]) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
        own = "train" if _is_cv(env) else getattr(env.model, "_train_data_name", "training")
        training: dict[str, float] = {}
        evaluations: dict[str, dict[str, float]] = {}
        for name, metric, value, _, *deviation in results:
            target = training if name == own else evaluations.setdefault(name, {})
            if metric in target and not self._has_warned:
                self._has_warned = True
                logger.warning("several valid_sets have the name %r: only the results of the last one arrive", name)
            target[metric] = value
            if deviation:
                target[f"{metric}_std"] = deviation[0]
        return training, evaluations


def _is_cv(env: CallbackEnv) -> bool:
    return isinstance(env.model, lightgbm.CVBooster)
