"""Sinks that decide, at evaluations within an epoch: the same decisions as at the ends of epochs, each value once."""

import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor_core import EarlyStopping, Loop, ModelCheckpoint, ReduceLROnPlateau, TerminateOnNaN
from monitor_core.files.checkpoint_index import Keep
from monitor_core.testing import NumpyModel
from recorders import Handle

EXAMPLES = settings(max_examples=1000 if os.environ.get("MONITOR_CORE_LONG") else 60)
VALUES = st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, float("nan")]), min_size=1, max_size=14)


def by_epochs(values, *sinks, model=None):
    """Give the values at the ends of epochs; return the run."""
    with Loop(*sinks, model=model) as loop:
        for epoch in loop.epochs(len(values)):
            loop.log(val_loss=values[epoch])
    return loop.run


def by_evaluations(values, *sinks, model=None, epochs=1):
    """Give the values at evaluations, each after one batch, in some epochs; return the run."""
    numbers, steps = range(len(values)), -(-len(values) // epochs)
    with Loop(*sinks, model=model) as loop:
        for _ in loop.epochs(epochs, steps_per_epoch=steps):
            for number in loop.batches(numbers):
                loop.log(loss=1.0)
                if loop.run.step < len(values):
                    with loop.evaluation():
                        loop.log(loss=values[number])
                    with loop.evaluation(name="other"):
                        loop.log(loss=0.0)
    return loop.run


def by_means(values, *sinks, model=None):
    """Give the values as weighted means of the training between evaluations; return the run."""
    with Loop(*sinks, model=model) as loop:
        for _ in loop.epochs(1):
            for number in loop.batches(range(2 * len(values))):
                shift, weight = (2.0, 1.0) if number % 2 else (-1.0, 2.0)
                loop.log(val_loss=values[number // 2] + shift, weight=weight)
                if number % 2:
                    with loop.evaluation(name="test"):
                        loop.log(accuracy=0.0)
    return loop.run


@EXAMPLES
@given(
    values=VALUES,
    patience=st.integers(0, 4),
    start_from_epoch=st.integers(0, 4),
    baseline=st.sampled_from([None, 0.75]),
    epochs=st.integers(1, 3),
)
def test_early_stopping_decides_as_at_the_ends_of_epochs(values, patience, start_from_epoch, baseline, epochs):
    """It stops at the evaluation with the number of the epoch at which it would stop, in however many epochs."""
    options = {"patience": patience, "start_from_epoch": start_from_epoch, "baseline": baseline}
    expected = EarlyStopping("val_loss", **options)
    run = by_epochs(values, expected)
    for drive, batches, how in (
        (by_evaluations, 1, {"epochs": epochs}),
        (by_means, 2, {}),
    ):
        stop = EarlyStopping("val_loss", **options, at="evaluation" if drive is by_means else "epoch")
        other = drive(values, stop, **how)
        assert (other.stopped, stop.best, stop.wait) == (run.stopped, expected.best, expected.wait)
        if expected.best is not None:
            assert stop.best_step == batches * (expected.best_epoch + 1)
        if run.stopped:
            assert other.step == stop.stopped_step == batches * (expected.stopped_epoch + 1)


@EXAMPLES
@given(
    values=VALUES,
    patience=st.integers(0, 3),
    cooldown=st.integers(0, 3),
    rule=st.sampled_from(["keras", "pytorch"]),
    epochs=st.integers(1, 3),
)
def test_the_rate_is_lowered_as_at_the_ends_of_epochs(values, patience, cooldown, rule, epochs):
    """Patience and cooldown count evaluations."""
    options = {"patience": patience, "cooldown": cooldown, "rule": rule, "factor": 0.5}
    ends = []
    for drive, how in ((by_epochs, {}), (by_evaluations, {"epochs": epochs})):
        sink, model = ReduceLROnPlateau("val_loss", **options), Handle(1.0)
        drive(values, sink, model=model, **how)
        ends.append((model.learning_rates, sink.best, sink.wait, sink.cooldown_counter))
    assert ends[0] == ends[1]


def test_the_reason_counts_evaluations_and_names_the_step():
    """Where evaluations are judged, an epoch's number would say nothing."""
    run = by_evaluations([1.0, 2.0, 3.0, 4.0], EarlyStopping("val_loss", patience=2))
    assert run.stop_reason == "val_loss did not improve for 2 evaluations; its best was 1 at step 1"


def test_a_value_is_judged_once():
    """At the epoch's end, the result of an evaluation within it does not count again."""
    stop = EarlyStopping("val_loss", patience=3)
    with Loop(stop) as loop:
        for _ in loop.epochs(2):
            for x in loop.batches([1, 2]):
                loop.log(loss=x)
                if x == 1:
                    with loop.evaluation():
                        loop.log(loss=5.0)
    assert (stop.wait, loop.run.stopped) == (1, False)


def test_a_training_metric_is_judged_at_the_epochs_end_unless_asked():
    """Evaluations do not judge what they do not have."""
    by_epoch, by_evaluation = EarlyStopping("loss", patience=9), EarlyStopping("loss", patience=9, at="evaluation")
    with Loop(by_epoch, by_evaluation) as loop:
        for _ in loop.epochs(2):
            for x in loop.batches([4.0, 2.0, 3.0]):
                loop.log(loss=x)
                if x != 3.0:
                    with loop.evaluation():
                        loop.log(loss=0.0)
    assert (by_epoch.best, by_epoch.wait) == (3.0, 1)  # 3, 3
    assert (by_evaluation.best, by_evaluation.wait) == (2.0, 2)  # 4, 2, 3.5, 2


def test_the_best_weights_are_those_of_the_evaluation():
    """They are read before the next batch changes them."""
    model = NumpyModel()
    stop = EarlyStopping("val_loss", patience=9, restore_best_weights=True)
    with Loop(stop, model=model) as loop:
        for _ in loop.epochs(1):
            for x in loop.batches(iter([3.0, 1.0, 2.0])):
                model.set_weights([np.full_like(each, x) for each in model.get_weights()])
                loop.log(loss=x)
                with loop.evaluation():
                    loop.log(loss=x)
    assert {float(each.ravel()[0]) for each in model.get_weights()} == {1.0}


def test_at_evaluation_needs_epochs():
    """With batches judged one by one, the option means nothing."""
    with pytest.raises(ValueError, match=r"at must be 'epoch' with unit='step'"):
        EarlyStopping(unit="step", at="evaluation")


def test_nan_of_an_evaluation_ends_the_run():
    """It is not left to the epoch's end."""
    run = by_evaluations([1.0, float("nan"), 2.0], TerminateOnNaN("val_loss"))
    assert (run.status, run.stop_reason) == ("failed", "val_loss is nan in the evaluation at step 2, in epoch 1")


# --- checkpoints -------------------------------------------------------------------------------------------------


def saved(folder):
    """Return the names of the files that are there."""
    return sorted(path.name for path in folder.iterdir() if path.suffix == ".npz" and "state" not in path.name)


def test_the_best_evaluations_are_saved(tmp_path):
    """Each that is better than all before, under its step."""
    checkpoint = ModelCheckpoint(tmp_path / "{step}-{val_loss:.0f}.npz", "val_loss", save_best_only=True)
    by_evaluations([3.0, 4.0, 2.0, 5.0, 1.0, 1.0], checkpoint, model=NumpyModel())
    assert saved(tmp_path) == ["1-3.npz", "3-2.npz", "5-1.npz"]
    assert checkpoint.best_path.name == "5-1.npz"


def test_without_best_only_each_evaluation_is_saved_and_each_epochs_end(tmp_path):
    """The epoch's end is saved as ever, also if its last evaluation is long past."""
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}-{step}.npz", keep=Keep(last=9))
    with Loop(checkpoint, model=NumpyModel()) as loop:
        for _ in loop.epochs(2):
            for x in loop.batches([1, 2]):
                loop.log(loss=x)
                if x == 1:
                    with loop.evaluation():
                        loop.log(loss=5.0)
    assert saved(tmp_path) == ["1-1.npz", "1-2.npz", "2-3.npz", "2-4.npz"]


def test_a_name_that_two_evaluations_share_is_an_error_at_the_second(tmp_path):
    """Nothing is overwritten; the message has the name to write; the epoch's end is saved."""
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}.npz", "val_loss")
    with Loop(checkpoint, model=NumpyModel()) as loop:
        for _ in loop.epochs(1, steps_per_epoch=3):
            for x in loop.batches([1, 2, 3]):
                loop.log(loss=x)
                with loop.evaluation():
                    loop.log(loss=x)
    [failure] = loop.bus.failures
    assert str(failure.error) == (
        f"filepath must have {{step}} where evaluations are within epochs, or each would replace the one before (got "
        f"'{tmp_path}/{{epoch}}.npz'): write '{tmp_path}/{{epoch}}-{{step}}.npz'; this one is not saved"
    )
    latest = json.loads(checkpoint.index_path.read_text())["state"]["latest"]
    assert (latest["file"], latest["step"]) == ("1.npz", 3)


def test_a_name_without_fields_keeps_the_best(tmp_path):
    """There is one file, and it is the best."""
    checkpoint = ModelCheckpoint(tmp_path / "best.npz", "val_loss", save_best_only=True)
    by_evaluations([3.0, 1.0, 2.0], checkpoint, model=NumpyModel())
    assert (saved(tmp_path), checkpoint.best) == (["best.npz"], 1.0)


def test_a_run_continues_from_a_state_within_an_epoch(tmp_path):
    """The epoch begins again, from the evaluation's weights and counts."""
    stop, model = EarlyStopping("val_loss", patience=9), NumpyModel()
    checkpoint = ModelCheckpoint(tmp_path / "{step}.npz", "val_loss", save_state=True)
    with pytest.raises(KeyError), Loop(stop, checkpoint, model=model) as loop:
        for _ in loop.epochs(2, steps_per_epoch=4):
            for x in loop.batches([1.0, 2.0, 3.0, 4.0]):
                loop.log(loss=x)
                with loop.evaluation():
                    loop.log(loss=x)
                if x == 3.0:
                    raise KeyError
    again = EarlyStopping("val_loss", patience=9)
    checkpoint = ModelCheckpoint(tmp_path / "{step}.npz", "val_loss", save_state=True)
    loop = Loop(again, checkpoint, model=NumpyModel())
    assert checkpoint.resume(loop.bus)
    with loop:
        assert (loop.run.step, loop.next_epoch, again.best, again.wait) == (3, 0, 1.0, 2)


def test_a_name_without_a_step_does_not_cost_the_saves_at_the_ends_of_epochs(tmp_path):
    """The error is raised once, so the sink is not disabled."""
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}.npz", "val_loss")
    numbers = range(10)
    with Loop(checkpoint, model=NumpyModel()) as loop:
        for _ in loop.epochs(3, steps_per_epoch=10):
            for number in loop.batches(numbers):
                loop.log(loss=1.0)
                if number % 2 and number < 9:
                    with loop.evaluation():
                        loop.log(loss=1.0)
    assert len(loop.bus.failures) == 1
    assert saved(tmp_path) == ["1.npz", "2.npz", "3.npz"]
    assert json.loads(checkpoint.index_path.read_text())["state"]["latest"]["step"] == 30
