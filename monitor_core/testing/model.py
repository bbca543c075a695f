"""A linear model of NumPy arrays with every member of a handle: for tests of sinks that look at a model."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Iterator, Mapping
from os import PathLike
from typing import Any, Literal

import numpy as np

from monitor_core.files.state import read_arrays, write_arrays
from monitor_core.model.handles import Array, check_layers
from monitor_core.model.layer_graph import LayerGraph, LayerNode


class NumpyModel:
    """A model and its handle in one: one layer, ``dense``, gives ``x @ kernel + bias``.

    Args:
        inputs: The number of features, at least 1.
        outputs: The number of outputs, at least 1.
        learning_rates: The rate of each parameter group.

    Attributes:
        kernel: ``(inputs, outputs) float64``.
        bias: ``(outputs,) float64``.
        learning_rates: The rate of each parameter group.
        updates: How many updates an optimizer has made, its state.
    """

    weights_suffix = ".npz"

    def __init__(self, inputs: int = 2, outputs: int = 1, *, learning_rates: Collection[float] = (0.1,)) -> None:
        self.kernel: Array = np.ones((inputs, outputs))
        self.bias: Array = np.zeros(outputs)
        self.learning_rates = list(learning_rates)
        self.updates = 0

    def __repr__(self) -> str:
        return f"NumpyModel{self.kernel.shape}"

    def weights(self) -> Iterator[tuple[str, Array]]:
        """Yield the name and a copy of the kernel, then of the bias."""
        yield "dense/kernel", self.kernel.copy()
        yield "dense/bias", self.bias.copy()

    def get_weights(self) -> list[Array]:
        """Return copies of the kernel and the bias."""
        return [array for _, array in self.weights()]

    def set_weights(self, weights: list[Array]) -> None:
        """Set both.

        Raises:
            ValueError: Their number or shapes are others.
        """
        shapes = [np.shape(array) for array in weights]
        expected = [self.kernel.shape, self.bias.shape]
        if shapes != expected:
            raise ValueError(f"weights must have the shapes {expected} (got {shapes})")
        self.kernel, self.bias = (np.array(array) for array in weights)

    def save(self, path: str | PathLike[str], *, weights_only: bool = False) -> None:
        """Write both to an ``.npz`` file; ``weights_only`` makes no difference."""
        write_arrays(path, self.get_weights())

    def load(self, path: str | PathLike[str]) -> None:
        """Set both to what `save` wrote.

        Raises:
            ValueError: The file is not such a file.
        """
        self.set_weights(list(read_arrays(path)))

    def layer_names(self) -> list[str]:
        """Return the one name."""
        return ["dense"]

    def activations(self, x: Any, layers: Collection[str] | None = None) -> Iterator[tuple[str, Array]]:
        """Yield the layer's output, ``(samples, outputs)``."""
        check_layers(layers, self.layer_names())
        if layers is None or "dense" in layers:
            yield "dense", self.predict(x)

    def gradients(self, x: Any, y: Any) -> Iterator[tuple[str, Array]]:
        """Yield the gradient of the mean squared error by the kernel, then by the bias."""
        error = 2 * (self.predict(x) - np.reshape(y, (len(x), -1))) / len(x)
        yield "dense/kernel", np.asarray(x).T @ error
        yield "dense/bias", error.sum(axis=0)

    def predict(self, x: Any) -> Array:
        """Return the outputs, ``(samples, outputs) float64``."""
        outputs: Array = np.asarray(x, dtype=np.float64) @ self.kernel + self.bias
        return outputs

    def embeddings(self) -> Iterator[tuple[str, Array]]:
        """Yield the kernel, as if its rows were embedded."""
        yield "dense", self.kernel.copy()

    def layer_graph(self, sample: Any = None, *, expand_nested: bool = False) -> LayerGraph:
        """Return a graph of one layer."""
        return LayerGraph("NumpyModel", (LayerNode("dense", "Dense"),), ())

    def training_state(self) -> Mapping[str, Any]:
        """Return the number of updates."""
        return {"updates": self.updates}

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Set the number of updates."""
        self.updates = state["updates"]

    def recall(self) -> Callable[[], NumpyModel | None]:
        """Return a function that returns this model while it lives, None afterwards."""
        return weakref.ref(self)

    def direction(self, metric: str) -> Literal["min", "max"] | None:
        """Return ``"max"`` for ``score``, None for all others."""
        return "max" if metric.removeprefix("val_") == "score" else None
