"""Lowering the rate on a plateau, against Keras's callback and PyTorch's scheduler."""

import json
import logging
import math
import operator
import os
import warnings

import keras
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from monitor_core import Bus, History, Loop, SetupError
from monitor_core.adapters.keras import KerasAdapter, KerasModel
from monitor_core.sinks.reduce_lr_on_plateau import ReduceLROnPlateau
from recorders import Handle

EXAMPLES = 10_000 if os.environ.get("MONITOR_CORE_LONG") else 100
MISSING = "missing"

# Multiples of 1/8 are exact in float32 too, so that min_delta is met exactly, and Keras's comparisons are ours.
exact_values = st.one_of(
    st.integers(-16, 16).map(lambda eighths: eighths / 8), st.sampled_from([math.inf, -math.inf, 2.0**60, -0.0])
)
any_values = st.one_of(
    st.floats(allow_nan=False),
    st.integers(-6, 6).map(lambda tenths: tenths / 10),  # which differ by min_delta but for a rounding
    st.sampled_from([0.30000000000000004, 5e-324, -5e-324, 1e308, math.inf]),
)
keras_options = st.fixed_dictionaries(
    {
        "factor": st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.99]),
        "patience": st.integers(0, 4),
        "mode": st.sampled_from(["min", "max"]),
        "min_delta": st.sampled_from([0.0, 0.125, 0.5, 1e-4, 0.1, -0.125]),
        "cooldown": st.integers(0, 4),
        "min_lr": st.sampled_from([0.0, 0.001, 0.03, 0.1, 0.7]),
    }
)
rates = st.sampled_from([0.1, 0.25, 1.0, 1e-3, 3e-8])


def sequences(values):
    """Draw what an epoch's metric is: a number, NaN, None or nothing, NaN not before the first number."""
    absent = st.sampled_from([None, MISSING])
    later = st.lists(st.one_of(values, values, absent, st.just(math.nan)), max_size=30)
    return st.tuples(st.lists(absent, max_size=2), values, later).map(lambda parts: [*parts[0], parts[1], *parts[2]])


def interventions():
    """Draw in which epochs the rate is set by other code, and to what."""
    return st.dictionaries(st.integers(0, 30), rates, max_size=3)


def logs_of(value):
    return {} if value == MISSING else {"metric": value}


class Float32Handle:
    """A handle, and an optimizer as Keras's callback knows it, that keeps its rate in float32 as Keras does."""

    def __init__(self, rate):
        self.learning_rate = rate

    @property
    def learning_rate(self):
        return self._rate

    @learning_rate.setter
    def learning_rate(self, rate):
        self._rate = np.float32(rate)

    @property
    def learning_rates(self):
        return [float(self._rate)]

    @learning_rates.setter
    def learning_rates(self, rates):
        (self._rate,) = map(np.float32, rates)

    @property
    def optimizer(self):
        return self


def float64_comparisons(callback):
    """Let Keras's callback compare in float64, as we do: it then also needs the sign that it gives min_delta."""
    callback.monitor_op = operator.lt if callback.mode == "min" else operator.gt
    callback.min_delta *= -1 if callback.mode == "min" else 1
    return callback


def attributes(decider):
    """Return what a callback or sink shows of its decision."""
    return decider.best, decider.wait, decider.cooldown_counter


def keras_rates(callback, rate, values, changes, read=None):
    """Return the rate after each epoch as Keras's callback has it, or what ``read`` returns of the callback."""
    model = Float32Handle(rate)
    callback.set_model(model)
    callback.on_train_begin()
    found = []
    for epoch, value in enumerate(values):
        model.learning_rate = changes.get(epoch, model.learning_rate)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            callback.on_epoch_end(epoch, logs_of(value))
        found.append(float(model.learning_rate) if read is None else read(callback))
    return found


