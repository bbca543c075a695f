"""How metrics are looked up by name."""

import pytest

from monitor_core import SetupError
from monitor_core.metrics.names import check_metric, find_metric, unknown_metric


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


class Handle:
    """A model's handle that knows its metrics."""

    def __init__(self, *names, has_all=True):
        self.names, self.has_all_metrics = names, has_all

    def metric_names(self):
        return self.names or None


def test_a_misspelt_metric_of_a_model_that_has_all_is_refused():
    """The error names the sink, the argument and the nearest metric."""
    message = (
        r"^Owner: filepath names a metric that the model does not have: no metric 'val_los' "
        r"\(did you mean 'val_loss'\?\); it has loss, val_loss$"
    )
    with pytest.raises(SetupError, match=message):
        check_metric("val_los", Handle("loss", "val_loss"), "Owner", "filepath")


@pytest.mark.parametrize(
    ("name", "handle", "hint"),
    [
        ("val_los", Handle("loss", "val_loss", has_all=False), ["did you mean 'val_loss'?"]),
        ("val_f1", Handle("loss", "val_loss"), ["no metric 'val_f1'; it has loss, val_loss"]),
        ("val_f1", Handle("loss", "val_loss", has_all=False), []),
        ("val_loss", Handle("loss", "val_loss"), []),
        ("val_acc", Handle("accuracy", "val_accuracy"), []),
        ("val_los", Handle(), []),
        ("val_los", None, []),
    ],
)
def test_a_metric_that_may_come_from_elsewhere_is_never_refused(warned, name, handle, hint):
    """Where a loop or a callback may add it there is a warning for a misspelt name, and silence for others."""
    check_metric(name, handle, "Owner", "monitor")
    assert len(warned()) == len(hint)
    assert all(part in message for part, message in zip(hint, warned(), strict=True))
