"""Looking inside Flax NNX modules: their layers, and what these return.

Flax's own ``nnx.capture`` fails in a module with a recurrent layer, whose scan it changes. Here, the ``__call__`` of
each layer's class is replaced while a clone of the module runs, and only calls of the clone's own layers are recorded:
inside of a transformation, copies of those are called.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import jax
from flax import nnx

from monitor_core.adapters.jax_models import call
from monitor_core.model.handles import Array, check_layers, to_host

_lock = threading.Lock()
"""Held while classes are changed, so that each gets its own ``__call__`` back."""


def clone(module: nnx.Module) -> Any:
    """Return a module with variables of its own, in evaluation mode; the arrays are shared, as they cannot change."""
    copy = nnx.clone(module)
    copy.eval()
    return copy


def run(module: nnx.Module, x: Any) -> tuple[Any, nnx.State]:
    """Return a module's outputs, and the intermediates that it sows."""
    found: tuple[Any, nnx.State] = nnx.capture(lambda each: call(each, x), nnx.Intermediate)(module)
    return found


def modules(module: nnx.Module) -> dict[str, Any]:
    """Return the module and all modules within by name; the outermost has the name of its class."""
    return {"/".join(map(str, path)) or type(each).__name__: each for path, each in nnx.iter_modules(module)}


def innermost(module: nnx.Module) -> dict[str, Any]:
    """Return the modules without modules within, by name."""
    return {name: each for name, each in modules(module).items() if len([*nnx.iter_modules(each)]) == 1}


def activations(module: nnx.Module, x: Any, layers: Collection[str] | None) -> Iterator[tuple[str, Array]]:
    """Yield what layers and sown intermediates have for the samples, numbered from the second array on."""
    copy = clone(module)
    names = {id(each): name for name, each in modules(copy).items()}
    found: dict[str, list[Any]] = {}
    with _lock, ExitStack() as stack:
        for kind in {type(each) for each in modules(copy).values()}:
            stack.enter_context(_recorded(kind, names, found))
        _, sown = run(copy, x)
    for path, variable in nnx.to_flat_state(sown):
        found["/".join(map(str, path))] = variable.get_value()
    check_layers(layers, [*names.values(), *found])
    for name in innermost(copy) if layers is None else layers:
        for number, output in enumerate(jax.tree.leaves(found.get(name, []))):
            yield f"{name}:{number}" if number else name, to_host(output)


@contextmanager
def _recorded(kind: Any, names: dict[int, str], found: dict[str, list[Any]]) -> Iterator[None]:
    """Record, within this block, what calls of named objects of one class return."""
    own: Callable[..., Any] | None = vars(kind).get("__call__")
    if not any("__call__" in vars(base) for base in kind.__mro__):  # only the metaclass has one
        yield
        return
    inherited: Callable[..., Any] = kind.__call__

    @functools.wraps(inherited)
    def recording(layer: Any, *args: Any, **kwargs: Any) -> Any:
        name = names.pop(id(layer), None)  # without a name, what it calls of its base class is not recorded again
        try:
            output = inherited(layer, *args, **kwargs)
        finally:
            if name is not None:
                names[id(layer)] = name
        if name is not None:
            found.setdefault(name, []).append(output)
        return output

    kind.__call__ = recording
    try:
        yield
    finally:
        if own is None:
            del kind.__call__
        else:
            kind.__call__ = own