def our_rates(sink, handle, values, changes=None, first=0, state=None):
    """Return all rates after each epoch, and the bus."""
    bus = Bus(sink, model=handle, strict=True)
    if state is not None:
        bus.load_state_dict(state)
    bus.train_begin()
    found = []
    for epoch, value in enumerate(values, first):
        if epoch in (changes or {}):
            handle.learning_rates = [changes[epoch]] * len(handle.learning_rates)
        bus.epoch_begin(epoch)
        bus.epoch_end(epoch, logs_of(value))
        found.append(list(handle.learning_rates))
    return found, bus


# --- the same as Keras ---------------------------------------------------------------------------------------------


@settings(max_examples=EXAMPLES)
@given(options=keras_options, rate=rates, values=sequences(exact_values), changes=interventions())
def test_rates_are_those_of_keras(options, rate, values, changes):
    """For exact values, every epoch's rate is that of Keras's own callback, as it is."""
    theirs = keras_rates(keras.callbacks.ReduceLROnPlateau("metric", **options), rate, values, changes)
    ours, _ = our_rates(ReduceLROnPlateau("metric", **options), Float32Handle(rate), values, changes)
    assert [each for (each,) in ours] == theirs


@settings(max_examples=EXAMPLES)
@given(options=keras_options, rate=rates, values=sequences(exact_values))
def test_attributes_are_those_of_keras(options, rate, values):
    """After every epoch ``best``, ``wait`` and ``cooldown_counter`` are those of Keras's own callback."""
    theirs = keras_rates(keras.callbacks.ReduceLROnPlateau("metric", **options), rate, values, {}, attributes)
    sink, ours = ReduceLROnPlateau("metric", **options), []
    bus = Bus(sink, model=Float32Handle(rate), strict=True)
    bus.train_begin()
    for epoch, value in enumerate(values):
        bus.epoch_begin(epoch)
        bus.epoch_end(epoch, logs_of(value))
        ours.append(attributes(sink))
    assert ours == theirs


@settings(max_examples=EXAMPLES)
@given(options=keras_options, rate=rates, values=sequences(any_values), changes=interventions())
@example(
    options={"factor": 0.5, "patience": 1, "mode": "min", "min_delta": 0.1, "cooldown": 0, "min_lr": 0.0},
    rate=1.0,
    values=[0.4, 0.30000000000000004, 0.3, 0.2],
    changes={},
)
@example(  # the rate is at its bound, in float32 a rounding above it, and is then raised: patience has run out already
    options={"factor": 0.5, "patience": 2, "mode": "min", "min_delta": 0.0, "cooldown": 0, "min_lr": 0.1},
    rate=0.1,
    values=[1.0] * 5,
    changes={3: 1.0},
)
def test_rates_are_those_of_keras_for_any_values(options, rate, values, changes):
    """For any values, huge and subnormal ones too, every epoch's rate is Keras's where Keras compares in float64."""
    callback = float64_comparisons(keras.callbacks.ReduceLROnPlateau("metric", **options))
    ours, _ = our_rates(ReduceLROnPlateau("metric", **options), Float32Handle(rate), values, changes)
    assert [each for (each,) in ours] == keras_rates(callback, rate, values, changes)


RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 4)).astype("float32")
Y = (X.sum(axis=1, keepdims=True) + RNG.normal(size=(24, 1))).astype("float32")
FIT = {"batch_size": 8, "shuffle": False, "verbose": 0, "validation_data": (X[:8], Y[:8])}


@pytest.fixture(scope="module")
def compiled():
    keras.utils.set_random_seed(5)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, "tanh"), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.5), "mse", metrics=["mae"])
    return model, model.get_weights()


def fresh(compiled):
    model, start = compiled
    model.set_weights(start)
    model.optimizer.learning_rate = 0.5
    return model


