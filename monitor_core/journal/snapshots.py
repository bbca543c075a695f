"""Snapshots of a model, as a journal holds them: one record of arrays for each, see `monitor_core.journal.arrays`.

Contract. A record is self-contained. Records are not trusted: one that is not a snapshot is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from monitor_core.journal.arrays import Arrays
from monitor_core.journal.facts import as_json
from monitor_core.model.layer_graph import LayerGraph, LayerNode
from monitor_core.model.snapshot import Embedding, Mistakes, Snapshot

WHAT = "snapshot"
"""What the arrays of a snapshot are called."""


def arrays_of(snapshot: Snapshot, time: float) -> Arrays:
    """Return a snapshot as the arrays that a journal holds.

    Args:
        snapshot: The snapshot.
        time: When it was made, seconds since 1970.
    """
    about: dict[str, Any] = {
        "samples": snapshot.samples,
        "classes": list(snapshot.classes),
        "skipped": list(snapshot.skipped),
    }
    arrays: dict[str, NDArray[Any]] = {}
    if snapshot.graph is not None:
        about["graph"] = as_json(attrs.asdict(snapshot.graph))
    if snapshot.confusion is not None:
        arrays["confusion"] = snapshot.confusion.astype(np.int64)
    if (mistakes := snapshot.mistakes) is not None:
        arrays["mistakes"] = np.stack([mistakes.places, mistakes.truth, mistakes.predicted]).astype(np.int64)
        arrays["confidence"] = mistakes.confidence.astype(np.float64)
        if mistakes.images is not None:
            arrays["images"] = mistakes.images.astype(np.uint8)
    if (embedding := snapshot.embedding) is not None:
        about["embedding"], about["labels"] = embedding.name, list(embedding.labels)
        arrays["points"] = embedding.points.astype(np.float32)
        arrays["explained"] = embedding.explained.astype(np.float64)
    return Arrays(WHAT, int(snapshot.epoch), int(snapshot.step), time, about, arrays)


def snapshot_of(content: Arrays) -> Snapshot:
    """Return what `arrays_of` made arrays of.

    Raises:
        ValueError: The arrays are not those of a snapshot.
    """
    try:
        about, arrays = content.about, content.arrays
        classes = tuple(map(str, about["classes"]))
        return Snapshot(
            epoch=content.epoch,
            step=content.step,
            samples=int(about["samples"]),
            graph=None if "graph" not in about else _graph(about["graph"]),
            classes=classes,
            confusion=_confusion(arrays, len(classes)),
            mistakes=_mistakes(arrays, len(classes)),
            embedding=_embedding(about, arrays),
            skipped=tuple(map(str, about["skipped"])),
        )
    except (LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"it is not a snapshot ({type(error).__name__}: {error})") from None


def last_snapshot(records: Sequence[Arrays]) -> Snapshot | None:
    """Return the newest snapshot, None if there is none; those that are malformed are left out."""
    for content in reversed(records):
        with suppress(ValueError):
            return snapshot_of(content)
    return None


def _graph(members: dict[str, Any]) -> LayerGraph:
    nodes = [LayerNode(**node) for node in members["nodes"]]
    return LayerGraph(**{**members, "nodes": nodes})


def _confusion(arrays: dict[str, NDArray[Any]], classes: int) -> NDArray[Any] | None:
    found = arrays.get("confusion")
    if found is not None and found.shape != (classes, classes):
        raise TypeError(f"a confusion matrix of shape {found.shape} for {classes} classes")
    return found


def _mistakes(arrays: dict[str, NDArray[Any]], classes: int) -> Mistakes | None:
    if "mistakes" not in arrays:
        return None
    places, truth, predicted = arrays["mistakes"]
    confidence, images = arrays["confidence"], arrays.get("images")
    known = all(((each >= 0) & (each < classes)).all() for each in (truth, predicted))
    if confidence.shape != truth.shape or not known:
        raise TypeError("mistakes of other classes or lengths")
    if images is not None and len(truth) and not _are_images(images, len(truth)):
        raise TypeError(f"images of shape {images.shape} for {len(truth)} mistakes")
    return Mistakes(places=places, truth=truth, predicted=predicted, confidence=confidence, images=images)


def _are_images(images: NDArray[Any], count: int) -> bool:
    is_shaped = images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)
    return is_shaped and len(images) == count and images.dtype == np.uint8 and images[:1].size > 0


def _embedding(about: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Embedding | None:
    if "embedding" not in about:
        return None
    labels, points = tuple(map(str, about["labels"])), arrays["points"]
    if points.shape != (len(labels), 2) or arrays["explained"].shape != (2,) or not np.isfinite(points).all():
        raise TypeError(f"points of shape {points.shape} for {len(labels)} labels")
    return Embedding(name=str(about["embedding"]), points=points, labels=labels, explained=arrays["explained"])
