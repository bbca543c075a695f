"""Early stopping, against Keras's own on sequences and in fits, on the back end of this process (`KERAS_BACKEND`)."""

import json
import math
import operator
import os
import warnings

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor_core import Bus, Loop, SetupError, Sink
from monitor_core.adapters.keras import KerasAdapter, KerasModel
from monitor_core.sinks.early_stopping import EarlyStopping

EXAMPLES = 5_000 if os.environ.get("MONITOR_CORE_LONG") else 100
MISSING = "missing"
METRIC = "metric"


class Stub:
    """A model for Keras's callback and a handle for ours: its one weight is the number of the last epoch."""

    def __init__(self):
        self.stop_training = False
        self.weight = -1
        self.fetched = []

    def get_weights(self):
        self.fetched.append(self.weight)
        return [np.array([float(self.weight)])]

    def set_weights(self, weights):
        self.weight = int(weights[0][0])


class Float64(keras.callbacks.EarlyStopping):
    """Keras's callback as it is, but comparing in float64: its own comparison rounds both sides to float32."""

    def _set_monitor_op(self):
        super()._set_monitor_op()
        self.monitor_op = operator.lt if self.mode == "min" else operator.gt


class NeverNaN(Float64):
    """The same with the one rule of ours: NaN is no improvement, not even on nothing."""

    def _is_improvement(self, monitor_value, reference_value):
        return not math.isnan(monitor_value) and super()._is_improvement(monitor_value, reference_value)


def logs_of(value):
    return {"loss": 1.0} if value is MISSING else {"loss": 1.0, METRIC: value}


def keras_run(kind, values, options, first_epoch=0):
    """Return what Keras's callback decides on these values, as `outcome` tells it."""
    callback, model = kind(METRIC, **options), Stub()
    callback.set_model(model)
    callback.on_train_begin()
    stopped = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it warns at each epoch that lacks the metric
        for epoch, value in enumerate(values, first_epoch):
            model.weight = epoch
            callback.on_epoch_end(epoch, logs_of(value))
            if model.stop_training:
                stopped = epoch
                break
    callback.on_train_end()
    return outcome(callback, stopped, model)


def drive(bus, values, first_epoch=0, *, end=True):
    """Drive a bus through epochs until it stops; return the epoch in which it did."""
    for epoch, value in enumerate(values, first_epoch):
        if bus.run.stopped:
            break
        bus.epoch_begin(epoch)
        bus.run.model.weight = epoch
        bus.epoch_end(epoch, logs_of(value))
    if end:
        bus.train_end()
    return bus.run.epoch if bus.run.stopped else None


def our_run(values, options, first_epoch=0):
    """Return what ours decides on these values, as `outcome` tells it."""
    sink, model = EarlyStopping(METRIC, **options), Stub()
    bus = Bus(sink, model=model, strict=True)
    bus.train_begin()
    return outcome(sink, drive(bus, values, first_epoch), model)


def outcome(callback, stopped, model):
    return {
        "stopped": stopped,
        "stopped_epoch": callback.stopped_epoch,
        "best": callback.best,
        "best_epoch": callback.best_epoch,
        "wait": callback.wait,
        "best_weights": callback.best_weights and int(callback.best_weights[0][0]),
        "weight": model.weight,
    }


def options(numbers):
    return st.fixed_dictionaries(
        {
            "min_delta": numbers,
            "patience": st.integers(0, 4),
            "mode": st.sampled_from(["min", "max"]),
            "baseline": st.none() | numbers,
            "restore_best_weights": st.booleans(),
            "start_from_epoch": st.integers(0, 4),
        }
    )


# A walk over few values with steps of about min_delta makes equal ones and differences of exactly min_delta likely.
WALK = st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.1 + 0.2, 0.5, 1.0, 5e-324, 1e308, -1e308, 1e-310, -0.0])
DELTA = st.sampled_from([0, 0.1, -0.1, 0.2, 5e-324, 1e-300, 1e308]) | st.floats(-2, 2)
VALUE = WALK | st.floats(allow_nan=False)
ODD = st.sampled_from([math.nan, math.inf, -math.inf, None, MISSING])
SEQUENCE = st.lists(VALUE | ODD, max_size=14)


