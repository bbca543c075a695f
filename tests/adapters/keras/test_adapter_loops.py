"""Adapter: one run over many fits, what stays alive."""

import contextlib
import gc
import weakref

import keras
import numpy as np
import pytest

from adapter_support import BACKEND, TRAIN, ask_to_stop, batches, build, fit, fresh
from monitor_core import (
    History,
    Loop,
    OrderError,
    on,
)
from monitor_core.adapters.keras import KerasAdapter, KerasModel, reset_states


@pytest.mark.parametrize("whole", [True, False])
def test_fits_inside_loop_epochs_are_one_run(compiled, whole):
    """Three fits of one epoch inside loop.epochs give what one fit of three epochs gives."""
    single, many = History(per_batch=True), History(per_batch=True)
    model = fresh(compiled)
    fit(model, KerasAdapter(single, model=model), epochs=3)
    model = fresh(compiled)
    with Loop(many, model=KerasModel(model)) as loop:
        for _ in loop.epochs(3):
            adapter = KerasAdapter(loop)
            fit(model, adapter if whole else [adapter], epochs=1)
            loop.log(extra=1.0)
    assert many.history == {**single.history, "extra": [1.0, 1.0, 1.0]}
    assert (many.epoch, many.run.tolist()) == ([0, 1, 2], [0, 0, 0])
    assert many.batches.steps.tolist() == single.batches.steps.tolist() == list(range(1, 13))
    assert many.batches["loss"].tolist() == single.batches["loss"].tolist()


def test_fits_without_loop_epochs_continue_the_count(model):
    """Without loop.epochs each Keras epoch is the run's next."""
    history = History()
    with Loop(history, model=KerasModel(model)) as loop:
        fit(model, KerasAdapter(loop), epochs=2)
        fit(model, KerasAdapter(loop), epochs=2)
    assert (history.epoch, loop.run.step) == ([0, 1, 2, 3], 16)


def test_a_second_epoch_inside_a_loop_epoch_is_an_error(model):
    """A fit of two epochs inside one epoch of the loop is refused, and the message names the fix."""
    with (
        pytest.raises(OrderError, match=r"call fit\(epochs=1\) once"),
        Loop(History(), model=KerasModel(model)) as loop,
    ):
        for _ in loop.epochs(1):
            fit(model, KerasAdapter(loop), epochs=2)


def test_each_fit_is_a_run_of_its_own_without_a_loop(model):
    """An adapter used for two fits records two runs."""
    history = History()
    adapter = KerasAdapter(history, model=model)
    fit(model, adapter)
    fit(model, [adapter])
    assert (history.epoch, history.run.tolist()) == ([0, 1, 0, 1], [0, 0, 1, 1])


def test_train_on_batch_feeds_a_loop(model):
    """A loop over train_on_batch logs what it returns."""
    history = History(per_batch=True)
    with Loop(history, model=KerasModel(model)) as loop:
        for _ in loop.epochs(2):
            for x, y in loop.batches(list(batches(16))):
                loop.log(model.train_on_batch(x, y, return_dict=True))
    assert (len(history), len(history.batches), sorted(history)) == (2, 4, ["accuracy", "loss"])


@pytest.mark.parametrize("kind", [keras.layers.SimpleRNN, keras.layers.GRU, keras.layers.LSTM])
def test_reset_states_resets_stateful_layers(kind):
    """After the reset a stateful layer, nested or not, returns its first outputs again; random weights stay."""
    if BACKEND == "torch" and kind is not keras.layers.SimpleRNN:
        pytest.skip("stateful LSTM and GRU do not work on Keras's torch backend (keras#20875)")
    inner = keras.Sequential([kind(3, stateful=True)])
    model = keras.Sequential([keras.Input(batch_shape=(1, 4, 2)), inner, keras.layers.Dense(1)])
    x = np.ones((1, 4, 2), "float32")
    first, second = (keras.ops.convert_to_numpy(model(x)) for _ in range(2))
    reset_states(model)
    assert not np.allclose(first, second)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(model(x)), first, rtol=1e-6)


def released(model):
    """Return whether only the calling frame keeps a model alive."""
    reference = weakref.ref(model.pop())
    keras.backend.clear_session()
    gc.collect()
    return reference() is None


def interrupt(run, epoch, logs):
    raise KeyboardInterrupt


@pytest.mark.parametrize("way", ["whole", "list", "fit", "stopped", "interrupted"])
def test_no_model_is_kept_alive_after_a_run(way):
    """Once a fit has ended, its adapter and its sinks keep no model alive, and know it while it lives."""
    models = [build()]
    history = History(per_batch=True)
    sinks = {"stopped": on("epoch_end", ask_to_stop), "interrupted": on("epoch_end", interrupt)}
    adapter = KerasAdapter(history, *[sinks[each] for each in sinks if each == way], model=models[0])
    with contextlib.suppress(KeyboardInterrupt):
        if way in ("fit", "interrupted"):
            adapter.fit(models[0], *TRAIN, verbose=0)
        else:
            models[0].fit(*TRAIN, verbose=0, callbacks=[adapter] if way == "list" else adapter)
    assert adapter.bus.run.learning_rate == pytest.approx(0.01)
    assert released(models)
    assert adapter.bus.run.model is None
    assert len(history.batches) >= 1


def test_loop_knows_its_model_again_in_its_next_run():
    """A loop that is entered again finds the model that it let go of, though the handle was its own."""
    model = build()
    loop = Loop(History(), model=KerasModel(model))
    for epochs in (1, 2):
        with loop:
            for _ in loop.epochs(epochs):
                model.fit(*TRAIN, epochs=1, verbose=0, callbacks=KerasAdapter(loop))
            assert loop.run.learning_rate == pytest.approx(0.01)
    models = [model]
    del model
    assert released(models)
    assert loop.run.model is None
