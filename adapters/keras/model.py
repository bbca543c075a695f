"""The handle of a Keras model, on any of Keras's backends.

On the JAX backend, a model's variables are detached during an epoch, and reading or setting one forces Keras to write
the whole state back first. This handle does so if necessary, and warns once, because it costs more than a small
training step. At the end of an epoch it costs nothing.
"""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Any, ClassVar, Literal

import attrs
import h5py
import keras
import numpy as np

from monitor_core._log import logger
from monitor_core.adapters import jax_shards
from monitor_core.adapters.keras import insides
from monitor_core.adapters.pytree import numbered
from monitor_core.model.handles import Array, recalled, to_host
from monitor_core.model.layer_graph import LayerGraph
from monitor_core.model.summary import ModelSummary


class KerasModel:
    """Provide a Keras model to sinks.

    Args:
        model: The model; it may be compiled or built later.

    Attributes:
        model: The model itself.
        framework: ``"keras"``.
        weights_suffix: The required suffix of a file with only weights.
        logs_means: Whether the metrics of a batch are means of the epoch so far: True.
        has_all_metrics: Whether the logs hold only the model's metrics, and none that a loop or a callback adds.

    Raises:
        TypeError: ``model`` is not a Keras model.
    """

    framework: ClassVar[str] = "keras"
    logs_means: ClassVar[bool] = True
    has_all_metrics: bool = False
    weights_suffix: ClassVar[str] = ".weights.h5"

    def __init__(self, model: keras.Model) -> None:
        if not isinstance(model, keras.Model):
            raise TypeError(f"model must be a keras.Model (got {type(model).__name__})")
        self.model = model
        self._warned = False

    def __repr__(self) -> str:
        return f"KerasModel({self.model.name})"

    def recall(self) -> Callable[[], KerasModel | None]:
        """Return a function that returns a handle of this model while the model lives, None afterwards."""
        return recalled(self.model, KerasModel)

    @property
    def waits_within_epoch(self) -> bool:
        """Whether reading or setting the model's state within an epoch costs more than at its end, as on JAX."""
        return bool(keras.backend.backend() == "jax")

    def _sync(self) -> None:
        """Write the model's state back on JAX, if a step has detached it."""
        model = self.model
        if getattr(model, "_jax_state", None) and not getattr(model, "_jax_state_synced", True):
            if not self._warned:
                self._warned = True
                logger.warning(
                    "a sink reads or sets the model's state within an epoch; on the JAX backend Keras then writes "
                    "the whole state back at that step, which can cost several times a small step: do it at the end "
                    "of an epoch, or compile a keras.optimizers.schedules schedule into the model"
                )
            model.jax_state_sync()

    # --- learning rate ---------------------------------------------------------------------------------------------

    @property
    def learning_rates(self) -> list[float]:
        """The learning rate of each optimizer, usually a single one; for a schedule, its current value.

        Raises:
            AttributeError: The model is not compiled.
            TypeError: On setting: an optimizer's rate is a schedule object.
        """
        optimizers = self._optimizers()
        self._sync()
        return [float(to_host(keras.ops.convert_to_tensor(each.learning_rate))) for each in optimizers]

    @learning_rates.setter
    def learning_rates(self, rates: list[float]) -> None:
        optimizers = self._optimizers()
        if self.has_rate_schedule:
            raise TypeError(
                "the optimizer's learning rate is a schedule object, which sets the rate itself: compile the "
                "model with a number, learning_rate=0.001, or remove the sink that sets the rate"
            )
        self._sync()
        for optimizer, rate in zip(optimizers, rates, strict=True):
            optimizer.learning_rate = rate

    @property
    def has_rate_schedule(self) -> bool:
        """Whether an optimizer's rate is a schedule object, and so cannot be set."""
        return any(not isinstance(each._learning_rate, keras.Variable) for each in self._optimizers())

    def _optimizers(self) -> list[Any]:
        optimizer = getattr(self.model, "optimizer", None)
        if optimizer is None:
            raise AttributeError(
                f"the model {self.model.name!r} is not compiled, so it has no optimizer: call compile first"
            )
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # mixed precision wraps it
        if not hasattr(optimizer, "optimizers"):
            return [optimizer]
        if not optimizer.built:  # a MultiOptimizer creates its optimizers here
            optimizer.build(self.model.trainable_variables)
        return list(optimizer.optimizers)

    # --- weights and files -----------------------------------------------------------------------------------------

    def get_weights(self) -> list[Array]:
        """Return copies of all weights on the host, in Keras's order."""
        return [array for _, array in self.weights()]

    def set_weights(self, weights: list[Array]) -> None:
        """Set all weights.

        Raises:
            ValueError: Their number or shapes differ from the model's; no weight is set then.
        """
        self._sync()
        shapes, given = [tuple(each.shape) for each in self.model.weights], [np.shape(each) for each in weights]
        if given != shapes:  # Keras would set the weights before the first that does not fit
            raise ValueError(f"weights must have the shapes {shapes} (got {given})")
        self.model.set_weights(weights)

    def weights(self) -> Iterator[tuple[str, Array]]:
        """Yield each weight's path, such as ``dense/kernel``, and a copy of it on the host.

        Raises:
            ValueError: A weight is sharded over several processes.
        """
        self._sync()
        for name, weight in self._named_weights():
            jax_shards.require_whole({name: weight.value})
            yield name, to_host(weight.value)

    def _named_weights(self) -> Iterator[tuple[str, Any]]:
        return numbered((weight.path, weight) for weight in self.model.weights)

    def save(self, path: str | PathLike[str], *, weights_only: bool = False) -> None:
        """Write the model.

        Args:
            path: ``.keras`` or ``.h5``, and ``.weights.h5`` for only the weights, as in Keras.
            weights_only: Whether to write only the weights.

        Raises:
            ValueError: Keras cannot write that kind of file, or the weights are sharded over several processes.
        """
        self._sync()
        jax_shards.require_whole({name: weight.value for name, weight in self._named_weights()})
        with self._undistributed():
            if weights_only:
                self.model.save_weights(fspath(path), overwrite=True)
            else:
                self.model.save(fspath(path), overwrite=True)

    @contextlib.contextmanager
    def _undistributed(self) -> Iterator[None]:
        """Let Keras save on one process of several: under a distribution it would wait for the others."""
        distribution = keras.distribution.distribution()
        if distribution is None or not any(jax_shards.is_global(weight.value) for weight in self.model.weights):
            yield
            return
        keras.distribution.set_distribution(None)
        try:
            yield
        finally:
            keras.distribution.set_distribution(distribution)

    @property
    def is_sharded(self) -> bool:
        """Whether weights are sharded over several processes, as with `keras.distribution.ModelParallel` on JAX."""
        return any(jax_shards.is_sharded(weight.value) for weight in self.model.weights)

    def save_shards(self, folder: str | PathLike[str], *, weights_only: bool = False) -> None:
        """Write the weights into a folder with Orbax, each process its part. All processes call this.

        Args:
            folder: The folder, which all processes see.
            weights_only: Whether to leave out the optimizer's state.

        Raises:
            ImportError: Orbax is not installed.
        """
        self._sync()
        parts = _values_of(self._parts())
        jax_shards.save(Path(folder), {"weights": parts["weights"]} if weights_only else parts)

    def _parts(self) -> dict[str, dict[str, Any]]:
        """Return the variables of the weights and of the optimizer by number: names differ from model to model."""
        optimizer = getattr(self.model, "optimizer", None)
        parts = {"weights": self.model.weights, "optimizer": [] if optimizer is None else optimizer.variables}
        return {part: {str(number): each for number, each in enumerate(all_)} for part, all_ in parts.items()}

    def _load_shards(self, folder: Path) -> None:
        optimizer = getattr(self.model, "optimizer", None)
        if optimizer is not None and not optimizer.built and jax_shards.has(folder, "optimizer"):
            optimizer.build(self.model.trainable_variables)
        parts = self._parts()
        for part, values in jax_shards.load(folder, _values_of(parts)).items():
            for name, value in values.items():
                parts[part][name].assign(value)

    def load(self, path: str | PathLike[str]) -> None:
        """Load a file that `save` wrote into the model, without executing anything in the file.

        A file of a whole model holds the optimizer's state too; one of only the weights leaves the optimizer unchanged.
        A folder is one that `save_shards` wrote, on any number of processes; each loads what it has a part of.

        Raises:
            ValueError: The folder was saved of another model or optimizer; nothing is set then.
        """
        self._sync()
        if Path(path).is_dir():
            self._load_shards(Path(path))
            return
        optimizer = getattr(self.model, "optimizer", None)
        if optimizer is not None and not optimizer.built and _optimizer_size(path) > len(optimizer.variables):
            optimizer.build(self.model.trainable_variables)  # otherwise Keras skips its state
        self.model.load_weights(fspath(path))

    def training_state(self) -> dict[str, Any]:
        """Return what `fit` needs to continue in addition to the weights, as lists of host arrays.

        Returns:
            The optimizer's variables, the states of the model's seed generators and of its stateful recurrent layers,
            which Keras's files do not contain, and on the PyTorch backend the state of PyTorch's own generator, which
            layers without a seed use. Where weights are sharded over several processes, the optimizer's variables are
            left out, because `save_shards` has them.
        """
        self._sync()
        optimizer = getattr(self.model, "optimizer", None)
        state = {
            "seeds": [to_host(variable.value) for variable in self._seeds()],
            "states": [to_host(variable.value) for variable in _recurrent_states(self.model)],
        }
        if not self.is_sharded:
            state["optimizer"] = [to_host(variable.value) for variable in optimizer.variables] if optimizer else []
        if keras.backend.backend() == "torch":
            import torch

            state["torch"] = [to_host(torch.get_rng_state())]
        return state

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Continue from the state that `training_state` returned.

        Raises:
            ValueError: The state belongs to another optimizer or model.
        """
        self._sync()
        optimizer = getattr(self.model, "optimizer", None)
        saved = state.get("optimizer")
        if optimizer is not None and saved and not optimizer.built and len(optimizer.variables) != len(saved):
            optimizer.build(self.model.trainable_variables)
        state = {"states": [], **state}  # older states lack those of recurrent layers
        for name, variables in (
            ("optimizer", optimizer.variables if optimizer else []),
            ("seeds", self._seeds()),
            ("states", _recurrent_states(self.model)),
        ):
            if name not in state:
                continue
            values = state[name]
            if len(variables) != len(values):
                raise ValueError(f"state must have {len(variables)} arrays for {name!r} (got {len(values)})")
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
        if keras.backend.backend() == "torch" and "torch" in state:
            import torch

            torch.set_rng_state(torch.from_numpy(state["torch"][0].copy()))

    def _seeds(self) -> list[Any]:
        weights = {id(weight) for weight in self.model.weights}
        return [variable for variable in self.model.non_trainable_variables if id(variable) not in weights]

    # --- a look inside ---------------------------------------------------------------------------------------------

    def predict(self, x: Any) -> Any:
        """Return the model's outputs for the samples ``x`` as host arrays."""
        self._sync()
        with insides.restored(self.model):
            return self.model.predict(x, verbose=0)

    def layer_names(self) -> list[str] | None:
        """Return the layer names that `activations` accepts, or None before the model is built."""
        return insides.layer_names(self.model) if self.model.built else None

    def activations(self, x: Any, layers: Collection[str] | None = None) -> Iterator[tuple[str, Array]]:
        """Yield each layer's name and its output for the samples ``x``, in inference mode, in the order of computation.

        Layers inside nested models and custom layers are named ``model/layer``, and come before the output of the layer
        that contains them. A layer that is used several times, or has several outputs, yields each of them, named
        ``layer``, ``layer:1``, and so on. An unused layer yields nothing.

        Args:
            x: The samples as the model takes them: an array, or a list or mapping of arrays.
            layers: The names of the layers to yield, without numbers; None for all.

        Raises:
            ValueError: There is no such layer; the message suggests the nearest name.
        """
        self._sync()
        yield from insides.activations(self.model, x, layers).items()

    def embeddings(self) -> Iterator[tuple[str, Array]]:
        """Yield the name of each built embedding layer, including nested ones, and a copy of its matrix.

        If several layers share a name, it is numbered from the second on: ``embedding#2``.
        """
        self._sync()
        taken: dict[str, int] = {}
        for layer in self.model._flatten_layers():
            if isinstance(layer, keras.layers.Embedding) and layer.built:
                taken[layer.name] = number = taken.get(layer.name, 0) + 1
                name = layer.name if number == 1 else f"{layer.name}#{number}"
                yield name, to_host(keras.ops.convert_to_tensor(layer.embeddings))

    def layer_graph(self, sample: Any = None, *, expand_nested: bool = False) -> LayerGraph:
        """Return the model's layers and how they feed each other.

        Args:
            sample: Inputs for a subclassed model, of which the shapes are read; None for those it was built with.
            expand_nested: Whether to show the layers of models within the model, instead of each as one node.
        """
        from monitor_core.adapters.keras.layers import layer_graph

        self._sync()
        return layer_graph(self.model, sample, expand_nested=expand_nested)

    def summary(self, x: Any = None) -> ModelSummary:
        """Return what the model consists of and how it is trained.

        Args:
            x: Samples, with which a model that is not built yet is built; None to leave it as it is.
        """
        from monitor_core.adapters.keras.summary import summarize

        self._sync()
        if x is not None:
            insides.build(self.model, x)
        found = summarize(self.model)
        if found.optimizer is None:
            return found
        with contextlib.suppress(Exception):  # an optimizer of the user's
            rate = self.learning_rates[0]
            return attrs.evolve(found, learning_rate=rate, has_rate_schedule=self.has_rate_schedule)
        return found

    def penalty(self) -> float:
        """Return what the layers' penalties add to the loss now."""
        self._sync()
        return float(sum(float(to_host(each)) for each in self.model.losses))

    def gradients(self, x: Any, y: Any) -> Iterator[tuple[str, Array]]:
        """Yield each trainable weight's path and the gradient of the compiled loss on ``(x, y)`` by it.

        The model computes in inference mode, and is not changed.

        Raises:
            TypeError: The model is not compiled.
        """
        self._sync()
        return insides.gradients(self.model, x, y)

    def direction(self, metric: str) -> Literal["min", "max"] | None:
        """Return the direction in which a compiled metric improves, ignoring ``val_``; None if Keras has none.

        As in Keras, ``loss`` decreases, unless a metric of that name has its own direction, and of several metrics with
        one name the last one decides.
        """
        name = metric.removeprefix("val_")
        found: Literal["min", "max"] | None = "min" if name == "loss" else None
        for each in self._metrics():
            if each.name == name and (direction := getattr(each, "_direction", None)) is not None:
                found = "max" if direction == "up" else "min"
        return found

    def metric_names(self) -> set[str] | None:
        """Return the names that the logs of `fit` may have, with and without validation; None if they are not known.

        They are not known before `compile`, nor for a model with a custom training step, nor, until `fit` has built the
        metrics (on the TensorFlow backend after its start), for a model that has several outputs or is not built.
        """
        steps = ("train_step", "test_step", "compute_metrics", "get_metrics_result")
        if any(getattr(type(self.model), name) is not getattr(keras.Model, name) for name in steps):
            return None
        if not self.model.compiled:
            return None
        metrics = getattr(self.model, "_compile_metrics", None)
        loss = getattr(self.model, "_compile_loss", None)
        is_built = all(each is None or each.built for each in (metrics, loss))
        own = set(self.model.get_metrics_result()) if is_built else _names_of_one_output(self.model, metrics)
        return own and {*own, *(f"val_{name}" for name in own), "learning_rate"}

    def _metrics(self) -> Iterator[Any]:
        for metric in self.model.metrics:
            if hasattr(metric, "_user_metrics") and not metric.built:  # compiled, but no batch has been trained yet
                given = keras.tree.flatten([metric._user_metrics, metric._user_weighted_metrics])
                yield from (each for each in given if isinstance(each, keras.metrics.Metric))
            else:
                yield from getattr(metric, "metrics", [metric])