def without_leading_nan(values, options, first_epoch):
    """Return the values with the first one that counts replaced if it is NaN."""
    for epoch, value in enumerate(values, first_epoch):
        if epoch >= options["start_from_epoch"] and value not in (None, MISSING):
            if math.isnan(value):
                return without_leading_nan(
                    [*values[: epoch - first_epoch], 0.3, *values[epoch - first_epoch + 1 :]], options, first_epoch
                )
            break
    return values


# --- against Keras -------------------------------------------------------------------------------------------------


@settings(max_examples=EXAMPLES)
@given(values=SEQUENCE, options=options(DELTA), first_epoch=st.sampled_from([0, 0, 1, 3]))
def test_decides_as_keras_does(values, options, first_epoch):
    """Any values and options give Keras's epochs, best value, count and weights; NaN comes anywhere but first."""
    values = without_leading_nan(values, options, first_epoch)
    assert our_run(values, options, first_epoch) == keras_run(Float64, values, options, first_epoch)


@settings(max_examples=EXAMPLES)
@given(
    values=st.lists(st.integers(-8, 8).map(lambda number: number / 8) | ODD, max_size=12),
    options=options(st.sampled_from([0.0, 0.125, -0.25, 0.5])),
)
def test_decides_as_keras_does_in_float32(values, options):
    """Keras's callback untouched decides the same where values and differences are exact in float32."""
    values = without_leading_nan(values, options, 0)
    assert our_run(values, options) == keras_run(keras.callbacks.EarlyStopping, values, options)


@settings(max_examples=EXAMPLES)
@given(values=st.lists(VALUE | st.just(math.nan) | ODD, max_size=14), options=options(DELTA))
def test_nan_first_changes_one_rule_only(values, options):
    """Where NaN comes first too, the decisions are Keras's with NaN as no improvement; all NaN restores nothing."""
    ours, theirs = our_run(values, options), keras_run(NeverNaN, values, options)
    if ours["best"] is None:
        # Keras takes the weights of the first epoch where none was better than nothing.
        assert ours["best_weights"] is None
        for outcome in (ours, theirs):
            del outcome["weight"], outcome["best_weights"], outcome["best_epoch"]
    assert ours == theirs


# --- where we differ on purpose ------------------------------------------------------------------------------------


def test_nan_is_never_the_best():
    """After a first NaN, Keras takes no later value for better and stops; ours goes on with the best number."""
    values, options = [math.nan, 1.0, 0.9, 0.8, 0.7], {"mode": "min", "patience": 3, "restore_best_weights": True}
    theirs = keras_run(keras.callbacks.EarlyStopping, values, options)
    assert (theirs["stopped"], theirs["best_epoch"], theirs["weight"]) == (3, 0, 0)
    assert our_run(values, options) == {
        "stopped": None,
        "stopped_epoch": 0,
        "best": 0.7,
        "best_epoch": 4,
        "wait": 0,
        "best_weights": 4,
        "weight": 4,
    }


def test_nan_counts_as_no_improvement_from_the_first_epoch_on():
    """Patience runs out on NaN alone, the reason says so, and there is nothing to go back to."""
    sink = EarlyStopping(METRIC, mode="min", patience=2, restore_best_weights=True)
    bus = Bus(sink, model=Stub())
    bus.train_begin()
    assert drive(bus, [math.nan] * 5) == 1
    assert bus.run.stop_reason == "metric has been nan for 2 epochs"
    assert bus.run.model.weight == 1


def test_a_missing_metric_warns_once_and_is_not_counted(warned):
    """Epochs without the metric, or with None, neither use up patience nor break it, with one warning in all."""
    sink = EarlyStopping(METRIC, mode="min", patience=2)
    bus = Bus(sink, model=Stub())
    bus.train_begin()
    assert drive(bus, [1.0, MISSING, 1.0, None, MISSING, 1.0, 0.0]) == 5
    assert warned() == [
        "EarlyStopping decides nothing while its metric is missing: no metric 'metric'; this epoch has loss"
    ]


@pytest.mark.parametrize("value", ["low", [1.0, 2.0], object(), 1j])
def test_a_value_that_is_no_number_is_passed_over(value, warned):
    """What is no number is not counted either, where Keras ends the training, and nothing fails."""
    bus = Bus(EarlyStopping(METRIC, mode="min", patience=2), model=Stub())
    bus.train_begin()
    assert drive(bus, [1.0, value, 1.0, value, 1.0]) == 4
    assert len(warned()) == 2  # the bus says that it skips the value, the sink that it misses it
    assert bus.failures == []


