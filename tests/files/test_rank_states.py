"""What each rank has of its own in a state that rank 0 saves for all."""

import random

import numpy as np
import pytest

from monitor_core.files.rank_states import joined, of_rank, own_part
from monitor_core.files.state import parse_state, state_bytes
from monitor_core.model.generators import generators_state


class Model:
    """A handle whose ranks have a number each."""

    def __init__(self, number):
        self.number = number

    def rank_state(self):
        return {"own": np.array([self.number])}


def saved(ranks):
    """Return a state that so many ranks have saved, each with its own number, generator and position."""
    parts = []
    for rank in range(ranks):
        random.seed(rank)
        parts.append(own_part(Model(rank), [{"taken": rank}]))
    state = {"state": {"run": {"step": 7, "data": [{"taken": 0}]}, "sinks": []}, "training": {"own": 0, "shared": 1}}
    return {**state, "generators": generators_state(), "ranks": joined(ranks, parts)}


@pytest.mark.parametrize("rank", [0, 1])
def test_each_of_as_many_ranks_continues_with_its_own(rank):
    """Its position in the data, its generators, and what its model has; the rest is that of all."""
    found = of_rank(saved(2), Model(9), rank, 2)
    assert found["state"]["run"] == {"step": 7, "data": [{"taken": rank}]}
    assert found["training"] == {"own": np.array([rank]), "shared": 1}
    random.seed(rank)
    assert found["generators"]["python"]["words"].tolist() == generators_state()["python"]["words"].tolist()


@pytest.mark.parametrize(("before", "now", "rank"), [(2, 3, 0), (2, 3, 2), (3, 1, 0)])
def test_on_another_number_of_ranks_the_first_says_what_cannot_be_kept(caplog, before, now, rank):
    """All read their data from the beginning; only rank 0 gets generators."""
    found = of_rank(saved(before), Model(9), rank, now)
    assert found["state"]["run"] == {"step": 7, "data": None}
    assert (found["generators"] is None) == (rank > 0)
    assert found["training"] == {"own": 0 if rank == 0 else np.array([9]), "shared": 1}
    said = [f"saved by {before} ranks and continues on {now}" in each for each in caplog.messages]
    assert said == [True] * (rank == 0)


def test_the_state_of_one_process_is_not_changed():
    """As all states were before there were several ranks."""
    state = {"state": {"run": {"step": 7, "data": [1]}}, "training": None, "generators": {"python": 1}}
    assert of_rank(state, None, 0, 1) == state


def test_a_state_survives_as_bytes():
    """With arrays, and floats that are not finite."""
    state = {"array": np.arange(3, dtype=np.uint8), "list": [float("inf"), "NaN", None, {"nested": np.float64(0.1)}]}
    found = parse_state(state_bytes(state))
    assert found["array"].dtype == np.uint8
    assert found["array"].tolist() == [0, 1, 2]
    assert found["list"] == state["list"]
    with pytest.raises(TypeError, match="state"):
        state_bytes({"file": object()})
