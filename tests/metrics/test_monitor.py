"""Which metric is watched and in which direction it improves, compared with Keras's own directions."""

import inspect
import math
import re
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras.src.metrics import ALL_OBJECTS_DICT

from monitor_core import SetupError
from monitor_core.adapters.keras import KerasModel
from monitor_core.metrics.monitor import DIRECTIONS, Monitor

ARGUMENTS = {
    "num_classes": 2,
    "precision": 0.5,
    "recall": 0.5,
    "sensitivity": 0.5,
    "specificity": 0.5,
    "target_class_ids": [0],
    "fn": max,
}


def keras_metrics():
    """Return each class of Keras's metrics with its default name and its direction as we write it, None for none."""
    found = {}
    for kind in vars(keras.metrics).values():
        if isinstance(kind, type) and issubclass(kind, keras.metrics.Metric):
            parameters = inspect.signature(kind).parameters
            metric = kind(**{name: value for name, value in ARGUMENTS.items() if name in parameters})
            direction = {"up": "max", "down": "min", None: None}[getattr(metric, "_direction", None)]
            found[kind] = re.sub(r"_\d+$", "", metric.name), direction  # Keras numbers a second AUC auc_1
    return found


METRICS = keras_metrics()


def monitor(name="val_loss", mode="auto"):
    return Monitor(name, mode, "Owner")


class Knowing:
    """A handle that knows the direction of one metric."""

    def direction(self, metric):
        return "max" if metric == "reward" else None


# --- directions ----------------------------------------------------------------------------------------------------


def test_keras_has_metrics():
    """The table is compared with about forty classes."""
    assert len(METRICS) > 35


@pytest.mark.parametrize("kind", METRICS, ids=lambda kind: kind.__name__)
def test_the_table_says_what_keras_says(kind):
    """Each metric of Keras has Keras's direction under its default name, and none where Keras has none."""
    name, direction = METRICS[kind]
    assert DIRECTIONS.get(name) == direction


def test_the_table_knows_how_metrics_are_spelt_in_compile():
    """Every lower-case name of a metric in `compile` has its direction, and no other spelling a different one."""
    for name, kind in ALL_OBJECTS_DICT.items():
        found = DIRECTIONS.get(name.lower())
        assert found == METRICS[kind][1] or (found is None and name != name.lower()), name


@pytest.mark.parametrize(
    ("name", "direction"),
    [("loss", "min"), ("val_loss", "min"), ("val_acc", "max"), ("AUC", "max"), ("val_F1", "max"), ("mse", "min")],
)
def test_auto_by_name(name, direction):
    """The table is searched for the name without val_, ignoring case."""
    assert monitor(name).direction(None) == direction


@pytest.mark.parametrize("name", ["my_loss", "accuracy_loss", "val_val_loss", "auc_1", "reward", "loss_val_"])
def test_nothing_is_guessed(name):
    """A name that contains a known one is unknown; the message says what to do."""
    with pytest.raises(
        SetupError, match=f"Owner does not know whether '{name}' improves by falling or by rising: pass "
    ):
        monitor(name).direction(None)


def test_a_misspelt_name_gets_the_nearest_that_is_known():
    """Where the model does not know its metrics, the names of the table are asked, with and without val_."""
    with pytest.raises(
        SetupError, match=r"pass mode='min' or mode='max', or correct the name \(did you mean 'val_loss'"
    ):
        monitor("val_los").direction(None)


def test_a_metric_that_the_model_does_not_have_is_refused_whatever_the_mode():
    """The model's handle is asked first."""
    handle = SimpleNamespace(has_all_metrics=True, metric_names=lambda: ["loss", "val_loss"])
    with pytest.raises(SetupError, match=r"Owner: monitor names a metric that the model does not have.*'val_loss'"):
        Monitor("val_los", "min", "Owner").direction(handle)


def test_the_models_own_direction_comes_first():
    """The handle's direction comes before the table's, and an explicit mode before both."""
    handle = Knowing()
    assert monitor("reward").direction(handle) == "max"
    assert monitor("loss").direction(handle) == "min"
    assert monitor("reward", "min").direction(handle) == "min"


def test_a_keras_models_metrics_once_built():
    """A compiled metric's own direction is used for any name, and for its validation metric."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, "sigmoid")])
    metrics = [keras.metrics.AUC(name="area"), keras.metrics.LogCoshError(name="my_accuracy")]
    model.compile("sgd", "mse", metrics=metrics)
    model.fit(np.zeros((4, 2)), np.zeros((4, 1)), verbose=0)
    handle = KerasModel(model)
    names = ("area", "val_area", "val_my_accuracy")
    assert [monitor(name).direction(handle) for name in names] == ["max", "max", "min"]


def test_a_keras_models_metrics_at_the_first_train_begin():
    """The usual names are known even before the first batch."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, "sigmoid")])
    model.compile("sgd", "mse", metrics=["accuracy"])
    names = ("loss", "val_accuracy", "val_acc")
    assert [monitor(name).direction(KerasModel(model)) for name in names] == ["min", "max", "max"]


@pytest.mark.parametrize("mode", ["least", "", None, "MIN", 1])
def test_an_unknown_mode_is_refused_at_once(mode):
    """An unknown mode is an error when the sink is created."""
    with pytest.raises(ValueError, match=r"mode must be 'auto', 'min' or 'max' \(got "):
        monitor(mode=mode)


@pytest.mark.parametrize("name", ["", None, 3])
def test_a_metric_has_a_name(name):
    """A monitor that is not a name is an error when the sink is created."""
    with pytest.raises(ValueError, match=r"monitor must be a metric's name \(got "):
        monitor(name)


# --- values --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("logs", "value"),
    [
        ({"val_acc": 0.5}, 0.5),
        ({"val_accuracy": 0.5, "acc": 1.0}, 0.5),
        ({"val_accuracy": 1, "val_acc": np.float32(0.25)}, 0.25),
        ({"val_acc": -math.inf}, -math.inf),
        ({"val_acc": keras.ops.convert_to_tensor([0.5])}, 0.5),
    ],
)
def test_read(logs, value, warned):
    """The value is found under either spelling of accuracy, even on a device."""
    assert monitor("val_acc").read(logs) == value
    assert warned() == []


@pytest.mark.parametrize(
    ("logs", "problem"),
    [
        ({}, "no metric 'val_loss'; this epoch has none"),
        ({"loss": 1.0, "val_los": 1.0}, "no metric 'val_loss' (did you mean 'val_los'?); this epoch has loss, val_los"),
        ({"val_loss": None, "mae": 1.0}, "no metric 'val_loss'; this epoch has mae"),
        ({"val_loss": "low"}, "the value of 'val_loss' is not a number: it is 'low', and a metric is a number"),
        ({"val_loss": [1.0]}, "the value of 'val_loss' is not a number: it is [1.0], and a metric is a number"),
    ],
)
def test_a_missing_value_warns_once(logs, problem, warned):
    """A value that is missing, None or not a number is None, with one warning that lists the metrics."""
    watch = monitor()
    assert [watch.read(logs), watch.read(logs)] == [None, None]
    assert warned() == [f"Owner decides nothing while its metric is missing: {problem}"]
