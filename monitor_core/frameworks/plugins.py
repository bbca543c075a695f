"""Frameworks that other packages add, found by entry points.

An entry point of the group ``monitor_core.frameworks`` is named after the top-level package of the types that it is
for, and refers to a `Framework` object. It is loaded when the first value or model of that package appears, never
before. One that cannot be loaded is named in one warning and left out.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from monitor_core._log import logger
from monitor_core.frameworks.base import Framework

if TYPE_CHECKING:
    from importlib import metadata

GROUP = "monitor_core.frameworks"

_loaded: dict[str, Framework | None] = {}


def loaded() -> list[Framework]:
    """Return the frameworks that were loaded."""
    return [each for each in _loaded.values() if each is not None]


def of_package(package: str) -> Framework | None:
    """Return the framework for types of a top-level package, None if there is none, or it is broken."""
    if package not in _loaded:
        try:
            entry = _entries().get(package)
        except Exception:  # such as too many open files; the next type tries again
            return None
        _loaded[package] = None if entry is None else _load(package, entry)
    return _loaded[package]


def _load(package: str, entry: metadata.EntryPoint) -> Framework | None:
    try:
        return _checked(entry.load())
    except Exception as error:
        logger.warning(
            "the entry point %r of %s cannot be used, so values of %r are converted one by one: %s: %s",
            entry.value,
            entry.dist.name if entry.dist else "a package",
            package,
            type(error).__name__,
            error,
        )
        return None


def _checked(found: object) -> Framework:
    if not isinstance(found, Framework):
        raise TypeError(f"it is {found!r}, and not a Framework object")
    return found


@cache
def _entries() -> dict[str, metadata.EntryPoint]:
    """Return the entry points by name; reading them takes milliseconds, and so does the import."""
    from importlib import metadata

    return {entry.name: entry for entry in metadata.entry_points(group=GROUP)}
