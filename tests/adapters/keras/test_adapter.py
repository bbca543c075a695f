"""The adapter against Keras itself, on the back end of this process (`KERAS_BACKEND`)."""

import contextlib
import gc
import threading
import weakref

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras.src.trainers.data_adapters import array_slicing

from monitor_core import Bus, History, HookError, Loop, OrderError, SetupError, Sink, on, scalar
from monitor_core.adapters.keras import KerasAdapter, KerasModel, reset_states

BACKEND = keras.backend.backend()
RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 6)).astype("float32")
Y = (X.sum(axis=1, keepdims=True) > 0).astype("float32")
TRAIN, VALIDATION = (X[:32], Y[:32]), (X[32:], Y[32:])
EXECUTIONS = [1] if BACKEND == "torch" else [1, 3]  # Keras's torch back end knows no steps_per_execution
HOOKS = ["train_begin", "train_end", "test_begin", "test_end", "predict_begin", "predict_end"]
NUMBERED_HOOKS = ["epoch_begin", "epoch_end"] + [
    f"{mode}_batch_{edge}" for mode in ("train", "test", "predict") for edge in ("begin", "end")
]


def build(steps_per_execution=1):
    keras.utils.set_random_seed(7)
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, "tanh"), keras.layers.Dense(1, "sigmoid")])
    model.compile("sgd", "binary_crossentropy", metrics=["accuracy"], steps_per_execution=steps_per_execution)
    return model


@pytest.fixture(scope="module")
def compiled():
    models = {number: build(number) for number in EXECUTIONS}
    start = models[1].get_weights()
    return models, start


@pytest.fixture
def model(compiled):
    return fresh(compiled)


def fresh(compiled, steps_per_execution=1):
    """Return the compiled model as it was new, random generators included."""
    models, start = compiled
    keras.utils.set_random_seed(7)
    models[steps_per_execution].set_weights(start)
    return models[steps_per_execution]


def fit(model, callbacks, **options):
    """Fit without shuffling, which draws from other generators on each back end."""
    settings = {"epochs": 2, "batch_size": 8, "verbose": 0, "shuffle": False, "callbacks": callbacks, **options}
    return model.fit(*TRAIN, **settings)


class Recorder(keras.callbacks.Callback):
    """A Keras callback that notes each hook, its number and its logs; it stops training where told."""

    def __init__(self, stop_at=None):
        super().__init__()
        self.events = []
        self._stop_at = stop_at

    def hear(self, *event):
        self.events.append(event)
        if self._stop_at is not None and event[:2] == self._stop_at:
            self.model.stop_training = True


for hook in HOOKS:
    setattr(Recorder, f"on_{hook}", lambda self, logs=None, hook=hook: self.hear(hook, None, logs))
for hook in NUMBERED_HOOKS:
    setattr(
        Recorder, f"on_{hook}", lambda self, number, logs=None, hook=hook: self.hear(hook, number, comparable(logs))
    )


def comparable(logs):
    """Return logs without predictions, which are arrays."""
    return {name: value for name, value in logs.items() if name != "outputs"}


class Listener(Sink):
    """A sink that notes each event with the logs as floats."""

    def __init__(self):
        self.events = []

    def on_train_begin(self, run):
        self.events.append(("train_begin", run.epochs))

    def on_train_end(self, run, logs):
        self.events.append(("train_end", run.status))

    def on_epoch_begin(self, run, epoch):
        self.events.append(("epoch_begin", epoch))

    def on_epoch_end(self, run, epoch, logs):
        self.events.append(("epoch_end", epoch, sorted(logs)))

    def on_batch_begin(self, run, step):
        self.events.append(("batch_begin", step))

    def on_batch_end(self, run, step, logs):
        self.events.append(("batch_end", step, sorted(logs)))

    def on_evaluation_begin(self, run):
        self.events.append(("evaluation_begin",))

    def on_evaluation_end(self, run, logs):
        self.events.append(("evaluation_end", sorted(logs)))


def batches(rows):
    """Return a generator of batches, whose number Keras cannot know."""
    for first in range(0, rows, 8):
        yield X[first : first + 8], Y[first : first + 8]


