"""Interpret a classifier's outputs and targets in any of the usual forms."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from monitor_core.model.handles import Array
from monitor_core.tensorboard.formats.confusion import confusion_matrix


@attrs.frozen(eq=False)
class Classified:
    """Samples with their true classes and the model's scores.

    Attributes:
        truth: Whether a sample belongs to a class, ``(samples, classes) bool``; for a single output ``(samples, 1)``.
        scores: The predicted probabilities, ``(samples, classes) float64``.
        exclusive: Whether each sample belongs to exactly one class.
    """

    truth: NDArray[np.bool_]
    scores: NDArray[np.float64]
    exclusive: bool

    def confusion(self) -> NDArray[np.int64]:
        """Count the samples of each class (rows) that are predicted as each class (columns), ``(classes, classes)``.

        A single output decides between two classes, at 0.5.
        """
        truth, predicted, _ = self.answers()
        return confusion_matrix(truth, predicted, max(2, self.scores.shape[1]))

    def answers(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Return each sample's class, the class that the model predicts, and the probability that it gives it."""
        if self.scores.shape[1] == 1:
            score = self.scores[:, 0]
            predicted = (score >= 0.5).astype(np.int64)
            return self.truth[:, 0].astype(np.int64), predicted, np.where(predicted == 1, score, 1 - score)
        return self.truth.argmax(axis=1), self.scores.argmax(axis=1), self.scores.max(axis=1)


def classify(outputs: Any, targets: Any) -> Classified:
    """Interpret a classifier's outputs and the targets.

    Outputs outside 0 to 1 are taken as logits and become probabilities: by softmax for exclusive classes, else by the
    logistic function.

    Args:
        outputs: ``(samples,)`` or ``(samples, 1)`` for one or two classes, or ``(samples, classes)``.
        targets: 0 and 1 in the outputs' shape, or, for several classes, class indices, ``(samples,)`` or
            ``(samples, 1)``.

    Raises:
        ValueError: They are not those of a classifier.
    """
    scores = _as_columns("outputs", outputs).astype(np.float64)
    truth = _truth(_as_columns("targets", targets), classes=scores.shape[1])
    if len(scores) != len(truth):
        raise ValueError(f"outputs and targets must have the same length (got {len(scores)} and {len(truth)})")
    if not np.isfinite(scores).all():
        raise ValueError("outputs must be finite to tell classes apart")
    exclusive = truth.shape[1] == 1 or bool((truth.sum(axis=1) == 1).all())
    return Classified(truth, _probabilities(scores, exclusive=exclusive), exclusive)


def _as_columns(name: str, values: Any) -> Array:
    array = np.asarray(values)
    if array.ndim == 1:
        array = array[:, np.newaxis]
    if array.ndim != 2 or array.dtype.kind not in "biuf":
        raise ValueError(
            f"{name} must be numbers for each sample and class (got the shape {array.shape}, {array.dtype})"
        )
    return array


def _truth(targets: Array, classes: int) -> NDArray[np.bool_]:
    if targets.shape[1] == classes and np.isin(targets, (0, 1)).all():
        return targets.astype(np.bool_)
    if targets.shape[1] == 1 and classes > 1 and np.isin(targets, np.arange(classes)).all():
        truth: NDArray[np.bool_] = targets.astype(int) == np.arange(classes)
        return truth
    wanted = f"0 and 1, or the indices of {classes} classes," if classes > 1 else "0 and 1"
    raise ValueError(f"targets must be {wanted} for outputs of {classes} columns (got {_some(targets)})")


def _some(targets: Array) -> str:
    return f"{targets.shape[1]} columns with {', '.join(map(str, np.unique(targets)[:5].tolist()))} ..."


def _probabilities(scores: NDArray[np.float64], *, exclusive: bool) -> NDArray[np.float64]:
    if scores.min(initial=0.0) >= 0.0 and scores.max(initial=1.0) <= 1.0:
        return scores
    if exclusive and scores.shape[1] > 1:
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
        return shares
    logistic: NDArray[np.float64] = 0.5 * (1.0 + np.tanh(0.5 * scores))
    return logistic
