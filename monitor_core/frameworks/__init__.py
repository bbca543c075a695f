"""Frameworks: one module for each, with all that the package knows of it; found by type, never imported here.

Input: a value, a model, a dataset or a handle of a framework. Output: the `Framework` that knows how to keep and fetch
such values, make a handle of such a model, read such data, profile. A framework is recognized only by the modules of a
value's type: the code that made the value has imported it. To add one, write a module with a subclass of `Framework`
next to these, add it to `ALL`, and write its adapter; or, in a package of its own, name it by an entry point, see
`monitor_core.frameworks.plugins`. Public for authors: `monitor_core.frameworks.base.Framework`.
"""

from __future__ import annotations

import os
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

from numpy.typing import NDArray

from monitor_core.frameworks import plugins
from monitor_core.frameworks.base import Framework, bases
from monitor_core.frameworks.flax import FLAX
from monitor_core.frameworks.jax import JAX
from monitor_core.frameworks.keras import KERAS
from monitor_core.frameworks.lightgbm import LIGHTGBM
from monitor_core.frameworks.sklearn import SKLEARN
from monitor_core.frameworks.tensorflow import TENSORFLOW
from monitor_core.frameworks.torch import TORCH
from monitor_core.frameworks.xgboost import XGBOOST

ALL: tuple[Framework, ...] = (KERAS, JAX, TENSORFLOW, TORCH, XGBOOST, LIGHTGBM, SKLEARN, FLAX)
"""In the order in which they are checked: on some backends Keras's classes are also those of the backend."""

_OWN = {"builtins", "numpy", "abc", "collections", "monitor_core", "typing", ""}
"""Packages whose types are not a framework's."""

T = TypeVar("T")


def every() -> tuple[Framework, ...]:
    """Return all frameworks: those here, and those that other packages have added so far."""
    return (*ALL, *plugins.loaded())


def _cached(find: Callable[[type], T]) -> Callable[[type], T]:
    """Call a function once per type, since every value passes through it: `functools.cache`, which mypy cannot type."""
    found: Any = cache(find)
    return found  # type: ignore[no-any-return]


# --- values --------------------------------------------------------------------------------------------------------


@_cached
def of(kind: type) -> Framework | None:
    """Return the framework of a type or of one of its bases; None for all other types."""
    packages = {module.partition(".")[0] for module, _ in bases(kind)} - _OWN
    found = next((each for each in every() if packages & each.packages), None)
    return found or next(filter(None, map(plugins.of_package, sorted(packages))), None)


def named(name: str) -> Framework:
    """Return the framework of a name.

    Raises:
        ValueError: There is none, or it has not been imported.
    """
    found = next((each for each in every() if each.name == name and each.module is not None), None)
    if found is None:
        raise ValueError(f"{name!r} must be imported first: it made a value that is to be loaded")
    return found


@_cached
def of_arrays(kind: type) -> Framework | None:
    """Return the framework that keeps and fetches values of this type; None if they are not its arrays."""
    framework = of(kind)
    return framework if framework is not None and framework.is_array(kind) else None


@_cached
def is_symbolic(kind: type) -> bool:
    """Return whether values of this type are symbolic, such as traced ones."""
    framework = of(kind)
    return framework is not None and framework.is_symbolic(kind)


def why_no_metric(value: Any) -> str | None:
    """Return why a value that could not be converted is not a metric; None if its framework does not know."""
    framework = of(type(value))
    try:
        return None if framework is None else framework.why_no_metric(value)
    except Exception:  # a value that cannot be converted may raise anything when inspected
        return None


# --- models --------------------------------------------------------------------------------------------------------


def of_handle(handle: Any) -> Framework | None:
    """Return the framework of a handle's model; None if its attribute ``framework`` does not name one."""
    name = getattr(handle, "framework", None)
    return next((each for each in every() if each.name == name), None)


def of_model(model: Any) -> Framework | None:
    """Return the framework of which an object is a model; None for anything else."""
    of(type(model))  # which loads one that another package adds
    return next((each for each in every() if each.is_model(type(model))), None)