def test_values_are_compared_in_float64():
    """An improvement that float32 cannot tell counts, where Keras sees none."""
    values, options = [1.0, 1.0 - 1e-12, 1.0 - 2e-12], {"mode": "min", "patience": 2}
    assert keras_run(keras.callbacks.EarlyStopping, values, options)["stopped"] == 2
    assert our_run(values, options)["stopped"] is None


def test_an_unknown_mode_is_refused_at_once():
    """Keras warns and guesses."""
    with pytest.raises(ValueError, match=r"mode must be 'auto', 'min' or 'max' \(got 'least'\)"):
        EarlyStopping("loss", mode="least")


def test_an_undecidable_mode_is_refused_at_train_begin():
    """Keras raises at the end of the first epoch."""
    with pytest.raises(SetupError, match="EarlyStopping does not know whether 'reward' improves by falling or by "):
        Bus(EarlyStopping("reward")).train_begin()


# --- reasons and options -------------------------------------------------------------------------------------------


def reason(values, **options):
    """Return why, when and with what status ours stops on these values of the metric."""
    with Loop(EarlyStopping(METRIC, **{"mode": "min", **options}), model=Stub()) as loop:
        for epoch in loop.epochs(len(values)):
            loop.log({METRIC: values[epoch]})
    return loop.run.stop_reason, loop.run.epoch, loop.run.status


@pytest.mark.parametrize(
    ("values", "options", "expected"),
    [
        (
            [3.0, 2.0, 2.0, 2.5],
            {"patience": 2},
            "metric has not got better in 2 epochs; its best was 2 in epoch 1 (0-based)",
        ),
        ([1.0, 1.0], {}, "metric has not got better in 1 epoch; its best was 1 in epoch 0 (0-based)"),
        (
            [0.9, 0.8, 0.8, 0.8],
            {"patience": 4, "baseline": 0.5},
            "metric has not got better than the baseline 0.5 in 4 epochs; its best was 0.8 in epoch 1 (0-based)",
        ),
        (
            [0.4, 0.6, 0.6, 0.6],
            {"patience": 3, "baseline": 0.5},
            "metric has not got better in 3 epochs; its best was 0.4 in epoch 0 (0-based)",
        ),
    ],
)
def test_the_reason_is_in_words(values, options, expected):
    """The run says which metric, for how long, and what its best was."""
    assert reason(values, **options) == (expected, len(values) - 1, "stopped")


@pytest.mark.parametrize(
    ("values", "options", "expected"),
    [
        ([3.0, 2.0, 1.0], {"stopping_threshold": 2.0}, ("metric is 2 and has reached 2", 1, "stopped")),
        (
            [0.1, 0.95, 1.0],
            {"stopping_threshold": 0.9, "mode": "max"},
            ("metric is 0.95 and has reached 0.9", 1, "stopped"),
        ),
        ([1.0], {"stopping_threshold": 2.0}, ("metric is 1 and has reached 2", 0, "stopped")),
        ([1.0, 5.0, 5.1], {"divergence_threshold": 5.0, "patience": 9}, ("metric is 5.1, worse than 5", 2, "failed")),
        ([0.5, 0.1], {"divergence_threshold": 0.2, "mode": "max"}, ("metric is 0.1, worse than 0.2", 1, "failed")),
        ([1.0, math.nan], {"check_finite": True, "patience": 9}, ("metric is nan", 1, "failed")),
        ([-math.inf], {"check_finite": True}, ("metric is -inf", 0, "failed")),
        ([1.0, math.nan, 0.5], {"divergence_threshold": 5.0, "patience": 9}, (None, 2, "completed")),
        ([9.0, 9.0, 1.0], {"divergence_threshold": 5.0, "start_from_epoch": 2}, (None, 2, "completed")),
        ([math.nan, 1.0], {"check_finite": True, "start_from_epoch": 5}, ("metric is nan", 0, "failed")),
    ],
)
def test_thresholds_and_finiteness(values, options, expected):
    """A value that is good enough, too bad or not finite stops at once; start_from_epoch spares all but the last."""
    assert reason(values, **options) == expected


