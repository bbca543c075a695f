"""The handle of a LightGBM booster, and of the boosters of a cross-validation, which has fewer members."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike, fspath
from typing import Any, ClassVar

import lightgbm
import numpy as np

from monitor_core.loop.rounds import direction_of
from monitor_core.metrics.decisions import Mode
from monitor_core.model.handles import Array, recalled

__all__ = ["FoldsModel", "LightGBMModel"]

RATE, ALIASES, DEFAULT_RATE = "learning_rate", ("learning_rate", "shrinkage_rate", "eta"), 0.1
"""LightGBM's names of the rate, in the order in which it takes them, and the rate that it has without one."""

LARGEST = frozenset({"auc", "auc_mu", "average_precision", "map", "ndcg", "r2"})
SMALLEST = frozenset(
    {
        "binary_error",
        "binary_logloss",
        "cross_entropy",
        "cross_entropy_lambda",
        "fair",
        "gamma",
        "gamma_deviance",
        "huber",
        "kullback_leibler",
        "l1",
        "l2",
        "mape",
        "multi_error",
        "multi_logloss",
        "poisson",
        "quantile",
        "rmse",
        "tweedie",
    }
)
"""LightGBM's metrics by direction; ``ndcg@5`` is among them as ``ndcg``."""


class FoldsModel:
    """Provide the boosters of ``lightgbm.cv`` to sinks: their rate.

    Args:
        boosters: The boosters, at least one.
    """

    framework: ClassVar[str] = "lightgbm"

    def __init__(self, boosters: list[lightgbm.Booster]) -> None:
        self.boosters = boosters

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.boosters[0].current_iteration()} rounds)"

    @property
    def learning_rates(self) -> list[float]:
        """The learning rate, from the parameters; setting it applies from the next round on.

        Raises:
            ValueError: It is set once the training has ended: LightGBM itself would crash the process.
        """
        params = self.boosters[0].params
        return [float(next((params[name] for name in ALIASES if name in params), DEFAULT_RATE))]

    @learning_rates.setter
    def learning_rates(self, rates: list[float]) -> None:
        (rate,) = rates
        if any(getattr(booster, "train_set", None) is None for booster in self.boosters):
            raise ValueError("learning_rates cannot be set after the training: the booster has no training data")
        for booster in self.boosters:
            booster.reset_parameter({RATE: rate})

    def direction(self, metric: str) -> Mode | None:
        """Return the direction in which a metric of any set improves, None if it is not one of LightGBM's."""
        return direction_of(metric, LARGEST, SMALLEST)


class LightGBMModel(FoldsModel):
    """Provide a booster to sinks: its rate, its file, its predictions.

    Args:
        booster: The booster; of an estimator, ``estimator.booster_``.

    Raises:
        TypeError: It is not a booster.

    Example:
        >>> handle = LightGBMModel(lightgbm.train(params, data, 10))
    """

    weights_suffix: ClassVar[str] = ".txt"

    def __init__(self, booster: lightgbm.Booster) -> None:
        if not isinstance(booster, lightgbm.Booster):
            raise TypeError(
                f"booster must be a lightgbm.Booster (got a {type(booster).__name__}): of an estimator, pass "
                "estimator.booster_"
            )
        super().__init__([booster])

    @property
    def booster(self) -> lightgbm.Booster:
        """The booster."""
        return self.boosters[0]

    def save(self, path: str | PathLike[str], *, weights_only: bool = False) -> None:
        """Write all trees, in LightGBM's text format; ``weights_only`` makes no difference."""
        self.booster.save_model(fspath(path), num_iteration=-1)

    def load(self, path: str | PathLike[str]) -> None:
        """Replace all trees by those of a file, without executing anything in it.

        A booster loses its training data by this, so that it cannot be trained on: to continue a training, pass the
        file as ``init_model``.

        Raises:
            lightgbm.basic.LightGBMError: The file holds no model; nothing is replaced.
        """
        read = lightgbm.Booster(model_file=fspath(path))
        self.booster.model_from_string(read.model_to_string(num_iteration=-1))

    def predict(self, x: Any) -> Array:
        """Return the predictions of all trees, for an array or a data frame."""
        return np.array(self.booster.predict(x, num_iteration=-1))

    def recall(self) -> Callable[[], LightGBMModel | None]:
        """Return a function that returns a handle of the booster while it lives, None afterwards."""
        return recalled(self.booster, LightGBMModel)
