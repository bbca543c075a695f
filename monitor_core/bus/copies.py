"""Copies of sinks: each records and decides for itself."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import attrs

T = TypeVar("T")


def independent_copy(sink: T) -> T:
    """Return a sink with the same options and fresh state, for the ``__copy__`` of sinks that are attrs classes.

    Options are shared, as with `copy.copy`, so an option may be a stream or a function; recorded state is not shared.

    Args:
        sink: The sink; it need not be picklable or deep-copyable.
    """
    new = type(sink).__new__(type(sink))
    new.__dict__.update(sink.__dict__)
    known: dict[int, Any] = {}
    for field in attrs.fields(type(sink)):  # type: ignore[arg-type]
        value = getattr(sink, field.name)
        object.__setattr__(new, field.name, value if field.init else copy.deepcopy(value, known))
    return new
