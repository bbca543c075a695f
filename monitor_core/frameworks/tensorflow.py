"""TensorFlow: eager tensors never change, so they are kept as they are; many are stacked and fetched as one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray


def is_array(kind: type) -> bool:
    """Answer whether values of this type are eager tensors; variables are not, because they change."""
    return kind.__name__ == "EagerTensor"


def keep(value: Any) -> Any:
    """Return the tensor itself.

    Raises:
        ValueError: It has more or fewer than one element.
    """
    shape = value.shape
    if shape.rank and shape.num_elements() != 1:
        raise ValueError("it has more or fewer than one element")
    return value


def is_ready(value: Any) -> bool:
    """Answer True: TensorFlow does not tell."""
    return True


def fetch(values: Sequence[Any]) -> NDArray[Any]:
    """Fetch tensors of one element and one type, ``(n,)``: 2.2 us each, and no more waits than one."""
    stacked: NDArray[Any] = sys.modules["tensorflow"].stack(values).numpy()
    return stacked.reshape(len(values))
