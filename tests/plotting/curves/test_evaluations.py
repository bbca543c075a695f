"""Evaluations within epochs are points of their own, on an axis of steps."""

import itertools

import pytest

from monitor_core import Bus, CSVLogger, EarlyStopping, History, Journal, Loop, open_run
from monitor_core.plotting import plot_history
from monitor_core.plotting.curves.curves import curves_of
from monitor_core.plotting.curves.sources import read_sources


def points(history):
    """Return the points of all curves by run and name, and what their places count."""
    sources = read_sources(history)
    curves = {(curve.run, curve.name): (curve.x.tolist(), curve.y.tolist()) for curve in curves_of(sources)}
    return sources[0].unit, curves


def feed(bus, *epochs, name=None, end=True):
    """Run epochs of four steps, evaluated at these steps of each, with the value of the run's step."""
    bus.train_begin(steps_per_epoch=4)
    for epoch, steps in enumerate(epochs):
        bus.epoch_begin(epoch)
        for step in range(1, 5):
            bus.batch_begin(bus.run.step + 1)
            bus.batch_end(bus.run.step + 1, {})
            if step in steps:
                bus.evaluation_begin(name=name)
                bus.evaluation_end({"loss": float(bus.run.step)})
        bus.epoch_end(epoch, {"loss": 0.5})
    if end:
        bus.train_end()


def recorded(*epochs, **options):
    feed(Bus(history := History()), *epochs, **options)
    return history


def test_ten_evaluations_in_an_epoch_are_ten_points(tmp_path):
    """In a history, a journal and a CSV file."""
    with Loop(history := History(), CSVLogger(tmp_path / "a.csv")) as loop:
        for _ in loop.epochs(1, steps_per_epoch=1000):
            for step in loop.batches(itertools.count(1)):
                loop.log(loss=0.5)
                if step % 100 == 0:
                    with loop.evaluation():
                        loop.log(loss=step)
    steps = [100.0 * count for count in range(1, 11)]
    expected = "step", {(None, "loss"): ([1000], [0.5]), (None, "val_loss"): (steps, steps)}
    assert points(history) == expected
    assert points(tmp_path / "a.csv") == expected


def test_a_journal_is_drawn_like_the_history(tmp_path):
    """And like the file."""
    bus = Bus(history := History(), Journal(tmp_path / "run"), CSVLogger(tmp_path / "a.csv"))
    feed(bus, [1, 3], [2, 4])
    assert points(tmp_path / "run") == points(history) == points(tmp_path / "a.csv")
    assert points(open_run(tmp_path / "run"))[1][None, "val_loss"] == ([1, 3, 6, 8], [1, 3, 6, 8])


def test_the_result_of_an_earlier_step_is_not_a_point_of_the_epochs_end():
    """The epoch has the value of its last evaluation, which was not at its end."""
    assert points(recorded([2], [])) == (
        "step",
        {(None, "loss"): ([4, 8], [0.5, 0.5]), (None, "val_loss"): ([2], [2])},
    )


def test_without_evaluations_within_epochs_the_axis_is_the_epoch():
    """As before."""
    assert points(recorded([4], [4])) == (
        "epoch",
        {(None, "loss"): ([1, 2], [0.5, 0.5]), (None, "val_loss"): ([1, 2], [4, 8])},
    )


def test_several_runs_share_an_axis():
    """That of steps if all know theirs, else that of epochs."""
    mixed = {"a": recorded([2, 4]), "b": recorded([4], [4])}
    unit, curves = points(mixed)
    assert (unit, curves["a", "val_loss"][0], curves["b", "val_loss"][0]) == ("step", [2, 4], [4, 8])
    unit, curves = points({**mixed, "c": {"val_loss": [1.0]}})
    assert (unit, curves["a", "val_loss"][0], curves["b", "val_loss"][0]) == ("epoch", [1], [1, 2])


def test_the_steps_of_runs_one_after_another_are_counted_on():
    """A history of two runs."""
    bus = Bus(history := History())
    for _ in range(2):
        feed(bus, [2, 4])
    assert points(history)[1][None, "val_loss"] == ([2, 4, 6, 8], [2, 4, 2, 4])
    (source,) = read_sources(history)
    assert (source.epochs, source.begin) == ({0: 8}, 4)


def test_epochs_of_a_file_without_steps_are_drawn_alone(tmp_path):
    """The first epochs of a file may have none."""
    feed(Bus(CSVLogger(tmp_path / "a.csv")), [4], [2])
    assert points(tmp_path / "a.csv")[0] == "epoch"


def test_the_axis_and_the_marks_count_steps():
    """What they say is the step; the best one is the sink's, though a later one is a little lower."""
    numbers = itertools.count(1)
    with Loop(history := History(), EarlyStopping("val_loss", patience=2, min_delta=0.1)) as loop:
        for _ in loop.epochs(9, steps_per_epoch=4):
            for step in loop.batches(numbers):
                loop.log(loss=0.5)
                if step % 2 == 0:
                    with loop.evaluation():
                        loop.log(loss=[9.0, 5.0, 3.0, 2.99, 4.0][min(step // 2 - 1, 4)])
    figure = plot_history(history)
    assert figure.axes[-1].get_xlabel() == "step"
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert [text for text in texts if text.startswith("best")] == ["best val_loss 3\nstep 6"]


@pytest.mark.parametrize("name", [None, "test"])
def test_an_evaluation_outside_of_epochs_is_not_drawn(name):
    """Such as that of the final model."""
    bus = Bus(history := History())
    feed(bus, [2, 4], end=False)
    bus.evaluation_begin(name=name)
    bus.evaluation_end({"loss": 9.0})
    bus.train_end()
    assert points(history)[1] == {(None, "loss"): ([4], [0.5]), (None, "val_loss"): ([2, 4], [2, 4])}
