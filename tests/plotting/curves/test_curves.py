"""What is read from a history, and how it is smoothed and thinned out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor_core import Bus, History
from monitor_core.plotting.curves.curves import envelope, read_curves, smooth
from recorders import train


def names(*args, **options):
    return [curve.name for curve in read_curves(*args, **options)]


def recorded(*epochs, **options):
    history = History(**options)
    train(Bus(history), *[[logs] for logs in epochs])
    return history


def test_loss_and_shares_are_chosen_losses_first_and_validation_beside_training():
    """Unasked, a picture holds the loss and what lies between 0 and 1, in pairs, in whatever order they came."""
    history = {"accuracy": [0.1], "loss": [1.0], "mae": [0.5], "val_accuracy": [0.1], "val_loss": [1.0]}
    assert names(history) == ["loss", "val_loss", "accuracy", "val_accuracy"]


def test_everything_but_the_rate_is_chosen_where_there_is_no_loss():
    """A history of unknown names is drawn as a whole."""
    assert names({"learning_rate": [0.1], "mae": [0.5], "cost": [2.0]}) == ["mae", "cost"]


def test_columns_that_cannot_be_drawn_are_not_chosen():
    """A metric with a value for each class does not keep the others from being drawn unasked."""
    assert names({"loss": [1.0, 0.5], "f1": [[0.1, 0.2], [0.3, 0.4]]}) == ["loss"]


@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("accuracy", True),
        ("val_acc", True),
        ("val/out_1_sparse_categorical_accuracy", True),
        ("auc_2", True),
        ("F1", True),
        ("top5_acc", True),
        ("dice_loss", False),
        ("mae", False),
        ("loss", False),
        ("accurate", False),
    ],
)
def test_shares_are_known_by_a_word_in_their_name(name, share):
    """Whether a metric lies between 0 and 1 is read from the words of its name."""
    (curve,) = read_curves({name: [0.5]}, [name])
    assert curve.is_share is share


@pytest.mark.parametrize(
    ("name", "quantity", "validation"),
    [
        ("val_loss", "loss", True),
        ("val/loss", "loss", True),
        ("train/loss", "loss", False),
        ("value", "value", False),
        ("val_acc", "accuracy", True),
    ],
)
def test_prefixes_tell_validation_from_training(name, quantity, validation):
    """Both spellings of the prefix are read, and ``acc`` is ``accuracy``."""
    (curve,) = read_curves({name: [0.5]}, [name])
    assert (curve.quantity, curve.is_validation) == (quantity, validation)


def test_accuracy_is_found_under_either_spelling():
    """``acc`` asks for ``accuracy``, and a metric asked for twice comes once."""
    assert names({"accuracy": [0.5], "val_acc": [0.4]}, ["acc", "accuracy", "val_accuracy"]) == ["accuracy", "val_acc"]


def test_runs_that_spell_accuracy_differently_are_compared():
    """Each run gives its own column, once."""
    curves = read_curves({"old": {"acc": [0.1]}, "new": {"accuracy": [0.2]}})
    assert [(curve.run, curve.name, curve.quantity) for curve in curves] == [
        ("old", "acc", "accuracy"),
        ("new", "accuracy", "accuracy"),
    ]


def test_unknown_metric_is_a_key_error_with_the_names():
    """The message gives the nearest name and all that there are."""
    with pytest.raises(KeyError, match=r"no metric 'val_los' \(did you mean 'val_loss'\?\); this history has loss"):
        read_curves({"loss": [1.0], "val_loss": [1.0]}, ["val_los"])


def test_metrics_must_not_be_a_string():
    """A string would be read letter by letter."""
    with pytest.raises(TypeError, match=r"metrics must be a sequence of names \(got 'loss'\)"):
        read_curves({"loss": [1.0]}, "loss")


def test_metrics_must_not_be_empty():
    """An empty picture is never meant."""
    with pytest.raises(ValueError, match=r"metrics must name at least one metric \(got \[\]\)"):
        read_curves({"loss": [1.0]}, [])


@pytest.mark.parametrize("empty", [{}, {"loss": []}, History()])
def test_an_empty_history_is_an_error(empty):
    """There is nothing to draw before the first epoch's end."""
    with pytest.raises(ValueError, match=r"history must hold at least one epoch \(got none\)"):
        read_curves(empty)