def test_the_epoch_that_reaches_the_threshold_is_the_best():
    """Its weights are those that are restored."""
    options = {"mode": "min", "stopping_threshold": 0.5, "restore_best_weights": True}
    found = our_run([1.0, 0.7, 0.4, 0.3], options)
    assert (found["stopped"], found["best"], found["weight"]) == (2, 0.4, 2)


def test_a_value_that_is_not_finite_is_not_the_best_where_it_stops():
    """An infinity that would be the best is none with check_finite, and the last good weights are restored."""
    found = our_run([1.0, -math.inf], {"mode": "min", "check_finite": True, "restore_best_weights": True})
    assert (found["best"], found["weight"], found["stopped_epoch"]) == (1.0, 0, 1)


def test_a_relative_difference():
    """A fraction of the best's magnitude must be won, below zero too."""
    assert (
        our_run([10.0, 9.5, 8.9, 8.5], {"mode": "min", "min_delta": 0.1, "relative": True, "patience": 9})["best"]
        == 8.9
    )
    assert (
        our_run([-10.0, -9.5, -10.5, -11.5], {"mode": "min", "min_delta": 0.1, "relative": True, "patience": 9})[
            "best_epoch"
        ]
        == 3
    )


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"patience": -1}, ValueError, r"patience must be >= 0 \(got -1\)"),
        ({"patience": 1.5}, TypeError, r"patience must be an integer \(got 1.5\)"),
        ({"start_from_epoch": -1}, ValueError, r"start_from_epoch must be >= 0 \(got -1\)"),
        ({"min_delta": math.nan}, ValueError, r"min_delta must be finite \(got nan\)"),
        ({"min_delta": math.inf}, ValueError, r"min_delta must be finite \(got inf\)"),
        ({"min_delta": None}, TypeError, r"min_delta must be a number \(got None\)"),
        ({"min_delta": 1, "relative": True}, ValueError, r"min_delta must be < 1 where it is relative \(got 1.0\)"),
        ({"baseline": "low"}, TypeError, r"baseline must be a number \(got 'low'\)"),
        ({"stopping_threshold": [1]}, TypeError, r"stopping_threshold must be a number \(got \[1\]\)"),
        ({"divergence_threshold": math.nan}, ValueError, r"divergence_threshold must be a number \(got nan\)"),
        ({"unit": "batch"}, ValueError, r"unit must be 'epoch' or 'step' \(got 'batch'\)"),
        ({"restore_best_weights": 1}, TypeError, "'restore_best_weights' must be <class 'bool'>"),
        ({"restore_best_weights": True, "unit": "step"}, ValueError, "restore_best_weights must be False with unit="),
    ],
)
def test_arguments_are_checked(options, error, message):
    """A wrong argument is an error when the sink is made, with its name, rule and value."""
    with pytest.raises(error, match=message):
        EarlyStopping("loss", **options)


def test_a_monitor_is_a_name():
    """The metric's name is checked at once."""
    with pytest.raises(ValueError, match=r"monitor must be a metric's name \(got 5\)"):
        EarlyStopping(5)


# --- weights -------------------------------------------------------------------------------------------------------


def test_weights_are_fetched_once_per_improvement():
    """An epoch that is not better costs no copy of the weights."""
    model = Stub()
    bus = Bus(EarlyStopping(METRIC, mode="min", patience=9, restore_best_weights=True), model=model)
    bus.train_begin()
    drive(bus, [3.0, 3.0, 2.0, 2.5, 1.0, math.nan])
    assert (model.fetched, model.weight) == ([0, 2, 4], 4)


def test_no_weights_are_needed_unless_they_are_restored():
    """Without a model early stopping works; asked to restore, it fails at train begin and says why."""
    Bus(EarlyStopping("loss")).train_begin()
    with pytest.raises(SetupError, match="EarlyStopping needs 'get_weights' of the model, and no model was given"):
        Bus(EarlyStopping("loss", restore_best_weights=True)).train_begin()


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, SystemExit])
def test_weights_are_restored_where_a_loop_is_broken_off(error):
    """Ctrl-C, an error or an exit in a loop leaves the best weights in the model."""
    model = Stub()
    with pytest.raises(error), Loop(EarlyStopping("loss", patience=9, restore_best_weights=True), model=model) as loop:
        for epoch in loop.epochs(5):
            model.weight = epoch
            if epoch == 3:
                raise error
            loop.log(loss=[2.0, 1.0, 3.0][epoch])
    assert (loop.run.status, model.weight) == ("failed" if error is RuntimeError else "interrupted", 1)


