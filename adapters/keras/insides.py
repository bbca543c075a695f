"""Inspecting a Keras model: the outputs of its layers and the gradients of its loss, on any of Keras's backends.

Contract. The model itself computes in inference mode on the given data; it is not copied, so this works for Sequential,
functional and subclassed models. It leaves the model unchanged: its weights, metrics, seed generators and the states of
recurrent layers, and on the PyTorch backend the modes of its modules and PyTorch's own generators. Only a model that is
not built yet is built.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import keras

from monitor_core.model.handles import Array, check_layers, to_host

_CALLS = ("call", "quantized_call")


def layer_names(model: keras.Model) -> list[str]:
    """Return the names of the layers, those inside nested models as ``model/layer``, in the order of definition."""
    return list(dict.fromkeys(name for name, _ in named_layers(model)))


def activations(model: keras.Model, x: Any, layers: Collection[str] | None = None) -> dict[str, Array]:
    """Return the output of each layer for some samples, in the order of computation.

    Args:
        model: The model; it is built if necessary.
        x: The inputs, as the model takes them.
        layers: Names of `layer_names`, None for all.

    Returns:
        Host arrays by name; if a layer has several outputs, or is used several times, the further ones are numbered:
        ``layer:1``. Layers that are not used in inference are left out.

    Raises:
        ValueError: There is no such layer.
    """
    build(model, x)
    check_layers(layers, layer_names(model))
    found: dict[str, Array] = {}
    numbers: dict[str, int] = {}

    def keep(name: str, output: Any) -> None:
        for tensor in keras.tree.flatten(output):
            if _is_concrete(tensor):
                numbers[name] = number = numbers.get(name, -1) + 1
                found[f"{name}:{number}" if number else name] = to_host(tensor)

    with unchanged(model), keras.StatelessScope(), ExitStack() as stack:
        for name, layer in named_layers(model):
            if layers is None or name in layers:
                stack.enter_context(_captured(layer, partial(keep, name)))
        model(x, training=False)
    return found


def gradients(model: keras.Model, x: Any, y: Any) -> Iterator[tuple[str, Array]]:
    """Yield each trainable weight's path and the gradient of the compiled loss on ``(x, y)`` by it.

    Args:
        model: The model; it is built if necessary.
        x: The inputs, as the model takes them.
        y: The targets, as its loss takes them.

    Raises:
        TypeError: The model is not compiled.
    """
    if not model.compiled:
        raise TypeError(
            f"gradients need a loss: the model {model.name!r} is not compiled; call model.compile(loss=...)"
        )
    build(model, x)
    variables = model.trainable_variables
    x, y = keras.tree.map_structure(_tensor, (x, y))

    def loss(values: list[Any]) -> Any:
        mapping = list(zip(variables, values, strict=True))
        with keras.StatelessScope(state_mapping=mapping, collect_losses=True):
            return model.compute_loss(x=x, y=y, y_pred=model(x, training=False))

    with unchanged(model):
        found = _GRADIENTS[keras.backend.backend()](loss, [variable.value for variable in variables])
    for variable, gradient in zip(variables, found, strict=True):
        yield variable.path, to_host(gradient)


def _tensor(array: Any) -> Any:
    return None if array is None else keras.ops.convert_to_tensor(array)  # None if the model adds its own losses


def build(model: keras.Model, x: Any) -> None:
    """Build an unbuilt model for any number of inputs like the given samples, without computing anything."""
    if not model.built:
        model(keras.tree.map_structure(_any_number_of, x), training=False)


def _any_number_of(samples: Any) -> keras.KerasTensor:
    dtype = keras.backend.standardize_dtype(samples.dtype)
    return keras.KerasTensor((None, *samples.shape[1:]), dtype=keras.config.floatx() if "float" in dtype else dtype)


# --- the layers of a model -----------------------------------------------------------------------------------------


def named_layers(model: keras.Model) -> Iterator[tuple[str, Any]]:
    """Yield the layers and operations of a model with their names, each once, inner ones before outer ones."""
    taken = {id(model)}

    def walk(parent: Any, prefix: str) -> Iterator[tuple[str, Any]]:
        for layer in _parts(parent):
            if id(layer) not in taken:
                taken.add(id(layer))
                if not _is_one(layer):
                    yield from walk(layer, f"{prefix}{layer.name}/")
                yield f"{prefix}{layer.name}", layer

    return walk(model, "")


def _parts(layer: Any) -> list[Any]:
    """Return the parts of a layer, for a functional model including operations on tensors."""
    parts = [*getattr(layer, "operations", ()), *layer._flatten_layers(include_self=False, recursive=False)]
    return [part for part in parts if not isinstance(part, keras.layers.InputLayer)]


def _is_one(layer: Any) -> bool:
    """Return whether a layer counts as one: Keras's own layers do, whatever they contain; models do not.

    The layers inside a recurrent layer are computed for each time step.
    """
    if isinstance(layer, keras.Model):
        return False
    if not isinstance(layer, keras.Layer):  # an operation on tensors
        return True
    return type(layer).__module__.startswith("keras.src.") or isinstance(layer, keras.layers.RNN)


# --- without side effects ------------------------------------------------------------------------------------------


@contextmanager
def _captured(layer: Any, keep: Callable[[Any], None]) -> Iterator[None]:
    """Pass a layer's output to ``keep`` whenever the layer is called.

    Its ``call`` is wrapped by writing to its ``__dict__``, since Keras and PyTorch track ordinary attributes.
    """

    def capturing(call: Callable[..., Any]) -> Callable[..., Any]:
        def captured(*args: Any, **kwargs: Any) -> Any:
            output = call(*args, **kwargs)
            keep(output)
            return output

        return captured

    attributes = vars(layer)
    before = {name: attributes[name] for name in _CALLS if name in attributes}
    attributes.update({name: capturing(getattr(layer, name)) for name in _CALLS})
    try:
        yield
    finally:
        for name in _CALLS:
            del attributes[name]
        attributes.update(before)


def _is_concrete(output: Any) -> bool:
    """Return whether an output is a tensor with values: inside compiled parts of a model it has none."""
    kind = type(output).__name__
    return hasattr(output, "shape") and "Tracer" not in kind and kind not in {"SymbolicTensor", "KerasTensor"}


@contextmanager
def unchanged(model: keras.Model) -> Iterator[None]:
    """Restore the state outside Keras's variables: on the PyTorch backend the modes and PyTorch's generators."""
    if keras.backend.backend() != "torch":
        yield
        return
    import torch

    modes = [(module, module.training) for layer in model._flatten_layers() for module in layer.modules()]
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training


@contextmanager
def restored(model: keras.Model) -> Iterator[None]:
    """Restore non-trainable variables too, in addition to `unchanged`, for when Keras itself calls the model."""
    layers = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.RNN)]
    states = keras.tree.flatten([layer.states for layer in layers if layer.stateful])  # not among a model's variables
    before = [(each, to_host(each.value)) for each in (*model.non_trainable_variables, *states) if each is not None]
    try:
        with unchanged(model):
            yield
    finally:
        for variable, value in before:
            variable.assign(value)


# --- gradients -----------------------------------------------------------------------------------------------------


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
    gradient = tape.gradient(result, values, unconnected_gradients="zero")
    return [tf.convert_to_tensor(each) for each in gradient]  # those of embeddings are slices


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
"""Each returns the gradient of a function of tensors by them, zeros if it does not depend on one."""
