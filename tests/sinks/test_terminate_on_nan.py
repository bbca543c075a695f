"""Termination on non-finite values, against Keras's own, on this process's backend."""

import contextlib
import io
import math
import os

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor_core import Bus, Loop
from monitor_core.adapters.keras import KerasAdapter, KerasModel
from monitor_core.sinks.terminate_on_nan import TerminateOnNaN

EXAMPLES = 5_000 if os.environ.get("MONITOR_CORE_LONG") else 100
VALUES = st.floats() | st.sampled_from([0.0, 1.0, 1e308, 5e-324, math.nan, math.inf, -math.inf, None])
BATCHES = st.lists(
    st.fixed_dictionaries({}, optional={"loss": VALUES, "accuracy": VALUES})
    | st.just({"loss": 1.0})
    | st.just({"loss": 0.5, "mae": math.nan}),
    max_size=20,
)


class Model:
    """What Keras's callback needs of a model."""

    stop_training = False


def keras_stops(batches):
    """Return the step at which Keras's callback stops, None if it does not."""
    callback, model = keras.callbacks.TerminateOnNaN(), Model()
    callback.set_model(model)
    for step, logs in enumerate(batches, 1):
        with contextlib.redirect_stdout(io.StringIO()):
            callback.on_batch_end(step - 1, logs)
        if model.stop_training:
            return step
    return None


def we_stop(sink, batches, *, at_once):
    """Return the step after which the run is stopped and its reason; blocks are delivered only at the end."""
    bus = Bus(sink)
    bus.train_begin()
    bus.epoch_begin(0)
    for step, logs in enumerate(batches, 1):
        bus.batch_end(step, logs)
        if at_once and bus.run.stopped:
            break
    bus.flush()
    return (bus.run.step, bus.run.stop_reason) if bus.run.stopped else None


@settings(max_examples=EXAMPLES)
@given(batches=BATCHES)
def test_stops_where_keras_stops(batches):
    """The loss of any batches ends the run at the same batch as Keras's callback, by blocks for the same reason."""
    step = keras_stops(batches)
    expected = None
    if step is not None:
        expected = step, f"loss is {batches[step - 1]['loss']} at step {step}, in epoch 1"
    assert we_stop(TerminateOnNaN(), batches, at_once=True) == expected
    by_block = we_stop(TerminateOnNaN(every="block"), batches, at_once=False)
    assert (by_block and by_block[1]) == (expected and expected[1])


@settings(max_examples=EXAMPLES)
@given(batches=BATCHES)
def test_every_metric_is_watched_if_asked(batches):
    """Without a name the first value of any metric that is not finite ends the run, at once and by blocks alike."""
    wrong = [
        (step, f"{name} is {value} at step {step}, in epoch 1")
        for step, logs in enumerate(batches, 1)
        for name, value in logs.items()
        if value is not None and not math.isfinite(value)
    ]
    assert we_stop(TerminateOnNaN(None), batches, at_once=True) == (wrong[0] if wrong else None)
    by_block = we_stop(TerminateOnNaN(None, every="block"), batches, at_once=False)
    if not wrong:
        assert by_block is None
    else:
        assert by_block[1] in [reason for step, reason in wrong if step == wrong[0][0]]


@pytest.mark.parametrize("every", ["batch", "block"])
def test_the_run_has_failed(every):
    """The run's status is failed for the other sinks, and the reason names the epoch."""
    with Loop(TerminateOnNaN(every=every)) as loop:
        for epoch in loop.epochs(5):
            for batch in loop.batches(range(3)):
                loop.log(loss=-math.inf if epoch == 1 and batch == 1 else 1.0)
    assert (loop.run.status, loop.run.epoch) == ("failed", 1)
    assert loop.run.stop_reason == "loss is -inf at step 5, in epoch 2"
    assert loop.run.step == (5 if every == "batch" else 6)


@pytest.mark.parametrize("every", ["batch", "block"])
def test_epochs_are_looked_at_too(every, warned):
    """A loop that logs nothing per batch is ended by its epoch's loss."""
    with Loop(TerminateOnNaN(every=every)) as loop:
        for epoch in loop.epochs(5):
            for _ in loop.batches(range(2)):
                pass
            loop.log(loss=math.nan if epoch == 1 else 1.0)
    assert loop.run.stop_reason == "loss is nan at the end of epoch 2, step 4"
    assert warned() == []


def test_validation_is_looked_at_if_asked():
    """The loss of the validation ends the run where every metric is watched or where it is named, and only there."""
    found = []
    for name in ("loss", "val_loss", None):
        with Loop(TerminateOnNaN(name)) as loop:
            for _ in loop.epochs(1):
                loop.log(loss=1.0, val_loss=math.nan)
        found.append(loop.run.stop_reason)
    reason = "val_loss is nan at the end of epoch 1, step 0"
    assert found == [None, reason, reason]


@pytest.mark.parametrize("every", ["batch", "block"])
def test_a_metric_that_never_appears_is_reported_once(every, warned):
    """A run without the metric is warned about once, with the names that are there."""
    with Loop(TerminateOnNaN(every=every)) as loop:
        for _ in loop.epochs(3):
            for _ in loop.batches(range(2)):
                loop.log(d_loss=math.nan, g_loss=1.0)
    assert loop.run.status == "completed"
    assert warned() == [
        (
            "TerminateOnNaN decides nothing while its metric is missing: no metric 'loss' (did you mean 'g_loss'?); "
            "this epoch has d_loss, g_loss"
        )
    ]


