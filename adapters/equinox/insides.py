"""Looking inside Equinox models: their layers, and what these return.

A model is called with one sample, within ``jax.vmap``, and its layers often within another one or a scan, so that what
they return are tracers. Each layer is therefore put into a module that sends its output to the host by
``jax.pure_callback``, which works in all of these. The compiled function is used again in the next call.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any

import equinox as eqx
import jax
import numpy as np

from monitor_core.adapters.jax_models import call, is_key
from monitor_core.model.handles import Array, check_layers

_lock = threading.Lock()
_found: list[tuple[tuple[int, ...], Array]] = []
"""What layers returned in the call that has the lock: layer, call and array by their numbers, and the array."""
_calls: Counter[int] = Counter()
"""How often each layer was called, while the function is traced."""


def outputs(model: Any, state: Any, x: Any) -> Any:
    """Return the outputs of a model for samples; a state is its last argument, and what it returns of it is dropped."""

    def one(*args: Any, **kwargs: Any) -> Any:
        return model(*args, **kwargs) if state is None else model(*args, state, **kwargs)[0]

    return call(jax.vmap(one, axis_name="batch"), x)


def layers(model: Any) -> dict[str, Any]:
    """Return the layers without layers within, by name; a model without any has the name of its class."""
    found = _flat(model)
    return {name or type(each).__name__: each for name, each in found if _is_innermost(each)}


def activations(model: Any, state: Any, x: Any, chosen: Collection[str] | None) -> Iterator[tuple[str, Array]]:
    """Yield what layers return for the samples, numbered from the second array on."""
    names = [*layers(model)]
    check_layers(chosen, names)
    numbers = {name: number for number, name in enumerate(names) if chosen is None or name in chosen}
    found = _flat(model)
    wrapped = [
        _Recorded(each, numbers[name or type(each).__name__])
        if _is_innermost(each) and (name or type(each).__name__) in numbers
        else each
        for name, each in found
    ]
    wrapper = jax.tree.unflatten(jax.tree.structure(model, is_leaf=_is_innermost), wrapped)
    with _lock:
        _found.clear()  # of a call that failed
        jax.block_until_ready(_run(wrapper, state, x))
        recorded = [*_found]
        _found.clear()
    for name, number in numbers.items():
        own = sorted((each for each in recorded if each[0][0] == number), key=lambda each: each[0])
        for place, (_, array) in enumerate(own):
            yield f"{name}:{place}" if place else name, array


def _traced(model: Any, state: Any, x: Any) -> Any:
    _calls.clear()
    return outputs(model, state, x)


_run: Any = eqx.filter_jit(_traced)


class _Recorded(eqx.Module):
    """A layer whose outputs are recorded; its other members are the layer's."""

    layer: Any
    number: int = eqx.field(static=True)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the layer returns."""
        output = self.layer(*args, **kwargs)
        _calls[self.number] += 1
        leaves, structure = jax.tree.flatten(output)
        place = self.number, _calls[self.number]
        return structure.unflatten([_recorded_leaf((*place, number), leaf) for number, leaf in enumerate(leaves)])

    def __getattr__(self, name: str) -> Any:
        if name == "layer":  # which is not set yet
            raise AttributeError(name)
        return getattr(self.layer, name)


def _recorded_leaf(place: tuple[int, ...], leaf: Any) -> Any:
    """Return an array, which is recorded on the host."""
    if not isinstance(leaf, jax.Array) or is_key(leaf):
        return leaf
    shape = jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
    return jax.pure_callback(_keep, shape, np.array(place), leaf, vmap_method="broadcast_all")


def _keep(place: Any, array: Any) -> Array:
    copy = np.array(array)
    _found.append((tuple(np.asarray(place).reshape(-1, 3)[0].tolist()), copy))
    return copy


def _flat(model: Any) -> list[tuple[str, Any]]:
    """Return a model's innermost layers and other leaves with their paths."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(model, is_leaf=_is_innermost)
    return [(jax.tree_util.keystr(path, simple=True, separator="/"), each) for path, each in leaves]


def _is_layer(each: Any) -> bool:
    return isinstance(each, eqx.Module) and callable(each)


def _is_innermost(each: Any) -> bool:
    inner = jax.tree.leaves(each, is_leaf=lambda part: part is not each and _is_layer(part))
    return _is_layer(each) and not any(map(_is_layer, inner))
