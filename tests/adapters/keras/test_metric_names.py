"""Metrics that are misspelt: refused when a fit begins, where Keras knows what its logs will have."""

import keras
import numpy as np
import pytest

from monitor_core import EarlyStopping, Loop, ModelCheckpoint, SetupError
from monitor_core.adapters.keras import KerasAdapter, KerasModel
from recorders import Recorder

X = np.ones((8, 4), "float32")
Y = np.ones((8, 1), "float32")


def make_model():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=["mae"])
    return model


class AddsF1(keras.callbacks.Callback):
    """Adds a metric of its own."""

    def on_epoch_end(self, epoch, logs=None):
        logs["val_f1"] = 1.0


MISSPELT = {
    "monitor": lambda folder: EarlyStopping("val_los", mode="min"),
    "auto": lambda folder: EarlyStopping("val_los"),
    "filepath": lambda folder: ModelCheckpoint(folder / "{epoch}-{val_los:.2f}.keras"),
}


@pytest.mark.parametrize("sink", MISSPELT)
@pytest.mark.parametrize("way", ["fit", "whole"])
def test_a_misspelt_metric_is_refused_before_the_first_epoch(tmp_path, sink, way):
    """Where the model's metrics are all that the logs will have, with the nearest of them."""
    model = make_model()
    adapter = KerasAdapter(MISSPELT[sink](tmp_path), seen := Recorder("on_epoch_end"), model=model)
    with pytest.raises(SetupError, match=r"does not have: no metric 'val_los' \(did you mean 'val_loss'\?\)"):
        (adapter.fit if way == "fit" else model.fit)(
            *((model,) if way == "fit" else ()), X, Y, verbose=0, **({} if way == "fit" else {"callbacks": adapter})
        )
    assert seen.events == []


@pytest.mark.parametrize("others", [[AddsF1()], [keras.callbacks.LambdaCallback()]])
def test_a_metric_is_not_refused_next_to_a_keras_callback(caplog, others):
    """It may add any; what looks misspelt is warned about."""
    model = make_model()
    adapter = KerasAdapter(*others, EarlyStopping("val_los", mode="min"), EarlyStopping("val_f1"), model=model)
    adapter.fit(model, X, Y, verbose=0)
    assert "no metric 'val_los' (did you mean 'val_loss'?)" in caplog.text
    assert "the model does not have: no metric 'val_f1'" not in caplog.text


def test_a_loop_may_log_any_metric(caplog):
    """A handle that served in a fit refuses nothing in a loop, which logs what it likes."""
    handle = KerasModel(make_model())
    KerasAdapter(model=handle).fit(handle.model, X, Y, verbose=0)
    with Loop(EarlyStopping("closs", mode="min"), model=handle) as loop:
        for _ in loop.epochs(1):
            loop.log(closs=1.0)
    assert "decides nothing" not in caplog.text