@pytest.mark.parametrize("case", range(10))
def test_fits_are_those_of_keras(compiled, case):
    """In real fits, whole or one epoch a call inside of a loop, every loss and rate is that with Keras's callback."""
    draw = np.random.default_rng(case)
    monitor = ["val_loss", "loss", "mae"][case % 3]
    options = {
        "factor": float(draw.uniform(0.2, 0.8)),
        "patience": int(draw.integers(0, 3)),
        "min_delta": float(draw.choice([0.0, 0.02, 0.3])),
        "cooldown": int(draw.integers(0, 4)),
        "min_lr": float(draw.choice([0.0, 0.03])),
        "mode": "min",
    }
    # Losses are float32 and min_delta is not: Keras rounds their sum before it compares, we do not.
    callback = float64_comparisons(keras.callbacks.ReduceLROnPlateau(monitor, **options))
    model = fresh(compiled)
    theirs = model.fit(X, Y, epochs=8, callbacks=[callback], **FIT).history
    model = fresh(compiled)
    model.fit(
        X,
        Y,
        epochs=8,
        callbacks=KerasAdapter(ReduceLROnPlateau(monitor, **options), one := History(), model=model),
        **FIT,
    )
    model = fresh(compiled)
    with Loop(ReduceLROnPlateau(monitor, **options), many := History(), model=KerasModel(model)) as loop:
        for _ in loop.epochs(8):
            model.fit(X, Y, epochs=1, callbacks=KerasAdapter(loop), **FIT)
    assert len(set(theirs["learning_rate"])) > 1
    assert {name: one.history[name] for name in theirs} == theirs
    assert {name: many.history[name] for name in theirs} == theirs


def test_the_mode_is_the_metrics_own_on_keras(compiled):
    """With mode="auto", a compiled metric's direction is asked of Keras."""
    model = fresh(compiled)
    sink = ReduceLROnPlateau("val_mae", patience=1, min_delta=100.0)
    model.fit(X, Y, epochs=3, callbacks=KerasAdapter(sink, model=model), **FIT)
    assert KerasModel(model).learning_rates == pytest.approx([0.005])


def test_a_rate_that_is_a_schedule_is_refused_at_train_begin():
    """An optimizer whose rate is a schedule object is an error that says what to do, before the first batch."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.5, 10, 0.5)), "mse")
    with pytest.raises(SetupError, match=r"compile the model with a number, learning_rate=0\.001, or remove Reduce"):
        model.fit(X, Y, callbacks=KerasAdapter(ReduceLROnPlateau("loss"), model=model), **FIT)


# --- the same as PyTorch -------------------------------------------------------------------------------------------


@st.composite
def torch_cases(draw):
    groups = draw(st.lists(rates, min_size=1, max_size=3))
    bounds = st.sampled_from([0.0, 0.001, 0.1, 0.7])
    options = {
        "factor": draw(st.sampled_from([0.0, 0.1, 0.5, 0.99])),
        "patience": draw(st.integers(0, 3)),
        "mode": draw(st.sampled_from(["min", "max"])),
        "cooldown": draw(st.integers(0, 3)),
        "min_lr": draw(st.one_of(bounds, st.lists(bounds, min_size=len(groups), max_size=len(groups)))),
        "eps": draw(st.sampled_from([1e-8, 0.0, 0.02])),
    }
    threshold = draw(st.sampled_from([1e-4, 0.0, 0.1, 0.125, 1.0, 3.0]))
    return groups, options, threshold, draw(st.booleans())


@settings(max_examples=EXAMPLES)
@given(
    case=torch_cases(),
    values=st.lists(st.one_of(exact_values, any_values, st.just(math.nan)), max_size=30),
    changes=interventions(),
)
@example(
    case=([1.0], {"patience": 0, "factor": 0.5, "mode": "min"}, 0.1, False),
    values=[0.4, 0.3, 0.2, 0.1],
    changes={},
)
def test_rates_are_those_of_pytorch(case, values, changes):
    """With rule="pytorch", the rates of all parameter groups are those of PyTorch's scheduler, NaN and infinity too."""
    torch = pytest.importorskip("torch")
    groups, options, threshold, relative = case
    optimizer = torch.optim.SGD([{"params": [torch.zeros(1)], "lr": rate} for rate in groups])
    mode = "rel" if relative else "abs"
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, threshold=threshold, threshold_mode=mode, **options
    )
    theirs = []
    for epoch, value in enumerate(values):
        for group in optimizer.param_groups:
            group["lr"] = changes.get(epoch, group["lr"])
        scheduler.step(value)
        theirs.append([group["lr"] for group in optimizer.param_groups])
    sink = ReduceLROnPlateau("metric", rule="pytorch", min_delta=threshold, relative=relative, **options)
    ours, _ = our_rates(sink, Handle(*groups), values, changes)
    assert ours == theirs


