"""The state of a data loader as JSON values and NumPy arrays, and back: tuples, bytes, tensors, keys of any kind."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import numpy as np

from monitor_core import frameworks

_KIND = "#"
"""The key that marks what JSON and NumPy do not have."""


def encoded(value: Any) -> Any:
    """Return a value as JSON values and NumPy arrays.

    Raises:
        TypeError: It holds something else.
    """
    if value is None or isinstance(value, (bool, int, float, str, np.ndarray)):
        return value
    encode = _ENCODERS.get(type(value))
    if encode is not None:
        return encode(value)
    framework = frameworks.of_arrays(type(value))
    if framework is None:
        raise TypeError(f"it holds a {type(value).__name__}")
    return {_KIND: "array", "value": [framework.name, framework.to_host(value)]}


def _encoded_dict(value: dict[Any, Any]) -> dict[str, Any]:
    if all(isinstance(key, str) and key != _KIND for key in value):
        return {key: encoded(each) for key, each in value.items()}
    return {_KIND: "dict", "value": [[encoded(key), encoded(each)] for key, each in value.items()]}


_ENCODERS: dict[type, Callable[[Any], Any]] = {
    bytes: lambda value: {_KIND: "bytes", "value": base64.b64encode(value).decode("ascii")},
    tuple: lambda value: {_KIND: "tuple", "value": [encoded(each) for each in value]},
    list: lambda value: [encoded(each) for each in value],
    dict: _encoded_dict,
}


def decoded(value: Any) -> Any:
    """Return what `encoded` encoded.

    Raises:
        ValueError: It is of an unknown kind, or of a framework that is not imported.
    """
    if isinstance(value, list):
        return [decoded(each) for each in value]
    if not isinstance(value, dict):
        return value
    if _KIND not in value:
        return {key: decoded(each) for key, each in value.items()}
    decode = _DECODERS.get(value[_KIND])
    if decode is None:
        raise ValueError(f"the state of the data has a value of an unknown kind {value[_KIND]!r}")
    return decode(value["value"])


_DECODERS: dict[str, Callable[[Any], Any]] = {
    "bytes": base64.b64decode,
    "tuple": lambda value: tuple(decoded(each) for each in value),
    "dict": lambda value: {decoded(key): decoded(each) for key, each in value},
    "array": lambda value: frameworks.named(value[0]).from_host(value[1]),
}
