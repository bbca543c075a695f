"""Snapshots of the model for the report: its graph, its confusion matrix, its mistakes, and an embedding.

Contract. The samples are read once, at train begin, and released at train end. The model is not changed. A part that
cannot be made is left out with the reason; a snapshot goes to the other sinks by ``on_snapshot``, and a `Journal`
records it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, ClassVar

import attrs
import numpy as np
from numpy.typing import NDArray

from monitor_core import checks
from monitor_core.bus.copies import independent_copy
from monitor_core.bus.run import Run
from monitor_core.bus.sink import Logs, Sink
from monitor_core.errors import SetupError
from monitor_core.model.samples import first_samples, leaves
from monitor_core.model.snapshot import Embedding, Mistakes, Snapshot, embedded
from monitor_core.tensorboard.formats.images import to_bytes
from monitor_core.tensorboard.parts.classes import Classified, classify

_MISTAKES = 24
"""How many mistakes are kept."""
_ROWS = 2_000
"""How many rows of an embedding matrix are kept: the first."""
_SIDE = 64
"""The longest side of an image that is kept; larger ones lose rows and columns."""


def _check_image_shape(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and not (len(value) in (2, 3) and all(isinstance(each, int) and each > 0 for each in value)):
        raise ValueError(f"{field.name} must be (height, width) or (height, width, 3) (got {value!r})")


def _as_names(value: Any) -> tuple[str, ...] | None:
    return None if value is None else tuple(map(str, value))


@attrs.define(eq=False)
class Snapshots(Sink):
    """Record, at the run's end, the model's graph, and what the model makes of some examples.

    Of a classifier: its confusion matrix, and the examples that it gets wrong though it is sure. Of an embedding layer:
    the first 2,000 rows of its matrix; of other models: the examples as the last hidden layer sees them; both in the
    plane of their largest variance. A `Journal` records them, and a report shows them.

    Args:
        every: Also at the end of every this many epochs, at least 1, so that a killed run has them; None only at the
            run's end.
        samples: How many of the data's first samples to use, at least 1.
        data: Samples to use, of any kind that `first_samples` reads, such as ``(x, y)``. None uses the validation
            data: ``validation_data=`` of `KerasAdapter`, ``adapter.fit`` or `Loop`.
        class_names: The classes' names; None numbers them.
        labels: The labels of the rows of the embedding matrix; None numbers them.
        image_shape: How a flat sample is an image, ``(height, width)`` or ``(height, width, 3)``; samples of these
            shapes are images anyway.

    Raises:
        TypeError: A number is not an integer.
        ValueError: A number is below 1, or ``image_shape`` is none.
        SetupError: At train begin: the samples cannot be read.

    Example:
        >>> adapter = KerasAdapter(Snapshots(class_names=["cat", "dog"]), record="runs/a")
        >>> adapter.fit(model, x, y, validation_data=(x_val, y_val))
        >>> open_run("runs/a").report("a.html")
    """

    __copy__ = independent_copy

    read_only: ClassVar[bool] = True

    every: int | None = attrs.field(
        default=None, kw_only=True, validator=attrs.validators.optional(checks.count(least=1))
    )
    samples: int = attrs.field(default=1000, kw_only=True, validator=checks.count(least=1))
    data: Any = attrs.field(default=None, kw_only=True, repr=False)
    class_names: Sequence[str] | None = attrs.field(default=None, kw_only=True, converter=_as_names, repr=False)
    labels: Sequence[str] | None = attrs.field(default=None, kw_only=True, converter=_as_names, repr=False)
    image_shape: tuple[int, ...] | None = attrs.field(default=None, kw_only=True, validator=_check_image_shape)
    _sample: tuple[Any, Any] | None = attrs.field(init=False, default=None, repr=False)
    _last_step: int = attrs.field(init=False, default=-1, repr=False)

    def on_train_begin(self, run: Run) -> None:
        """Read the samples."""
        self._last_step = -1
        data = run.validation_data if self.data is None else self.data
        try:
            self._sample = None if data is None else first_samples(data, self.samples)
        except Exception as error:
            raise SetupError(f"Snapshots cannot read samples: {error}") from error

    def on_epoch_end(self, run: Run, epoch: int, logs: Logs) -> None:
        """Make a snapshot if it is time."""
        if self.every is not None and (epoch + 1) % self.every == 0:
            self._make(run)

    def on_train_end(self, run: Run, logs: Logs) -> None:
        """Make the last snapshot, and release the samples."""
        if run.step != self._last_step:
            self._make(run)
        self._sample = None

    def _make(self, run: Run) -> None:
        self._last_step = run.step
        maker = _Maker(self, run.model, self._sample)
        run.show(maker.snapshot(run.epoch, run.step))


class _Maker:
    """Makes the parts of one snapshot; the failure of one leaves the others."""

    def __init__(self, sink: Snapshots, model: Any, sample: tuple[Any, Any] | None) -> None:
        self._sink, self._model = sink, model
        nothing: tuple[Any, Any] = (None, None)
        self._x, self._y = nothing if sample is None else sample
        self._skipped: list[str] = []

    def snapshot(self, epoch: int, step: int) -> Snapshot:
        """Return the snapshot."""
        found = self._tried("the predictions", self._classified)
        classes = self._class_names(found)
        parts = {
            "graph": self._tried("the graph", self._graph),
            "confusion": found.confusion() if found is not None and found.exclusive else None,
            "mistakes": None if found is None else self._tried("the mistakes", lambda: self._mistakes(found)),
            "embedding": self._tried("the embedding", lambda: self._embedding(found, classes)),
        }
        samples = 0 if self._x is None else len(leaves(self._x)[0])
        return Snapshot(epoch=epoch, step=step, samples=samples, classes=classes, skipped=tuple(self._skipped), **parts)

    def _tried(self, what: str, make: Any) -> Any:
        try:
            return make()
        except Exception as error:
            self._skipped.append(f"{what}: {error}")
            return None

    def _graph(self) -> Any:
        if not hasattr(self._model, "layer_graph"):
            return None
        return self._model.layer_graph(self._x, expand_nested=True)

    def _classified(self) -> Classified | None:
        if self._y is None or not hasattr(self._model, "predict"):
            return None
        if np.asarray(leaves(self._y)[0]).dtype.kind not in "biu" and not _is_one_hot(self._y):
            return None  # of a regression
        return classify(self._model.predict(self._x), self._y)

    def _class_names(self, found: Classified | None) -> tuple[str, ...]:
        count = 0 if found is None or not found.exclusive else max(2, found.scores.shape[1])
        given = self._sink.class_names
        if given is not None and count and len(given) != count:
            self._skipped.append(f"class_names has {len(given)} names, and there are {count} classes")
        return tuple(given) if given is not None and len(given) == count else tuple(map(str, range(count)))

    def _mistakes(self, found: Classified) -> Mistakes | None:
        if not found.exclusive:
            return None
        truth, predicted, confidence = found.answers()
        wrong = np.flatnonzero(truth != predicted)
        chosen = wrong[np.argsort(-confidence[wrong], kind="stable")][:_MISTAKES]
        return Mistakes(
            places=chosen,
            truth=truth[chosen],
            predicted=predicted[chosen],
            confidence=confidence[chosen],
            images=self._images(chosen),
        )

    def _images(self, chosen: NDArray[np.int64]) -> NDArray[np.uint8] | None:
        x = self._x
        if not isinstance(x, np.ndarray):
            return None
        shape = self._sink.image_shape or x.shape[1:]
        if len(shape) == 3 and shape[-1] == 1:
            shape = shape[:2]
        if len(shape) not in (2, 3) or min(shape[:2]) < 4 or (len(shape) == 3 and shape[-1] != 3):
            return None
        images = x[chosen].reshape(len(chosen), *shape)
        step = -(-max(shape[:2]) // _SIDE)
        images = images[:, ::step, ::step].astype(np.float64)
        low, high = images.min(initial=0.0), images.max(initial=0.0)
        return to_bytes((images - low) / ((high - low) or 1.0))

    def _embedding(self, found: Classified | None, classes: tuple[str, ...]) -> Embedding | None:
        matrices = list(self._model.embeddings()) if hasattr(self._model, "embeddings") else []
        if matrices:
            name, matrix = matrices[0]
            labels = self._sink.labels or ()
            rows = range(min(len(matrix), _ROWS))
            return embedded(name, matrix[:_ROWS], tuple(labels[row] if row < len(labels) else str(row) for row in rows))
        if self._x is None or not hasattr(self._model, "activations"):
            return None
        found_outputs = (each for each in self._model.activations(self._x) if np.ndim(each[1]) > 1)
        last_two = deque(found_outputs, maxlen=2)  # not all, which may be large
        if not last_two:
            return None
        name, output = last_two[0]
        truth = None if found is None or not found.exclusive else found.answers()[0]
        points = [str(place) for place in range(len(output))] if truth is None else [classes[each] for each in truth]
        return embedded(name, output, tuple(points))


def _is_one_hot(targets: Any) -> bool:
    array = np.asarray(leaves(targets)[0])
    return bool(np.isin(array, (0, 1)).all()) or (array.ndim == 1 and bool((array == array.round()).all()))
