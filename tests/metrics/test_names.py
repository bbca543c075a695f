"""How metrics are looked up by name."""

import pytest

from monitor_core.metrics.names import find_metric, unknown_metric


@pytest.mark.parametrize(
    ("name", "available", "found"),
    [
        ("loss", ["loss"], "loss"),
        ("acc", ["accuracy"], "accuracy"),
        ("accuracy", ["acc"], "acc"),
        ("val_acc", ["val_accuracy", "accuracy"], "val_accuracy"),
        ("val_accuracy", ["val_acc"], "val_acc"),
        ("train/acc", ["train/accuracy"], "train/accuracy"),
        ("acc", ["acc", "accuracy"], "acc"),
        ("accuracy", ["acc", "accuracy"], "accuracy"),
        ("sparse_categorical_accuracy", ["sparse_categorical_acc"], "sparse_categorical_acc"),
        ("acc", ["val_accuracy"], None),
        ("macc", ["maccuracy"], None),
        ("inaccuracy", ["inacc"], None),
        ("val_los", ["val_loss"], None),
        ("", ["loss"], None),
    ],
)
def test_find_metric(name, available, found):
    """A metric is found by its name, accuracy also by its other spelling after any prefix."""
    assert find_metric(name, available) == found


def test_unknown_metric_names_the_nearest_and_all():
    """The message gives the nearest name and lists the others, sorted."""
    assert unknown_metric("val_los", ["val_loss", "loss"], "this epoch") == (
        "no metric 'val_los' (did you mean 'val_loss'?); this epoch has loss, val_loss"
    )


def test_unknown_metric_without_metrics():
    """The message covers no metrics at all, and no similar name."""
    assert unknown_metric("loss", [], "it") == "no metric 'loss'; it has none"
    assert unknown_metric("loss", ["xyz"], "it") == "no metric 'loss'; it has xyz"
