"""Names of metrics that a tracker does not accept, mapped to names that it does."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable


class Names:
    """Maps names so that no two become one; a name that is accepted stays as it is.

    Args:
        accepted: Returns the nearest name that the tracker accepts, which is the name itself if it does.
        on_change: Called once, with the first names that were changed, and what they became.
        reserved: Names that a metric must not get, because the tracker's sink uses them itself.
    """

    def __init__(
        self, accepted: Callable[[str], str], on_change: Callable[[str], object], *, reserved: Iterable[str] = ()
    ) -> None:
        self._accepted = accepted
        self._on_change = on_change
        self._names: dict[str, str] = {}
        self._taken = set(reserved)
        self._told = False

    def of(self, names: Iterable[str]) -> dict[str, str]:
        """Return the tracker's name for each of these."""
        changed = []
        for name in names:
            if name not in self._names:
                self._names[name] = found = self._new(name)
                if found != name:
                    changed.append(f"{name!r} becomes {found!r}")
        if changed and not self._told:
            self._told = True
            self._on_change(", ".join(changed[:5]) + (f" and {len(changed) - 5} more" if len(changed) > 5 else ""))
        return self._names

    def _new(self, name: str) -> str:
        found = self._accepted(name)
        if found in self._taken:
            found = f"{found[:230]}_{zlib.crc32(name.encode()):08x}"
        self._taken.add(found)
        return found
