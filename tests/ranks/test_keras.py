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
sinks = [history := History(), CSVLogger("run.csv"), EarlyStopping("val_loss", mode="max", patience=1)]
with Loop(*sinks, ranks=sums) as loop:
    fitted = model.fit(x, x[:, :1], batch_size=8, epochs=9, validation_data=(x, x[:, 1:2]), shuffle=False, verbose=0,
                       callbacks=[KerasAdapter(loop)])
names = ("loss", "val_loss")
print(json.dumps([loop.run.status, loop.run.epoch] + [history[name].tolist() for name in names]))
print(json.dumps([fitted.history[name] for name in names]))
"""


def test_results_that_keras_has_reduced_are_not_reduced_again(tmp_path):
    """Under ``DataParallel`` they are those of the whole batch: a sum over the ranks would count each of them twice."""
    one, other = (reports(output) for output in run_ranks(KERAS, tmp_path, engine="jax"))
    assert one == other
    (status, epoch, *monitored), fitted = one
    assert status == "stopped"
    assert monitored == fitted
    assert len(monitored[0]) == epoch + 1 < 9
    assert len((tmp_path / "run.csv").read_text().splitlines()) == epoch + 2
