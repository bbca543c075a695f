"""The gate: which runs are called worse, what the sentence says, and what cannot be judged."""

import contextlib
import math
import shutil

import numpy as np
import pytest

from monitor_core import Journal, Loop, TerminateOnNaN
from monitor_core.errors import SetupError
from monitor_core.runs import compare, gate
from monitor_core.runs.verdict import judge

stats = pytest.importorskip("scipy.stats")
BASELINES = [1.00, 1.02, 0.97, 1.01, 0.99]


def train(folder, losses, *sinks, name="val_loss"):
    with Loop(*sinks, Journal(folder)) as loop:
        for epoch in loop.epochs(len(losses)):
            loop.log({name: losses[epoch]})
    return folder


def judged(new, old, **options):
    named = ({str(place): value for place, value in enumerate(values)} for values in (new, old))
    return judge(*named, **{"metric": "val_loss", "mode": "min", **options})


@pytest.fixture
def baselines(tmp_path):
    return [train(tmp_path / "old" / f"{number}", [3.0, last]) for number, last in enumerate(BASELINES)]


def test_a_worse_run_is_called_worse_and_a_rerun_is_not(tmp_path, baselines):
    """The value is the best of each run."""
    worse = gate(train(tmp_path / "a", [3.0, 1.2]), baselines)
    rerun = gate(train(tmp_path / "b", [3.0, 1.03, 9.0]), baselines)
    better = gate(train(tmp_path / "c", [0.5]), baselines)
    assert (worse.is_worse, rerun.is_worse, better.is_worse) == (True, False, False)
    assert (worse.metric, worse.mode, list(worse.runs.values())) == ("val_loss", "min", [1.2])
    assert list(rerun.runs.values()) == [1.03]
    assert better.change < 0


@pytest.mark.parametrize("count", [1, 2, 5])
def test_it_is_student_s_test(count):
    """One-sided; of one run, the prediction interval."""
    rng = np.random.default_rng(count)
    for _ in range(20):
        new, old = rng.normal(size=count), rng.normal(size=5)
        verdict = judged(new, old)
        if count == 1:
            t = (new[0] - old.mean()) / (old.std(ddof=1) * math.sqrt(1 + 1 / 5))
            expected = stats.t.sf(t, 4)
        else:
            expected = stats.ttest_ind(new, old, alternative="greater").pvalue
        assert verdict.p_value == pytest.approx(expected, abs=1e-9)
        assert verdict.is_worse == (expected < 0.01)


def test_for_a_metric_that_rises_lower_is_worse():
    """The same test on the other side."""
    new, old = [0.5], [0.9, 0.91, 0.89, 0.92, 0.9]
    assert judged(new, old, mode="max").is_worse
    assert not judged(new, old, mode="min").is_worse
    assert judged(new, old, mode="max").change == pytest.approx(0.404)


def test_the_smallest_change_would_be_seen_nine_times_in_ten():
    """By simulation with the spread that the baselines have."""
    rng = np.random.default_rng(0)
    verdict = judged([1.0] * 5, BASELINES)
    sigma = math.sqrt(sum((value - np.mean(BASELINES)) ** 2 for value in BASELINES) / 8)
    seen = sum(
        judged(rng.normal(verdict.smallest_seen, sigma, 5), rng.normal(0.0, sigma, 5)).is_worse for _ in range(300)
    )
    assert 0.83 < seen / 300 < 0.96


def test_the_sentence_says_what_would_have_been_seen(tmp_path, baselines):
    """And the limit, with the run's name."""
    verdict = gate(train(tmp_path / "new", [1.2]), baselines)
    assert str(verdict) == (
        f"the best val_loss of new, 1.2, is worse than that of 5 baselines, 0.998: worse is above "
        f"{0.998 + verdict.limit:.4g}; a change of {verdict.smallest_seen:.4g} would have been seen 90% of the time"
    )
    assert "is not worse than" in str(gate(train(tmp_path / "ok", [1.0]), baselines))
    assert "of 2 runs, 1," in str(gate([train(tmp_path / "p", [0.9]), train(tmp_path / "q", [1.1])], baselines))


@pytest.mark.parametrize(("at", "value"), [("best", 1.0), ("last", 2.0), ("mean", 3.0)])
def test_the_value_that_counts_may_be_chosen(tmp_path, baselines, at, value):
    """The mean is over as many values as all runs have."""
    verdict = gate(train(tmp_path / "a", [5.0, 1.0, 2.0]), baselines, at=at)
    assert list(verdict.runs.values()) == [value]
    if at == "mean":
        assert list(verdict.baselines.values()) == [(3.0 + last) / 2 for last in BASELINES]


def test_a_run_that_ends_in_nan_is_worse(tmp_path, baselines):
    """However good it was before."""
    verdict = gate(train(tmp_path / "a", [0.1, math.nan]), baselines)
    assert verdict.is_worse
    assert str(verdict) == "val_loss of a is not finite at its end; the baselines' is 0.998"
    assert verdict.to_json()["change"] == "NaN"


def test_a_small_change_may_not_matter():
    """Whatever the spread."""
    assert judged([1.2], BASELINES).is_worse
    assert not judged([1.2], BASELINES, min_delta=0.5).is_worse
    assert not judged([1.4], [1.0, 1.0], min_delta=0.5).is_worse
    assert judged([1.6], [1.0, 1.0], min_delta=0.5).is_worse


