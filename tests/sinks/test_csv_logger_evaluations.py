"""Csv logger: evaluations within epochs have rows of their own, and the file's columns follow."""

import itertools

import numpy as np
import pytest

from csv_logger_support import rows
from monitor_core import Bus, CSVLogger, Journal, Loop, open_run
from monitor_core.testing import NumpyModel


def by_steps(sink, epochs=1, steps=4, every=2, **options):
    """Train by steps with an evaluation every so many, whose loss is the step."""
    with Loop(sink, **options) as loop:
        for _ in loop.epochs(epochs, steps_per_epoch=steps):
            for _ in loop.batches(itertools.count()):
                loop.log(loss=0.5)
                step = loop.run.step + 1
                if step % every == 0:
                    with loop.evaluation():
                        loop.log(loss=step)
    return loop


def feed(bus, epoch, steps, evaluations=(), logs=None):
    """Emit an epoch of so many steps, with an evaluation after each of these; the bus knows that batches follow."""
    bus.epoch_begin(epoch)
    for _ in range(steps):
        bus.batch_begin(bus.run.step + 1)
        bus.batch_end(bus.run.step + 1, {})
        if bus.run.step in evaluations:
            bus.evaluation_begin()
            bus.evaluation_end({"loss": float(bus.run.step)}, followed=True)
    bus.epoch_end(epoch, {"loss": 0.5} if logs is None else logs)


def test_ten_evaluations_in_an_epoch_are_ten_rows(tmp_path):
    """Each has its step and name; the tenth belongs to the epoch's end."""
    by_steps(CSVLogger(tmp_path / "a.csv"), steps=1000, every=100)
    assert rows(tmp_path / "a.csv") == [
        ["epoch", "step", "evaluation", "val_loss", "loss"],
        *[["0", str(step), "val", f"{step}.0", ""] for step in range(100, 1000, 100)],
        ["0", "1000", "", "1000.0", "0.5"],
    ]


def test_without_evaluations_within_epochs_the_file_is_as_before(tmp_path):
    """One at the epoch's end is in the epoch's row."""
    by_steps(CSVLogger(tmp_path / "a.csv"), epochs=2, every=4)
    assert (tmp_path / "a.csv").read_bytes() == b"epoch,loss,val_loss\r\n0,0.5,4.0\r\n1,0.5,8.0\r\n"


@pytest.mark.parametrize("separator", [",", ";", "0", "."])
def test_rows_from_before_the_first_evaluation_get_empty_fields(tmp_path, separator):
    """They are copied unchanged otherwise, whatever is quoted in them."""
    bus = Bus(CSVLogger(tmp_path / "a.csv", separator=separator))
    bus.train_begin()
    feed(bus, 0, 2)
    feed(bus, 10, 2, [3], {"loss": 0.5, "val_loss": 3.0})
    bus.train_end()
    assert rows(tmp_path / "a.csv", separator) == [
        ["epoch", "step", "evaluation", "loss", "val_loss"],
        ["0", "", "", "0.5", ""],
        ["10", "3", "val", "", "3.0"],
        ["10", "4", "", "0.5", "3.0"],
    ]


def test_epochs_without_metrics_make_room_too(tmp_path):
    """A row that is an epoch alone gets the fields after it."""
    bus = Bus(CSVLogger(tmp_path / "a.csv"))
    bus.train_begin()
    feed(bus, 0, 1, logs={})
    feed(bus, 1, 2, [2], {})
    bus.train_end()
    assert (tmp_path / "a.csv").read_bytes() == (
        b"epoch,step,evaluation,val_loss\r\n0,,,\r\n1,2,val,2.0\r\n1,3,,2.0\r\n"
    )


