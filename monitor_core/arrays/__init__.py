"""What each framework's values need: how to keep one safe without a wait, and how to fetch many of them cheaply.

Contract. A framework is known by the module of a value's type alone, and imported by nothing here: who made the
values has imported it. ``keep`` is called on the thread that trains and never waits for a device. ``fetch`` may wait,
and may raise anything where the values are not alike: the caller then converts them one by one.
"""

from __future__ import annotations

from types import ModuleType

from monitor_core.arrays import jax, tensorflow, torch

_found: dict[type, ModuleType | None] = {}


def framework_of(kind: type) -> ModuleType | None:
    """Return the module for values of this type, None for all that are no framework's arrays."""
    if kind not in _found:
        _found[kind] = next((each for each in (jax, tensorflow, torch) if each.is_array(kind)), None)
    return _found[kind]
