"""Frameworks: one module for each, with what its arrays and models are; found by type, never imported first.

In: a value or a model of some framework. Out: the module that knows how to keep and fetch such values, or the handle
for such models. A framework is recognized by the module of a value's type alone: whoever made the value has imported
it. ``keep`` is called on the training thread and never waits for a device. ``fetch`` may wait, and may raise anything
where the values are not alike: the caller then converts them one by one. Private.
"""

from __future__ import annotations

import pkgutil
from types import ModuleType
from typing import Any

from monitor_core.frameworks import jax, tensorflow, torch

_found: dict[type, ModuleType | None] = {}
_handles: dict[str, str] = {}


def framework_of(kind: type) -> ModuleType | None:
    """Return the module for values of this type, None for all that are not a framework's arrays."""
    if kind not in _found:
        _found[kind] = next((each for each in (jax, tensorflow, torch) if each.is_array(kind)), None)
    return _found[kind]


def register_handle(model: str, handle: str) -> None:
    """Register the handle of a framework's models.

    Args:
        model: The full name of their base class, such as ``torch.nn.modules.module.Module``.
        handle: What makes a handle of a model, as ``module:name``. It is imported with the first such model.
    """
    _handles[model] = handle


def handle_of(model: Any) -> Any:
    """Return a handle for a framework's model.

    Raises:
        TypeError: It is not a model of a framework whose handle is known.
    """
    for base in type(model).__mro__:
        name = f"{base.__module__}.{base.__qualname__}"
        if name in _handles:
            return pkgutil.resolve_name(_handles[name])(model)
    raise TypeError(f"model must be a handle or a model of Keras or PyTorch (got {model!r})")
