"""Convert arrays of any framework's dtypes to the two that NumPy is fast with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def real_numbers(array: Any) -> NDArray[np.floating]:
    """Return an array as ``float32`` or ``float64``, without a copy if it is one of these.

    Numbers of up to two bytes become float32, which represents them exactly, JAX's bfloat16 included.

    Raises:
        TypeError: It is not an array of real numbers.
    """
    values = np.asarray(array)
    kind = values.dtype
    if kind in (np.float32, np.float64):
        return values
    if kind.kind not in "fbiuV":
        raise TypeError(f"array must have real numbers (got {kind})")
    try:  # "V" is the kind of bfloat16, and of records too
        return values.astype(np.float32 if kind.itemsize <= 2 else np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"array must have real numbers (got {kind})") from None
