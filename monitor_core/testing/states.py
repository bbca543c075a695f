"""Comparing states: JSON values and arrays, nested, where NaN equals NaN."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from monitor_core.files.state import load_state, save_state


def through_a_file(state: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return a state as a restart gets it: written to a file and read again.

    Raises:
        TypeError: It holds more than JSON values and arrays; the message says where.
    """
    path = folder / "monitor_core_contract_state.json"
    save_state(path, state)
    return load_state(path)


def differences(one: Any, other: Any, place: str = "state") -> list[str]:
    """Return where two states differ; none if they are equal, with lists and tuples taken as one."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        if one.keys() != other.keys():
            return [f"{place} has the keys {sorted(one)} and {sorted(other)}"]
        return [each for key in one for each in differences(one[key], other[key], f"{place}[{key!r}]")]
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        if len(one) != len(other):
            return [f"{place} has {len(one)} and {len(other)} items"]
        pairs = enumerate(zip(one, other, strict=True))
        return [each for number, pair in pairs for each in differences(*pair, f"{place}[{number}]")]
    return [] if _equal(one, other) else [f"{place} is {one!r} and {other!r}"]


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.array_equal(one, other, equal_nan=np.asarray(one).dtype.kind in "fc")
    return bool(one == other) or (one != one and other != other)  # noqa: PLR0124 - NaN
