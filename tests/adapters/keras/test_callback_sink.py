"""Keras callbacks as sinks in any loop: the same calls as from `fit`, and the same decisions and files."""

import os
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor_core import Bus, CSVLogger, History, Loop
from monitor_core.adapters.keras import KerasAdapter, KerasCallback, KerasModel
from monitor_core.errors import SetupError
from recorders import Handle

EXAMPLES = settings(max_examples=300 if os.environ.get("MONITOR_CORE_LONG") else 40)
VALUES = st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0]), min_size=1, max_size=10)


class Calls(keras.callbacks.Callback):
    """Record each call."""

    def __init__(self):
        super().__init__()
        self.calls = []


def _recording(name):
    def record(self, *args, **kwargs):
        logs = kwargs.get("logs", args[-1] if args and isinstance(args[-1], dict) else None)
        numbers = [each for each in args if not isinstance(each, dict) and each is not None]
        self.calls.append((name, *numbers, sorted(logs or {})))

    return record


for _kind in ("train", "test", "predict"):
    for _name in (f"on_{_kind}_begin", f"on_{_kind}_end", f"on_{_kind}_batch_begin", f"on_{_kind}_batch_end"):
        setattr(Calls, _name, _recording(_name))
for _name in ("on_epoch_begin", "on_epoch_end"):
    setattr(Calls, _name, _recording(_name))


def test_a_loop_calls_a_callback_as_fit_does():
    """The same hooks in the same order, with the same numbers and metrics."""
    of_fit, of_loop = Calls(), Calls()
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.ones((4, 1))
    model.fit(x, x, epochs=2, batch_size=2, validation_data=(x, x), verbose=0, callbacks=[of_fit])
    with Loop(of_loop) as loop:
        for _ in loop.epochs(2):
            for _ in loop.batches(range(2)):
                loop.log(loss=1.0)
            with loop.evaluation():
                for _ in loop.batches(range(2)):
                    loop.log(loss=1.0)

    def of_batches(calls):  # Keras passes no logs to begins, and its own loss at train end
        return [call[:-1] for call in calls]

    assert of_batches(of_loop.calls) == of_batches(of_fit.calls)
    assert of_loop.calls[3] == of_fit.calls[3] == ("on_train_batch_end", 0, ["loss"])


def losses(values, *parts, **options):
    """Train a loop whose epochs have these losses; return the run."""
    with Loop(*parts, **options) as loop:
        for epoch in loop.epochs(len(values)):
            loop.log(loss=values[epoch], val_loss=1.0)
    return loop.run


@EXAMPLES
@given(values=VALUES, patience=st.integers(0, 3), min_delta=st.sampled_from([0.0, 0.4]))
def test_early_stopping_of_keras_stops_a_loop(values, patience, min_delta):
    """It sets ``model.stop_training`` of a stand-in: the run stops where Keras's rule says."""
    callback = keras.callbacks.EarlyStopping("loss", patience=patience, min_delta=min_delta, mode="min")
    run = losses(values, callback)
    by_hand = keras.callbacks.EarlyStopping("loss", patience=patience, min_delta=min_delta, mode="min")
    by_hand.set_model(model := SimpleNamespace(stop_training=False))
    by_hand.on_train_begin()
    epoch = -1
    while epoch < len(values) - 1 and not model.stop_training:
        epoch += 1
        by_hand.on_epoch_end(epoch, {"loss": values[epoch]})
    assert (run.epoch, run.stopped) == (epoch, model.stop_training)
    if run.stopped:
        assert run.stop_reason == "EarlyStopping set model.stop_training"


@EXAMPLES
@given(values=VALUES)
def test_csv_files_are_the_same(tmp_path_factory, values):
    """Keras's own logger in a loop writes what ours writes."""
    folder = tmp_path_factory.mktemp("csv")
    losses(values, keras.callbacks.CSVLogger(folder / "keras.csv"), CSVLogger(folder / "ours.csv"))
    assert (folder / "keras.csv").read_bytes() == (folder / "ours.csv").read_bytes()


def test_a_callback_of_functions():
    """`LambdaCallback` needs no model; batch values are floats."""
    seen = []
    callback = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append((batch, logs)))
    with Loop(callback) as loop:
        for _ in loop.epochs(2):
            for x in loop.batches([1.0, 2.0]):
                loop.log(loss=np.float32(x))
    assert seen == [(0, {"loss": 1.0}), (1, {"loss": 2.0})] * 2
    assert {type(logs["loss"]) for _, logs in seen} == {float}


def test_batches_cost_nothing_where_the_callback_does_not_listen():
    """A callback of epochs has no batch hooks on the bus."""
    bus = Bus(keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: None))
    assert not bus.has_listeners("on_batch_begin", "on_batch_end", "on_evaluation_batch_end")


def test_with_a_keras_model_the_callback_gets_it():
    """It may set the rate, and its request to stop is obeyed."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1.0), "mse")
    losses([1.0, 1.0, 1.0], keras.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=1), model=KerasModel(model))
    assert float(model.optimizer.learning_rate) == 0.25


def test_a_callback_that_needs_a_model_says_so_at_train_begin():
    """What can be known before the first batch is."""

    class Needy(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.model.summary()

    with pytest.raises(SetupError, match=r"Needy cannot be used here: this loop has no Keras model, so its callbacks"):
        losses([1.0], Needy())


def test_a_callback_that_needs_a_model_later_ends_the_training():
    """As a callback that raises ends a fit."""
    with pytest.raises(AttributeError, match=r"no model\.optimizer: pass Loop\(model=keras_model\)"):
        losses([1.0, 2.0], keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate))


def test_it_is_added_once_and_removed_by_itself():
    """The bus knows a callback by what the user passed."""
    callback = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: None)
    bus = Bus(callback)
    with pytest.raises(ValueError, match="already on this bus"):
        bus.add(callback)
    bus.remove(callback)
    assert bus.sinks == ()


def test_an_adapter_of_a_loop_passes_on_to_its_callbacks():
    """A fit inside a loop calls the loop's callbacks as its own."""
    calls, history = Calls(), History()
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.ones((4, 1))
    with Loop(calls, history, model=KerasModel(model)) as loop:
        for _ in loop.epochs(2):
            model.fit(x, x, batch_size=2, verbose=0, callbacks=KerasAdapter(loop))
    assert [call[:2] for call in calls.calls if "epoch" in call[0]] == [
        ("on_epoch_begin", 0), ("on_epoch_end", 0), ("on_epoch_begin", 1), ("on_epoch_end", 1)
    ]  # fmt: skip
    assert [call[1] for call in calls.calls if call[0] == "on_train_batch_end"] == [0, 1, 0, 1]


def test_it_is_made_of_callbacks_only():
    """Anything else is refused."""
    with pytest.raises(TypeError, match="callback must be a Keras callback"):
        KerasCallback(Handle())
