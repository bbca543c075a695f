"""Copies of sinks: each records and decides for itself."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import attrs

T = TypeVar("T")


def independent_copy(sink: T) -> T:
    """Return a sink of the same options with a state of its own, for the ``__copy__`` of sinks that are attrs classes.

    Options are shared, as `copy.copy` does, so that a stream or a function may be one; what the sink has seen is not.

    Args:
        sink: The sink; one that a run uses may have what cannot be copied.
    """
    new = type(sink).__new__(type(sink))
    new.__dict__.update(sink.__dict__)
    known: dict[int, Any] = {}
    for field in attrs.fields(type(sink)):  # type: ignore[arg-type]
        value = getattr(sink, field.name)
        object.__setattr__(new, field.name, value if field.init else copy.deepcopy(value, known))
    return new
