"""Which metric a sink watches, and in which direction it improves."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal, get_args

import attrs

from monitor_core._log import logger
from monitor_core.errors import SetupError
from monitor_core.metrics.decisions import Mode
from monitor_core.metrics.names import check_metric, find_metric, nearest_metric, unknown_metric
from monitor_core.values.scalars import scalar

AnyMode = Literal["auto", "min", "max"]

DIRECTIONS: Mapping[str, Mode] = {
    **dict.fromkeys(
        (
            "bce",
            "binary_crossentropy",
            "categorical_crossentropy",
            "categorical_hinge",
            "cross_entropy",
            "error",
            "error_rate",
            "hinge",
            "huber",
            "kl_divergence",
            "kld",
            "log_cosh",
            "log_cosh_error",
            "logcosh",
            "logloss",
            "loss",
            "mae",
            "mape",
            "mean_absolute_error",
            "mean_absolute_percentage_error",
            "mean_squared_error",
            "mean_squared_logarithmic_error",
            "mse",
            "msle",
            "nll",
            "perplexity",
            "poisson",
            "rmse",
            "root_mean_squared_error",
            "sparse_categorical_crossentropy",
            "squared_hinge",
        ),
        "min",
    ),
    **dict.fromkeys(
        (
            "acc",
            "accuracy",
            "auc",
            "binary_accuracy",
            "binary_io_u",
            "bleu",
            "categorical_accuracy",
            "concordance_correlation",
            "cosine_similarity",
            "dice",
            "f1",
            "f1_score",
            "f_beta_score",
            "fbeta_score",
            "io_u",
            "iou",
            "map",
            "mean_io_u",
            "one_hot_io_u",
            "one_hot_mean_io_u",
            "pearson_correlation",
            "prc",
            "precision",
            "precision_at_recall",
            "psnr",
            "r2",
            "r2_score",
            "recall",
            "recall_at_precision",
            "roc_auc",
            "sensitivity_at_specificity",
            "sparse_categorical_accuracy",
            "sparse_top_k_categorical_accuracy",
            "specificity_at_sensitivity",
            "ssim",
            "top_k_categorical_accuracy",
        ),
        "max",
    ),
}
"""The direction in which metrics of these exact names improve; the prefix ``val_`` and case are ignored.

These are the names of Keras's metrics and a few that are usual elsewhere. Names without a clear direction, such as
counts, are not listed.
"""


@attrs.define(eq=False)
class Monitor:
    """A metric by name, with the direction in which it improves.

    Args:
        name: The metric's name; ``acc`` and ``accuracy`` are interchangeable.
        mode: ``"min"``, ``"max"``, or ``"auto"``: the metric's own direction if the model knows one, else that in
            `DIRECTIONS`. Nothing is guessed from parts of a name.
        owner: The name of the sink that watches the metric, for messages.

    Raises:
        ValueError: ``mode`` is none of these, or ``name`` is empty.
    """

    name: str = attrs.field()
    mode: AnyMode = attrs.field()
    owner: str = attrs.field()
    _warned: bool = attrs.field(init=False, default=False)

    @name.validator
    def _check_name(self, _: Any, value: Any) -> None:
        if not isinstance(value, str) or not value:
            raise ValueError(f"monitor must be a metric's name (got {value!r})")

    @mode.validator
    def _check_mode(self, _: Any, value: Any) -> None:
        if value not in get_args(AnyMode):
            raise ValueError(f"mode must be 'auto', 'min' or 'max' (got {value!r})")

    def direction(self, model: Any) -> Mode:
        """Return the direction, from the model's handle if it knows one; call it at train begin.

        Raises:
            SetupError: The mode is ``"auto"`` and the direction is not known, or the model knows its metrics, and the
                name is a misspelt one of them.
        """
        check_metric(self.name, model, self.owner, "monitor")
        if self.mode != "auto":
            return self.mode
        own: Mode | None = model.direction(self.name) if hasattr(model, "direction") else None
        known = own or DIRECTIONS.get(self.name.removeprefix("val_").lower())
        if known is None:
            near = nearest_metric(self.name, [prefix + name for name in DIRECTIONS for prefix in ("", "val_")])
            raise SetupError(
                f"{self.owner} does not know whether {self.name!r} improves by falling or by rising: "
                "pass mode='min' or mode='max'" + (f", or correct the name (did you mean {near!r}?)" if near else "")
            )
        return known

    def find(self, names: Collection[str]) -> str | None:
        """Return the metric's name among these, or None."""
        return self.name if self.name in names else find_metric(self.name, names)

    def read(self, logs: Mapping[str, Any]) -> float | None:
        """Return the metric's value; None, with one warning that lists the names, if it is missing or not a number."""
        found = self.find(logs)
        if found is None or logs[found] is None:
            self.warn_missing([name for name, value in logs.items() if value is not None], "this epoch")
            return None
        return self.convert(found, logs[found])

    def convert(self, name: str, value: Any) -> float | None:
        """Return a value of the metric as a float; None, with the one warning, if it is not a number."""
        try:
            return scalar(value)
        except (TypeError, ValueError) as error:
            self._warn(f"the value of {name!r} is not a number: {error}")
            return None

    def warn_missing(self, names: Iterable[str], where: str) -> None:
        """Warn, once, that the metric is missing, with the names that exist."""
        self._warn(unknown_metric(self.name, names, where))

    def _warn(self, problem: str) -> None:
        if not self._warned:
            self._warned = True
            logger.warning("%s decides nothing while its metric is missing: %s", self.owner, problem)
