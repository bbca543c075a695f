"""Keras: its models, datasets and callbacks; the arrays are those of the backend, which computes its models."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from monitor_core.frameworks.base import Framework, bases, is_a
from monitor_core.frameworks.jax import JAX
from monitor_core.frameworks.tensorflow import TENSORFLOW
from monitor_core.frameworks.torch import TORCH

_BACKENDS: dict[str, Framework] = {backend.name: backend for backend in (JAX, TENSORFLOW, TORCH)}


class Keras(Framework):
    """Keras, on any of its backends."""

    name = "keras"
    title = "Keras"
    packages = frozenset({"keras"})
    handle = "monitor_core.adapters.keras.model:KerasModel"
    callback_members = ("set_model", "set_params", "on_train_batch_end")  # the backend decides which it reads first
    callback_sink = "monitor_core.adapters.keras.callback_sink:KerasCallback"
    adapter = "KerasAdapter"
    endings = (".keras", ".h5")
    weights_endings = (".weights.h5",)

    def is_symbolic(self, kind: type) -> bool:
        """Return whether values of this type are the symbolic tensors that models are built of."""
        return kind.__name__ == "KerasTensor"

    def why_no_metric(self, value: Any) -> str | None:
        """Return why a tensor that a model is built of is not a metric."""
        if self.is_symbolic(type(value)):
            return "it is a symbolic tensor of Keras, which has no value: log what the model returns"
        return None

    def is_model(self, kind: type) -> bool:
        """Return whether objects of this type are models."""
        return ("keras.src.models.model", "Model") in bases(kind)

    def is_callback(self, kind: type) -> bool:
        """Return whether objects of this type are callbacks."""
        return ("keras.src.callbacks.callback", "Callback") in bases(kind)

    def batches(self, data: Any, count: int) -> Iterable[Any] | None:
        """Return the batches of a ``PyDataset``, by index: its workers belong to `fit`."""
        return _numbered_batches(data) if is_a(data, "keras", "PyDataset") else None

    @property
    def backend(self) -> Framework | None:
        """The backend; None if it is unknown here."""
        return _BACKENDS.get(self.module.backend.backend())


KERAS = Keras()


def _numbered_batches(data: Any) -> Iterator[Any]:
    length = getattr(data, "num_batches", None)
    for number in itertools.count() if length is None else range(length):
        yield data[number]
