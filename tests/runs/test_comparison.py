"""Several runs next to each other: aligned curves, differences, ranks, frames."""

import math

import numpy as np
import pytest

from monitor_core import Journal, Loop, open_run
from monitor_core.errors import SetupError
from monitor_core.runs import compare


def train(folder, losses, *, name="val_loss", each=None, **config):
    """Record a run with these losses, each after two batches, and evaluations within epochs if asked for."""
    with Loop(Journal(folder, config=config)) as loop:
        for epoch in loop.epochs(len(losses)):
            for batch in loop.batches(range(2)):
                loop.log(loss=losses[epoch] / 2)
                if each is not None and batch == 0:
                    with loop.evaluation():
                        loop.log(loss=each)
            loop.log({name: losses[epoch]})
    return folder


@pytest.fixture
def runs(tmp_path):
    train(tmp_path / "a", [3.0, 1.0, 2.0], width=8, seed=1)
    train(tmp_path / "deep" / "b", [0.5, 4.0], width=16, seed=1, optimizer={"rate": 0.1})
    train(tmp_path / "c", [7.0], name="val_accuracy", width=16, seed=1)
    return tmp_path


def test_runs_are_named_by_what_differs_in_their_paths(runs):
    """A folder stands for the runs in it."""
    assert list(compare([runs]).runs) == ["a", "c", "deep/b"]
    assert list(compare([runs / "deep" / "b"]).runs) == ["b"]
    assert list(compare({"first": runs / "a", "second": open_run(runs / "c")}).runs) == ["first", "second"]
    assert list(compare([runs / "a", runs / "a"]).runs) == ["a", "a'"]


def test_ranks_are_by_the_best_value(runs):
    """Runs without the metric are left out."""
    ranks = compare([runs]).ranks()
    assert [(each.rank, each.run, each.best.value, each.best.epoch, each.last) for each in ranks] == [
        (1, "deep/b", 0.5, 0, 4.0),
        (2, "a", 1.0, 1, 2.0),
    ]
    assert [each.run for each in compare([runs]).ranks("val_loss", mode="max")] == ["deep/b", "a"]
    assert [each.best.value for each in compare([runs]).ranks("val_loss", mode="max")] == [4.0, 3.0]
    assert [each.run for each in compare([runs]).ranks("val_acc")] == ["c"]


def test_equal_values_share_a_rank(tmp_path):
    """And the next one is counted on."""
    for name, value in (("a", 1.0), ("b", 1.0), ("c", 2.0)):
        train(tmp_path / name, [value])
    assert [(each.rank, each.run) for each in compare([tmp_path]).ranks()] == [(1, "a"), (1, "b"), (3, "c")]


def test_curves_share_their_places(runs):
    """NaN where a run has no value."""
    curves = compare([runs]).curves()
    assert (curves.metric, curves.x.tolist(), list(curves.values)) == ("val_loss", [0, 1, 2], ["a", "deep/b"])
    assert np.array_equal(curves.values["deep/b"], [0.5, 4.0, np.nan], equal_nan=True)
    assert compare([runs]).curves(by="step").x.tolist() == [2, 4, 6]


def test_evaluations_within_epochs_are_points_by_step(tmp_path):
    """By epoch only the epochs are."""
    train(tmp_path / "a", [3.0, 1.0], each=5.0)
    by_step, by_epoch = (compare([tmp_path / "a"]).curves("val_loss", by=by) for by in ("step", "epoch"))
    assert (by_step.x.tolist(), by_step.values["a"].tolist()) == ([1, 2, 3, 4], [5, 3, 5, 1])
    assert (by_epoch.x.tolist(), by_epoch.values["a"].tolist()) == ([0, 1], [3, 1])


def test_by_time_each_run_begins_at_zero(runs):
    """Seconds, ascending."""
    curves = compare([runs]).curves(by="time")
    assert (np.diff(curves.x) > 0).all()
    assert 0 <= curves.x[0] < 60
    assert {name: int((~np.isnan(each)).sum()) for name, each in curves.values.items()} == {"a": 3, "deep/b": 2}


def test_differences_are_settings_that_are_not_the_same(runs):
    """Those within others have names with a slash; a run that lacks one is left out of it."""
    assert compare([runs]).differences() == {
        "width": {"a": 8, "c": 16, "deep/b": 16},
        "optimizer/rate": {"deep/b": 0.1},
    }
    assert compare([runs / "a"]).differences() == {}


def test_frames_have_a_row_for_each_run_and_a_column_for_each_curve(runs):
    """With pandas' own types."""
    pytest.importorskip("pandas")
    frame = compare([runs]).to_dataframe().set_index("run")
    assert frame["epochs"].tolist() == [3, 1, 2]
    assert frame["config/width"].tolist() == [8, 16, 16]
    assert frame.loc["deep/b", "config/optimizer/rate"] == 0.1
    assert frame["best/val_loss"].isna().tolist() == [False, True, False]
    curves = compare([runs]).curves().to_dataframe()
    assert (curves.index.name, curves["a"].tolist()) == ("epoch", [3.0, 1.0, 2.0])


def test_logs_of_other_kinds_are_compared_too(runs):
    """A CSV file has no configuration, and no time."""
    (runs / "keras.csv").write_text("epoch,loss,val_loss\n0,1.0,0.25\n1,0.5,0.75\n")
    comparison = compare([runs / "a", runs / "keras.csv"])
    assert [each.run for each in comparison.ranks()] == ["keras.csv", "a"]
    assert comparison.runs["keras.csv"].summary.status == "unknown"


def test_values_that_are_not_finite_do_not_win(tmp_path):
    """NaN is never the best; a run of NaN alone has no rank, but is a curve."""
    train(tmp_path / "a", [math.nan, math.nan])
    train(tmp_path / "b", [math.nan, 2.0])
    comparison = compare([tmp_path])
    assert [each.run for each in comparison.ranks()] == ["b"]
    assert list(comparison.curves().values) == ["a", "b"]


def test_what_cannot_be_compared(runs, tmp_path):
    """The errors say what can."""
    with pytest.raises(TypeError, match="runs must be a list of runs or paths"):
        compare("runs")
    with pytest.raises(ValueError, match=r"runs must hold at least one run \(got none\)"):
        compare([])
    with pytest.raises(FileNotFoundError):
        compare([tmp_path / "none"])
    with pytest.raises(KeyError, match=r"no metric 'val_los' \(did you mean 'val_loss'\?\); one of the runs has"):
        compare([runs]).ranks("val_los")
    with pytest.raises(ValueError, match=r"by must be 'epoch', 'step' or 'time' \(got 'batch'\)"):
        compare([runs]).curves(by="batch")
    train(tmp_path / "odd", [1.0], name="things")
    with pytest.raises(SetupError, match="compare does not know whether 'things' improves by falling or by rising"):
        compare([tmp_path / "odd"]).ranks("things")