def _names_of_one_output(model: keras.Model, metrics: Any) -> set[str] | None:
    """Return the metrics in the logs of a model with one output; None for others, or if a name cannot be predicted."""
    if len(keras.tree.flatten(getattr(model, "outputs", None) or [])) != 1:
        return None
    given = [metrics._user_metrics, metrics._user_weighted_metrics] if metrics is not None else []
    found = [each for each in keras.tree.flatten(given) if each is not None]
    names = [each if isinstance(each, str) else getattr(each, "name", getattr(each, "__name__", "")) for each in found]
    if any(
        not name or (not isinstance(each, (str, keras.metrics.Metric)) and not name.islower())
        for each, name in zip(found, names, strict=True)
    ):
        return None
    others = (each.name for each in model.metrics if each is not metrics)  # the loss, and the metrics of layers
    return {*others, *names, *(f"weighted_{name}" for name in names if names.count(name) > 1)}


def _optimizer_size(path: str | PathLike[str]) -> int:
    """Return how many of an optimizer's variables a Keras file contains."""
    with contextlib.ExitStack() as stack:
        source: Any = path
        if zipfile.is_zipfile(path):  # .keras
            source = stack.enter_context(stack.enter_context(zipfile.ZipFile(path)).open("model.weights.h5"))
        file = stack.enter_context(h5py.File(source, "r"))
        return len(file["optimizer/vars"]) if "optimizer/vars" in file else 0


def reset_states(model: keras.Model) -> None:
    """Reset the states of all stateful recurrent layers, including nested ones, as ``model.reset_states()`` once did.

    Args:
        model: The model; outside a `fit` call, or at the end of an epoch.

    Raises:
        TypeError: ``model`` is not a Keras model.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"model must be a keras.Model (got {type(model).__name__})")
    for layer in _stateful_layers(model):
        layer.reset_state()


def _stateful_layers(model: keras.Model) -> list[Any]:
    return [each for each in model._flatten_layers() if isinstance(each, keras.layers.RNN) and each.stateful]


def _values_of(parts: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {part: {name: each.value for name, each in variables.items()} for part, variables in parts.items()}


def _recurrent_states(model: keras.Model) -> list[Any]:
    """Return the variables of the built stateful recurrent layers."""
    states = [layer.states for layer in _stateful_layers(model)]
    return [variable for variable in keras.tree.flatten(states) if variable is not None]