def test_pytorchs_defaults_are_its_own():
    """With rule="pytorch" alone, the threshold is relative and eps is 1e-8, as PyTorch has it."""
    assert (sink := ReduceLROnPlateau(rule="pytorch")).relative
    assert sink.eps == 1e-8
    assert (ReduceLROnPlateau().relative, ReduceLROnPlateau().eps) == (False, 0.0)


# --- resume, and start from scratch ----------------------------------------------------------------------------------


@settings(max_examples=EXAMPLES)
@given(
    options=keras_options,
    rule=st.sampled_from(["keras", "pytorch"]),
    relative=st.booleans(),
    rate=rates,
    values=st.lists(st.one_of(any_values, st.sampled_from([None, MISSING, math.nan])), min_size=1, max_size=12),
)
def test_a_run_that_was_cut_decides_as_one_that_was_not(options, rule, relative, rate, values):
    """Cut at any epoch and continued from its state, through JSON, a run has the same rates at every epoch."""
    options = {**options, "rule": rule, "relative": relative}
    whole, _ = our_rates(ReduceLROnPlateau("metric", **options), Handle(rate), values)
    for cut in range(len(values)):
        before, bus = our_rates(ReduceLROnPlateau("metric", **options), handle := Handle(rate), values[:cut])
        state = json.loads(json.dumps(bus.state_dict(), allow_nan=False))
        after, _ = our_rates(ReduceLROnPlateau("metric", **options), handle, values[cut:], first=cut, state=state)
        assert before + after == whole


def test_a_state_is_kept_until_the_train_begins():
    """A bus that a state was loaded into returns that state until its run begins, and the run after has none of it."""
    sink = ReduceLROnPlateau("metric", patience=5, mode="min")
    _, first = our_rates(sink, Handle(0.1), [1.0, 2.0])
    state = first.state_dict()
    bus = Bus(again := ReduceLROnPlateau("metric", patience=5, mode="min"), model=Handle(0.1))
    bus.load_state_dict(state)
    assert bus.state_dict() == state
    bus.train_begin()
    assert again.state_dict() == sink.state_dict()
    bus.train_end()
    bus.train_begin()
    assert again.state_dict() == {
        "best": {"mode": "min", "value": None},
        "waited": 0,
        "spared": 0,
        "occasions": {"extra": 0, "within_epochs": False},
    }


def test_a_state_of_the_other_direction_is_refused():
    """Its best would be the worst."""
    _, first = our_rates(ReduceLROnPlateau("metric", mode="min"), Handle(0.1), [1.0])
    bus = Bus(ReduceLROnPlateau("metric", mode="max"), model=Handle(0.1))
    bus.load_state_dict(first.state_dict())
    with pytest.raises(SetupError, match=r"cannot continue the run: .* the state is of mode 'min', and mode is 'max'"):
        bus.train_begin()


def test_each_run_starts_afresh():
    """A second run of the same sink knows nothing of the first one's best value."""
    sink = ReduceLROnPlateau("metric", patience=2, mode="min")
    our_rates(sink, Handle(1.0), [0.0, 1.0])
    assert our_rates(sink, Handle(1.0), [1.0, 1.0])[0] == [[1.0], [1.0]]


# --- where we differ from Keras on purpose ---------------------------------------------------------------------------