@pytest.mark.parametrize("every", ["batch", "block"])
@pytest.mark.parametrize("value", ["high", [1.0, 2.0], 1j])
def test_a_value_that_is_not_a_number_does_not_end_the_training(every, value, warned):
    """A value that is not a number is ignored, watched by name or not, and no hook fails."""
    bus = Bus(TerminateOnNaN(every=every), TerminateOnNaN(None, every=every))
    bus.train_begin()
    bus.epoch_begin(0)
    for step in (1, 2, 3):
        bus.batch_end(step, {"loss": value})
    bus.epoch_end(0, {"loss": 1.0})
    assert (bus.run.stopped, bus.failures) == (False, [])
    assert len(warned()) == 1


def test_device_values_are_read():
    """A value of the backend is checked like a float."""
    for value, stops in ((math.nan, True), (1.0, False)):
        for every in ("batch", "block"):
            found = we_stop(TerminateOnNaN(every=every), [{"loss": keras.ops.convert_to_tensor(value)}], at_once=True)
            assert (found is not None) is stops


def test_batch_ends_are_not_received_if_blocks_are():
    """By block nothing is read per batch, and by batch no block is gathered."""
    assert Bus(TerminateOnNaN()).has_listeners("on_batch_end")
    assert not Bus(TerminateOnNaN()).has_listeners("on_block")
    assert not Bus(TerminateOnNaN(every="block")).has_listeners("on_batch_end")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every": "epoch"}, r"every must be 'batch' or 'block' \(got 'epoch'\)"),
        ({"monitor": ""}, r"monitor must be a metric's name \(got ''\)"),
        ({"monitor": 3}, r"monitor must be a metric's name \(got 3\)"),
    ],
)
def test_arguments_are_checked(arguments, message):
    """A wrong argument is an error when the sink is made."""
    with pytest.raises(ValueError, match=message):
        TerminateOnNaN(**arguments)


# --- real fits -----------------------------------------------------------------------------------------------------

X = np.random.default_rng(0).normal(size=(20, 3)).astype("float32")
Y = X.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def compiled():
    keras.utils.set_random_seed(7)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model, model.get_weights()


class Batches(keras.callbacks.Callback):
    """Count the batches."""

    count = 0

    def on_train_batch_end(self, batch, logs=None):
        self.count += 1


@pytest.mark.parametrize("row", [0, 4, 9, 10, 19, None])
def test_real_fits_end_as_with_keras(compiled, row):
    """A fit whose loss becomes NaN ends at Keras's batch, whole, in a list, and in a loop of fits of one epoch."""
    model, start = compiled
    targets = Y.copy()
    if row is not None:
        targets[row] = math.nan
    options = {"batch_size": 4, "shuffle": False, "verbose": 0}

    model.set_weights(start)
    batches = Batches()
    with contextlib.redirect_stdout(io.StringIO()):
        model.fit(X, targets, epochs=2, callbacks=[batches, keras.callbacks.TerminateOnNaN()], **options)
    expected = batches.count

    for whole in (True, False):
        model.set_weights(start)
        adapter = KerasAdapter(TerminateOnNaN(), model=model)
        model.fit(X, targets, epochs=2, callbacks=adapter if whole else [adapter], **options)
        assert adapter.bus.run.step == expected
        assert adapter.bus.run.status == ("completed" if row is None else "failed")

    model.set_weights(start)
    with Loop(TerminateOnNaN(), model=KerasModel(model)) as loop:
        for _ in loop.epochs(2):
            model.fit(X, targets, callbacks=KerasAdapter(loop), **options)
    assert loop.run.step == expected
    if row is not None:
        assert loop.run.stop_reason == f"loss is nan at step {expected}, in epoch 1"


@pytest.mark.parametrize("way", ["whole", "list", "fit"])
def test_an_error_ends_the_fit_at_the_batch_of_keras(compiled, way):
    """With ``raise_error`` the fit raises a RuntimeError at the batch at which Keras's own raises one."""
    model, start = compiled
    targets = Y.copy()
    targets[9] = math.nan
    options = {"epochs": 2, "batch_size": 4, "shuffle": False, "verbose": 0}
    model.set_weights(start)
    batches = Batches()
    with pytest.raises(RuntimeError, match="NaN or Inf loss encountered at batch 2"):
        model.fit(X, targets, callbacks=[batches, keras.callbacks.TerminateOnNaN(raise_error=True)], **options)

    model.set_weights(start)
    adapter = KerasAdapter(TerminateOnNaN(raise_error=True))
    with pytest.raises(RuntimeError, match="loss is nan at step 3, in epoch 1"):
        if way == "fit":
            adapter.fit(model, X, targets, **options)
        else:
            model.fit(X, targets, callbacks=adapter if way == "whole" else [adapter], **options)
    assert (adapter.run.step, batches.count) == (3, 3)
    assert adapter.run.status == ("failed" if way == "fit" else "running")  # what ended it only adapter.fit sees


@pytest.mark.parametrize("every", ["batch", "block"])
def test_an_error_ends_a_loop(every):
    """With ``raise_error`` the error leaves the loop, whose run has failed, also where blocks are looked at."""
    with (
        pytest.raises(RuntimeError, match="loss is inf at step 2, in epoch 1"),
        Loop(TerminateOnNaN(every=every, raise_error=True)) as loop,
    ):
        for _ in loop.epochs(1):
            for loss in loop.batches([1.0, math.inf, 2.0]):
                loop.log(loss=loss)
    assert loop.run.status == "failed"