def test_evaluations_are_told_apart_by_name(tmp_path):
    """A name is written as it is, whatever is in it."""
    with Loop(CSVLogger(tmp_path / "a.csv")) as loop:
        for _ in loop.epochs(1):
            for value in loop.batches([1.0, 2.0]):
                loop.log(loss=value)
                if value == 1.0:
                    for name in ("test", 'a, "b"'):
                        with loop.evaluation(f"{name}_", name=name):
                            loop.log(loss=value)
    assert [row[:3] for row in rows(tmp_path / "a.csv")[1:]] == [
        ["0", "1", "test"],
        ["0", "1", 'a, "b"'],
        ["0", "2", ""],
    ]


def test_later_runs_continue_the_steps(tmp_path):
    """In the same object, and in a new one that appends to a file with steps."""
    sink = CSVLogger(tmp_path / "a.csv")
    by_steps(sink)
    by_steps(sink)
    by_steps(CSVLogger(tmp_path / "a.csv", append=True))
    assert [row[:2] for row in rows(tmp_path / "a.csv")[1:]] == [
        [str(epoch), str(step)] for epoch in range(3) for step in (4 * epoch + 2, 4 * epoch + 4)
    ]


def test_a_rewind_drops_later_evaluations(tmp_path):
    """By their epoch and by their step."""
    bus = Bus(CSVLogger(tmp_path / "a.csv"))
    bus.train_begin()
    feed(bus, 0, 3, [1, 2])
    feed(bus, 1, 3, [4])
    bus.rewind(1, 1)
    bus.train_end()
    assert [row[:3] for row in rows(tmp_path / "a.csv")[1:]] == [["0", "1", "val"]]


def test_a_resumed_run_continues_the_file(tmp_path):
    """Its rows stay, and the next ones follow."""
    for epochs in (2, 3):
        by_steps(CSVLogger(tmp_path / "a.csv"), epochs=epochs, resume=tmp_path / "run", model=NumpyModel())
    assert [row[:3] for row in rows(tmp_path / "a.csv")[1:]] == [
        [str(epoch), str(step), name]
        for epoch in range(3)
        for step, name in ((4 * epoch + 2, "val"), (4 * epoch + 4, ""))
    ]


def test_lost_rows_are_taken_from_the_journal(tmp_path):
    """Those of evaluations too, between those of epochs."""
    bus = Bus(CSVLogger(tmp_path / "a.csv"), Journal(tmp_path / "run"))
    bus.train_begin()
    for epoch in range(2):
        feed(bus, epoch, 3, [3 * epoch + 1, 3 * epoch + 2])
    state = bus.state_dict()
    bus.train_end()
    written = (tmp_path / "a.csv").read_bytes()
    (tmp_path / "a.csv").unlink()
    bus = Bus(CSVLogger(tmp_path / "a.csv"), Journal(tmp_path / "run"))
    bus.load_state_dict(state)
    bus.resumption.recorded = open_run(tmp_path / "run")
    bus.train_begin()
    bus.train_end()
    assert (tmp_path / "a.csv").read_bytes() == written


def test_a_file_that_was_cut_within_an_epoch_is_appended_to(tmp_path):
    """An evaluation may be its last row."""
    bus = Bus(CSVLogger(tmp_path / "a.csv"))
    bus.train_begin()
    bus.epoch_begin(0)
    bus.batch_end(1, {})
    bus.evaluation_begin()
    bus.evaluation_end({"loss": np.float64(2.0)}, followed=True)
    bus.interrupt()
    by_steps(CSVLogger(tmp_path / "a.csv", append=True))
    assert [row[:3] for row in rows(tmp_path / "a.csv")[1:]] == [["0", "1", "val"], ["1", "3", "val"], ["1", "5", ""]]


def test_batches_have_no_rows_of_evaluations(tmp_path):
    """A file of batches stays one."""
    by_steps(CSVLogger(tmp_path / "a.csv", per_batch=True))
    assert rows(tmp_path / "a.csv") == [["epoch", "step", "loss"], *[["0", str(step), "0.5"] for step in range(1, 5)]]