def test_nan_is_never_the_best():
    """After a NaN that comes first, values that fall are improvements; Keras lowers the rate at each patience."""
    values = [math.nan, 3.0, 2.0, 1.0]
    options = {"patience": 2, "factor": 0.5, "mode": "min"}
    ours, _ = our_rates(ReduceLROnPlateau("metric", **options), Handle(1.0), values)
    theirs = keras_rates(keras.callbacks.ReduceLROnPlateau("metric", **options), 1.0, values, {})
    assert (ours, theirs) == ([[1.0]] * 4, [1.0, 1.0, 0.5, 0.5])


def test_nan_counts_as_no_improvement():
    """NaN in every epoch lowers the rate after patience has run out."""
    sink = ReduceLROnPlateau("metric", patience=2, factor=0.5, mode="min")
    assert our_rates(sink, Handle(1.0), [math.nan] * 4)[0] == [[1.0], [0.5], [0.5], [0.25]]


def test_a_missing_metric_is_not_counted_and_warned_about_once(warned):
    """Epochs without the metric, or with None for it, do not count against patience; one warning lists the names."""
    sink = ReduceLROnPlateau("metric", patience=2, factor=0.5, mode="min")
    assert our_rates(sink, Handle(1.0), [1.0, 1.0, MISSING, None, MISSING, 1.0])[0] == [[1.0]] * 5 + [[0.5]]
    (text,) = warned()
    assert text.endswith("is missing: no metric 'metric'; this epoch has learning_rate")


def test_a_value_that_is_not_a_number_is_skipped(warned):
    """A string for the metric ends nothing and decides nothing."""
    sink = ReduceLROnPlateau("metric", patience=1, factor=0.5, mode="min")
    assert our_rates(sink, Handle(1.0), [1.0, "low", 1.0])[0] == [[1.0], [1.0], [0.5]]
    assert any("'metric' is skipped" in text for text in warned())


def test_comparisons_are_in_float64():
    """An improvement too small for float32 is one; Keras does not see it."""
    values = [1.0, 1.0 - 1e-9, 1.0 - 2e-9]
    options = {"patience": 2, "factor": 0.5, "min_delta": 0.0, "mode": "min"}
    ours, _ = our_rates(ReduceLROnPlateau("metric", **options), Handle(1.0), values)
    theirs = keras_rates(keras.callbacks.ReduceLROnPlateau("metric", **options), 1.0, values, {})
    assert (ours[-1], theirs[-1]) == ([1.0], 0.5)


def test_an_unknown_direction_is_an_error_at_train_begin():
    """mode="auto" does not guess: a metric of an unknown name asks for "min" or "max" before the first epoch."""
    with pytest.raises(SetupError, match="ReduceLROnPlateau does not know whether 'metric' improves"):
        our_rates(ReduceLROnPlateau("metric"), Handle(1.0), [])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"factor": 1.0}, ValueError, r"factor must be < 1 \(got 1\.0\)"),
        ({"factor": -0.5}, ValueError, r"factor must be >= 0 and finite \(got -0\.5\)"),
        ({"patience": -1}, ValueError, r"patience must be >= 0 \(got -1\)"),
        ({"patience": 2.5}, TypeError, r"patience must be an integer \(got 2\.5\)"),
        ({"cooldown": -1}, ValueError, r"cooldown must be >= 0 \(got -1\)"),
        ({"min_delta": math.nan}, ValueError, r"min_delta must be >= 0 and finite \(got nan\)"),
        ({"min_delta": "0.1"}, TypeError, r"min_delta must be a number \(got '0\.1'\)"),
        ({"min_lr": [0.1, -1]}, ValueError, r"min_lr must be >= 0 and finite \(got -1\)"),
        ({"min_lr": []}, ValueError, r"min_lr must be a number, or one for each parameter group \(got none\)"),
        ({"mode": "up"}, ValueError, r"mode must be 'auto', 'min' or 'max' \(got 'up'\)"),
        ({"rule": "torch"}, ValueError, r"rule must be 'keras' or 'pytorch' \(got 'torch'\)"),
        ({"monitor": ""}, ValueError, r"monitor must be a metric's name \(got ''\)"),
    ],
)
def test_arguments_out_of_range_are_errors_at_construction(options, error, message):
    """Each argument's rule is checked at once, and the message has its name, its rule and the value."""
    with pytest.raises(error, match=message):
        ReduceLROnPlateau(**options)


