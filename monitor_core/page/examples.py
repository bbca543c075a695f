"""What the model makes of examples: its confusion matrix, its mistakes, and an embedding in the plane."""

from __future__ import annotations

from collections import Counter

import attrs
import numpy as np

from monitor_core.model.snapshot import Embedding, Snapshot
from monitor_core.page.layers import LEVELS
from monitor_core.page.png import data_address
from monitor_core.page.words import number, share
from monitor_core.values.text import counted

_MOST_CLASSES = 40
_MOST_COLOURS = 6
_SIDE, _MARGIN = 400.0, 12.0


@attrs.frozen
class Confusion:
    """A confusion matrix.

    Attributes:
        classes: The classes' names.
        rows: For each class, the count and the colour of each predicted class.
        summary: What it shows.
    """

    classes: tuple[str, ...]
    rows: list[tuple[str, list[tuple[str, int]]]]
    summary: str


def confusion_of(snapshot: Snapshot) -> Confusion | None:
    """Return a snapshot's confusion matrix, None if it has none, or one of too many classes to show."""
    matrix = snapshot.confusion
    if matrix is None or not 0 < len(matrix) <= _MOST_CLASSES:
        return None
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    levels = np.minimum((shares * LEVELS).astype(np.int64), LEVELS - 1)
    rows = [
        (name, [(number(count), int(level)) for count, level in zip(counts, row, strict=True)])
        for name, counts, row in zip(snapshot.classes, matrix, levels, strict=True)
    ]
    total, right = int(matrix.sum()), int(np.trace(matrix))
    said = f"{number(right)} of {counted(total, 'example')} are right, {share(right / max(total, 1))}."
    wrong = matrix - np.diag(np.diag(matrix))
    if wrong.any():
        row, column = np.unravel_index(int(wrong.argmax()), wrong.shape)
        names = snapshot.classes
        times = counted(int(wrong.max()), "time")
        said += f" The most frequent mistake is {names[row]} taken for {names[column]}, {times}."
    return Confusion(snapshot.classes, rows, said)


@attrs.frozen
class Mistake:
    """An example that the model got wrong.

    Attributes:
        place: Its place among the samples.
        truth: Its class.
        predicted: What the model says.
        confidence: How sure it is.
        image: An address that holds it as an image, or None.
    """

    place: str
    truth: str
    predicted: str
    confidence: str
    image: str | None


def mistakes_of(snapshot: Snapshot) -> list[Mistake]:
    """Return the examples that a model got wrong, those that it was surest of first."""
    found, names = snapshot.mistakes, snapshot.classes
    if found is None:
        return []
    return [
        Mistake(
            number(found.places[each]),
            names[found.truth[each]],
            names[found.predicted[each]],
            share(float(found.confidence[each])),
            None if found.images is None else data_address(found.images[each]),
        )
        for each in range(len(found.places))
    ]


@attrs.frozen
class Scatter:
    """Points in a plane.

    Attributes:
        name: What they are of.
        points: Each point's place, label and style.
        is_lettered: Whether each point is drawn as its label: of a few groups with short names.
        groups: The labels that have a style, and how many points each has.
        side: How wide and high the drawing is.
        summary: What it shows.
    """

    name: str
    points: list[tuple[float, float, str, int]]
    is_lettered: bool
    groups: list[tuple[str, int, int]]
    side: float
    summary: str


def scatter_of(embedding: Embedding) -> Scatter:
    """Return an embedding as a drawing; where a few labels repeat, each has a style."""
    counts = Counter(embedding.labels)
    is_grouped = len(counts) <= max(20, len(embedding.labels) // 4)
    names = [name for name, _ in sorted(counts.items())] if is_grouped else []
    styles = {name: place % _MOST_COLOURS for place, name in enumerate(names)}
    low, high = embedding.points.min(axis=0), embedding.points.max(axis=0)
    placed = (embedding.points - low) / np.maximum(high - low, 1e-30) * (_SIDE - 2 * _MARGIN) + _MARGIN
    points = [
        (round(float(x), 1), round(_SIDE - float(y), 1), label, styles.get(label, 0))
        for (x, y), label in zip(placed, embedding.labels, strict=True)
    ]
    axes = " and ".join(share(float(each)) for each in embedding.explained)
    said = (
        f"{counted(len(points), 'point')} of {embedding.name}, in the plane of their largest variance; "
        f"its axes have {axes} of it."
    )
    is_lettered = is_grouped and all(len(name) <= 2 for name in names)
    groups = [(name, styles[name], counts[name]) for name in names]
    return Scatter(embedding.name, points, is_lettered, groups, _SIDE, said)
