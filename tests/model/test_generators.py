"""The random generators of Python and NumPy."""

import random

import numpy as np
import pytest

from monitor_core.files.state import load_state, save_state
from monitor_core.model.generators import generators_state, load_generators_state


def drawn():
    return [random.random(), random.gauss(0, 1), *np.random.normal(size=3), np.random.permutation(9).tolist()]  # noqa: NPY002


@pytest.mark.parametrize("draws", [0, 1, 400])
def test_restored_states_draw_the_same_numbers(tmp_path, draws):
    """States survive a file, even between the two numbers of a Gaussian pair."""
    for _ in range(draws):
        random.gauss(0, 1), np.random.normal()  # noqa: NPY002
    save_state(tmp_path / "state.json", generators_state())
    first = drawn()
    load_generators_state(load_state(tmp_path / "state.json"))
    assert drawn() == first
