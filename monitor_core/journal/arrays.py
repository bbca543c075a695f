"""Named arrays as a journal holds them: what a model looks like inside at some step, such as statistics of its layers.

Layout, all little-endian: the bytes of the head (uint32), the head as JSON (what the arrays are, where they belong, and
each one's name, type and shape), then the arrays' bytes, one after the other.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

_SIZE = struct.Struct("<I")
_TYPES = {"<f8", "<f4", "<i8", "<i4", "<u2", "|u1", "|b1"}


@attrs.frozen(eq=False)
class Arrays:
    """Arrays of one step.

    Attributes:
        what: What they are, such as ``"layers"`` or ``"histograms"``.
        epoch: The epoch they belong to, 0-based.
        step: The step they belong to.
        time: When they were recorded, seconds since 1970.
        about: What else is known of them, as JSON values, such as the names of layers.
        arrays: The arrays, by name.
    """

    what: str
    epoch: int
    step: int
    time: float
    about: dict[str, Any]
    arrays: dict[str, NDArray[Any]]


def encode_arrays(content: Arrays) -> bytes:
    """Return arrays as a journal holds them.

    Raises:
        TypeError: An array is of a type that is not stored.
    """
    stored = {name: np.ascontiguousarray(array) for name, array in content.arrays.items()}
    for name, array in stored.items():
        if array.dtype.str not in _TYPES:
            raise TypeError(
                f"arrays must be of float64, float32, int64, int32, uint16, uint8 or bool (got {name!r}: {array.dtype})"
            )
    head = {
        "what": content.what,
        "epoch": content.epoch,
        "step": content.step,
        "time": content.time,
        "about": content.about,
        "arrays": [[name, array.dtype.str, list(array.shape)] for name, array in stored.items()],
    }
    text = json.dumps(head, separators=(",", ":")).encode("ascii")
    return b"".join((_SIZE.pack(len(text)), text, *(array.tobytes() for array in stored.values())))


def parse_arrays(payload: memoryview) -> Arrays:
    """Return what `encode_arrays` encoded.

    Raises:
        ValueError: The bytes are not arrays that `encode_arrays` encoded.
    """
    try:
        size = _SIZE.unpack_from(payload)[0]
        head = json.loads(bytes(payload[_SIZE.size : _SIZE.size + size]))
        arrays = _arrays(payload[_SIZE.size + size :], head.pop("arrays"))
        return _checked(Arrays(**head, arrays=arrays))
    except (LookupError, TypeError, ValueError, RecursionError, struct.error) as error:
        raise ValueError(f"the arrays cannot be read ({type(error).__name__}: {error})") from None


def _arrays(data: memoryview, shapes: list[Any]) -> dict[str, NDArray[Any]]:
    position, arrays = 0, {}
    for name, kind, shape in shapes:
        arrays[str(name)], position = _array(data, position, kind, shape)
    if position != len(data):
        raise ValueError(f"{len(data) - position} bytes are left")
    return arrays


def _array(payload: memoryview, position: int, kind: str, shape: list[int]) -> tuple[NDArray[Any], int]:
    if kind not in _TYPES or not all(type(each) is int and each >= 0 for each in shape):
        raise ValueError(f"an array of type {kind!r} and shape {shape!r}")
    end = position + math.prod(shape) * np.dtype(kind).itemsize
    if end > len(payload):
        raise ValueError("an array is incomplete")
    array = np.frombuffer(payload[position:end], kind).reshape(shape)
    return array, end


def _checked(content: Arrays) -> Arrays:
    if not (isinstance(content.what, str) and type(content.epoch) is int and type(content.step) is int):
        raise TypeError("their place is not known")
    if not isinstance(content.about, Mapping) or not isinstance(content.time, (int, float)):
        raise TypeError("their description is damaged")
    return content
