"""The handle of a Keras model, on any of Keras's back ends.

On the JAX back end a model's variables are detached while an epoch runs, and reading or setting one then forces Keras
to write the whole state back first. This handle does so where it must, and warns once, because it costs more than a
small training step. At the end of an epoch it is free.
"""

from __future__ import annotations

import contextlib
import logging
import zipfile
from collections.abc import Callable, Iterator, Mapping
from os import PathLike, fspath
from typing import Any, Literal

import h5py
import keras

from monitor_core.handles import Array, to_host

logger = logging.getLogger("monitor_core")


class KerasModel:
    """Lend a Keras model to sinks.

    Args:
        model: The model; it may be compiled or built later.

    Attributes:
        model: The model itself.

    Raises:
        TypeError: ``model`` is no Keras model.
    """

    def __init__(self, model: keras.Model) -> None:
        if not isinstance(model, keras.Model):
            raise TypeError(f"model must be a keras.Model (got {type(model).__name__})")
        self.model = model
        self._warned = False

    def __repr__(self) -> str:
        return f"KerasModel({self.model.name})"

    def _sync(self) -> None:
        """Attach the model's state on JAX, where a step has detached it."""
        model = self.model
        if getattr(model, "_jax_state", None) and not getattr(model, "_jax_state_synced", True):
            if not self._warned:
                self._warned = True
                logger.warning(
                    "a sink reads or sets the model's state within an epoch; on the JAX back end Keras then writes "
                    "the whole state back at that step, which can cost several times a small step: do it at the end "
                    "of an epoch, or compile a keras.optimizers.schedules schedule into the model"
                )
            model.jax_state_sync()

    # --- learning rate ---------------------------------------------------------------------------------------------

    @property
    def learning_rates(self) -> list[float]:
        """The learning rate of each optimizer, of which there usually is one; a schedule's at its present value.

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
                "the optimizer's learning rate is a schedule object, which decides the rate by itself: compile the "
                "model with a number, learning_rate=0.001, or leave the sink that sets the rate away"
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
            raise AttributeError(f"the model {self.model.name!r} is not compiled, so it has no optimizer")
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # mixed precision wraps it
        if not hasattr(optimizer, "optimizers"):
            return [optimizer]
        if not optimizer.built:  # a MultiOptimizer finds out then which it has
            optimizer.build(self.model.trainable_variables)
        return list(optimizer.optimizers)

    # --- weights and files -----------------------------------------------------------------------------------------

    def get_weights(self) -> list[Array]:
        """Return copies of all weights on the host, in Keras's order."""
        return [array for _, array in self.weights()]

    def set_weights(self, weights: list[Array]) -> None:
        """Set all weights.

        Raises:
            ValueError: Their number or shapes are not the model's.
        """
        self._sync()
        self.model.set_weights(weights)

    def weights(self) -> Iterator[tuple[str, Array]]:
        """Yield each weight's path, such as ``dense/kernel``, and a copy of it on the host."""
        self._sync()
        taken: dict[str, int] = {}
        for weight in self.model.weights:
            taken[weight.path] = number = taken.get(weight.path, 0) + 1
            yield (weight.path if number == 1 else f"{weight.path}#{number}"), to_host(weight.value)

    def save(self, path: str | PathLike[str], *, weights_only: bool = False) -> None:
        """Write the model.

        Args:
            path: ``.keras`` or ``.h5``, and ``.weights.h5`` for weights alone, as in Keras.
            weights_only: Whether to write the weights alone.

        Raises:
            ValueError: Keras cannot write that kind of file.
        """
        self._sync()
        if weights_only:
            self.model.save_weights(fspath(path), overwrite=True)
        else:
            self.model.save(fspath(path), overwrite=True)

    def load(self, path: str | PathLike[str]) -> None:
        """Set the model to what is in a file that `save` wrote; nothing in the file is executed.

        A whole model's file holds the optimizer's state too; one of weights alone leaves the optimizer as it is.
        """
        self._sync()
        optimizer = getattr(self.model, "optimizer", None)
        if optimizer is not None and not optimizer.built and _optimizer_size(path) > len(optimizer.variables):
            optimizer.build(self.model.trainable_variables)  # else Keras leaves its state out
        self.model.load_weights(fspath(path))

    def training_state(self) -> dict[str, Any]:
        """Return what `fit` needs to go on beside the weights, as lists of host arrays.

        Returns:
            The optimizer's variables, the states of the model's seed generators, and on the PyTorch back end the state
            of PyTorch's own generator, from which layers without a seed draw.
        """
        self._sync()
        optimizer = getattr(self.model, "optimizer", None)
        state = {
            "optimizer": [to_host(variable.value) for variable in optimizer.variables] if optimizer else [],
            "seeds": [to_host(variable.value) for variable in self._seeds()],
        }
        if keras.backend.backend() == "torch":
            import torch

            state["torch"] = [to_host(torch.get_rng_state())]
        return state

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `training_state` returned.

        Raises:
            ValueError: The state is that of another optimizer or model.
        """
        self._sync()
        optimizer = getattr(self.model, "optimizer", None)
        if optimizer is not None and not optimizer.built and len(optimizer.variables) != len(state["optimizer"]):
            optimizer.build(self.model.trainable_variables)
        for name, variables in (("optimizer", optimizer.variables if optimizer else []), ("seeds", self._seeds())):
            if len(variables) != len(state[name]):
                raise ValueError(f"state must have {len(variables)} arrays for {name!r} (got {len(state[name])})")
            for variable, value in zip(variables, state[name], strict=True):
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
        return self.model.predict(x, verbose=0)

    def activations(self, x: Any) -> Iterator[tuple[str, Array]]:
        """Yield each layer's name and its output for the samples ``x``, in inference mode.

        A layer that is used several times yields each of its outputs, named ``layer``, ``layer:1``, and so on.

        Raises:
            TypeError: The model is subclassed, so that its layers have no outputs of their own.
        """
        self._sync()
        if not self.model.built:
            self.model(x, training=False)
        graph = getattr(self.model, "_functional", self.model)  # a Sequential keeps its graph beside itself
        outputs = self._layer_outputs(graph)
        values = keras.Model(graph._inputs_struct, outputs)(x, training=False)
        for name in outputs:
            yield name, to_host(values[name])

    def _layer_outputs(self, graph: Any) -> dict[str, Any]:
        by_depth = getattr(graph, "_nodes_by_depth", None)
        if by_depth is None:
            raise TypeError(
                f"the activations of {type(self.model).__name__} cannot be read: it is a subclassed model, and only "
                "Sequential and functional models have outputs for each layer"
            )
        found: dict[str, Any] = {}
        for depth in sorted(by_depth, reverse=True):
            for node in by_depth[depth]:
                if not isinstance(node.operation, keras.layers.InputLayer):
                    for output in node.output_tensors:
                        name = node.operation.name
                        number = sum(each.partition(":")[0] == name for each in found)
                        found[f"{name}:{number}" if number else name] = output
        return found

    def gradients(self, x: Any, y: Any) -> Iterator[tuple[str, Array]]:
        """Yield each trainable weight's path and the gradient by it of the compiled loss on ``(x, y)``.

        The model computes in inference mode, and neither its metrics nor its random generators move.
        """
        self._sync()
        variables = self.model.trainable_variables
        x, y = (keras.tree.map_structure(keras.ops.convert_to_tensor, data) for data in (x, y))

        def loss(values: list[Any]) -> Any:
            with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
                return self.model.compute_loss(x=x, y=y, y_pred=self.model(x, training=False))

        values = [variable.value for variable in variables]
        for variable, gradient in zip(variables, _gradient(loss, values), strict=True):
            yield variable.path, to_host(gradient)

    def direction(self, metric: str) -> Literal["min", "max"] | None:
        """Return the direction in which a compiled metric gets better, ``val_`` ignored; None if Keras has none."""
        name = metric.removeprefix("val_")
        if name == "loss":
            return "min"
        for each in self._metrics():
            if each.name == name and (direction := getattr(each, "_direction", None)) is not None:
                return "max" if direction == "up" else "min"
        return None

    def _metrics(self) -> Iterator[Any]:
        for metric in self.model.metrics:
            if hasattr(metric, "_user_metrics") and not metric.built:  # compiled, and no batch has come yet
                given = keras.tree.flatten([metric._user_metrics, metric._user_weighted_metrics])
                yield from (each for each in given if isinstance(each, keras.metrics.Metric))
            else:
                yield from getattr(metric, "metrics", [metric])


def _optimizer_size(path: str | PathLike[str]) -> int:
    """Return how many of an optimizer's variables a file of Keras's holds."""
    with contextlib.ExitStack() as stack:
        source: Any = path
        if zipfile.is_zipfile(path):  # .keras
            source = stack.enter_context(stack.enter_context(zipfile.ZipFile(path)).open("model.weights.h5"))
        file = stack.enter_context(h5py.File(source, "r"))
        return len(file["optimizer/vars"]) if "optimizer/vars" in file else 0


def _gradient(loss: Callable[[list[Any]], Any], values: list[Any]) -> list[Any]:
    """Return the gradient of a function of tensors by them, zeros where it does not depend on one."""
    return _GRADIENTS[keras.backend.backend()](loss, values)


def _gradient_jax(loss: Callable[[list[Any]], Any], values: list[Any]) -> list[Any]:
    import jax

    gradient: list[Any] = jax.grad(loss)(values)
    return gradient


def _gradient_tensorflow(loss: Callable[[list[Any]], Any], values: list[Any]) -> list[Any]:
    import tensorflow as tf

    with tf.GradientTape(watch_accessed_variables=False) as tape:
        values = [tf.identity(value) for value in values]
        tape.watch(values)
        result = loss(values)
    gradient: list[Any] = tape.gradient(result, values, unconnected_gradients="zero")
    return gradient


def _gradient_torch(loss: Callable[[list[Any]], Any], values: list[Any]) -> list[Any]:
    import torch

    with torch.enable_grad():
        values = [value.detach().clone().requires_grad_() for value in values]
        result = loss(values)
    found = torch.autograd.grad(result, values, allow_unused=True)
    return [torch.zeros_like(value) if each is None else each for value, each in zip(values, found, strict=True)]


_GRADIENTS: Mapping[str, Callable[..., list[Any]]] = {
    "jax": _gradient_jax,
    "tensorflow": _gradient_tensorflow,
    "torch": _gradient_torch,
}


def reset_states(model: keras.Model) -> None:
    """Reset the states of all stateful recurrent layers, nested ones too: what ``model.reset_states()`` once did.

    Args:
        model: The model; outside of a `fit` call, or at the end of an epoch.

    Raises:
        TypeError: ``model`` is no Keras model.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"model must be a keras.Model (got {type(model).__name__})")
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.RNN) and layer.stateful:
            layer.reset_state()
