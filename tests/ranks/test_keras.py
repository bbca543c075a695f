"""Keras on several processes, which JAX connects: its distribution computes the results of all of them."""

import pytest
from ranks_support import reports, run_ranks

keras = pytest.importorskip("keras")
if keras.backend.backend() != "jax":
    pytest.skip("Keras has distributions on JAX only", allow_module_level=True)

KERAS = """
os.environ["KERAS_BACKEND"] = "jax"
import keras
import numpy as np
from monitor_core.adapters.keras import KerasAdapter

data_parallel = keras.distribution.DataParallel(devices=keras.distribution.list_devices(), auto_shard_dataset=False)
keras.distribution.set_distribution(data_parallel)
keras.utils.set_random_seed(0)
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
x = np.random.default_rng(rank).normal(size=(32, 4)).astype("float32")
sums = Ranks(reductions={"loss": "sum", "val_loss": "sum"})
saved = ModelCheckpoint("saved/{epoch}.keras")
sinks = [history := History(), CSVLogger("run.csv"), EarlyStopping("val_loss", mode="max", patience=1), saved]
with Loop(*sinks, ranks=sums, model=model) as loop:
    fitted = model.fit(x, x[:, :1], batch_size=8, epochs=9, validation_data=(x, x[:, 1:2]), shuffle=False, verbose=0,
                       callbacks=[KerasAdapter(loop)])
names = ("loss", "val_loss")
print(json.dumps([loop.run.status, loop.run.epoch] + [history[name].tolist() for name in names]))
print(json.dumps([fitted.history[name] for name in names]))
before = [np.asarray(each.value) for each in model.weights]
for each in model.weights:
    each.assign(each.value * 0)
saved.load_latest(model)
print(json.dumps([bool(np.array_equal(own, each.value)) for own, each in zip(before, model.weights, strict=True)]))
"""


def test_results_that_keras_has_reduced_are_not_reduced_again(tmp_path):
    """Under ``DataParallel`` they are those of the whole batch: a sum over the ranks would count each of them twice."""
    one, other = (reports(output) for output in run_ranks(KERAS, tmp_path, engine="jax"))
    assert one == other
    (status, epoch, *monitored), fitted, loaded = one
    assert status == "stopped"
    assert monitored == fitted
    assert len(monitored[0]) == epoch + 1 < 9
    assert all(loaded)
    assert (tmp_path / "saved" / f"{epoch + 1}.keras").is_file()
    assert len((tmp_path / "run.csv").read_text().splitlines()) == epoch + 2


SHARDED = """
os.environ["KERAS_BACKEND"] = "jax"
import keras
import numpy as np
from monitor_core.adapters.keras import KerasAdapter, KerasModel

mesh = keras.distribution.DeviceMesh((1, ranks), ["batch", "model"], keras.distribution.list_devices())
layout = keras.distribution.LayoutMap(mesh)
layout[".*dense/kernel"] = keras.distribution.TensorLayout([None, "model"], mesh)
options = {"layout_map": layout, "batch_dim_name": "batch", "auto_shard_dataset": False}
keras.distribution.set_distribution(keras.distribution.ModelParallel(**options))
x = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")

def train(folder, epochs, *sinks):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(6, name="dense"), keras.layers.Dense(2, name="out")]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile("adam", "mse")
    with Loop(history := History(), *sinks, model=model, **(dict(resume=folder) if folder else {})) as loop:
        for epoch in loop.epochs(epochs):
            model.fit(x, x[:, :2], batch_size=8, shuffle=False, verbose=0, callbacks=[KerasAdapter(loop)])
    kernel = np.asarray(model.get_layer("dense").kernel.value.addressable_data(0))
    losses = [round(each, 5) for each in history["loss"]]
    print("\\n" + json.dumps([loop.run.status, loop.run.step, losses, kernel.round(5).ravel().tolist()]), flush=True)
    return model

train("whole", 4)
train("cut", 2)
train("cut", 4)
model = train(None, 1, checkpoint := ModelCheckpoint("saved/{epoch}.keras"))
before = [np.asarray(each.value.addressable_data(0)) for each in model.variables]
for each in model.weights:
    each.assign(each.value * 0)
checkpoint.load_latest(model)
after = [np.asarray(each.value.addressable_data(0)) for each in model.variables]
print("\\n" + json.dumps([bool(np.array_equal(*pair)) for pair in zip(before, after, strict=True)]), flush=True)
try:
    KerasModel(model).save("one.keras")
except ValueError as error:
    print(error, flush=True)
"""


def test_a_model_that_is_sharded_by_its_distribution_is_saved_on_all_processes(tmp_path):
    """Under ``ModelParallel`` no process has the whole; its run continues as if it had not ended."""
    pytest.importorskip("orbax.checkpoint")
    zero, one = run_ranks(SHARDED, tmp_path, engine="jax")
    for written in (zero, one):
        whole, cut, continued, _, loaded = reports(written)
        assert (cut[1], cut[2]) == (8, whole[2][:2])
        assert continued == whole
        assert all(loaded)
        assert "/dense/kernel' is sharded over several processes, of which each has a part" in written
    assert (tmp_path / "saved" / "1.keras" / "weights").is_dir()
