"""The states of the random generators outside the frameworks: Python's own and NumPy's global one.

Loops draw their order of samples from them, `keras.utils.set_random_seed` seeds them, and on some of Keras's backends
`fit` shuffles with NumPy's.
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
    """Restore what `generators_state` returned.

    Raises:
        TypeError: It is not such a state.
        ValueError: It is the state of another generator.
        KeyError: It lacks a part.
    """
    python = state["python"]
    random.setstate((python["version"], tuple(int(word) for word in python["words"]), python["gauss"]))
    np.random.set_state(dict(state["numpy"]))  # noqa: NPY002