def test_weights_are_left_alone_where_the_next_run_has_begun(warned):
    """A run that nobody ended is closed by the next one, which trains on from the weights that the model has."""
    model = Stub()
    bus = Bus(EarlyStopping(METRIC, mode="min", patience=9, restore_best_weights=True), model=model)
    bus.train_begin()
    drive(bus, [1.0, 2.0], end=False)
    bus.train_begin()
    assert model.weight == 1
    assert warned()[0].startswith("EarlyStopping did not restore the weights of epoch 0: the run was left open by an ")
    drive(bus, [5.0, 6.0])
    assert (bus.run.status, model.weight) == ("completed", 0)


def test_weights_are_left_alone_where_a_run_cannot_begin():
    """A state was loaded, and another sink refuses to begin: the model stays as it is."""

    class Refuser(Sink):
        def on_train_begin(self, run):
            raise SetupError("no")

    first = Bus(EarlyStopping(METRIC, mode="min", restore_best_weights=True), model=Stub())
    first.train_begin()
    drive(first, [1.0], end=False)
    bus = Bus(EarlyStopping(METRIC, mode="min", restore_best_weights=True), Refuser(), model=Stub())
    bus.load_state_dict(first.state_dict())
    with pytest.raises(SetupError, match="no"):
        bus.train_begin()
    assert bus.run.model.weight == -1


# --- runs and state ------------------------------------------------------------------------------------------------


def test_each_run_is_judged_anew():
    """A second run on the same bus forgets the first one's best, count and weights."""
    bus = Bus(sink := EarlyStopping(METRIC, mode="min", patience=2, restore_best_weights=True), model=Stub())
    found = []
    for values in ([1.0, 2.0, 3.0], [7.0, 6.0, 6.5]):
        bus.train_begin()
        drive(bus, values)
        found.append(outcome(sink, sink.stopped_epoch, bus.run.model))
    expected = [
        our_run(values, {"mode": "min", "patience": 2, "restore_best_weights": True})
        for values in ([1.0, 2.0, 3.0], [7.0, 6.0, 6.5])
    ]
    for each in found + expected:
        del each["stopped"]
    assert found == expected


def through_json(state):
    """Return a bus's state after its way through a file, strict JSON but for the weights."""
    (name, sink), *_ = state["sinks"].items()
    weights = sink["best_weights"]
    plain = {**state, "sinks": {name: {**sink, "best_weights": None}}}
    copy = json.loads(json.dumps(plain, allow_nan=False))
    copy["sinks"][name]["best_weights"] = None if weights is None else [array.copy() for array in weights]
    return copy


@settings(max_examples=EXAMPLES)
@given(values=SEQUENCE, options=options(DELTA))
def test_a_run_cut_at_any_epoch_goes_on_as_if_it_was_not(values, options):
    """At every cut, a new bus with the state decides as the run that was not cut, weights included."""
    whole = our_run(values, options)
    last = len(values) if whole["stopped"] is None else whole["stopped"]
    for cut in range(last + 1):
        first = Bus(EarlyStopping(METRIC, **options), model=Stub())
        first.train_begin()
        drive(first, values[:cut], end=False)
        sink, model = EarlyStopping(METRIC, **options), Stub()
        model.weight = first.run.model.weight
        second = Bus(sink, model=model)
        second.load_state_dict(through_json(first.state_dict()))
        assert sink.state_dict().keys() == first.state_dict()["sinks"]["EarlyStopping"].keys()
        second.train_begin()
        assert outcome(sink, drive(second, values[cut:], cut), model) == whole


def test_a_stopped_run_that_goes_on_stays_stopped():
    """A run that was stopped and is continued, even by a sink with more patience, is stopped from the start."""
    first = Bus(EarlyStopping(METRIC, mode="min", patience=2), model=Stub())
    first.train_begin()
    assert drive(first, [1.0, 2.0, 3.0]) == 2
    second = Bus(EarlyStopping(METRIC, mode="min", patience=9), model=Stub())
    second.load_state_dict(through_json(first.state_dict()))
    second.train_begin()
    assert (second.run.stopped, second.run.stop_reason) == (True, first.run.stop_reason)