# --- parameter groups, messages --------------------------------------------------------------------------------------


def test_all_parameter_groups_are_lowered_each_to_its_bound():
    """Each group's own rate is multiplied, and stays where its bound is reached."""
    sink = ReduceLROnPlateau("metric", patience=1, factor=0.5, mode="min", min_lr=[0.0, 0.5])
    assert our_rates(sink, Handle(1.0, 0.6), [1.0, 1.0, 1.0])[0] == [[1.0, 0.6], [0.5, 0.5], [0.25, 0.5]]


def test_a_bound_for_each_group_or_one_for_all():
    """Another number of bounds than the optimizer has parameter groups is an error at train begin."""
    with pytest.raises(SetupError, match=r"min_lr must have one bound for each .* 2 parameter groups \(got 3\)"):
        our_rates(ReduceLROnPlateau("loss", min_lr=[0.0, 0.1, 0.2]), Handle(1.0, 1.0), [])


def test_a_reduction_by_no_more_than_eps_is_none():
    """By Keras's rule too, a rate that would fall by eps or less stays, and keeps patience run out."""
    sink = ReduceLROnPlateau("metric", patience=1, factor=0.5, mode="min", eps=0.3)
    assert our_rates(sink, Handle(1.0), [1.0] * 4)[0] == [[1.0], [0.5], [0.5], [0.5]]
    assert sink.state_dict()["waited"] == 2


def test_a_fraction_of_a_negative_best_is_taken_of_its_magnitude():
    """With relative=True by Keras's rule, -0.95 does not improve on -1 in "min"; by PyTorch's own rule it does."""
    options = {"patience": 1, "factor": 0.5, "mode": "min", "min_delta": 0.1, "relative": True}
    ours, _ = our_rates(ReduceLROnPlateau("metric", **options), Handle(1.0), [-1.0, -0.95])
    theirs, _ = our_rates(ReduceLROnPlateau("metric", rule="pytorch", **options), Handle(1.0), [-1.0, -0.95])
    assert (ours[-1], theirs[-1]) == ([0.5], [1.0])


def test_a_reduction_is_logged(caplog):
    """The log says when, from what to what, and why."""
    caplog.set_level(logging.INFO, logger="monitor_core")
    our_rates(ReduceLROnPlateau("metric", patience=2, factor=0.5, mode="min"), Handle(1.0, 0.5), [0.25, 0.5, 0.75])
    (text,) = caplog.messages
    assert text == (
        "epoch 3: reduced the learning rate from 1.0, 0.5 to 0.5, 0.25: metric did not improve for 2 epochs; "
        "it is 0.75, its best was 0.25"
    )


def test_the_epochs_rate_is_logged_whatever_the_order():
    """Every epoch's logs have the rate that was in force in it, also for a sink that comes first."""
    sink = ReduceLROnPlateau("metric", patience=1, factor=0.5, mode="min")
    with Loop(history := History(), sink, model=Handle(1.0)) as loop:
        for _ in loop.epochs(4):
            loop.log(metric=1.0)
    assert history["learning_rate"].tolist() == [1.0, 1.0, 0.5, 0.25]


def test_a_model_without_rates_is_an_error_at_train_begin():
    """A run without a handle fails before its first epoch, naming sink and need."""
    with pytest.raises(SetupError, match="ReduceLROnPlateau needs 'learning_rates' of the model"):
        our_rates(ReduceLROnPlateau("loss"), None, [])
