"""The history's evaluations: all of a run, with their steps and names."""

import itertools

import keras
import numpy as np
import pytest

from monitor_core import Bus, History, Loop
from monitor_core.adapters.keras import KerasAdapter
from monitor_core.testing import NumpyModel


def rows(evaluations):
    """Return each evaluation's run, epoch, step, name and metrics that it has."""
    columns = (evaluations.run.tolist(), evaluations.epoch, evaluations.steps.tolist(), evaluations.names)
    return [
        (*label, {name: evaluations[name][row] for name in evaluations if not np.isnan(evaluations[name][row])})
        for row, label in enumerate(zip(*columns, strict=True))
    ]


def by_steps(*sinks, epochs=1, steps=1000, every=100, **options):
    """Train by steps with an evaluation every so many, whose loss is the step."""
    with Loop(*sinks, **options) as loop:
        numbers = itertools.count(loop.run.step + 1)
        for _ in loop.epochs(epochs, steps_per_epoch=steps):
            for step in loop.batches(numbers):
                loop.log(loss=0.5)
                if step % every == 0:
                    with loop.evaluation():
                        loop.log(loss=step)
    return loop


def test_ten_evaluations_in_an_epoch_are_ten_rows():
    """The epoch has the last one's results, the evaluations all of them."""
    by_steps(history := History())
    assert history.history == {"loss": [0.5], "val_loss": [1000.0]}
    assert history.steps.tolist() == [1000]
    assert history.evaluations["val_loss"].tolist() == [100.0 * count for count in range(1, 11)]
    assert history.evaluations.steps.tolist() == [100 * count for count in range(1, 11)]


def test_every_evaluation_of_a_run_is_recorded():
    """Before the first epoch, within one, at its end and after the last, each by its name; not outside of a run."""
    bus = Bus(history := History())
    with Loop(history) as loop:
        with loop.evaluation():
            loop.log(loss=9.0)
        for _ in loop.epochs(1):
            for value in loop.batches([1.0, 2.0]):
                loop.log(loss=value)
                with loop.evaluation():
                    loop.log(loss=10 * value)
            with loop.evaluation(name="test"):
                loop.log(acc=0.5)
        with loop.evaluation("final/"):
            loop.log(loss=4.0)
    bus.evaluation_begin()
    bus.evaluation_end({"loss": 5.0})
    assert rows(history.evaluations) == [
        (0, -1, 0, "val", {"val_loss": 9.0}),
        (0, 0, 1, "val", {"val_loss": 10.0}),
        (0, 0, 2, "val", {"val_loss": 20.0}),
        (0, 0, 2, "test", {"test_acc": 0.5}),
        (0, 0, 2, "final", {"final/loss": 4.0}),
    ]


def test_evaluations_of_a_keras_fit_have_their_step():
    """Without a sink that listens to batches, Keras's adapter knows the step only at the epoch's end."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.ones((8, 2), "float32")
    adapter = KerasAdapter(history := History())
    adapter.fit(model, x, x[:, :1], batch_size=2, epochs=2, validation_split=0.5, verbose=0)
    assert history.evaluations.steps.tolist() == history.steps.tolist() == [2, 4]
    assert history.evaluations["val_loss"].tolist() == history["val_loss"].tolist()


def test_runs_are_told_apart():
    """A second run of one history has its number."""
    history = History()
    for _ in range(2):
        by_steps(history, steps=2, every=1)
    assert history.evaluations.run.tolist() == [0, 0, 1, 1]
    assert history.evaluations.steps.tolist() == [1, 2, 1, 2]


def test_a_reset_drops_evaluations():
    """Nothing of them is left."""
    by_steps(history := History())
    history.reset()
    assert (len(history.evaluations), list(history.evaluations)) == (0, [])


def test_a_rewind_drops_later_evaluations():
    """By their epoch and by their step; those of the run before stay."""
    history = History()
    by_steps(history, steps=2, every=1)
    bus = Bus(history)
    bus.train_begin()
    for epoch in range(2):
        bus.epoch_begin(epoch)
        for _ in range(3):
            bus.batch_begin(bus.run.step + 1)
            bus.batch_end(bus.run.step + 1, {})
            bus.evaluation_begin()
            bus.evaluation_end({"loss": float(bus.run.step)})
        bus.epoch_end(epoch, {})
    bus.rewind(1, 2)
    assert rows(history.evaluations)[2:] == [(1, 0, step, "val", {"val_loss": float(step)}) for step in (1, 2)]
    bus.epoch_begin(1)
    bus.run.step = 5
    bus.evaluation_begin()
    bus.evaluation_end({"loss": 7.0})
    bus.epoch_end(1, {})
    assert rows(history.evaluations)[-1] == (1, 1, 5, "val", {"val_loss": 7.0})


@pytest.mark.parametrize("how", ["json", "npz"])
def test_evaluations_survive_a_file(tmp_path, how):
    """What was written is read, with names and steps, and recording continues."""
    by_steps(history := History(), steps=4, every=2)
    getattr(history, f"to_{how}")(tmp_path / "file")
    read = getattr(History, f"from_{how}")(tmp_path / "file")
    assert rows(read.evaluations) == rows(history.evaluations)
    assert read.evaluations.times.tolist() == history.evaluations.times.tolist()
    assert read.steps.tolist() == history.steps.tolist()
    by_steps(read, steps=1, every=1)
    assert read.evaluations.run.tolist() == [0, 0, 1]


def test_pandas_frame_of_evaluations():
    """The frame has their labels, then their metrics."""
    pytest.importorskip("pandas")
    by_steps(history := History(), steps=4, every=2)
    frame = history.to_pandas(evaluations=True)
    assert list(frame) == ["run", "epoch", "step", "time", "name", "val_loss"]
    assert frame.drop(columns="time").to_numpy().tolist() == [[0, 0, 2, "val", 2.0], [0, 0, 4, "val", 4.0]]
    with pytest.raises(ValueError, match="batches and evaluations must not both be true"):
        history.to_pandas(batches=True, evaluations=True)


def test_a_resumed_history_has_the_evaluations_on_record(tmp_path):
    """They come from the journal, as the epochs do."""
    by_steps(History(), epochs=2, steps=4, every=2, resume=tmp_path, model=NumpyModel())
    by_steps(history := History(), epochs=3, steps=4, every=2, resume=tmp_path, model=NumpyModel())
    assert history.evaluations["val_loss"].tolist() == [2.0, 4.0, 6.0, 8.0, 10.0, 12.0]
    assert history.evaluations.steps.tolist() == [2, 4, 6, 8, 10, 12]


def test_an_unknown_metric_is_named():
    """The message lists what there is."""
    by_steps(history := History())
    with pytest.raises(KeyError, match=r"no metric 'val_los' .*; the record of evaluations has val_loss"):
        history.evaluations["val_los"]