# --- the same as Keras itself --------------------------------------------------------------------------------------


@settings(max_examples=12)
@given(
    options=st.fixed_dictionaries(
        {"epochs": st.integers(1, 3), "initial_epoch": st.integers(0, 1), "batch_size": st.sampled_from([5, 8, 32])}
    ),
    validation=st.booleans(),
    steps_per_execution=st.sampled_from(EXECUTIONS),
    stop_at=st.sampled_from([None, ("epoch_end", 1), ("train_batch_end", 2), ("epoch_begin", 0)]),
)
def test_keras_callbacks_hear_what_keras_gives_them(compiled, options, validation, steps_per_execution, stop_at):
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
def test_sinks_hear_the_whole_sequence(model, whole):
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
    """Handed over whole, a batch's logs are the framework's own tensors; in a list Keras has made floats of them."""
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


# --- steps ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("per_batch", [True, False])
@pytest.mark.parametrize("steps_per_execution", EXECUTIONS)
def test_steps_count_batches(compiled, whole, per_batch, steps_per_execution):
    """The step counts batches over all epochs, whether batches are heard or not, and however many run at once."""
    model = fresh(compiled, steps_per_execution)
    history = History(per_batch=per_batch)
    adapter = KerasAdapter(history, model=model)
    fit(model, adapter if whole else [adapter], batch_size=8)
    assert adapter.bus.run.step == 8
    if per_batch:
        assert history.batches.steps.tolist() == ([3, 4, 7, 8] if steps_per_execution == 3 else list(range(1, 9)))


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize("whole", [True, False])
def test_steps_of_a_data_set_of_unknown_length_are_counted(model, whole):
    """Without a known length, and without a sink that hears batches, each batch still counts once."""
    adapter = KerasAdapter(History(), model=model)
    model.fit(batches(40), epochs=1, verbose=0, shuffle=False, callbacks=adapter if whole else [adapter])
    assert adapter.bus.run.step == 5


def test_batch_hooks_look_default_unless_a_sink_listens(model):
    """Keras may dispatch batches asynchronously where no sink listens per batch, and hooks stay on this thread."""
    default = [getattr(KerasAdapter(History()), name) for name in ("on_train_batch_end", "on_test_batch_end")]
    assert [getattr(hook, "_is_default", False) for hook in default] == [True, True]
    heard = KerasAdapter(History(per_batch=True)).on_train_batch_end
    assert not getattr(heard, "_is_default", False)
    threads = set()

    @on("batch_end")
    def note(run, step, logs):
        threads.add(threading.current_thread())

    fit(model, [KerasAdapter(note)])
    assert threads == {threading.current_thread()}


# --- stopping ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("whole", [True, False])
def test_a_stop_at_an_epoch_ends_the_fit(model, whole):
    """A sink's request ends the fit after that epoch, and the run tells why."""

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


# --- one run over many fits ----------------------------------------------------------------------------------------


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


def test_fits_without_loop_epochs_go_on_counting(model):
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
    """After the reset a stateful layer, nested ones too, answers as it did at first; random weights stay."""
    if BACKEND == "torch" and kind is not keras.layers.SimpleRNN:
        pytest.skip("stateful LSTM and GRU do not work on Keras's torch back end (keras#20875)")
    inner = keras.Sequential([kind(3, stateful=True)])
    model = keras.Sequential([keras.Input(batch_shape=(1, 4, 2)), inner, keras.layers.Dense(1)])
    x = np.ones((1, 4, 2), "float32")
    first, second = (keras.ops.convert_to_numpy(model(x)) for _ in range(2))
    reset_states(model)
    assert not np.allclose(first, second)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(model(x)), first, rtol=1e-6)


# --- failures ------------------------------------------------------------------------------------------------------


def test_a_failing_sink_does_not_end_the_fit(model, warned):
    """A sink that raises is reported once and training goes on."""

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


def test_adapter_fit_tells_of_an_exception(model):
    """adapter.fit ends the run when training raises: sinks are told, pending values are handed over first."""
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
    """fit tells nobody of an exception; the next train begin closes the open run, and Keras callbacks hear nothing."""
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


