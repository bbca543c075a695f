"""Scalars: tags, steps and values, read back by TensorBoard."""

import math

import numpy as np
import pytest
from boards_reader import float32, scalars
from hypothesis import given
from hypothesis import strategies as st

from monitor_core import Block, Run
from monitor_core.bus.run import Evaluation
from monitor_core.tensorboard.parts import scalars as written
from monitor_core.tensorboard.parts.files import RunFiles
from recorders import Handle

VAL = {"val_": "validation"}


@pytest.fixture
def files(tmp_path):
    return RunFiles(tmp_path)


def test_epochs_go_to_two_runs_under_the_same_tags(files, tmp_path):
    """Metrics with the prefix val_ go to the validation run, without it."""
    written.write_epoch({"loss": 0.1, "val_loss": 0.25, "val_val_x": 3.0}, 7, files, VAL)
    assert scalars(tmp_path / "train") == {"epoch_loss": [(7, float32(0.1))]}
    assert scalars(tmp_path / "validation") == {"epoch_loss": [(7, 0.25)], "epoch_val_x": [(7, 3.0)]}


def test_an_epoch_without_validation_makes_no_run_of_it(files, tmp_path):
    """If there is nothing to write, no folder is created."""
    written.write_epoch({"loss": 0.1}, 0, files, VAL)
    assert not (tmp_path / "validation").exists()


def test_a_block_is_written_over_the_steps(files, tmp_path):
    """Each batch's metrics are at its step, shifted by the runs before; missing ones are left out."""
    block = Block(
        epoch=0,
        steps=np.array([1, 2, 3]),
        times=np.array([5.0, 6.0, 7.0]),
        columns={"loss": np.array([0.5, 0.25, math.nan]), "rare": np.array([0.0, 2.0, 0.0])},
        present={"loss": None, "rare": np.array([False, True, False])},
    )
    written.write_block(block, 10, files)
    found = scalars(tmp_path / "train")
    assert found["batch_rare"] == [(12, 2.0)]
    assert found["batch_loss"][:2] == [(11, 0.5), (12, 0.25)]
    assert math.isnan(found["batch_loss"][2][1])


@given(every=st.integers(1, 9), jump=st.integers(1, 4), shift=st.integers(0, 20), blocks=st.lists(st.integers(1, 6)))
def test_batches_are_chosen_where_a_multiple_is_reached(every, jump, shift, blocks):
    """For any blocks and steps per execution, the first step at or after each multiple of N is written."""
    spacing, at, chosen = written.Spacing(every), 0, []
    spacing.begin_epoch(0)
    for length in blocks:
        steps = at + jump * np.arange(1, length + 1)
        block = Block(
            0, steps, steps * 1.0, {"loss": steps * 2.0, "rare": steps * 1.0}, {"loss": None, "rare": steps > 9}
        )
        found = spacing.chosen(block, shift)
        assert [(step, row) for step, row in block.rows() if step in found.steps] == list(found.rows())
        chosen += (found.steps + shift).tolist()
        at = steps[-1]
    numbers = range(shift + jump, shift + at + 1, jump)
    multiples = range(every * (shift // every + 1), shift + at + 1, every)
    firsts = {next((number for number in numbers if number >= multiple), None) for multiple in multiples}
    assert chosen == sorted(firsts - {None})


def test_an_evaluation_is_written_over_the_steps(files, tmp_path):
    """An evaluation has Keras's tags; an empty one writes nothing."""
    written.write_evaluation({}, 4, files["validation"])
    written.write_evaluation({"loss": 0.5}, 12, files["validation"])
    assert scalars(tmp_path / "validation") == {"evaluation_loss_vs_iterations": [(12, 0.5)]}


@pytest.mark.parametrize(
    ("name", "prefix", "run"),
    [
        (None, "val_", "validation"),
        (None, "test_", "test"),
        ("test", "test_", "test"),
        ("val", "val_", "validation"),
        ("train", "train_", "evaluation_train"),
        ("../a b", "a_", "_a_b_75e96e29"),
    ],
)
def test_each_evaluation_has_a_run(name, prefix, run):
    """A folder that its name can be, apart from the training's."""
    assert written.run_of(Evaluation(name, prefix, 0)) == run


def test_the_longest_prefix_counts(files, tmp_path):
    """An evaluation named val_test is not one of val."""
    written.write_epoch({"val_test_loss": 0.5}, 0, files, {**VAL, "val_test_": "val_test"})
    assert scalars(tmp_path / "val_test") == {"epoch_loss": [(0, 0.5)]}


def test_each_parameter_group_has_its_rate():
    """The first rate has the plain name, and a model without rates has none."""
    assert written.rates_of(Run(model=Handle(0.1, 0.01))) == {"learning_rate": 0.1, "learning_rate_2": 0.01}
    assert written.rates_of(Run()) == {}


def test_rates_that_cannot_be_read_are_skipped():
    """Metrics are written even if the rates cannot be read."""

    class Odd:
        @property
        def learning_rates(self):
            raise TypeError("a custom schedule")

    assert written.rates_of(Run(model=Odd())) == {}


def test_the_clock_counts_training_alone(monkeypatch):
    """Steps per second are those of the epoch, excluding the time of its evaluations."""
    run, now = Run(), [0.0]
    monkeypatch.setattr(written.time, "perf_counter", lambda: now[0])
    watch = written.Stopwatch()
    watch.begin_epoch(run)
    run.step, now[0] = 6, 2.0
    watch.pause()
    now[0] = 100.0
    watch.resume()
    now[0] = 101.0
    assert watch.rate(run) == {"steps_per_second": 2.0}


def test_an_epoch_without_steps_has_no_speed():
    """Without a step there is no speed."""
    watch = written.Stopwatch()
    watch.begin_epoch(Run())
    assert watch.rate(Run()) == {}
