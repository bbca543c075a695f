"""Columns of numbers as the page holds them: base64 of gzipped, byte-shuffled, little-endian values.

Contract. Values are float32 with 21 of its 23 bits of precision, six digits: bits are what noise takes, and a chart
shows four digits. A column with values that float32 cannot hold is float64 of the same precision. Steps and epochs are
exact. What has a fixed distance takes no space.
"""

from __future__ import annotations

import base64
import gzip
from typing import Any

import attrs
import numpy as np
from numpy.typing import ArrayLike, NDArray

_LARGEST, _EXACT = 2**32, 2**53
_FLOAT32 = np.finfo(np.float32)
_MOST = float(np.finfo(np.float64).max) / 8
"""The largest value: a chart's range, with its margins, is finite."""
_DROPPED_BITS = {"f4": 2, "f8": 31}


def encoded(values: NDArray[Any]) -> str:
    """Return an array of numbers as text; bytes of equal significance lie together, which halves some of them."""
    shuffled = np.ascontiguousarray(values.view(np.uint8).reshape(-1, values.itemsize).T)
    return base64.b64encode(gzip.compress(shuffled.tobytes(), 6, mtime=0)).decode("ascii")


def _kind_for(values: NDArray[np.float64]) -> str:
    """Return the smallest kind of float that holds values: within float32's range, unless they are zero."""
    sizes = np.abs(values[np.isfinite(values) & (values != 0)])
    is_narrow = not len(sizes) or (sizes.min() >= _FLOAT32.smallest_normal and sizes.max() <= _FLOAT32.max)
    return "f4" if is_narrow else "f8"


def _rounded(values: NDArray[Any]) -> NDArray[Any]:
    """Return floats whose last bits are zero, rounded to the nearest."""
    size, dropped = values.itemsize, _DROPPED_BITS[f"f{values.itemsize}"]
    unsigned = np.dtype(f"<u{size}")
    half, mask = unsigned.type(1 << (dropped - 1)), unsigned.type(2 ** (8 * size) - (1 << dropped))
    rounded = ((values.view(unsigned) + half) & mask).view(f"<f{size}")
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
        kind = _kind_for(exact)
        limited = np.where(np.isfinite(exact), np.clip(exact, -_MOST, _MOST), exact)
        return self._store(_rounded(limited.astype(f"<{kind}")), kind)

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
