"""Adapter: failures."""

import gc
import weakref

import keras
import numpy as np
import pytest
from keras.src.trainers.data_adapters import array_slicing

from adapter_support import (
    BACKEND,
    TRAIN,
    VALIDATION,
    Listener,
    Recorder,
    X,
    Y,
    batches,
    build,
    fit,
)
from monitor_core import (
    Bus,
    History,
    HookError,
    Loop,
    OrderError,
    SetupError,
    Sink,
    on,
)
from monitor_core.adapters.keras import KerasAdapter, KerasModel


def test_a_failing_sink_does_not_end_the_fit(model, warned):
    """A sink that raises is reported once and training continues."""

    @on("batch_end")
    def broken(run, step, logs):
        raise RuntimeError("no")

    history = History()
    adapter = KerasAdapter(broken, history, model=model)
    fit(model, adapter)
    assert len(history) == 2
    assert [(failure.sink, failure.hook) for failure in adapter.bus.failures] == [("broken", "on_batch_end")] * 3
    assert [text.partition(";")[0] for text in warned()] == [
        "broken.on_batch_end raised at step 1",
        "broken is disabled at step 3: on_batch_end failed 3 times in a row",
        "broken failed 3 times and was disabled at step 3",
    ]


class Failing(keras.callbacks.Callback):
    """A Keras callback that raises at an epoch's end."""

    fails = True

    def on_epoch_end(self, epoch, logs=None):
        if self.fails:
            raise RuntimeError("no")


def test_a_failing_keras_callback_ends_the_fit(model):
    """A Keras callback handed to the adapter keeps its powers: what it raises ends the training."""
    with pytest.raises(RuntimeError, match="no"):
        fit(model, KerasAdapter(Failing(), History(), model=model))


def test_adapter_fit_notifies_sinks_of_an_exception(model):
    """adapter.fit ends the run when training raises: pending values are flushed first, and sinks are notified."""
    events = []

    class Listening(Sink):
        def on_block(self, run, block):
            events.append(("block", block.steps.tolist()))

        def on_exception(self, run, error):
            events.append(("exception", str(error)))

        def on_train_end(self, run, logs):
            events.append(("train_end", run.status))

    def failing():
        yield from batches(16)
        raise ArithmeticError("bad data")

    adapter = KerasAdapter(Listening())
    with pytest.raises(Exception, match="bad data"):
        adapter.fit(model, failing(), epochs=1, verbose=0, shuffle=False)
    assert events[0] == ("block", [1, 2])
    assert "bad data" in events[1][1]
    assert events[2] == ("train_end", "failed")


def test_a_fit_after_one_that_raised_closes_its_run(model):
    """fit notifies no callback of an exception; the next train begin closes the open run, without Keras callbacks."""
    listener, recorder = Listener(), Recorder()

    class Once(keras.callbacks.Callback):
        raised = False

        def on_epoch_end(self, epoch, logs=None):
            if not self.raised:
                self.raised = True
                raise RuntimeError("no")

    adapter = KerasAdapter(Once(), listener, recorder, model=model)
    with pytest.raises(RuntimeError, match="no"):
        fit(model, adapter, epochs=1)
    fit(model, adapter, epochs=1)
    ends = [event for event in listener.events if event[0] == "train_end"]
    assert ends == [("train_end", "interrupted"), ("train_end", "completed")]
    assert [event[0] for event in recorder.events if event[0].startswith("train_e")] == ["train_end"]


def test_a_fit_continues_after_the_epoch_of_a_loaded_state(model):
    """After load_state_dict a fit begins with the next epoch by itself, and the fit after it with the first again."""
    first = KerasAdapter(History(), model=model)
    fit(model, first, epochs=2)
    history = History()
    adapter = KerasAdapter(history, model=model)
    adapter.bus.load_state_dict(first.bus.state_dict())
    fit(model, adapter, epochs=4)
    assert (history.epoch, adapter.bus.run.step, model._initial_epoch) == ([2, 3], 16, None)
    fit(model, adapter, epochs=1)
    assert history.epoch == [2, 3, 0]


def test_a_sink_in_the_place_of_an_adapter_gets_an_error_that_says_so(model):
    """Handed to Keras as a callback, a sink says what to do, also one that is empty and might pass for nothing."""
    for callbacks in (History(), [History()]):
        with pytest.raises(AttributeError, match="History is a sink, not a Keras callback: pass Keras a KerasAdapter"):
            fit(model, callbacks)