def test_other_objects_are_no_history():
    """The message lists what is understood."""
    with pytest.raises(TypeError, match=r"history must be a History, .* \(got list\)"):
        read_curves([1.0, 0.5])


def test_columns_of_other_lengths_are_an_error():
    """Where the missing values were cannot be known, and no place is guessed."""
    message = r"must have a value of 'val_loss' in every epoch, NaN where it is missing \(got 1 values of 2\)"
    with pytest.raises(ValueError, match=message):
        read_curves({"loss": [1.0, 0.5], "val_loss": [1.0]})


def test_values_that_are_no_numbers_are_an_error_if_asked_for():
    """The metric is named."""
    with pytest.raises(ValueError, match="the values of 'note' must be numbers"):
        read_curves({"note": ["good"]}, ["note"])


def test_values_per_class_are_an_error_if_asked_for():
    """The metric is named, with its shape."""
    with pytest.raises(ValueError, match=r"'f1' must be one number for each epoch \(got the shape \(1, 2\)\)"):
        read_curves({"f1": [[0.1, 0.2]]}, ["f1"])


def test_values_that_are_not_finite_are_no_points():
    """The rows stay, so that the picture keeps their place."""
    (curve,) = read_curves({"loss": [np.nan, 3.0, np.inf, 1.0, None]})
    assert (curve.rows.tolist(), curve.x.tolist(), curve.y.tolist()) == ([0, 1, 2, 3, 4], [1, 3], [3.0, 1.0])


def test_a_late_metric_begins_at_its_epoch():
    """A History fills the epochs before with NaN, and these are no points."""
    late = read_curves(recorded({"loss": 3.0}, {"loss": 2.0, "val_loss": 2.5}, {"loss": 1.0, "val_loss": 2.0}))[1]
    assert (late.name, late.x.tolist(), late.y.tolist()) == ("val_loss", [1, 2], [2.5, 2.0])


def test_epochs_keep_their_numbers_where_they_ascend():
    """A training that went on at epoch 5 is drawn from epoch 5."""
    history = History()
    bus = Bus(history)
    bus.train_begin()
    for epoch in (5, 6):
        bus.epoch_begin(epoch)
        bus.epoch_end(epoch, {"loss": 1.0})
    bus.train_end()
    assert read_curves(history)[0].x.tolist() == [5, 6]


def test_epochs_are_counted_on_over_several_runs():
    """Runs that each begin at 0 do not fold over each other."""
    history = History()
    bus = Bus(history)
    for _ in range(2):
        train(bus, [{"loss": 1.0}], [{"loss": 0.5}])
    assert read_curves(history)[0].x.tolist() == [0, 1, 2, 3]


def test_keras_history_is_read():
    """Keras's own object has the epochs and the values."""
    keras = pytest.importorskip("keras")
    history = keras.callbacks.History()
    history.on_train_begin()
    history.set_model(keras.Sequential())
    for epoch in (3, 4):
        history.on_epoch_end(epoch, {"loss": 1.0 / epoch})
    (curve,) = read_curves(history)
    assert (curve.run, curve.x.tolist(), curve.y.tolist()) == (None, [3, 4], [1 / 3, 1 / 4])


def test_several_runs_may_be_of_several_kinds_and_lengths():
    """Labels come in order; a run that lacks a metric is left out of it."""
    runs = {"a": recorded({"loss": 1.0, "val_loss": 1.0}), "b": {"loss": [3.0, 2.0]}}
    curves = read_curves(runs)
    assert [(curve.run, curve.name, curve.y.tolist()) for curve in curves] == [
        ("a", "loss", [1.0]),
        ("b", "loss", [3.0, 2.0]),
        ("a", "val_loss", [1.0]),
    ]


