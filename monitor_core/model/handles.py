"""Model handles: what adapters provide of a model. A sink lists the members it requires in ``needs``.

A handle has the members that its framework can provide; they are looked up by name at train begin. ``docs/handles.md``
lists all members, with their signatures and their users, and a test compares it with the handles in
``monitor_core.adapters``. Any object with some of the members is a handle.
"""

from __future__ import annotations

import difflib
import weakref
from collections.abc import Callable, Collection
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from monitor_core import frameworks
from monitor_core.errors import SetupError

M = TypeVar("M")
H = TypeVar("H")

Array = NDArray[Any]
ModelHandle = Any
"""A model's handle: an object with some of the members that ``docs/handles.md`` lists."""


def recalled(model: M, make: Callable[[M], H]) -> Callable[[], H | None]:
    """Return a function that returns a handle of a model while the model lives, None afterwards."""
    reference = weakref.ref(model)
    return lambda: None if (present := reference()) is None else make(present)


def is_built(model: ModelHandle) -> bool:
    """Return whether a model is built, as far as its handle knows."""
    names = getattr(model, "layer_names", None)
    return names is None or names() is not None


def check_rate_can_be_set(model: Any, owner: str) -> None:
    """Raise a SetupError that names a sink, if the optimizer's learning rate is a schedule object."""
    if getattr(model, "has_rate_schedule", False):
        raise SetupError(
            f"{owner} cannot set the learning rate, because the optimizer's is a schedule object, which determines the "
            f"rate itself: give the optimizer a number, learning_rate=0.001, or remove {owner}"
        )


def check_layers(layers: Collection[str] | None, available: Collection[str]) -> None:
    """Raise a ValueError, with the nearest names, if a requested layer does not exist."""
    for name in layers or ():
        if name not in available:
            close = difflib.get_close_matches(name, available, n=3)
            known = [*close, "..."] if close else [*available][:20]
            raise ValueError(f"layers must name layers of the model (got {name!r}): there are {', '.join(known)}")


def to_host(array: Any) -> Array:
    """Return a copy of any framework's array in host memory; as float32 if NumPy has no such type."""
    framework = frameworks.of(type(array))
    return np.array(array) if framework is None else framework.to_host(array)