@pytest.mark.parametrize("attach", [Loop, Bus])
def test_a_keras_model_needs_no_handle(model, attach):
    """A loop or a bus makes the handle by itself."""
    handle = attach(History(), model=model).run.model
    assert (type(handle), handle.model) == (KerasModel, model)


def test_a_loop_of_a_keras_model_serves_the_fits_inside(model):
    """Sinks that need the model work with it as it was passed, during the run and after it."""

    class Rates(Sink):
        needs = ("learning_rates",)

        def on_epoch_end(self, run, epoch, logs):
            rates.append(run.learning_rate)

    rates = []
    with Loop(Rates(), model=model) as loop:
        fit(model, KerasAdapter(loop), epochs=2)
    assert (rates, loop.run.model.model) == (KerasModel(model).learning_rates * 2, model)


def test_a_loop_continues_after_a_fit_that_raised(model):
    """If the training code catches a fit's exception, the aborted epoch leaves no record and the next fit continues."""
    history = History()
    with Loop(history, model=KerasModel(model)) as loop:
        fit(model, KerasAdapter(loop), epochs=1)
        with pytest.raises(RuntimeError, match="no"):
            fit(model, [Failing(), KerasAdapter(loop)], epochs=1)
        fit(model, KerasAdapter(loop), epochs=1)
    assert (history.epoch, loop.run.status) == ([0, 2], "completed")


def test_the_history_of_a_fit_that_raised_gets_no_more(model):
    """A fit in a list after a whole one that raised leaves that one's Keras history alone."""
    failing = Failing()
    adapter = KerasAdapter(failing, model=model)
    with pytest.raises(RuntimeError, match="no"):
        fit(model, adapter)
    broken = model.history
    failing.fails = False
    returned = fit(model, [adapter])
    assert (broken.epoch, returned.epoch) == ([], [0, 1])


def test_each_fit_provides_its_own_validation_data(model):
    """adapter.fit provides the validation data of each fit, unless the adapter has its own."""
    lent = []
    note = on("train_begin", lambda run: lent.append(run.validation_data))
    other = (X[:4], Y[:4])
    adapter = KerasAdapter(note)
    for data in (VALIDATION, other):
        adapter.fit(model, *TRAIN, verbose=0, validation_data=data)
    KerasAdapter(note, validation_data=VALIDATION).fit(model, *TRAIN, verbose=0, validation_data=other)
    assert [each is VALIDATION for each in lent] == [True, False, True]


@pytest.mark.parametrize("way", ["whole", "list", "fit"])
def test_every_way_to_fit_knows_everything(model, way):
    """The sinks get the model, the number of epochs and the validation data of `fit`, which are given once."""
    seen = []

    @on("train_begin")
    def note(run):
        seen.append((run.epochs, run.steps_per_epoch, run.validation_data is VALIDATION, run.model.model is model))

    adapter = KerasAdapter(note)
    options = {"epochs": 3, "batch_size": 8, "verbose": 0, "validation_data": VALIDATION}
    if way == "fit":
        returned = adapter.fit(model, *TRAIN, **options)
    else:
        returned = model.fit(*TRAIN, callbacks=adapter if way == "whole" else [adapter], **options)
    assert (seen, returned.epoch, adapter.run.validation_data) == ([(3, 4, True, True)], [0, 1, 2], None)


def test_a_loop_gets_the_validation_data_of_its_fits(model):
    """Inside a loop that was given no validation data, the sinks get those of each fit, also at the epoch's end."""
    seen = []
    note = on("epoch_end", lambda run, epoch, logs: seen.append(run.validation_data))
    data = [VALIDATION, (X[:4], Y[:4]), None]
    with Loop(note, model=KerasModel(model)) as loop:
        for epoch in loop.epochs(3):
            fit(model, KerasAdapter(loop), epochs=1, validation_data=data[epoch])
    assert all(one is two for one, two in zip(seen, data, strict=True))


def test_only_a_custom_loop_needs_to_be_given_the_model():
    """Driven by hand, an adapter that was given no model says at train begin how to give it."""
    with pytest.raises(SetupError, match=r"in a custom loop, pass KerasAdapter\(\.\.\., model=model\)"):
        KerasAdapter(History()).on_train_begin()


def test_an_adapter_that_is_driven_in_another_fit_keeps_its_own_model(model):
    """An adapter driven by hand from a callback of some fit takes nothing from that fit, which does not call it."""
    other = build()
    inner = KerasAdapter(History(), model=other)
    begin = keras.callbacks.LambdaCallback(on_train_begin=lambda logs: inner.on_train_begin())
    fit(model, [begin], epochs=1)
    assert (inner.run.model.model is other, inner.run.epochs) == (True, None)