def test_batches_are_read_by_step():
    """The places are steps, from 1."""
    history = recorded({"loss": 3.0}, {"loss": 2.0}, per_batch=True)
    (curve,) = read_curves(history, batches=True)
    assert (curve.x.tolist(), curve.y.tolist()) == ([1, 2], [3.0, 2.0])


def test_batches_are_counted_on_over_several_runs():
    """Steps that begin anew do not fold over each other."""
    history = History(per_batch=True)
    bus = Bus(history)
    for _ in range(2):
        train(bus, [{"loss": 1.0}, {"loss": 0.5}])
    assert read_curves(history, batches=True)[0].x.tolist() == [1, 2, 3, 4]


def test_batches_must_have_been_recorded():
    """The message says how to record them."""
    with pytest.raises(ValueError, match=r"must be recorded by History\(per_batch=True\) to draw batches"):
        read_curves(recorded({"loss": 1.0}), batches=True)


def test_batches_are_in_no_mapping():
    """Only a History has them."""
    with pytest.raises(TypeError, match=r"must be a monitor_core.History\(per_batch=True\) .* \(got dict\)"):
        read_curves({"loss": [1.0]}, batches=True)


@given(st.lists(st.floats(-1e6, 1e6), max_size=300), st.floats(0.0, 1.0, exclude_max=True))
def test_smoothing_is_the_weighted_mean_of_all_values_so_far(values, smoothing):
    """Each value weighs ``smoothing ** age``; computed in blocks, it is what the definition gives."""
    expected, total, weight = [], 0.0, 0.0
    for value in values:
        total, weight = value + smoothing * total, 1.0 + smoothing * weight
        expected.append(total / weight)
    np.testing.assert_allclose(smooth(np.array(values), smoothing), expected, rtol=1e-7, atol=1e-6)


def test_smoothing_goes_on_over_blocks_of_blocks():
    """A long curve is the sum of three levels of blocks."""
    values = np.random.default_rng(0).normal(size=70_000)
    total, expected = 0.0, []
    for value in values.tolist():
        total = value + 0.9999 * total
        expected.append(total)
    weights = (1 - 0.9999 ** np.arange(1, 70_001)) / (1 - 0.9999)
    np.testing.assert_allclose(smooth(values, 0.9999), np.array(expected) / weights, rtol=1e-8, atol=1e-12)


def test_smoothing_a_constant_keeps_it():
    """Without its correction, the average would begin near zero."""
    np.testing.assert_allclose(smooth(np.full(1000, 3.0), 0.999), 3.0, rtol=1e-12)


@given(st.integers(1, 400), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_envelope_keeps_every_column_s_extremes_and_both_ends(count, columns, seed):
    """No extreme is lost, points stay in order, and there are few of them."""
    y = np.random.default_rng(seed).normal(size=count)
    x = np.arange(count, dtype=np.float64)
    kept_x, kept_y = envelope(x, y, columns)
    assert kept_y.tolist() == y[kept_x.astype(int)].tolist()
    assert (np.diff(kept_x) > 0).all()
    assert (kept_x[0], kept_x[-1]) == (0, count - 1)
    assert len(kept_x) <= max(2 * columns + 4, 4 * columns)
    if count > 4 * columns:
        width = -(-count // columns)
        parts = [y[start : start + width] for start in range(0, count, width)]
        assert {float(extreme) for part in parts for extreme in (part.min(), part.max())} <= set(kept_y.tolist())


def test_short_curves_are_drawn_whole():
    """Below four points for each column nothing is left out."""
    x, y = np.arange(8000.0), np.zeros(8000)
    assert envelope(x, y) == (x, y)
