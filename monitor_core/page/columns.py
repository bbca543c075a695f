"""Columns of numbers as the page holds them: base64 of gzipped, byte-shuffled, little-endian values of 32 bits.

Contract. Values are float32 with 21 of its 23 bits of precision, six digits: bits are what noise takes, and a chart
shows four digits. Steps and epochs are exact. What has a fixed distance takes no space.
"""

from __future__ import annotations

import base64
import gzip
from typing import Any

import attrs
import numpy as np
from numpy.typing import ArrayLike, NDArray

_LARGEST, _EXACT = 2**32, 2**53
_FLOAT32_MAX = float(np.finfo(np.float32).max)
_DROPPED_BITS = 2


def encoded(values: NDArray[Any]) -> str:
    """Return an array of 4-byte values as text; bytes of equal significance lie together, which halves some of them."""
    shuffled = np.ascontiguousarray(values.view(np.uint8).reshape(-1, 4).T)
    return base64.b64encode(gzip.compress(shuffled.tobytes(), 6, mtime=0)).decode("ascii")


def _rounded(values: NDArray[Any]) -> NDArray[Any]:
    """Return float32 values whose last bits are zero, rounded to the nearest."""
    bits = values.view("<u4")
    half, mask = np.uint32(1 << (_DROPPED_BITS - 1)), np.uint32(2**32 - (1 << _DROPPED_BITS))
    rounded = ((bits + half) & mask).view("<f4")
    return np.where(np.isfinite(rounded) & np.isfinite(values), rounded, values)


@attrs.frozen
class Columns:
    """The columns of one page.

    Attributes:
        texts: Each stored column, as `encoded`; a column's number is its place.
    """

    texts: list[str] = attrs.field(factory=list)
    _known: dict[bytes, dict[str, Any]] = attrs.field(factory=dict)

    def add(self, values: ArrayLike) -> dict[str, Any]:
        """Add values, ``(n,)``; return the column's description for the page."""
        exact = np.asarray(values, np.float64)
        limited = np.where(np.isfinite(exact), np.clip(exact, -_FLOAT32_MAX, _FLOAT32_MAX), exact)
        return self._store(_rounded(limited.astype("<f4")), "f4")

    def add_numbers(self, numbers: ArrayLike) -> dict[str, Any]:
        """Add steps or epochs, ``(n,)`` whole numbers; return the column's description for the page."""
        exact = np.asarray(numbers, np.int64)
        if len(exact) and max(int(exact.max()), -int(exact.min())) > _EXACT:
            return self.add(exact)
        if len(exact) < 3 or (np.diff(exact, 2) == 0).all():
            stride = int(exact[1] - exact[0]) if len(exact) > 1 else 1
            return {"first": int(exact[0]) if len(exact) else 0, "stride": stride, "count": len(exact)}
        if exact.min() < 0 or exact.max() >= _LARGEST:
            return self.add(exact)
        return self._store(exact.astype("<u4"), "u4")

    def _store(self, values: NDArray[Any], kind: str) -> dict[str, Any]:
        key = kind.encode() + values.tobytes()
        if key not in self._known:
            self._known[key] = {"id": len(self.texts), "type": kind, "count": len(values)}
            self.texts.append(encoded(values))
        return self._known[key]
