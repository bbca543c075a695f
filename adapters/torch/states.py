"""The states of optimizers and schedulers as JSON values and host arrays, and back, without changes.

Types that JSON lacks become a dict with one of the marks below: tuples, counters, dicts with keys other than strings,
and non-finite floats.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
import torch

from monitor_core.model.handles import to_host

_TUPLE, _COUNTER, _ITEMS, _FLOAT = "__tuple__", "__counter__", "__items__", "__float__"
_DECODERS: dict[str, Callable[[Any], Any]] = {_TUPLE: tuple, _COUNTER: lambda items: Counter(dict(items)), _ITEMS: dict}


def encoded(value: Any, where: str) -> Any:
    """Return a state as JSON values and host arrays.

    Args:
        value: The state: numbers, strings, tensors and arrays, in dicts, tuples and lists.
        where: The name of the object whose state it is, for the error.

    Raises:
        TypeError: It holds another type.
    """
    if isinstance(value, torch.Tensor):
        return to_host(value)
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, Mapping):
        return _encoded_mapping(value, where)
    if isinstance(value, tuple):
        return {_TUPLE: [encoded(each, where) for each in value]}
    if isinstance(value, list):
        return [encoded(each, where) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {_FLOAT: str(value)}
    if value is None or isinstance(value, (bool, int, float, str, np.ndarray)):
        return value
    raise TypeError(f"{where} must be numbers, strings and tensors to be saved (got {type(value).__name__})")


def _encoded_mapping(value: Mapping[Any, Any], where: str) -> dict[str, Any]:
    items = [(name, encoded(each, f"{where}'s {name}")) for name, each in value.items()]
    if not isinstance(value, Counter) and all(isinstance(name, str) for name, _ in items):
        return dict(items)
    return {_COUNTER if isinstance(value, Counter) else _ITEMS: [list(item) for item in items]}


def decoded(value: Any) -> Any:
    """Return the state before `encoded`; arrays become tensors."""
    if isinstance(value, np.ndarray):
        return torch.tensor(value)
    if isinstance(value, list):
        return [decoded(each) for each in value]
    if not isinstance(value, Mapping):
        return value
    if _FLOAT in value:
        return float(value[_FLOAT])
    for mark, decode in _DECODERS.items():
        if mark in value:
            return decode(decoded(value[mark]))
    return {name: decoded(each) for name, each in value.items()}


def check_names(kind: str, own: Collection[str], saved: Collection[str]) -> None:
    """Raise a ValueError if a state belongs to other optimizers, or schedulers, than the handle's."""
    if set(own) != set(saved):
        raise ValueError(f"state must have {_words(kind, own)}, as this handle has (got {_words(kind, saved)})")


def _words(kind: str, names: Collection[str]) -> str:
    if list(names) in ([], [kind]):
        return f"one {kind}" if names else f"no {kind}"
    return f"the {kind}s {', '.join(names)}"
