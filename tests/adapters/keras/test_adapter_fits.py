"""Adapter: the same as Keras itself, steps, stopping, driven by hand, and fits within fits."""

import threading

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter_support import (
    BACKEND,
    EXECUTIONS,
    TRAIN,
    VALIDATION,
    Listener,
    Recorder,
    X,
    Y,
    ask_to_stop,
    batches,
    build,
    fit,
    fresh,
)
from monitor_core import (
    EarlyStopping,
    History,
    Loop,
    OrderError,
    on,
    scalar,
)
from monitor_core.adapters.keras import KerasAdapter, KerasModel


@settings(max_examples=12)
@given(
    options=st.fixed_dictionaries(
        {"epochs": st.integers(1, 3), "initial_epoch": st.integers(0, 1), "batch_size": st.sampled_from([5, 8, 32])}
    ),
    validation=st.booleans(),
    steps_per_execution=st.sampled_from(EXECUTIONS),
    stop_at=st.sampled_from([None, ("epoch_end", 1), ("train_batch_end", 2), ("epoch_begin", 0)]),
)
def test_keras_callbacks_receive_what_keras_passes(compiled, options, validation, steps_per_execution, stop_at):
    """Hooks, numbers, logs and their order are those of Keras's own list, and so is the history that fit returns."""
    if validation:
        options["validation_data"] = VALIDATION
    ours, theirs = Recorder(stop_at), Recorder(stop_at)
    history = fit(fresh(compiled, steps_per_execution), [theirs], **options)
    model = fresh(compiled, steps_per_execution)
    returned = fit(model, KerasAdapter(ours, History(), model=model), **options)
    assert ours.events == theirs.events
    assert (returned.history, returned.epoch) == (history.history, history.epoch)


@pytest.mark.parametrize("whole", [True, False])
def test_evaluate_and_predict_give_the_same_events_as_keras(model, whole):
    """Evaluation and prediction outside of a fit reach Keras callbacks as they would without the adapter."""
    ours, theirs = Recorder(), Recorder()
    adapter = KerasAdapter(ours, model=model)
    for callbacks in (adapter if whole else [adapter], [theirs]):
        model.evaluate(*VALIDATION, batch_size=4, verbose=0, callbacks=callbacks)
        model.predict(VALIDATION[0], batch_size=4, verbose=0, callbacks=callbacks)
    assert ours.events == theirs.events


@pytest.mark.parametrize("whole", [True, False])
def test_sinks_receive_the_whole_sequence(model, whole):
    """One epoch of two batches with validation gives exactly these events, whole and in a list."""
    listener = Listener()
    adapter = KerasAdapter(listener, model=model, epochs=1)
    fit(model, adapter if whole else [adapter], epochs=1, batch_size=16, validation_data=VALIDATION)
    metrics = ["accuracy", "loss"]
    assert listener.events == [
        ("train_begin", 1),
        ("epoch_begin", 0),
        ("batch_begin", 1),
        ("batch_end", 1, metrics),
        ("batch_begin", 2),
        ("batch_end", 2, metrics),
        ("evaluation_begin",),
        ("evaluation_end", metrics),
        ("epoch_end", 0, ["accuracy", "loss", "val_accuracy", "val_loss"]),
        ("train_end", "completed"),
    ]


def test_history_holds_what_keras_history_holds(compiled):
    """Our history's values equal those of Keras's own, to the last bit, with batches on record or not."""
    theirs = fit(fresh(compiled), None, validation_data=VALIDATION)
    for history in (History(), History(per_batch=True)):
        model = fresh(compiled)
        fit(model, KerasAdapter(history, model=model), validation_data=VALIDATION)
        assert {name: history.history[name] for name in theirs.history} == theirs.history
        assert history.epoch == theirs.epoch


def test_nothing_converts_the_values_of_a_batch(model):
    """Passed whole, a batch's logs are the framework's own tensors; in a list Keras has converted them to floats."""
    kinds = {}
    for whole in (True, False):

        @on("batch_end")
        def note(run, step, logs, whole=whole):
            kinds[whole] = type(logs["loss"]).__name__

        adapter = KerasAdapter(note, model=model)
        fit(model, adapter if whole else [adapter])
    assert kinds == {
        True: {"tensorflow": "EagerTensor", "jax": "ArrayImpl", "torch": "Tensor"}[BACKEND],
        False: "float",
    }


def test_batch_values_on_record_are_exact(model):
    """Every batch's value on record equals what the batch hook could read at that time."""
    seen = []

    @on("batch_end")
    def read(run, step, logs):
        seen.append(scalar(logs["loss"]))

    history = History(per_batch=True)
    fit(model, KerasAdapter(history, read, model=model), batch_size=2)
    assert history.batches["loss"].tolist() == seen
    assert history.batches.steps.tolist() == list(range(1, 33))


