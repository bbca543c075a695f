"""Handles: what an adapter lends of a model, as small protocols. A sink names in ``needs`` what it cannot do without.

A handle implements those members that its framework can give; which ones it has is looked up by name at train begin.
Handles for Keras and PyTorch models stand in ``monitor_core.adapters``; any object with the members will do.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator, Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from monitor_core.errors import SetupError

if TYPE_CHECKING:
    from monitor_core.model.layer_graph import LayerGraph

Array = NDArray[Any]
ModelHandle = Any
"""A model's handle: an object with members of some of the protocols below."""


class HasLearningRates(Protocol):
    """Lends the learning rate of each parameter group, at least one, to read and to set."""

    learning_rates: list[float]


class HasWeights(Protocol):
    """Lends the weights as host arrays."""

    def get_weights(self) -> list[Array]:
        """Return copies of all weights, in a fixed order."""
        ...

    def set_weights(self, weights: list[Array]) -> None:
        """Set all weights to what `get_weights` returned."""
        ...

    def weights(self) -> Iterator[tuple[str, Array]]:
        """Yield each weight's unique name and a copy of it."""
        ...


class HasFiles(Protocol):
    """Lends saving and loading of the model. Loading executes no code from the file.

    A handle whose files of weights must end in a certain way says so in an attribute ``weights_suffix``.
    """

    def save(self, path: str | PathLike[str], *, weights_only: bool = False) -> None:
        """Write the model to the path, which names its format."""
        ...

    def load(self, path: str | PathLike[str]) -> None:
        """Set the model's state to what the file holds."""
        ...


class HasInsides(Protocol):
    """Lends a look into the model, without changing its state, mode or random generators."""

    def layer_names(self) -> list[str] | None:
        """Return the names that `activations` knows, or None where the model is not built yet."""
        ...

    def activations(self, x: Any, layers: Collection[str] | None = None) -> Iterator[tuple[str, Array]]:
        """Yield each layer's name and its output for the samples ``x``; of chosen layers only, if any are named.

        Where a layer has several outputs, all but the first are numbered, ``layer:1``; ``layers`` names it without.
        """
        ...

    def gradients(self, x: Any, y: Any) -> Iterator[tuple[str, Array]]:
        """Yield each trainable weight's name and the loss's gradient by it on ``(x, y)``."""
        ...

    def predict(self, x: Any) -> Any:
        """Return the model's outputs for the samples ``x`` as host arrays."""
        ...


class HasEmbeddings(Protocol):
    """Lends the matrices of embedding layers."""

    def embeddings(self) -> Iterator[tuple[str, Array]]:
        """Yield each embedding layer's name and a copy of its matrix, ``(rows, dimensions)``."""
        ...


class HasLayers(Protocol):
    """Lends the model's layers as a graph, without changing its state, mode or random generators."""

    def layer_graph(self, sample: Any = None, *, expand_nested: bool = False) -> LayerGraph:
        """Return the graph, read with the help of sample inputs where the model does not know its shapes."""
        ...


class HasTrainingState(Protocol):
    """Lends what else a training needs to go on: the optimizer's state and random generators."""

    def training_state(self) -> Mapping[str, Any]:
        """Return the state as JSON values and host arrays."""
        ...

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Set the state to what `training_state` returned."""
        ...


class KnowsDirections(Protocol):
    """Tells which way a metric improves."""

    def direction(self, metric: str) -> Literal["min", "max"] | None:
        """Return the direction in which the metric gets better, or None if the model does not know it."""
        ...


class KnowsMetrics(Protocol):
    """Knows before the first epoch what the metrics are called."""

    has_all_metrics: bool
    """Whether the logs will hold these metrics alone, and none that a loop or a callback adds."""

    def metric_names(self) -> Collection[str] | None:
        """Return the names that the logs of an epoch may have; None where they are not known yet."""
        ...


class CanBeRecalled(Protocol):
    """Tells how to find the model again after it was let go of, so that nothing keeps it alive between two runs."""

    def recall(self) -> Callable[[], ModelHandle | None]:
        """Return a function that gives a handle of the model while it lives, None once it is gone."""
        ...


_RAW_MODELS = {
    "keras.src.models.model": "KerasModel(model)",
    "torch.nn.modules.module": "TorchModel(module, optimizer)",
}


def check_handle(model: Any) -> None:
    """Raise a TypeError where a framework's model is given in the place of its handle."""
    for base in type(model).__mro__:
        if base.__module__ in _RAW_MODELS:
            handle = _RAW_MODELS[base.__module__]
            raise TypeError(f"model must be a handle (got a {type(model).__name__}): pass {handle}")


def check_rate_can_be_set(model: Any, owner: str) -> None:
    """Raise a SetupError, in the name of a sink, where the optimizer's learning rate is a schedule object."""
    if getattr(model, "has_rate_schedule", False):
        raise SetupError(
            f"{owner} cannot set the learning rate, because the optimizer's is a schedule object, which decides the "
            f"rate by itself: compile the model with a number, learning_rate=0.001, or leave {owner} away"
        )


def check_layers(layers: Collection[str] | None, available: Collection[str]) -> None:
    """Raise a ValueError, with the nearest names, where a layer is asked for that a model has not."""
    for name in layers or ():
        if name not in available:
            close = difflib.get_close_matches(name, available, n=3)
            known = [*close, "..."] if close else [*available][:20]
            raise ValueError(f"layers must name layers of the model (got {name!r}): there are {', '.join(known)}")


def to_host(array: Any) -> Array:
    """Return a copy of any framework's array in host memory; as float32 where NumPy has no such type."""
    if not hasattr(array, "detach"):
        return np.array(array)
    tensor = array.detach().cpu()  # torch, where a tensor with gradients refuses to be converted
    try:
        return np.array(tensor)
    except TypeError:  # bfloat16 and float8
        return np.array(tensor.float())