def test_a_loaded_state_serves_one_run():
    """The run after the continued one begins anew."""
    first = Bus(EarlyStopping(METRIC, mode="min"), model=Stub())
    first.train_begin()
    drive(first, [0.0], end=False)
    sink = EarlyStopping(METRIC, mode="min")
    bus = Bus(sink, model=Stub())
    bus.load_state_dict(first.state_dict())
    bus.train_begin()
    assert sink.best == 0.0
    bus.train_end()
    bus.train_begin()
    assert sink.best is None


# --- by steps ------------------------------------------------------------------------------------------------------


@settings(max_examples=EXAMPLES)
@given(
    values=SEQUENCE,
    options=options(DELTA).map(lambda each: {**each, "restore_best_weights": False, "start_from_epoch": 0}),
    ends=st.sets(st.integers(1, 14)),
)
def test_steps_are_judged_as_epochs_are(values, options, ends):
    """Batches get the decisions that epochs with these values get, wherever blocks and epochs end among them."""
    sink = EarlyStopping(METRIC, unit="step", **options)
    bus = Bus(sink)
    bus.train_begin()
    bus.epoch_begin(0)
    for step, value in enumerate(values, 1):
        bus.batch_begin(step)
        bus.batch_end(step, logs_of(value))
        if step in ends:
            bus.epoch_end(bus.run.epoch, {})
            bus.epoch_begin(bus.run.epoch + 1)
        elif step % 3 == 0:
            bus.flush()
    bus.flush()
    theirs = our_run(values, options)
    assert (sink.best, sink.wait, bus.run.stopped) == (theirs["best"], theirs["wait"], theirs["stopped"] is not None)
    assert sink.best_step == (0 if sink.best is None else theirs["best_epoch"] + 1)
    assert sink.stopped_step == (0 if theirs["stopped"] is None else theirs["stopped"] + 1)


def test_a_loop_stops_by_steps():
    """The step and the epoch that decided are told, and the run ends at the next block."""
    sink = EarlyStopping("loss", unit="step", patience=3)
    with Loop(sink) as loop:
        for _ in loop.epochs(4):
            for batch in loop.batches(range(400)):
                loop.log(loss=1.0 if loop.run.epoch < 1 or batch > 5 else 0.5 - batch / 100)
    assert loop.run.stop_reason == "loss has not got better in 3 steps; its best was 1 at step 1"
    assert (sink.stopped_epoch, sink.stopped_step, loop.run.epoch) == (0, 4, 0)
    assert 256 <= loop.run.step <= 400


def test_a_metric_that_no_batch_has_is_told_at_the_epochs_end(warned):
    """Where the metric comes only now and then nothing is said; where no batch had it, the names are listed."""
    with Loop(EarlyStopping("val_loss", unit="step")) as loop:
        for epoch in loop.epochs(3):
            for batch in loop.batches(range(3)):
                loop.log(loss=1.0, **({"val_loss": 1.0} if epoch == 0 and batch == 1 else {}))
            loop.log(val_loss=1.0)
    assert warned() == [
        (
            "EarlyStopping decides nothing while its metric is missing: no metric 'val_loss' (did you mean 'loss'?); "
            "a batch of this epoch has loss"
        )
    ]


def test_steps_before_the_first_epoch_to_look_at_are_passed_over():
    """start_from_epoch holds for steps too."""
    sink = EarlyStopping("loss", unit="step", patience=2, start_from_epoch=1)
    with Loop(sink) as loop:
        for _ in loop.epochs(2):
            for _ in loop.batches(range(5)):
                loop.log(loss=1.0)
    assert (sink.best_step, sink.stopped_step) == (6, 8)


# --- real fits -----------------------------------------------------------------------------------------------------

