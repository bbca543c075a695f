"""Early stopping: against Keras, where we differ on purpose, reasons and options."""

import math
import operator
import warnings

import keras
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from early_stopping_support import (
    DELTA,
    EXAMPLES,
    METRIC,
    MISSING,
    ODD,
    SEQUENCE,
    VALUE,
    Stub,
    drive,
    logs_of,
    options,
    our_run,
    outcome,
    reason,
)
from monitor_core import Bus, SetupError
from monitor_core.sinks.early_stopping import EarlyStopping


class Float64(keras.callbacks.EarlyStopping):
    """Keras's callback as it is, but comparing in float64: its own comparison rounds both sides to float32."""

    def _set_monitor_op(self):
        super()._set_monitor_op()
        self.monitor_op = operator.lt if self.mode == "min" else operator.gt


class NeverNaN(Float64):
    """The same with our one different rule: NaN is never an improvement, not even on nothing."""

    def _is_improvement(self, monitor_value, reference_value):
        return not math.isnan(monitor_value) and super()._is_improvement(monitor_value, reference_value)


def keras_run(kind, values, options, first_epoch=0):
    """Return what Keras's callback decides on these values, in the form of `outcome`."""
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


def test_nan_is_never_the_best():
    """After a first NaN, Keras never finds a later value better and stops; ours continues with the best number."""
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
def test_a_value_that_is_not_a_number_is_skipped(value, warned):
    """A value that is not a number is not counted; Keras ends the training, ours does not fail."""
    bus = Bus(EarlyStopping(METRIC, mode="min", patience=2), model=Stub())
    bus.train_begin()
    assert drive(bus, [1.0, value, 1.0, value, 1.0]) == 4
    assert len(warned()) == 2  # the bus says that it skips the value, the sink that it misses it
    assert bus.failures == []


def test_values_are_compared_in_float64():
    """An improvement smaller than float32's precision counts; Keras sees none."""
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


@pytest.mark.parametrize(
    ("values", "options", "expected"),
    [
        (
            [3.0, 2.0, 2.0, 2.5],
            {"patience": 2},
            "metric did not improve for 2 epochs; its best was 2 in epoch 2",
        ),
        ([1.0, 1.0], {}, "metric did not improve for 1 epoch; its best was 1 in epoch 1"),
        (
            [0.9, 0.8, 0.8, 0.8],
            {"patience": 4, "baseline": 0.5},
            "metric did not beat the baseline 0.5 for 4 epochs; its best was 0.8 in epoch 2",
        ),
        (
            [0.4, 0.6, 0.6, 0.6],
            {"patience": 3, "baseline": 0.5},
            "metric did not improve for 3 epochs; its best was 0.4 in epoch 1",
        ),
    ],
)
def test_the_reason_is_a_sentence(values, options, expected):
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
        ({r"restore_best_weights": 1}, TypeError, r"restore_best_weights must be True or False \(got 1\)"),
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