def test_a_fit_goes_on_behind_the_epoch_of_a_loaded_state(model):
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


def test_a_sink_in_the_place_of_an_adapter_is_told_so(model):
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
    """Sinks that need the model work with it as it was given, during the run and after it."""

    class Rates(Sink):
        needs = ("learning_rates",)

        def on_epoch_end(self, run, epoch, logs):
            rates.append(run.learning_rate)

    rates = []
    with Loop(Rates(), model=model) as loop:
        fit(model, KerasAdapter(loop), epochs=2)
    assert (rates, loop.run.model.model) == (KerasModel(model).learning_rates * 2, model)


def test_a_loop_goes_on_after_a_fit_that_raised(model):
    """Where the training code catches what a fit raised, the broken epoch leaves no record and the next fit goes on."""
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


def test_each_fit_lends_its_own_validation_data(model):
    """adapter.fit lends the validation data of each fit, unless the adapter was given its own."""
    lent = []
    note = on("train_begin", lambda run: lent.append(run.validation_data))
    other = (X[:4], Y[:4])
    adapter = KerasAdapter(note)
    for data in (VALIDATION, other):
        adapter.fit(model, *TRAIN, verbose=0, validation_data=data)
    KerasAdapter(note, validation_data=VALIDATION).fit(model, *TRAIN, verbose=0, validation_data=other)
    assert [each is VALIDATION for each in lent] == [True, False, True]


def test_a_whole_adapter_without_a_model_is_told_so_at_train_begin(model):
    """Keras tells a list handed over whole no model; the message names the ways to tell it."""
    with pytest.raises(SetupError, match=r"KerasAdapter\(\.\.\., model=model\)"):
        fit(model, KerasAdapter(History()))


def test_adapter_fit_knows_everything(model):
    """adapter.fit tells the sinks the epochs and the validation data, and returns Keras's history."""
    seen = []

    @on("train_begin")
    def note(run):
        seen.append((run.epochs, run.validation_data is VALIDATION, run.model.model is model))

    returned = KerasAdapter(note).fit(model, *TRAIN, epochs=3, verbose=0, validation_data=VALIDATION)
    assert (seen, returned.epoch) == ([(3, True, True)], [0, 1, 2])


def test_adapter_fit_takes_no_callbacks(model):
    """Callbacks go to the adapter, and the message says so."""
    with pytest.raises(TypeError, match="hand them to the KerasAdapter"):
        KerasAdapter(History()).fit(model, *TRAIN, callbacks=[])


def test_a_loop_comes_alone(model):
    """A loop and sinks in one adapter are an error: the loop has its own."""
    with pytest.raises(ValueError, match="a Loop comes alone"):
        KerasAdapter(Loop(History()), History())
    with pytest.raises(ValueError, match="a Loop comes alone"):
        KerasAdapter(Loop(History()), epochs=3)


def test_what_is_no_sink_is_refused():
    """An object without hooks is refused when the adapter is made."""
    with pytest.raises(HookError, match=r"sinks must be passed one by one \(got a list\): write \*sinks"):
        KerasAdapter([History()])


def test_a_loop_that_was_not_entered_is_an_error(model):
    """A fit with the adapter of a loop that is not running says what is missing."""
    with pytest.raises(OrderError, match="outside of the loop"):
        fit(model, KerasAdapter(Loop(History(), model=KerasModel(model))))


def test_a_thousand_adapters_leave_nothing_behind(model):
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
    """A sink that sets the rate to 0 in a batch freezes the weights from there on, on every back end."""
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
def test_fit_lends_the_part_that_keras_splits_off_to_validate(split):
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


# --- what stays alive -----------------------------------------------------------------------------------------------


def released(model):
    """Answer whether nothing keeps a model alive but the frame above."""
    reference = weakref.ref(model.pop())
    keras.backend.clear_session()
    gc.collect()
    return reference() is None


def ask_to_stop(run, epoch, logs):
    run.stop("enough")


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
