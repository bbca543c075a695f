"""Epochs of a framework without means: what they have at their end, and across a checkpoint."""

import pytest

from monitor_core import Bus
from monitor_core.adapters.epochs import Epochs
from monitor_core.adapters.versions import require
from monitor_core.errors import SetupError
from monitor_core.testing import Recorder


def begun(recorder, state=None):
    """Return the epochs of a run that has begun."""
    bus = Bus(recorder)
    epochs = Epochs(bus)
    if state is not None:
        epochs.load_state_dict(state)
    bus.train_begin()
    return bus, epochs


def step(bus, **logs):
    """Make a step."""
    bus.batch_begin(bus.run.step + 1)
    bus.batch_end(bus.run.step + 1, logs)


def evaluate(bus, epochs, **results):
    """Evaluate."""
    bus.evaluation_begin()
    epochs.end_evaluation(results)


def test_an_epoch_has_means_results_and_what_is_given():
    """What is given replaces a mean of the same name."""
    bus, epochs = begun(recorder := Recorder("on_epoch_end"))
    epochs.begin(0)
    step(bus, loss=1.0, accuracy=0.5)
    step(bus, loss=3.0)
    evaluate(bus, epochs, loss=4.0)
    epochs.end({"accuracy": 0.75})
    assert recorder.events == [("epoch_end", 0, {"loss": 2.0, "accuracy": 0.75, "val_loss": 4.0})]


def test_an_open_epoch_continues_from_a_state():
    """Its means are those of all its steps."""
    bus, epochs = begun(Recorder())
    epochs.begin(0)
    step(bus, loss=1.0)
    evaluate(bus, epochs, loss=4.0)
    bus, again = begun(recorder := Recorder("on_epoch_end"), epochs.state_dict())
    again.begin(0)
    step(bus, loss=3.0)
    again.end()
    assert recorder.events == [("epoch_end", 0, {"loss": 2.0, "val_loss": 4.0})]


def test_an_open_epoch_ends_where_the_next_one_begins():
    """The framework had nothing left to do in it."""
    bus, epochs = begun(Recorder())
    epochs.begin(0)
    step(bus, loss=1.0)
    _, again = begun(recorder := Recorder("on_epoch_begin", "on_epoch_end"), epochs.state_dict())
    again.begin(1)
    assert recorder.events == [("epoch_begin", 0), ("epoch_end", 0, {"loss": 1.0}), ("epoch_begin", 1)]


def test_an_abandoned_epoch_has_no_end():
    """The run ends with what it has."""
    bus, epochs = begun(recorder := Recorder("on_epoch_end", "on_train_end"))
    epochs.begin(0)
    step(bus, loss=1.0)
    epochs.abandon()
    bus.interrupt()
    assert recorder.events == [("train_end", {})]


def test_a_version_is_compared_by_its_numbers(monkeypatch):
    """5.10 is newer than 5.9, and so is a release candidate."""
    for present in ("5.9.0", "5.10.0rc1", "6.0"):
        monkeypatch.setattr("monitor_core.adapters.versions.version", lambda _, name=present: name)
        require("package", "5.9", "extra")
    monkeypatch.setattr("monitor_core.adapters.versions.version", lambda _: "5.8.9")
    with pytest.raises(SetupError, match=r"package must be of version 5.9 or newer \(got 5.8.9\): pip install -U"):
        require("package", "5.9", "extra")
