"""The states of the random generators that belong to no framework: Python's own and NumPy's global one.

Loops draw their order of samples from them, `keras.utils.set_random_seed` seeds them, and on some of Keras's back ends
`fit` shuffles by NumPy's.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np


def generators_state() -> dict[str, Any]:
    """Return the states, as JSON values and arrays."""
    version, words, gauss = random.getstate()
    return {
        "python": {"version": version, "words": np.array(words, np.uint64), "gauss": gauss},
        "numpy": dict(np.random.get_state(legacy=False)),  # noqa: NPY002 # the global one is meant
    }


def load_generators_state(state: Mapping[str, Any]) -> None:
    """Go on from what `generators_state` returned.

    Raises:
        TypeError: It is no such state.
        ValueError: It is that of another generator.
        KeyError: It lacks a part.
    """
    python = state["python"]
    random.setstate((python["version"], tuple(int(word) for word in python["words"]), python["gauss"]))
    np.random.set_state(dict(state["numpy"]))  # noqa: NPY002
