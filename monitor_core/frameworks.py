"""Which handle lends which framework's models, for functions that take a model itself.

Contract. Whoever puts the package together enters the handles, by name; here and in what asks, no framework and no
adapter is known. An adapter is imported when a model of its framework is handed over, so that the framework is there.
"""

from __future__ import annotations

import pkgutil
from typing import Any

from monitor_core.handles import ModelHandle

_handles: dict[str, str] = {}


def register_handle(model: str, handle: str) -> None:
    """Enter the handle of a framework's models.

    Args:
        model: The full name of their base class, such as ``torch.nn.modules.module.Module``.
        handle: What makes a handle of a model, as ``module:name``.
    """
    _handles[model] = handle


def handle_of(model: Any) -> ModelHandle:
    """Return a handle that lends a framework's model.

    Raises:
        TypeError: It is no model of a framework whose handle is known.
    """
    for base in type(model).__mro__:
        name = f"{base.__module__}.{base.__qualname__}"
        if name in _handles:
            return pkgutil.resolve_name(_handles[name])(model)
    raise TypeError(f"model must be a handle or a model of Keras or PyTorch (got {model!r})")