RNG = np.random.default_rng(1)
X = RNG.normal(size=(24, 4)).astype("float32")
Y = (X.sum(axis=1, keepdims=True) > 0).astype("float32")
TRAIN, VALIDATION = (X[:16], Y[:16]), (X[16:], 1 - Y[16:])  # validation gets worse by and by
EPOCHS = 8
FITS = [
    {"monitor": "val_loss"},
    {"monitor": "loss", "patience": 2, "min_delta": 0.01},
    {"monitor": "loss", "patience": 1, "min_delta": 0.2, "restore_best_weights": True},
    {"monitor": "val_loss", "patience": 2, "restore_best_weights": True},
    {"monitor": "val_loss", "patience": 3, "mode": "max", "restore_best_weights": True},
    {"monitor": "val_accuracy", "patience": 2, "restore_best_weights": True},
    {"monitor": "accuracy", "patience": 3, "restore_best_weights": True},
    {"monitor": "val_loss", "patience": 2, "baseline": 0.1, "restore_best_weights": True},
    {"monitor": "val_loss", "patience": 1, "start_from_epoch": 3, "restore_best_weights": True},
    {"monitor": "loss", "mode": "max", "patience": 20, "restore_best_weights": True},
]


@pytest.fixture(scope="module")
def compiled():
    keras.utils.set_random_seed(7)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "tanh"), keras.layers.Dense(1, "sigmoid")])
    model.compile(keras.optimizers.SGD(1.0), "binary_crossentropy", metrics=["accuracy"])
    return model, model.get_weights()


def fit(model, callbacks, **options):
    """Fit without shuffling, which draws from other generators on each back end."""
    model.fit(
        *TRAIN,
        batch_size=4,
        validation_data=VALIDATION,
        validation_batch_size=8,
        shuffle=False,
        verbose=0,
        callbacks=callbacks,
        **options,
    )


def decisions(callback, model, epochs):
    weights = [array.tolist() for array in model.get_weights()]
    return epochs, callback.stopped_epoch, callback.best_epoch, callback.best, callback.wait, weights


class Epochs(keras.callbacks.Callback):
    """Count the epochs of all fits."""

    count = 0

    def on_epoch_end(self, epoch, logs=None):
        self.count += 1


@pytest.mark.parametrize("options", FITS, ids=lambda options: "-".join(map(str, options.values())))
def test_real_fits_end_as_with_keras(compiled, options):
    """Handed over whole, in a list, and in a loop of fits of one epoch: Keras's epochs, best value and weights."""
    model, start = compiled
    theirs, epochs = keras.callbacks.EarlyStopping(**options), Epochs()
    model.set_weights(start)
    fit(model, [theirs, epochs], epochs=EPOCHS)
    expected = decisions(theirs, model, epochs.count)

    for whole in (True, False):
        sink, epochs = EarlyStopping(**options), Epochs()
        model.set_weights(start)
        adapter = KerasAdapter(sink, epochs, model=model)
        fit(model, adapter if whole else [adapter], epochs=EPOCHS)
        assert decisions(sink, model, epochs.count) == expected

    sink = EarlyStopping(**options)
    model.set_weights(start)
    with Loop(sink, model=KerasModel(model)) as loop:
        for _ in loop.epochs(EPOCHS):
            fit(model, KerasAdapter(loop), epochs=1)
    assert decisions(sink, model, loop.run.epoch + 1) == expected
    assert loop.run.status == ("stopped" if expected[1] else "completed")


@pytest.mark.parametrize("attached", ["fit", "loop"])
def test_an_interrupted_fit_leaves_the_best_weights(compiled, attached):
    """Ctrl-C within an epoch of a fit puts the best weights back, on every back end."""

    class Interrupter(Sink):
        def on_batch_end(self, run, step, logs):
            if step == 10:
                raise KeyboardInterrupt

    model, start = compiled
    model.set_weights(start)
    sink = EarlyStopping("loss", mode="max", patience=9, restore_best_weights=True)
    if attached == "fit":
        adapter = KerasAdapter(sink, Interrupter())
        with pytest.raises(KeyboardInterrupt):
            adapter.fit(model, *TRAIN, batch_size=4, epochs=4, shuffle=False, verbose=0)
    else:
        with pytest.raises(KeyboardInterrupt), Loop(sink, Interrupter(), model=KerasModel(model)) as loop:
            fit(model, KerasAdapter(loop), epochs=4)
    assert [array.tolist() for array in model.get_weights()] == [array.tolist() for array in sink.best_weights]
    model.set_weights(start)
    fit(model, [], epochs=1)
    assert [array.tolist() for array in model.get_weights()] == [array.tolist() for array in sink.best_weights]
