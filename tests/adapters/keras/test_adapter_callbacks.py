"""Adapter: Keras callbacks among the parts."""

import keras
import numpy as np
import pytest

from adapter_support import (
    TRAIN,
    VALIDATION,
    Recorder,
    fit,
)
from monitor_core import (
    EarlyStopping,
    History,
    on,
)
from monitor_core.adapters.keras import KerasAdapter


class Scores(keras.callbacks.Callback):
    """A Keras callback that computes a metric of its own at each epoch's end; it gets worse from the first on."""

    def on_epoch_end(self, epoch, logs=None):
        logs["val_f1"] = 1.0 / (epoch + 1)
        logs["note"] = "not a number"
        logs.pop("accuracy")


@pytest.mark.parametrize("way", ["whole", "fit", "parts in a list", "beside"])
def test_what_a_callback_writes_into_the_logs_reaches_the_sinks(model, way):
    """A metric that a Keras callback adds to an epoch's logs stops a fit and is on record, as in Keras's own list."""
    stop, history = EarlyStopping("val_f1", mode="max", patience=2), History()
    parts = [stop, history] if way == "beside" else [Scores(), stop, history]
    adapter = KerasAdapter(*parts)
    if way == "fit":
        returned = adapter.fit(model, *TRAIN, epochs=9, verbose=0)
    else:
        callbacks = {"whole": adapter, "parts in a list": [adapter], "beside": [Scores(), adapter]}[way]
        returned = fit(model, callbacks, epochs=9)
    assert sorted(history) == ["loss", "val_f1"]
    assert history["val_f1"].tolist() == [1.0, 1 / 2, 1 / 3]
    if way in ("whole", "fit"):
        assert returned.history["val_f1"] == [1.0, 1 / 2, 1 / 3]


def test_the_rate_of_keras_schedulers_reaches_the_sinks(model):
    """The learning rate that Keras's own scheduler writes into the logs is on record."""
    history = History()
    scheduler = keras.callbacks.LearningRateScheduler(lambda epoch: 0.5 ** (epoch + 1))
    fit(model, KerasAdapter(scheduler, history))
    model.optimizer.learning_rate = 0.01
    assert history["learning_rate"].tolist() == [0.5, 0.25]


class Models(keras.callbacks.Callback):
    """A Keras callback that notes when it gets its model and parameters."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def set_model(self, model):
        super().set_model(model)
        self.calls.append(("set_model", model.built))

    def set_params(self, params):
        super().set_params(params)
        self.calls.append(("set_params", params))

    def on_train_begin(self, logs=None):
        self.calls.append(("train_begin",))

    def on_test_begin(self, logs=None):
        self.calls.append(("test_begin",))

    def on_predict_begin(self, logs=None):
        self.calls.append(("predict_begin",))


@pytest.mark.parametrize("way", ["whole", "list", "fit"])
def test_callbacks_get_their_model_and_parameters_once_a_call(way):
    """Keras callbacks get the model once a call, after it is built, and then the parameters, all as from Keras."""
    calls = []
    for ours in (True, False):
        model = keras.Sequential([keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        callback = Models()
        adapter = KerasAdapter(callback, model=model) if ours else None
        callbacks = [callback] if adapter is None else adapter if way != "list" else [adapter]
        options = {"epochs": 2, "batch_size": 8, "verbose": 0, "validation_data": VALIDATION}
        for _ in range(2):
            if ours and way == "fit":
                adapter.fit(model, *TRAIN, **options)
            else:
                model.fit(*TRAIN, callbacks=callbacks, **options)
        model.evaluate(*VALIDATION, verbose=0, callbacks=callbacks)
        model.predict(VALIDATION[0], verbose=0, callbacks=callbacks)
        calls.append(callback.calls)
    assert calls[0] == calls[1]


@pytest.mark.parametrize("way", ["whole", "list", "fit"])
def test_keras_projector_keeps_its_labels(tmp_path, way):
    """Keras's own projector scenario gives the labels' file also where its callback is one of the adapter's parts."""
    pytest.importorskip("tensorflow")
    model = keras.Sequential(
        [keras.layers.Embedding(10, 10, name="test_embedding"), keras.layers.Flatten(), keras.layers.Dense(1)]
    )
    model.compile("adam", "mse")
    x, y = np.ones((10, 10)), np.ones((10, 1))
    board = keras.callbacks.TensorBoard(
        tmp_path, embeddings_freq=1, embeddings_metadata={"test_embedding": "metadata.tsv"}
    )
    adapter = KerasAdapter(board, History(), model=model)
    if way == "fit":
        adapter.fit(model, x, y, verbose=0)
    else:
        model.fit(x, y, verbose=0, callbacks=adapter if way == "whole" else [adapter])
    assert (tmp_path / "projector_config.pbtxt").read_text().splitlines() == [
        "embeddings {",
        '  tensor_name: "layer_with_weights-0/embeddings/.ATTRIBUTES/VARIABLE_VALUE"',
        '  metadata_path: "metadata.tsv"',
        "}",
    ]


def test_an_evaluation_within_a_callback_does_not_disturb_the_ones_after_it(model):
    """A callback that evaluates with the same callbacks at an epoch's end leaves the others the epoch's own event."""

    class Evaluates(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.evaluate(*VALIDATION, verbose=0, callbacks=adapter)

    recorder = Recorder()
    adapter = KerasAdapter(Evaluates(), recorder, History())
    fit(model, adapter)
    ends = [event for event in recorder.events if event[0] == "epoch_end"]
    assert [(number, sorted(logs)) for _, number, logs in ends] == [
        (0, ["accuracy", "loss"]),
        (1, ["accuracy", "loss"]),
    ]


@pytest.mark.parametrize("listens", [False, True])
def test_an_evaluation_by_a_callback_within_an_epoch_is_an_event_of_its_own(model, listens):
    """Also where no sink listens to batches, so that only the epoch's end tells that more of them followed."""

    class Evaluates(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 0:
                self.model.evaluate(*VALIDATION, verbose=0, callbacks=adapter)

    seen = []
    stop = EarlyStopping("val_loss", patience=99)
    sees = on("midepoch_evaluation", lambda run, logs: seen.append((run.evaluation.step, sorted(logs))))
    adapter = KerasAdapter(stop, sees, *[Recorder()][: int(listens)], model=model)
    model.fit(*TRAIN, batch_size=4, epochs=2, verbose=0, callbacks=[adapter, Evaluates()])
    steps = adapter.bus.run.step // 2
    assert steps > 1
    assert seen == [(1, ["val_accuracy", "val_loss"]), (steps + 1, ["val_accuracy", "val_loss"])]
    assert adapter.bus.failures == []
