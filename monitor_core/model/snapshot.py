"""A snapshot: what a model is made of, and what it makes of some examples, reduced to what a report shows.

Contract. Works on host arrays that a model's handle provides, and leaves the model unchanged.
"""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from monitor_core.model.layer_graph import LayerGraph

Array = NDArray[Any]
_MOST_AXES = 4096


@attrs.frozen(kw_only=True, eq=False)
class Mistakes:
    """Examples that a classifier gets wrong, those that it is surest of first.

    Attributes:
        places: Each example's place among the samples, ``(n,) int64``.
        truth: Its class, ``(n,) int64``.
        predicted: The class that the model says, ``(n,) int64``.
        confidence: The probability that the model gives it, ``(n,) float64``.
        images: The examples as images, ``(n, height, width)`` or ``(n, height, width, 3) uint8``, or None.
    """

    places: Array
    truth: Array
    predicted: Array
    confidence: Array
    images: Array | None = None


@attrs.frozen(kw_only=True, eq=False)
class Embedding:
    """Points of many dimensions in the plane of their largest variance.

    Attributes:
        name: The layer or matrix that they are of.
        points: ``(n, 2) float32``.
        labels: Each point's label.
        explained: The share of the variance that each axis has, ``(2,) float64``.
    """

    name: str
    points: Array
    labels: tuple[str, ...]
    explained: Array


@attrs.frozen(kw_only=True, eq=False)
class Snapshot:
    """A model at some step.

    Attributes:
        epoch: The epoch, 0-based, -1 before the first.
        step: The step.
        samples: How many examples it was shown.
        graph: Its layers; None if its handle does not know them.
        classes: The classes' names.
        confusion: How often each class (row) was predicted as each (column), ``(classes, classes) int64``; None if it
            is not a classifier.
        mistakes: The examples that it got wrong; None likewise.
        embedding: The examples as its last hidden layer sees them, or its embedding matrix; None without either.
        skipped: What could not be made, and why.
    """

    epoch: int
    step: int
    samples: int = 0
    graph: LayerGraph | None = None
    classes: tuple[str, ...] = ()
    confusion: Array | None = None
    mistakes: Mistakes | None = None
    embedding: Embedding | None = None
    skipped: tuple[str, ...] = ()


def embedded(name: str, matrix: Array, labels: tuple[str, ...]) -> Embedding:
    """Return vectors in the plane of their largest variance.

    Args:
        name: What they are of.
        matrix: ``(n, ...)``, n at least 2; further axes are flattened, and of more than 4,096 axes the first are used.
        labels: Each vector's label.

    Raises:
        ValueError: They are not finite, or there are fewer than two.
    """
    flat = np.asarray(matrix, np.float64).reshape(len(matrix), -1)[:, :_MOST_AXES]
    if len(flat) < 2 or not np.isfinite(flat).all():
        raise ValueError(f"the vectors of {name} must be finite, and at least two")
    centered = flat - flat.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centered, full_matrices=False)
    points = np.zeros((len(flat), 2))
    explained = np.zeros(2)
    axes = min(2, len(sizes))
    points[:, :axes] = left[:, :axes] * sizes[:axes]
    explained[:axes] = sizes[:axes] ** 2 / ((sizes**2).sum() or 1.0)
    return Embedding(name=name, points=points.astype(np.float32), labels=labels, explained=explained)