def test_metrics_that_live_in_place_are_recorded_exactly(compiled):
    """Metrics that return their own state, which the next batch changes, have each batch's value on record."""
    keras.utils.set_random_seed(7)
    model = build()
    model.compile("sgd", "binary_crossentropy", metrics=[keras.metrics.TruePositives(name="tp")])
    seen = []

    @on("batch_end")
    def read(run, step, logs):
        seen.append(scalar(logs["tp"]))

    quiet, loud = History(per_batch=True), History(per_batch=True)
    start = [*model.get_weights()[:-1], np.array([3.0], "float32")]  # most answers are positive, and counted
    for sinks in ((quiet,), (loud, read)):  # reading a value may cache it, so the first fit reads none
        keras.utils.set_random_seed(7)
        model.set_weights(start)
        fit(model, KerasAdapter(*sinks, model=model), batch_size=2)
    assert quiet.batches["tp"].tolist() == loud.batches["tp"].tolist() == seen
    assert len(set(seen)) > 3


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("per_batch", [True, False])
@pytest.mark.parametrize("steps_per_execution", EXECUTIONS)
def test_steps_count_batches(compiled, whole, per_batch, steps_per_execution):
    """The step counts batches over all epochs, whether a sink listens to batches or not, and any number per call."""
    model = fresh(compiled, steps_per_execution)
    history = History(per_batch=per_batch)
    adapter = KerasAdapter(history, model=model)
    fit(model, adapter if whole else [adapter], batch_size=8)
    assert adapter.bus.run.step == 8
    if per_batch:
        assert history.batches.steps.tolist() == ([3, 4, 7, 8] if steps_per_execution == 3 else list(range(1, 9)))


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize("whole", [True, False])
def test_steps_of_a_dataset_of_unknown_length_are_counted(model, whole):
    """Without a known length, and without a sink that listens to batches, each batch still counts once."""
    adapter = KerasAdapter(History(), model=model)
    model.fit(batches(40), epochs=1, verbose=0, shuffle=False, callbacks=adapter if whole else [adapter])
    assert adapter.bus.run.step == 5


def test_batch_hooks_look_default_unless_a_sink_listens(model):
    """Keras may dispatch batches asynchronously where no sink listens per batch, and hooks stay on this thread."""
    default = [getattr(KerasAdapter(History()), name) for name in ("on_train_batch_end", "on_test_batch_end")]
    assert [getattr(hook, "_is_default", False) for hook in default] == [True, True]
    hook = KerasAdapter(History(per_batch=True)).on_train_batch_end
    assert not getattr(hook, "_is_default", False)
    threads = set()

    @on("batch_end")
    def note(run, step, logs):
        threads.add(threading.current_thread())

    fit(model, [KerasAdapter(note)])
    assert threads == {threading.current_thread()}


@pytest.mark.parametrize("whole", [True, False])
def test_a_stop_at_an_epoch_ends_the_fit(model, whole):
    """A sink's request ends the fit after that epoch, and the run says why."""

    @on("epoch_end")
    def stop(run, epoch, logs):
        if epoch == 1:
            run.stop("enough")

    history = History()
    adapter = KerasAdapter(stop, history, model=model)
    fit(model, adapter if whole else [adapter], epochs=9)
    run = adapter.bus.run
    assert (history.epoch, run.status, run.stop_reason) == ([0, 1], "stopped", "enough")


def test_a_stop_at_a_batch_ends_the_epoch_there(model):
    """A request at a batch lets no further batch train; the epoch ends with what it has, as in Keras."""

    @on("batch_end")
    def stop(run, step, logs):
        if step == 2:
            run.stop("enough")

    history = History(per_batch=True)
    adapter = KerasAdapter(stop, history, model=model)
    fit(model, adapter, validation_data=VALIDATION)
    assert (len(history), len(history.batches), adapter.bus.run.step) == (1, 2, 2)


def test_a_keras_callback_that_stops_the_fit_stops_the_run(model):
    """A stop by Keras's own means is in the run's status too."""
    adapter = KerasAdapter(Recorder(stop_at=("epoch_end", 0)), History(), model=model)
    fit(model, adapter)
    assert (adapter.bus.run.status, adapter.bus.run.stop_reason) == ("stopped", "model.stop_training was set")


@pytest.mark.parametrize("whole", [True, False])
def test_a_fit_attached_to_a_stopped_run_trains_nothing(model, whole):
    """After a stop the loop's further fits run no batch, record nothing, and leave the model ready for others."""
    history = History(per_batch=True)

    @on("epoch_end")
    def stop(run, epoch, logs):
        run.stop("enough")

    returned, weights = [], []
    with Loop(history, stop, model=KerasModel(model)) as loop:
        for _ in range(3):
            adapter = KerasAdapter(loop)
            returned.append(fit(model, adapter if whole else [adapter], epochs=1, validation_data=VALIDATION).epoch)
            weights.append(model.get_weights()[0].tolist())
    assert (history.epoch, len(history.batches), loop.run.status) == ([0], 4, "stopped")
    assert (returned, weights) == ([[0], [], []], [weights[0]] * 3)
    assert fit(model, None).epoch == [0, 1]


