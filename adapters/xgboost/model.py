"""The handle of an XGBoost booster, and of the boosters of a cross-validation, which has fewer members."""

from __future__ import annotations

import json
from collections.abc import Callable
from os import PathLike, fspath
from typing import Any, ClassVar

import xgboost

from monitor_core.errors import SetupError
from monitor_core.loop.rounds import direction_of
from monitor_core.metrics.decisions import Mode
from monitor_core.model.handles import Array, recalled, to_host

__all__ = ["FoldsModel", "XGBoostModel"]

LARGEST = frozenset({"auc", "aucpr", "interval-regression-accuracy", "map", "ndcg", "pre"})
SMALLEST = frozenset(
    {
        "aft-nloglik",
        "cox-nloglik",
        "error",
        "expectile",
        "gamma-deviance",
        "gamma-nloglik",
        "logloss",
        "mae",
        "mape",
        "merror",
        "mlogloss",
        "mphe",
        "poisson-nloglik",
        "quantile",
        "rmse",
        "rmsle",
        "tweedie-nloglik",
    }
)
"""XGBoost's metrics by direction; ``tweedie-nloglik@1.5`` is among them as ``tweedie-nloglik``."""


class FoldsModel:
    """Provide the boosters of ``xgboost.cv`` to sinks: their rate.

    Args:
        booster: What XGBoost passes to callbacks.

    Attributes:
        booster: The same.
        is_rate_ours: Whether only this handle sets the rate, so that it need not be read each time: that takes 0.2 ms,
            since XGBoost writes its whole configuration for it.
    """

    framework: ClassVar[str] = "xgboost"

    def __init__(self, booster: Any) -> None:
        self.booster = booster
        self.is_rate_ours = False
        self._rates: list[float] | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.booster.num_boosted_rounds()} rounds)"

    @property
    def learning_rates(self) -> list[float]:
        """The learning rate, from the configuration; setting it applies from the next round on."""
        if self._rates is None or not self.is_rate_ours:
            first = self.booster.cvfolds[0].bst if hasattr(self.booster, "cvfolds") else self.booster
            self._rates = [float(rate) for rate in _found(json.loads(first.save_config()), "learning_rate")[:1]]
        return list(self._rates)

    @learning_rates.setter
    def learning_rates(self, rates: list[float]) -> None:
        (rate,) = rates
        self.booster.set_param("learning_rate", rate)
        self._rates = None  # XGBoost rounds it

    def direction(self, metric: str) -> Mode | None:
        """Return the direction in which a metric of any set improves, None if it is not known.

        Raises:
            SetupError: It is spelt as XGBoost prints it, ``valid-logloss``.
        """
        name, dash, rest = metric.partition("-")
        if dash and direction_of(rest, LARGEST, SMALLEST) is not None:
            raise SetupError(
                f"no metric {metric!r}: its name here is {f'{name}_{rest}'!r}, or {rest!r} if {name!r} are the "
                "training data"
            )
        return direction_of(metric, LARGEST, SMALLEST)


class XGBoostModel(FoldsModel):
    """Provide a booster to sinks: its rate, its file, its predictions.

    Args:
        booster: The booster; of an estimator, ``estimator.get_booster()``.

    Raises:
        TypeError: It is not a booster.

    Example:
        >>> handle = XGBoostModel(xgboost.train(params, data, 10))
    """

    weights_suffix: ClassVar[str] = ".ubj"

    def __init__(self, booster: xgboost.Booster) -> None:
        if not isinstance(booster, xgboost.Booster):
            raise TypeError(
                f"booster must be an xgboost.Booster (got a {type(booster).__name__}): of an estimator, pass "
                "estimator.get_booster()"
            )
        super().__init__(booster)

    def save(self, path: str | PathLike[str], *, weights_only: bool = False) -> None:
        """Write all trees: as JSON if the name ends with ``.json``, else as UBJSON.

        ``weights_only`` makes no difference: a booster's file never has its training parameters.

        Raises:
            ValueError: It is trained by several workers, and has no round yet: XGBoost saves none then.
        """
        try:
            self._write(fspath(path))
        except xgboost.core.XGBoostError as error:
            if not xgboost.collective.is_distributed():
                raise
            raise ValueError(
                "XGBoost cannot save a booster of several workers before its first round, as resume= must: use "
                "record=, and continue from a saved booster by xgb_model="
            ) from error

    def _write(self, name: str) -> None:
        if name.endswith((".json", ".ubj")):
            self.booster.save_model(name)
        else:
            with open(name, "wb") as file:  # noqa: PTH123 (a path of any kind)
                file.write(self.booster.save_raw("ubj"))

    def load(self, path: str | PathLike[str]) -> None:
        """Replace all trees by those of a file, without executing anything in it; the parameters stay.

        Raises:
            xgboost.core.XGBoostError: The file holds no model; nothing is replaced.
        """
        with open(fspath(path), "rb") as file:  # noqa: PTH123 (the same)
            content = bytearray(file.read())
        xgboost.Booster(model_file=content)
        self.booster.load_model(content)
        self._rates = None

    def predict(self, x: Any) -> Array:
        """Return the predictions of all trees, for an array, a data frame or a ``DMatrix``."""
        data = x if isinstance(x, xgboost.DMatrix) else xgboost.DMatrix(x)
        return to_host(self.booster.predict(data))

    def recall(self) -> Callable[[], XGBoostModel | None]:
        """Return a function that returns a handle of the booster while it lives, None afterwards."""
        return recalled(self.booster, XGBoostModel)


def _found(config: Any, name: str) -> list[str]:
    """Return the values of a parameter wherever it stands in a configuration: that depends on the kind of booster."""
    if not isinstance(config, dict):
        return []
    own = [config[name]] if name in config else []
    return own + [value for each in config.values() for value in _found(each, name)]