def test_the_judged_run_is_no_baseline(tmp_path, baselines):
    """A folder of all runs may be given."""
    new = train(tmp_path / "old" / "new", [9.0])
    assert list(gate(new, [tmp_path / "old"]).baselines.values()) == BASELINES
    copied = train(tmp_path / "x.d" / "y", [9.0])
    assert len(gate(copied, baselines).baselines) == 5


def test_what_cannot_be_judged(tmp_path, baselines):
    """The errors say what is missing."""
    new = train(tmp_path / "new", [1.0])
    with pytest.raises(ValueError, match=r"baselines must hold at least 2 other runs, .* \(got 1\)"):
        gate(new, baselines[:1])
    with pytest.raises(
        ValueError, match="baselines must differ, and all have val_loss 1: run them with different seeds"
    ):
        gate(new, [train(tmp_path / f"same{n}", [1.0]) for n in range(3)])
    bad = train(tmp_path / "bad", [math.nan])
    with pytest.raises(ValueError, match="baselines must be finite, and val_loss of bad is not: leave it out"):
        gate(new, [*baselines, bad])
    with pytest.raises(KeyError, match=r"no metric 'val_los' \(did you mean 'val_loss'\?\); new has val_loss"):
        gate(new, baselines, metric="val_los")
    odd = [train(tmp_path / f"odd{n}", [float(n)], name="things") for n in range(3)]
    with pytest.raises(SetupError, match="gate does not know whether 'things' improves"):
        gate(odd[0], odd, metric="things")
    for options, message in (
        ({"at": "first"}, "at must be"),
        ({"alpha": 0.5}, "alpha must be > 0 and < 0.5"),
        ({"alpha": math.nan}, "alpha must be > 0"),
        ({"min_delta": -1.0}, "min_delta must be >= 0"),
    ):
        with pytest.raises(ValueError, match=message):
            gate(new, baselines, **options)


def test_a_run_that_diverged_is_judged(tmp_path, baselines):
    """It failed, so it is worse, however good it was before."""
    verdict = gate(train(tmp_path / "a", [0.9, math.nan, 1.0], TerminateOnNaN("val_loss")), baselines)
    assert verdict.is_worse
    assert str(verdict).startswith("a failed: ")


@pytest.mark.parametrize("losses", [[0.4, math.nan], [math.nan, math.nan]])
def test_a_run_that_diverged_within_its_first_epoch_is_worse(tmp_path, losses):
    """Its batches are all there is, and their NaN is a value."""

    def broken(folder, values):
        with contextlib.suppress(KeyError), Loop(Journal(folder)) as loop:
            for _ in loop.epochs(1):
                for value in loop.batches(values):
                    loop.log(loss=value)
                raise KeyError
        return folder

    old = [broken(tmp_path / f"{number}", [3.0, last]) for number, last in enumerate(BASELINES)]
    new = broken(tmp_path / "new", losses)
    verdict = gate(new, old, metric="loss")
    assert verdict.is_worse
    assert all(map(math.isnan, verdict.runs.values()))
    if losses[0] == 0.4:
        assert math.isnan(compare([new]).ranks("loss")[0].last)


def test_baselines_that_differ_by_rounding_are_equal():
    """The mean of three times 0.1 is not 0.1."""
    for values in ([0.1] * 3, [0.1] * 10, [1 / 3] * 7):
        with pytest.raises(ValueError, match="baselines must differ"):
            judged([0.5], values)
    assert judged([0.5], [0.1, 0.1, 0.1 + 1e-12]).is_worse


@pytest.mark.parametrize("scale", [1e300, 1e307, 1e-200, 1e-300])
def test_values_of_any_size_are_judged(scale):
    """Squares would be infinite, or 0."""
    old = [value * scale for value in BASELINES]
    verdict, expected = judged([1.5 * scale], old), judged([1.5], BASELINES)
    assert verdict.is_worse
    assert verdict.limit == pytest.approx(expected.limit * scale, rel=1e-9, abs=0.0)
    assert verdict.p_value == pytest.approx(expected.p_value)
    assert not judged([1.0 * scale], old).is_worse
    assert "inf" not in str(judged([1.7e308], [1.7e308, 1.6e308, 1.65e308]).to_json()["p_value"])


def test_a_run_that_is_given_twice_counts_once(tmp_path, baselines):
    """By another path too, and if it was copied."""
    new = train(tmp_path / "new", [1.0])
    (tmp_path / "link").symlink_to(baselines[0])
    shutil.copytree(baselines[0], tmp_path / "copy")
    again = [baselines[0], tmp_path / "link", tmp_path / "copy"]
    with pytest.raises(ValueError, match=r"baselines must hold at least 2 other runs, .* \(got 1\)"):
        gate(new, again)
    assert len(gate([new, new], baselines).runs) == 1


def test_a_mean_over_nan_is_not_said_to_end_in_it(tmp_path, baselines):
    """NaN in the middle makes the mean NaN."""
    verdict = gate(train(tmp_path / "a", [1.0, math.nan, 1.0]), [
        train(tmp_path / f"b{number}", [3.0, last, last]) for number, last in enumerate(BASELINES)
    ], at="mean")  # fmt: skip
    assert verdict.is_worse
    assert str(verdict).startswith("val_loss of a is not finite everywhere; the baselines' is ")
