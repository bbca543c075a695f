"""Checkpoints of arrays of JAX that are sharded over the processes, with Orbax."""

import shutil

import pytest
from ranks_support import CONTINUED, reports, run_ranks

pytest.importorskip("jax")
pytest.importorskip("orbax.checkpoint")

TRAINING = """
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from monitor_core.adapters.pytree import PytreeModel

mesh = jax.make_mesh((ranks,), ("rows",))

def spread(array, sharded):
    sharding = NamedSharding(mesh, PartitionSpec("rows") if sharded else PartitionSpec())
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

@jax.jit
def step(state, x):
    def loss(weights):
        return ((x @ weights["w"] + weights["b"]) ** 2).mean()
    value, gradient = jax.value_and_grad(loss)(state["weights"])
    velocity = jax.tree.map(lambda v, g: 0.9 * v + g, state["velocity"], gradient)
    weights = jax.tree.map(lambda w, v: w - 0.05 * v, state["weights"], velocity)
    return {"weights": weights, "velocity": velocity}, value

def build(sharded):
    random = np.random.default_rng(0)
    weights = {"w": random.normal(size=(12, 2)).astype("float32"), "b": np.zeros(2, "float32")}
    place = lambda tree: {name: spread(each, sharded and name == "w") for name, each in tree.items()}
    return {"weights": place(weights), "velocity": place(jax.tree.map(np.zeros_like, weights)), "scale": 2.0}

def train(folder, epochs, *sinks, sharded=True):
    state = build(sharded)
    x = spread(np.random.default_rng(1).normal(size=(8, 12)).astype("float32"), False)
    model = PytreeModel(lambda: state, state.update)
    with Loop(history := History(), *sinks, model=model, **(dict(resume=folder) if folder else {})) as loop:
        for epoch in loop.epochs(epochs):
            for _ in loop.batches(range(3)):
                new, loss = step({name: state[name] for name in ("weights", "velocity")}, x)
                state.update(new)
                loop.log(loss=loss.addressable_data(0))
    found = process_allgather(state["weights"]["w"], tiled=True) if ranks > 1 else np.asarray(state["weights"]["w"])
    losses = [round(each, 5) for each in history["loss"]]
    print("\\n" + json.dumps([loop.run.status, loop.run.step, losses, found.ravel().round(5).tolist()]), flush=True)
    return model, state

"""

LOADED = """
checkpoint = ModelCheckpoint("saved/{epoch}.npz", "loss", save_best_only=True, keep=Keep(best=1))
model, state = train(None, 2, checkpoint)
trained = np.asarray(state["weights"]["w"].addressable_data(0))
state.update(build(True))
checkpoint.load_best(model)
is_loaded = bool((trained == state["weights"]["w"].addressable_data(0)).all())
print("\\n" + json.dumps([is_loaded, checkpoint.best_path.name]))
try:
    model.save("one.npz")
except ValueError as error:
    print(error, flush=True)
"""


def assert_close(found, expected):
    """Require the same run, up to the order in which numbers are added."""
    assert found[:2] == expected[:2]
    assert found[2] == pytest.approx(expected[2], abs=1e-4)
    assert found[3] == pytest.approx(expected[3], abs=1e-4)


def test_a_run_of_sharded_arrays_continues_as_if_it_had_not_ended(tmp_path):
    """On as many processes; also from the checkpoint of arrays that were not sharded, and alone from theirs."""
    zero, one = run_ranks(TRAINING + CONTINUED + LOADED, tmp_path, engine="jax")
    assert reports(zero) == reports(one), zero + one
    whole, cut, continued, before, back, _, loaded = reports(zero)
    assert (cut[1], cut[2]) == (9, whole[2][:3])
    assert continued == whole
    assert_close(before, cut)
    assert_close(back, whole)
    assert loaded == [True, "2.npz"]
    assert "'velocity/w' is sharded over several processes, of which each has a part" in zero
    assert not list(tmp_path.rglob(".monitor_core-*"))
    shutil.rmtree(tmp_path / "cut" / "resume" / "000006")  # the one before is continued from
    (alone,) = run_ranks(TRAINING + "train('cut', 6)", tmp_path, ranks=1, engine="jax")
    assert_close(reports(alone)[0], whole)
