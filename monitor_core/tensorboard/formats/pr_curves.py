"""Precision-recall curves of classifiers, as TensorBoard's PR Curves tab draws them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from monitor_core.checks import checked_count
from monitor_core.tensorboard.formats.values import numbers_value

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary

THRESHOLDS = 127
"""The default number of thresholds, evenly spaced from 0 to 1: as TensorBoard's own classifier callbacks use."""
_SMALLEST = 1e-7  # TensorBoard's smallest divisor


def pr_curve_value(
    tag: str, labels: Any, scores: Any, thresholds: int = THRESHOLDS, weights: Any = None
) -> Summary.Value:
    """Return the curve of a classifier with two classes as a summary value.

    A sample counts as positive if its score is not below the threshold.

    Args:
        tag: Its tag.
        labels: ``(n,)`` booleans, or 0 and 1: the truth.
        scores: ``(n,)`` floats from 0 to 1: the probability of the positive class.
        thresholds: The number of thresholds.
        weights: ``(n,)`` floats >= 0, the weight of each sample; None counts each once.

    Raises:
        ValueError: Lengths differ, or a value is out of range.
    """
    from tensorboard.plugins.pr_curve.plugin_data_pb2 import PrCurvePluginData

    curve = pr_curve(labels, scores, thresholds, weights).astype(np.float32)
    content = PrCurvePluginData(version=0, num_thresholds=thresholds).SerializeToString()
    return numbers_value(tag, "pr_curves", curve, content=content)


def pr_curve(labels: Any, scores: Any, thresholds: int = THRESHOLDS, weights: Any = None) -> NDArray[np.float64]:
    """Compute the curve; the arguments are as in `pr_curve_value`.

    Returns:
        ``(6, thresholds) float64``: true positives, false positives, true negatives, false negatives, precision and
        recall at each threshold, ascending.
    """
    checked_count("thresholds", thresholds, least=2)
    truth = _checked_labels(labels)
    passed = np.searchsorted(np.linspace(0, 1, thresholds), _checked_scores(scores, len(truth)), side="right") - 1
    counted = np.ones(len(truth)) if weights is None else _checked_weights(weights, len(truth))
    true_positive, false_positive = (
        np.bincount(passed[chosen], counted[chosen], thresholds)[::-1].cumsum()[::-1] for chosen in (truth, ~truth)
    )
    true_negative, false_negative = false_positive[0] - false_positive, true_positive[0] - true_positive
    precision = true_positive / np.maximum(_SMALLEST, true_positive + false_positive)
    recall = true_positive / np.maximum(_SMALLEST, true_positive + false_negative)
    return np.stack((true_positive, false_positive, true_negative, false_negative, precision, recall))


def checked_classes(name: str, values: Any, classes: int) -> NDArray[np.intp]:
    """Return classes, ``(n,)``, as integers.

    Raises:
        ValueError: They are not integers from 0 to ``classes - 1``.
    """
    numbers = np.asarray(values)
    if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "biu"):
        raise ValueError(f"{name} must be integers of the shape (n,) (got {numbers.dtype}, {numbers.shape})")
    if numbers.size and (numbers.min() < 0 or numbers.max() >= classes):
        raise ValueError(f"{name} must be within 0 to {classes - 1} (got {numbers.min()} to {numbers.max()})")
    return numbers.astype(np.intp)


def _checked_labels(labels: Any) -> NDArray[np.bool_]:
    truth = np.asarray(labels)
    if truth.ndim != 1 or not truth.size or not np.isin(truth, (0, 1)).all():
        raise ValueError(f"labels must be 0 and 1, of the shape (n,), and not be empty (got the shape {truth.shape})")
    return truth.astype(np.bool_)


def _checked_scores(scores: Any, length: int) -> NDArray[np.float64]:
    values = np.asarray(scores, dtype=np.float64)
    if values.shape != (length,):
        raise ValueError(f"scores must have the shape ({length},), as labels have (got {values.shape})")
    if not (values.min() >= 0 and values.max() <= 1):
        raise ValueError(
            f"scores must be probabilities within 0 to 1 (got {values.min():g} to {values.max():g}); "
            "of logits, give their sigmoid or softmax"
        )
    return values


def _checked_weights(weights: Any, length: int) -> NDArray[np.float64]:
    values = np.asarray(weights, dtype=np.float64)
    if values.shape != (length,):
        raise ValueError(f"weights must have the shape ({length},), as labels have (got {values.shape})")
    if not (values.min() >= 0 and np.isfinite(values).all()):
        raise ValueError(f"weights must be finite and >= 0 (got {values.min():g} to {values.max():g})")
    return values
