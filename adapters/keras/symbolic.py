"""Symbolic calls of subclassed Keras models: they compute nothing, but show which layer feeds which.

Contract. A call changes neither the model's variables nor its random generators, and the records it leaves in the
layers are removed at the end. Until then the calls can be followed.
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import keras
from keras.src.backend.common import global_state

_SHAPELESS = "the shapes of its inputs are not known: pass a sample"
_UNBUILT = "{} is not built yet: call the model once, or train it"


class NotTraceableError(Exception):
    """A model cannot be called symbolically; the message says why."""


def trace(model: Any, args: Sequence[Any], kwargs: Mapping[str, Any], stack: ExitStack) -> list[Any]:
    """Call a subclassed model with symbolic tensors.

    Args:
        model: The model; all of its layers must be built, since a call would build them.
        args: Its arguments by position.
        kwargs: Its arguments by name.
        stack: Receives the callback that removes the records of the call.

    Returns:
        Those of its outputs that are tensors, in the order of Keras's `tree.flatten`.

    Raises:
        NotTraceableError: A layer is not built, or the model's code needs values.
    """
    layers = list(model._flatten_layers())
    for layer in layers:
        if not layer.built:
            raise NotTraceableError(_UNBUILT.format(layer.name))
    stack.enter_context(_calls_forgotten(layers))
    try:
        with keras.StatelessScope(), own_names():
            outputs = keras.tree.flatten(model.call(*args, **kwargs))
    except Exception as error:
        raise NotTraceableError(f"its call cannot be traced: {type(error).__name__}: {error}") from error
    return [tensor for tensor in outputs if isinstance(tensor, keras.KerasTensor)]


def stand_ins(call: Any) -> tuple[list[tuple[Any, Any]], Sequence[Any], Mapping[str, Any]]:
    """Return new inputs for a call's tensors, each with its tensor, and the call's arguments made of them."""
    inputs = {id(tensor): _input(tensor.shape, tensor.dtype, "input") for tensor in call.input_tensors}
    args, kwargs = call.arguments.fill_in(inputs)
    return [(inputs[id(tensor)], tensor) for tensor in call.input_tensors], args, kwargs


def symbolic_arguments(model: Any, sample: Any) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """Return arguments for a symbolic call of a model: like a sample, or like what it was built with.

    Raises:
        NotTraceableError: There is no sample, and the model is not built, or Keras does not know its shapes.
    """
    kwargs = {"training": False} if "training" in inspect.signature(model.call).parameters else {}
    if sample is not None:
        return [_like(sample, lambda leaf: hasattr(leaf, "shape"), _sample_input)], kwargs
    config = model.get_build_config() or {}
    if "input_shape" in config:
        return [_like(config["input_shape"], _is_shape, _shape_input(model))], kwargs
    if "shapes_dict" in config:
        shapes = {name.removesuffix("_shape"): shape for name, shape in config["shapes_dict"].items()}
        return [], kwargs | _like(shapes, _is_shape, _shape_input(model))
    raise NotTraceableError(_SHAPELESS if model.built else _UNBUILT.format(model.name))


def _like(structure: Any, is_leaf: Any, make: Any, name: str = "") -> Any:
    """Return the structure with each leaf replaced by an input, named by its key or number."""
    if is_leaf(structure):
        return make(structure, name or "inputs")
    if isinstance(structure, Mapping):
        return {key: _like(each, is_leaf, make, str(key)) for key, each in structure.items()}
    if isinstance(structure, (tuple, list)):
        parts = [_like(each, is_leaf, make, f"{name or 'inputs'}_{number}") for number, each in enumerate(structure)]
        return tuple(parts) if isinstance(structure, tuple) else parts
    return structure


def _is_shape(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and all(axis is None or isinstance(axis, int) for axis in value)


def _sample_input(sample: Any, name: str) -> Any:
    dtype = keras.backend.standardize_dtype(sample.dtype)
    return _input(sample.shape, keras.config.floatx() if "float" in dtype else dtype, name)


def _shape_input(model: Any) -> Any:
    return lambda shape, name: _input(shape, model.input_dtype, name)


def _input(shape: Sequence[int | None], dtype: str, name: str) -> Any:
    return keras.Input(batch_shape=(None, *shape[1:]), dtype=dtype, name=name)


@contextmanager
def own_names() -> Iterator[None]:
    """Count names of operations from scratch, so that the names of later layers do not depend on them."""
    name = "object_name_uids"
    before = global_state.get_global_attribute(name)
    global_state.set_global_attribute(name, defaultdict(int))
    try:
        yield
    finally:
        global_state.set_global_attribute(name, before)


@contextmanager
def _calls_forgotten(layers: Iterable[Any]) -> Iterator[None]:
    """Remove, at the end, the records of calls that were made in between."""
    lists = [calls for layer in layers for calls in (layer._inbound_nodes, layer._outbound_nodes)]
    lengths = [len(calls) for calls in lists]
    try:
        yield
    finally:
        for calls, length in zip(lists, lengths, strict=True):
            del calls[length:]
