"""Runs by steps that continue from a state within an epoch: as if they had not been cut."""

import csv

import numpy as np
import pytest

from monitor_core import CSVLogger, EarlyStopping, History, Journal, Loop, ModelCheckpoint, open_run
from monitor_core.testing import NumpyModel

EPOCHS, STEPS, ITEMS = 4, 5, [float(number) for number in range(7)]
"""The data are read again within the epochs."""


class Cut(BaseException):
    """Ends a training as a kill would: nothing of it is caught."""


def train(folder, *, cut_after=None, continues=False, every=3):
    """Train by steps, evaluating every few of them; return the items in order, the history and the deciding sinks."""
    model, seen = NumpyModel(), []
    stops = [EarlyStopping("val_loss", patience=99), EarlyStopping("loss", patience=99, at="evaluation", mode="min")]
    checkpoint = ModelCheckpoint(folder / "{epoch}-{batch}.npz", save_freq=1, save_state=True)
    records = [Journal(folder), CSVLogger(folder / "log.csv")]
    loop = Loop(*stops, checkpoint, history := History(per_batch=True), *records, model=model)
    assert checkpoint.resume(loop.bus) is continues or not continues
    values = np.random.default_rng(3).normal(size=EPOCHS * STEPS + 1)
    try:
        with loop:
            for _ in loop.epochs(EPOCHS, steps_per_epoch=STEPS):
                loop.log(planned=1.0)
                for x in loop.batches(ITEMS):
                    if loop.run.step == cut_after:
                        raise Cut
                    seen.append(x)
                    step = loop.run.step + 1
                    loop.log(loss=x + step, weight=1 + step % 3)
                    if step % every == 0:
                        with loop.evaluation():
                            loop.log(loss=values[step])
    except Cut:
        pass
    return seen, history, [(stop.best, stop.wait, stop.best_epoch) for stop in stops]


def recorded(folder):
    """Return the evaluations, epochs and batches that the journal has, and the rows of the CSV file."""
    run = open_run(folder)
    parts = (run.evaluations, run.history, run.batches)
    values = [{name: np.asarray(part[name]).tolist() for name in part} for part in parts]
    with (folder / "log.csv").open(newline="") as file:
        rows = [{name: value for name, value in row.items() if value} for row in csv.DictReader(file)]
    return values, run.evaluations.steps.tolist(), rows


@pytest.mark.parametrize("cut_after", range(1, EPOCHS * STEPS))
def test_an_epoch_takes_the_steps_that_it_lacks(tmp_path, cut_after):
    """Items, steps, means and decisions are those of the run that was not cut, wherever it is."""
    seen, whole, decided = train(tmp_path / "whole")
    assert len(seen) == EPOCHS * STEPS
    train(tmp_path / "cut", cut_after=cut_after)
    rest, history, resumed = train(tmp_path / "cut", continues=True)
    assert rest == seen[cut_after:]
    assert history.batches.steps.tolist() == list(range(cut_after + 1, EPOCHS * STEPS + 1))
    assert resumed == decided
    epochs = len(history.epoch)
    assert history.epoch == whole.epoch[-epochs:]
    assert {name: values[-epochs:] for name, values in whole.history.items()} == history.history
    assert recorded(tmp_path / "cut") == recorded(tmp_path / "whole")


def test_a_shorter_plan_ends_the_epoch_at_once(tmp_path):
    """An epoch that has more steps than are now asked for ends with those that it has."""
    model = NumpyModel()
    checkpoint = ModelCheckpoint(tmp_path / "{step}.npz", save_freq=1, save_state=True)
    with pytest.raises(KeyError), Loop(checkpoint, model=model) as loop:
        for _ in loop.epochs(1, steps_per_epoch=5):
            for number in loop.batches(ITEMS):
                if loop.run.step == 3:
                    raise KeyError
                loop.log(loss=number)
    checkpoint = ModelCheckpoint(tmp_path / "{step}.npz", save_freq=1, save_state=True)
    loop = Loop(checkpoint, history := History(), model=model)
    assert checkpoint.resume(loop.bus)
    with loop:
        for _ in loop.epochs(2, steps_per_epoch=2):
            for number in loop.batches(ITEMS):
                loop.log(loss=number)
    assert (history.history["loss"], loop.run.step) == ([1.0, 3.5], 5)


def test_epochs_without_a_number_of_steps_begin_again(tmp_path):
    """Their data do not continue, so all of the epoch's batches are taken."""
    checkpoint = ModelCheckpoint(tmp_path / "{step}.npz", save_freq=1, save_state=True)
    with pytest.raises(KeyError), Loop(checkpoint, model=NumpyModel()) as loop:
        for _ in loop.epochs(1):
            for number in loop.batches(ITEMS):
                if loop.run.step == 3:
                    raise KeyError
                loop.log(loss=number)
    checkpoint = ModelCheckpoint(tmp_path / "{step}.npz", save_freq=1, save_state=True)
    loop = Loop(checkpoint, history := History(), model=NumpyModel())
    assert checkpoint.resume(loop.bus)
    with loop:
        for _ in loop.epochs(1):
            for number in loop.batches(ITEMS):
                loop.log(loss=number)
    assert (history.history["loss"], loop.run.step) == ([3.0], 10)
