"""The states of random generators: Python's own and NumPy's global one, and those that reading data draws from.

Loops draw their order of samples from the first two, `keras.utils.set_random_seed` seeds them, and on some of Keras's
backends `fit` shuffles with NumPy's. Reading data also draws from a framework's, and from those of a loader.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from monitor_core import frameworks


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


def reading_state(data: Any) -> dict[str, Any]:
    """Return the states of all generators that reading some data draws from; of None, of those that are global."""
    return {"own": generators_state(), "frameworks": frameworks.generators_state(data)}


def load_reading_state(data: Any, state: Mapping[str, Any]) -> None:
    """Restore what `reading_state` returned for such data; do nothing for an empty state."""
    if state:
        load_generators_state(state["own"])
        frameworks.load_generators_state(data, state["frameworks"])


@contextmanager
def generators_kept(data: Any) -> Iterator[None]:
    """Restore, on exit, all generators that reading some data draws from."""
    state = reading_state(data)
    try:
        yield
    finally:
        load_reading_state(data, state)
