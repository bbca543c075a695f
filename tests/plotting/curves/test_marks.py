"""What decided a run, as it is marked in a plot."""

import numpy as np
import pytest

from monitor_core import Bus, EarlyStopping, History, Journal, Loop, ModelCheckpoint, ReduceLROnPlateau
from monitor_core.plotting import plot_history
from monitor_core.plotting.curves.curves import curves_of
from monitor_core.plotting.curves.marks import rate_drops
from monitor_core.plotting.curves.sources import read_sources

VAL_LOSS = [2.0, 1.0, 1.5, 1.4, 1.3, 1.2]
ACCURACY = [0.1, 0.2, 0.4, 0.3, 0.3, 0.3]


class Handle:
    """A model without any framework."""

    def __init__(self):
        self.learning_rates = [0.1]

    def get_weights(self):
        return [np.zeros(1)]

    def set_weights(self, weights):
        pass

    def save(self, path, *, weights_only=False):
        path.write_bytes(b"")


def run(*sinks):
    """Train with sinks, and return the history."""
    history = History()
    with Loop(history, *sinks, model=Handle()) as loop:
        for epoch in loop.epochs(len(VAL_LOSS)):
            loop.log(val_loss=VAL_LOSS[epoch], accuracy=ACCURACY[epoch])
    return history


def texts(history, **options):
    return [
        text.get_text()
        for axes in plot_history(history, **options).axes
        for text in axes.texts
        if "\n" in text.get_text()
    ]


def note(history):
    """Return what is written below a plot."""
    label = plot_history(history)._supxlabel
    return "" if label is None else label.get_text()


def vertical_lines(history, label):
    return [line.get_xdata()[0] for line in plot_history(history).axes[0].lines if line.get_label() == label]


def test_without_a_sink_that_decides_the_lowest_validation_loss_is_marked():
    """It is called the lowest, not the best: nothing says that it decided."""
    assert texts(run()) == ["lowest val_loss 1\nepoch 2"]


def test_the_monitored_metric_is_marked():
    """Of a run that was watched by its accuracy, that one's best epoch."""
    assert texts(run(EarlyStopping("accuracy", patience=9))) == ["best accuracy 0.4\nepoch 3"]


def test_each_monitored_metric_is_marked_once_the_restored_one_first(tmp_path):
    """Two sinks that watch one metric have one mark."""
    sinks = (
        ModelCheckpoint(tmp_path / "model", "val_loss", save_best_only=True),
        ReduceLROnPlateau("val_loss", patience=9),
        EarlyStopping("accuracy", patience=3, restore_best_weights=True),
    )
    assert texts(run(*sinks)) == [
        "best val_loss 1\nepoch 2",
        "best accuracy 0.4\nepoch 3, weights restored",
    ]


def test_the_best_epoch_is_the_one_that_the_sink_chose():
    """A gain below ``min_delta`` did not count, and is not marked."""
    assert texts(run(EarlyStopping("accuracy", patience=9, min_delta=0.25))) == ["best accuracy 0.4\nepoch 3"]
    assert texts(run(EarlyStopping("accuracy", patience=9, min_delta=0.35))) == ["best accuracy 0.1\nepoch 1"]


def test_a_stop_is_marked_at_its_epoch_with_its_reason():
    """A line through all panels, and the reason below."""
    history = run(EarlyStopping("accuracy", patience=2))
    assert vertical_lines(history, "_stop") == [5]
    assert note(history).startswith("■ stopped after epoch 5: accuracy did not improve for 2 epochs")
    assert "in epoch 3" in note(history)


def test_a_recorded_run_has_the_same_marks(tmp_path):
    """The journal keeps what decided."""
    sink = EarlyStopping("accuracy", patience=2, restore_best_weights=True)
    history = run(Journal(tmp_path), sink)
    assert (texts(tmp_path), note(tmp_path)) == (texts(history), note(history))
    assert texts(tmp_path) == ["best accuracy 0.4\nepoch 3, weights restored"]


def test_a_lowered_rate_is_marked_after_the_epoch_that_lowered_it():
    """The rate of an epoch is the one that it was trained with, so the next one's is lower."""
    history = run(ReduceLROnPlateau("val_loss", patience=2))
    assert history["learning_rate"].tolist() == pytest.approx([0.1, 0.1, 0.1, 0.1, 0.01, 0.01])
    assert vertical_lines(history, "_drop") == [4]
    assert "▼ learning rate lowered" in note(history)


def test_a_schedule_is_not_marked():
    """A rate that changes in every epoch is seen in its own panel."""
    curves = curves_of(read_sources({"loss": [1.0] * 50, "learning_rate": np.linspace(1, 0, 50)}))
    assert rate_drops(curves) == []


def test_a_rate_that_only_rises_has_no_mark():
    """Warming up is no drop."""
    curves = curves_of(read_sources({"learning_rate": [0.1, 0.2, 0.3]}))
    assert rate_drops(curves) == []


def test_no_mark_if_not_asked():
    """``mark_best=False`` leaves the curves alone."""
    history = run(EarlyStopping("accuracy", patience=2), ReduceLROnPlateau("val_loss", patience=2))
    assert texts(history, mark_best=False) == []
    assert plot_history(history, mark_best=False)._supxlabel is None


def test_no_mark_on_a_metric_that_is_not_drawn():
    """The plot of one metric says nothing of another."""
    assert texts(run(EarlyStopping("accuracy", patience=9)), metrics=["val_loss"]) == []


@pytest.mark.parametrize("sink", [EarlyStopping, ReduceLROnPlateau])
def test_the_last_of_several_runs_is_marked(sink):
    """Its epochs begin again, its rows are counted on; what an earlier run reached is not what this one decided by."""
    history = History()
    for offset in (0, 1):
        with Loop(history, sink("val_loss", patience=9), model=Handle()) as loop:
            for epoch in loop.epochs(3):
                loop.log(val_loss=VAL_LOSS[epoch] + offset)
    assert texts(history) == ["best val_loss 2\nepoch 5"]


def test_weights_are_restored_at_the_end_of_a_run_that_was_completed_too():
    """The mark says so whether or not patience ran out, and not before the end."""
    sink = EarlyStopping("accuracy", patience=9, restore_best_weights=True)
    assert texts(run(sink)) == ["best accuracy 0.4\nepoch 3, weights restored"]
    history = History()
    bus = Bus(history, sink, model=Handle())
    bus.train_begin()
    bus.epoch_begin(0)
    bus.epoch_end(0, {"accuracy": 0.1})
    assert texts(history) == ["best accuracy 0.1\nepoch 1"]
