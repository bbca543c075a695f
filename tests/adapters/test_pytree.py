"""The handle of a pytree: names, files and leaves, with and without JAX."""

import dataclasses
from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np
import pytest

from monitor_core.adapters.pytree import PytreeModel


class Pair(NamedTuple):
    """Such as an optimizer's state in JAX."""

    mu: Any
    nu: Any


def tree(offset=0.0):
    return {
        "params": OrderedDict(dense=[np.arange(3.0) + offset, np.float32(1.5 + offset)], bias=np.ones((2, 2)) + offset),
        "optimizer": (Pair(np.zeros(2) + offset, None), 3 + int(offset), {"rate": 0.5 + offset}),
    }


def handle(state):
    return PytreeModel(lambda: state, state.update)


def test_leaves_have_paths_for_names():
    """Dicts are gone through by sorted keys, as in JAX, lists by position, named tuples by field."""
    assert [name for name, _ in handle(tree()).weights()] == [
        "optimizer/0/mu",
        "optimizer/1",
        "optimizer/2/rate",
        "params/bias",
        "params/dense/0",
        "params/dense/1",
    ]


def test_a_file_brings_the_tree_back(tmp_path):
    """What was saved comes back with the containers, types and values that it had."""
    handle(tree(offset=1.0)).save(tmp_path / "a.ckpt")
    state = tree()
    handle(state).load(tmp_path / "a.ckpt")
    expected = tree(offset=1.0)
    np.testing.assert_equal(state, expected)
    assert type(state["params"]) is OrderedDict
    assert list(state["params"]) == ["dense", "bias"]
    assert isinstance(state["optimizer"][0], Pair)
    assert type(state["optimizer"][1]) is int


def test_the_file_of_another_tree_is_refused(tmp_path):
    """Other names or shapes are an error, and the tree stays as it is."""
    handle({"a": np.ones(2)}).save(tmp_path / "a.npz")
    state = {"b": np.zeros(2)}
    with pytest.raises(ValueError, match=r"a\.npz must hold the arrays b \(got a\)"):
        handle(state).load(tmp_path / "a.npz")
    other = {"a": np.zeros(3)}
    with pytest.raises(ValueError, match=r"weights\[0\] must have the shape \(3,\) \(got \(2,\)\)"):
        handle(other).load(tmp_path / "a.npz")
    assert state["b"].tolist() == [0, 0]


def test_the_number_of_arrays_must_be_the_trees():
    """Too few weights are an error."""
    with pytest.raises(ValueError, match=r"weights must have the tree's 6 arrays \(got 1\)"):
        handle(tree()).set_weights([np.zeros(1)])


def test_weights_are_copies():
    """What is handed out does not change with the tree."""
    state = {"a": np.zeros(2)}
    before = handle(state).get_weights()
    state["a"] += 1
    assert before[0].tolist() == [0, 0]


def test_jax_arrays_that_are_set_compile_nothing_again():
    """They have the leaf's weak type and its devices, on which a compiled function depends."""
    jax = pytest.importorskip("jax")
    committed = jax.device_put(jax.numpy.ones(2), jax.devices()[0])
    state = {"weak": jax.numpy.asarray(0.5), "free": jax.numpy.ones(2), "committed": committed}
    traces = []
    step = jax.jit(lambda tree: (traces.append(tree), tree)[1])
    model = handle(state)
    step(state)
    model.set_weights(model.get_weights())
    step(state)
    assert len(traces) == 1
    assert [state["weak"].weak_type, state["free"].committed, state["committed"].committed] == [True, False, True]


def test_jax_arrays_and_registered_containers_come_back(tmp_path):
    """JAX's arrays keep their dtype, bfloat16 too, and containers registered with JAX are gone through."""
    jax = pytest.importorskip("jax")

    @jax.tree_util.register_dataclass
    @dataclasses.dataclass
    class State:
        count: int
        params: dict

    state = {"s": State(3, {"w": jax.numpy.ones(2, "bfloat16"), "b": jax.numpy.zeros(())})}
    handle(state).save(tmp_path / "a.npz")
    state["s"] = State(0, {"w": jax.numpy.zeros(2, "bfloat16"), "b": jax.numpy.ones(())})
    handle(state).load(tmp_path / "a.npz")
    back = state["s"]
    assert (type(back), back.count, back.params["w"].tolist(), float(back.params["b"])) == (State, 3, [1.0, 1.0], 0.0)
    assert isinstance(back.params["w"], jax.Array)
    assert back.params["w"].dtype == "bfloat16"