def test_adapter_fit_takes_no_callbacks(model):
    """Callbacks go to the adapter, and the message says so."""
    with pytest.raises(TypeError, match=r"pass them to KerasAdapter\(\.\.\.\)"):
        KerasAdapter(History()).fit(model, *TRAIN, callbacks=[])


def test_a_loop_comes_alone(model):
    """A loop and sinks in one adapter are an error: the loop has its own."""
    with pytest.raises(ValueError, match="a Loop must be the only argument"):
        KerasAdapter(Loop(History()), History())
    with pytest.raises(ValueError, match="a Loop must be the only argument"):
        KerasAdapter(Loop(History()), epochs=3)


def test_an_object_without_hooks_is_refused():
    """An object without hooks is refused when the adapter is made."""
    with pytest.raises(HookError, match=r"sinks must be passed one by one \(got a list\): write \*sinks"):
        KerasAdapter([History()])


def test_a_loop_that_was_not_entered_is_an_error(model):
    """A fit with the adapter of a loop that is not running says what is missing."""
    with pytest.raises(OrderError, match="outside of the loop"):
        fit(model, KerasAdapter(Loop(History(), model=KerasModel(model))))


def test_a_thousand_adapters_leave_no_trace(model):
    """Adapters made for each fit of a long loop are freed, and so is their loop."""
    with Loop(History(), model=KerasModel(model)) as loop:
        kept = [weakref.ref(KerasAdapter(loop)) for _ in range(1000)]
        adapter = KerasAdapter(loop)
        fit(model, adapter, epochs=1)
    kept += [weakref.ref(adapter), weakref.ref(loop)]
    del adapter, loop
    gc.collect()
    assert [ref() for ref in kept] == [None] * len(kept)


@pytest.mark.skipif(BACKEND != "jax", reason="only JAX detaches the model's state within an epoch")
def test_jax_state_is_synced_only_when_a_sink_reads_the_model(model, monkeypatch):
    """Batches sync nothing by themselves; a sink that reads the rate in one syncs, and is warned of once."""
    syncs = []
    original = type(model).jax_state_sync

    def counting(self):
        syncs.append(not self._jax_state_synced if getattr(self, "_jax_state", None) else False)
        original(self)

    monkeypatch.setattr(type(model), "jax_state_sync", counting)
    fit(model, KerasAdapter(History(per_batch=True), model=model), epochs=1)
    baseline = syncs.count(True)
    syncs.clear()
    fit(model, KerasAdapter(on("batch_end", lambda run, step, logs: run.learning_rate), model=model), epochs=1)
    assert (baseline, syncs.count(True)) == (1, 4)


def test_a_rate_set_within_an_epoch_is_used_by_the_next_batch(model):
    """A sink that sets the rate to 0 in a batch freezes the weights from there on, on every backend."""
    weights = []

    class Freeze(Sink):
        needs = ("learning_rates", "get_weights")

        def on_batch_end(self, run, step, logs):
            if step == 2:
                run.learning_rate = 0.0
                weights.append(run.model.get_weights())

    history = History()
    fit(model, KerasAdapter(Freeze(), history, model=model), epochs=1, batch_size=4)
    model.optimizer.learning_rate = 0.01
    assert all(np.array_equal(now, then) for now, then in zip(model.get_weights(), weights[0], strict=True))
    assert history["learning_rate"].tolist() == [0.0]


@pytest.mark.parametrize("split", [0.25, 0.3, 0.95])
def test_the_validation_split_is_provided_as_validation_data(split):
    """With ``validation_split`` the sinks see the samples that Keras itself validates on, whatever their structure."""
    first, second = keras.Input((6,)), keras.Input((6,))
    model = keras.Model([first, second], keras.layers.Dense(1)(keras.layers.add([first, second])))
    model.compile("sgd", "mse")
    lent = []
    adapter = KerasAdapter(on("train_begin", lambda run: lent.append(run.validation_data)))
    adapter.fit(model, [X, -X], Y, validation_split=split, verbose=0)
    (((a, b), y),) = lent
    expected = array_slicing.train_validation_split(((X, -X), Y), split)[1]
    for found, wanted in zip((a, b, y), keras.tree.flatten(expected), strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert adapter.bus.run.validation_data is None
