"""Which metrics of a run are drawn, and as which points."""

import numpy as np
import pytest

from monitor_core import Bus, History
from monitor_core.plotting.curves.curves import curves_of
from monitor_core.plotting.curves.sources import read_sources
from recorders import train


def read_curves(history, metrics=None):
    return curves_of(read_sources(history), metrics)


def names(*args, **options):
    return [curve.name for curve in read_curves(*args, **options)]


def recorded(*epochs, **options):
    history = History(**options)
    train(Bus(history), *[[logs] for logs in epochs])
    return history


def test_all_metrics_are_chosen_losses_first_and_validation_after_training():
    """Losses come first, then what is between 0 and 1, the others, and the learning rate, in pairs."""
    history = {
        name: [1.0] for name in ["accuracy", "learning_rate", "loss", "val_mae", "val_accuracy", "val_loss", "mae"]
    }
    expected = ["loss", "val_loss", "accuracy", "val_accuracy", "mae", "val_mae", "learning_rate"]
    assert names(history) == expected


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
def test_prefixes_distinguish_validation_from_training(name, quantity, validation):
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
    """An empty plot is never meant."""
    with pytest.raises(ValueError, match=r"metrics must name at least one metric \(got \[\]\)"):
        read_curves({"loss": [1.0]}, [])


def test_columns_of_other_lengths_are_an_error():
    """Where the missing values were cannot be known, and no place is guessed."""
    message = r"must have a value of 'val_loss' in every epoch, NaN where it is missing \(got 1 values of 2\)"
    with pytest.raises(ValueError, match=message):
        read_curves({"loss": [1.0, 0.5], "val_loss": [1.0]})


def test_values_that_are_not_numbers_are_an_error_if_asked_for():
    """The metric is named."""
    with pytest.raises(ValueError, match="the values of 'note' must be numbers"):
        read_curves({"note": ["good"]}, ["note"])


def test_values_per_class_are_an_error_if_asked_for():
    """The metric is named, with its shape."""
    with pytest.raises(ValueError, match=r"'f1' must be one number for each epoch \(got the shape \(1, 2\)\)"):
        read_curves({"f1": [[0.1, 0.2]]}, ["f1"])


def test_values_that_are_not_finite_are_no_points():
    """The rows stay, so that the plot keeps their place."""
    (curve,) = read_curves({"loss": [np.nan, 3.0, np.inf, 1.0, None]})
    assert (curve.rows.tolist(), curve.x.tolist(), curve.y.tolist()) == ([1, 2, 3, 4, 5], [2, 4], [3.0, 1.0])


def test_a_late_metric_begins_at_its_epoch():
    """A History fills the epochs before with NaN, and these are no points."""
    late = read_curves(recorded({"loss": 3.0}, {"loss": 2.0, "val_loss": 2.5}, {"loss": 1.0, "val_loss": 2.0}))[1]
    assert (late.name, late.x.tolist(), late.y.tolist()) == ("val_loss", [2, 3], [2.5, 2.0])