def test_a_stop_at_train_begin_trains_nothing(model):
    """A sink that asks at train begin is obeyed before the first batch."""
    trained = []

    @on("train_begin")
    def stop(run):
        run.stop("not today")

    adapter = KerasAdapter(stop, on("batch_end", lambda run, step, logs: trained.append(step)), model=model)
    fit(model, adapter)
    assert (trained, adapter.bus.run.status, model._initial_epoch) == ([], "stopped", None)


def test_a_model_that_was_never_compiled_can_be_driven_by_hand():
    """As Keras documents for custom loops, the hooks are called by hand, and a stop by a sink reaches the model."""
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1)])
    history = History(per_batch=True)
    callbacks = KerasAdapter(history, on("epoch_end", ask_to_stop), model=model)
    callbacks.on_train_begin()
    callbacks.on_epoch_begin(0)
    callbacks.on_train_batch_begin(0)
    callbacks.on_train_batch_end(0, {"loss": 2.0})
    callbacks.on_epoch_end(0, {"loss": 1.0})
    stops = model.stop_training
    callbacks.on_train_end()
    assert (history["loss"].tolist(), history.batches["loss"].tolist(), stops) == ([1.0], [2.0], True)
    assert (callbacks.run.status, callbacks.run.step) == ("stopped", 1)


@pytest.mark.parametrize("way", ["whole", "list", "fit"])
@pytest.mark.parametrize("hook", ["train_begin", "epoch_end", "batch_begin", "batch_end", "evaluation_end"])
def test_a_fit_within_a_hook_of_its_adapter_is_an_error(model, way, hook):
    """The inner fit is refused with the way out, and the outer one trains on as if nothing had been tried."""
    other, history, errors = build(), History(), []

    @on(hook)
    def nested(*_):
        with pytest.raises(OrderError, match="pass another KerasAdapter to the inner fit") as info:
            if way == "fit":
                adapter.fit(other, *TRAIN, verbose=0)
            else:
                other.fit(*TRAIN, verbose=0, callbacks=adapter if way == "whole" else [adapter])
        errors.append(info.value)

    adapter = KerasAdapter(nested, history)
    fit(model, adapter, epochs=2, batch_size=16, validation_data=VALIDATION)
    calls = {"train_begin": 1, "batch_begin": 4, "batch_end": 4}.get(hook, 2)
    assert (len(errors), history.epoch, adapter.run.status) == (calls, [0, 1], "completed")
    assert adapter.bus.failures == []


def test_a_fit_within_a_hook_works_with_an_adapter_of_its_own(model):
    """A hook may train another model, with another adapter, and both runs are complete."""
    other, outer, inner = build(), History(), History()

    @on("epoch_end")
    def nested(run, epoch, logs):
        KerasAdapter(inner).fit(other, *TRAIN, verbose=0)

    KerasAdapter(nested, outer).fit(model, *TRAIN, epochs=2, verbose=0)
    assert (outer.epoch, inner.epoch, inner.run.tolist()) == ([0, 1], [0, 0], [0, 1])


def test_a_sink_that_comes_within_an_epoch_gets_its_batches(model):
    """A sink that is added in a batch is notified of the batches that follow, though no other listens to them."""
    steps = []

    @on("batch_end")
    def come(run, step, logs):
        if step == 2:
            adapter.bus.add(on("batch_begin", lambda run, step: steps.append(step)))

    adapter = KerasAdapter(come)
    fit(model, adapter, epochs=1)
    assert steps == [3, 4]


def test_an_adapter_shows_its_sinks_and_its_run(model):
    """The repr is one readable line, and `run` is the bus's."""
    adapter = KerasAdapter(History(), EarlyStopping("loss"), Recorder())
    assert repr(adapter) == ("KerasAdapter(History, EarlyStopping, Recorder; Run(index=0, pending, epoch=-1, step=0))")
    loop = Loop(History(), model=KerasModel(model))
    assert repr(KerasAdapter(loop)).startswith("KerasAdapter(Loop(History); Run(")
    assert KerasAdapter(loop).run is loop.run


def test_adapter_fit_without_a_model_says_what_to_write():
    """Where the model was forgotten, the message has the call."""
    with pytest.raises(TypeError, match=r"\(got a ndarray\): write adapter\.fit\(model, x, y, \.\.\.\)"):
        KerasAdapter(History()).fit(X, Y)
