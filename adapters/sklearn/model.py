"""The handle of an estimator: what it has learned, its rate, its predictions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from os import PathLike
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.metrics import get_scorer_names

from monitor_core.files.state import read_arrays, write_arrays
from monitor_core.metrics.decisions import Mode
from monitor_core.model.handles import Array, recalled

__all__ = ["SklearnModel"]


class SklearnModel:
    """Provide an estimator to sinks, for a loop around ``partial_fit`` or ``warm_start``.

    What it has learned is its public fitted attributes, those that end with ``_``; its weights are those of floats,
    such as ``coef_``. Private ones, such as the moments of `MLPClassifier`'s optimizer, are not saved.

    Args:
        estimator: The estimator; need not be fitted yet.

    Attributes:
        estimator: The same.

    Raises:
        TypeError: It is not an estimator.

    Example:
        >>> with Loop(History(), model=SGDClassifier()) as loop:  # SklearnModel(...) is made of it
        ...     for epoch in loop.epochs(10):
        ...         for x, y in loop.batches(data):
        ...             loop.run.model.estimator.partial_fit(x, y, classes=[0, 1])
    """

    framework: ClassVar[str] = "sklearn"
    weights_suffix: ClassVar[str] = ".npz"

    def __init__(self, estimator: BaseEstimator) -> None:
        if not isinstance(estimator, BaseEstimator):
            raise TypeError(f"estimator must be an estimator of scikit-learn (got a {type(estimator).__name__})")
        self.estimator = estimator

    def __repr__(self) -> str:
        return f"SklearnModel({type(self.estimator).__name__})"

    # --- rate --------------------------------------------------------------------------------------------------------

    @property
    def learning_rates(self) -> list[float]:
        """The learning rate; setting it applies from the next ``partial_fit``, or the next ``fit`` with ``warm_start``.

        Raises:
            AttributeError: The estimator has no rate, or a schedule of its own.
        """
        return [float(getattr(self.estimator, self._rate_name))]

    @learning_rates.setter
    def learning_rates(self, rates: list[float]) -> None:
        (rate,) = rates
        setattr(self.estimator, self._rate_name, rate)
        optimizer = getattr(self.estimator, "_optimizer", None)  # of MLPs, which reads the parameter only once
        if optimizer is not None:
            optimizer.learning_rate_init = optimizer.learning_rate = rate

    @property
    def _rate_name(self) -> str:
        """The parameter that is the rate: of SGD, of MLPs, of boosting."""
        schedule = getattr(self.estimator, "learning_rate", None)
        if hasattr(self.estimator, "eta0") and schedule in {"constant", "adaptive"}:
            return "eta0"
        if hasattr(self.estimator, "learning_rate_init") and schedule in {"constant", "adaptive"}:
            return "learning_rate_init"
        if isinstance(schedule, (int, float)):
            return "learning_rate"
        raise AttributeError(f"{self!r} has no learning rate that can be set (learning_rate={schedule!r})")

    # --- what it has learned -----------------------------------------------------------------------------------------

    def weights(self) -> Iterator[tuple[str, Array]]:
        """Yield the name of each learned array of floats, such as ``coef_`` or ``coefs_/0``, and a copy of it."""
        for name, array in self._learned():
            if array.dtype.kind == "f" and array.ndim:
                yield name, array.copy()

    def get_weights(self) -> list[Array]:
        """Return copies of the weights, in a fixed order; none before the first fit."""
        return [array for _, array in self.weights()]

    def set_weights(self, weights: list[Array]) -> None:
        """Set the weights.

        Raises:
            ValueError: Their number or shapes differ from the estimator's.
        """
        own = list(self.weights())
        if len(weights) != len(own):
            raise ValueError(f"weights must have the estimator's {len(own)} arrays (got {len(weights)})")
        for (name, array), new in zip(own, weights, strict=True):
            if array.shape != np.shape(new):
                raise ValueError(f"{name} must have the shape {array.shape} (got {np.shape(new)})")
        for (name, array), new in zip(own, weights, strict=True):
            self._set(name, np.asarray(new, dtype=array.dtype))

    def save(self, path: str | PathLike[str], *, weights_only: bool = False) -> None:
        """Write what it has learned into one ``.npz`` file, without pickle; ``weights_only`` makes no difference."""
        learned = [(name, array) for name, array in self._learned() if array.dtype.kind in "biufcU"]
        names = [type(self.estimator).__name__, *(name for name, _ in learned)]
        write_arrays(path, [np.array(names), *(array for _, array in learned)])

    def load(self, path: str | PathLike[str]) -> None:
        """Set what `save` wrote, in an estimator that may not be fitted yet, without executing anything in the file.

        Raises:
            ValueError: The file is of an estimator of another class.
        """
        names, *arrays = read_arrays(path)
        kind, own = str(names[0]) if names.size else "nothing", type(self.estimator).__name__
        if kind != own or len(names) != len(arrays) + 1:
            raise ValueError(f"{path} must be of a {own} (got one of {kind})")
        for name, array in zip(map(str, names[1:]), arrays, strict=True):
            self._set(name, array)

    def _learned(self) -> Iterator[tuple[str, Array]]:
        """Yield the fitted attributes that are arrays, lists of arrays, numbers or strings."""
        for name, value in sorted(vars(self.estimator).items()):
            if not name.endswith("_") or name.startswith("_"):
                continue
            if isinstance(value, list) and value and all(isinstance(each, np.ndarray) for each in value):
                yield from ((f"{name}/{number}", each) for number, each in enumerate(value))
            elif isinstance(value, (np.ndarray, np.generic, bool, int, float, str)):
                yield name, np.asarray(value)

    def _set(self, name: str, array: Array) -> None:
        """Set an attribute or an element of one, in place where the estimator has views of it."""
        name, _, number = name.partition("/")
        present = getattr(self.estimator, name, None)
        if number:
            items = list(present or [])
            items[int(number) : int(number) + 1] = [array]
            setattr(self.estimator, name, items)
        elif isinstance(present, np.ndarray) and present.shape == array.shape and present.flags.writeable:
            np.copyto(present, array, casting="unsafe")
        else:
            setattr(self.estimator, name, array if array.ndim else array.item())

    def predict(self, x: Any) -> Array:
        """Return the probabilities of the classes if the estimator has them, else its predictions."""
        predict = getattr(self.estimator, "predict_proba", None) or self.estimator.predict
        return np.array(predict(x))

    def direction(self, metric: str) -> Mode | None:
        """Return ``"max"`` for the names of scikit-learn's scorers, which all improve by rising; None for others."""
        name = metric.removeprefix("val_").removeprefix("mean_test_").removeprefix("mean_train_")
        return "max" if name == "score" or name in get_scorer_names() else None

    def recall(self) -> Callable[[], SklearnModel | None]:
        """Return a function that returns a handle of the estimator while it lives, None afterwards."""
        return recalled(self.estimator, SklearnModel)