def handle_of(model: Any, optimizer: Any = None) -> Any:
    """Return a handle for a framework's model, and anything else unchanged.

    Args:
        model: The model, or a handle.
        optimizer: The optimizer of a model that does not have its own.

    Raises:
        TypeError: An optimizer is given with a handle, or with a model that has its own; or there are several models.
    """
    framework = of_model(model)
    if framework is None and (several := next(filter(None, map(of_model, _items(model))), None)) is not None:
        name = several.handle.rpartition(":")[2]
        raise TypeError(f"model must be one model or a handle (got a {type(model).__name__} of them): pass {name}(...)")
    if optimizer is not None and (framework is None or not framework.takes_optimizer):
        takers = " or ".join(each.title for each in every() if each.takes_optimizer)
        raise TypeError(f"optimizer is only for a model of {takers} (got the model {model!r}): leave it out")
    return model if framework is None else framework.make_handle(model, optimizer)


def _items(container: Any) -> Iterable[Any]:
    """Return the elements of a plain container; nothing for anything else."""
    if isinstance(container, Mapping):
        return container.values()
    return container if isinstance(container, (list, tuple)) else ()


def computing() -> Framework | None:
    """Return the framework of a loop without a model's handle, as far as the imported modules reveal it."""
    return next((each for each in (JAX, TORCH) if each.module is not None), None)


def container_of(tree: Any) -> tuple[Framework, list[Any]] | None:
    """Return the framework of a container, and its children; None for any other object."""
    for each in every():
        if each.module is not None and (children := each.children(tree)) is not None:
            return each, children
    return None


def weights_endings_for(name: str) -> tuple[str, ...]:
    """Return the required ending of a weights file if this name is that of a whole model's file; else nothing."""
    for each in every():
        if each.endings and name.endswith(each.endings) and not name.endswith(each.weights_endings):
            return each.weights_endings
    return ()


# --- data ----------------------------------------------------------------------------------------------------------


def batches_of(data: Any, count: int) -> Iterable[Any] | None:
    """Return the batches of a framework's dataset, each with at least its first ``count`` samples; None for other data.

    Args:
        data: Anything.
        count: How many samples will be used at most.

    Raises:
        TypeError: The dataset can be read only once.
    """
    framework = of(type(data))
    return None if framework is None else framework.batches(data, count)


def generators_state(data: Any) -> dict[str, list[NDArray[Any]]]:
    """Return the states of the random generators, by framework, that reading the data draws from."""
    present = {each.name: each.generators(data) for each in every() if each.module is not None}
    return {name: [each.read() for each in generators] for name, generators in present.items() if generators}


def load_generators_state(data: Any, state: Mapping[str, Sequence[NDArray[Any]]]) -> None:
    """Restore what `generators_state` returned for such data, for the frameworks that are imported."""
    for each in every():
        if each.module is not None:
            for generator, own in zip(each.generators(data), state.get(each.name, ()), strict=False):
                generator.load(own)


# --- processes -----------------------------------------------------------------------------------------------------


def ranks() -> tuple[int, int]:
    """Return this process's rank, from 0, in its job, and how many processes that has.

    A framework that has connected them is asked first; otherwise ``RANK`` and ``WORLD_SIZE`` are used, which torchrun
    and its like set.
    """
    for each in every():
        if each.module is not None and (found := each.ranks()) is not None:
            return found
    try:
        rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    except (LookupError, ValueError):
        return 0, 1
    return (rank, ranks) if 0 <= rank < ranks else (0, 1)


# --- callbacks, versions -------------------------------------------------------------------------------------------


def whose_callback(value: Any) -> Framework | None:
    """Return the framework of which an object is a callback, judging by its class; None for anything else."""
    return next(
        (
            each
            for each in every()
            if each.callback_members and all(hasattr(type(value), name) for name in each.callback_members)
        ),
        None,
    )


def as_sink(value: Any) -> Any:
    """Return a sink that calls a framework's callback, if this is one that can be used in any loop; else the value."""
    framework = next((each for each in every() if each.callback_sink and each.is_callback(type(value))), None)
    return value if framework is None else pkgutil.resolve_name(framework.callback_sink)(value)


def asked_by(name: str) -> Framework | None:
    """Return the framework that requires a member of this name of its callbacks; None if no framework does."""
    return next((each for each in every() if name in each.callback_members), None)


def versions() -> dict[str, str]:
    """Return the version of each framework that has been imported, by name."""
    return {each.name: version for each in every() if (version := each.version) is not None}
