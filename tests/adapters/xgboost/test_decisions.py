"""`EarlyStopping` has the stop and the best round of XGBoost's own, but for the differences that are pinned here."""

import os
import random

import numpy as np
import pytest

from monitor_core import EarlyStopping

xgboost = pytest.importorskip("xgboost")

from monitor_core.adapters.xgboost import XGBoostAdapter, XGBoostModel  # noqa: E402 (it imports xgboost)

EXAMPLES = 5_000 if os.environ.get("MONITOR_CORE_LONG") else 100
DATA = xgboost.DMatrix(np.zeros((4, 1)), np.zeros(4))


def trained(values, callback):
    """Train as many rounds as there are values of a metric; return the booster's rounds and its attributes."""
    found = iter(values)
    booster = xgboost.train(
        {"disable_default_eval_metric": 1, "nthread": 1, "max_depth": 1},
        DATA,
        len(values),
        evals=[(DATA, "valid")],
        custom_metric=lambda predicted, data: ("m", next(found)),
        callbacks=[callback],
        verbose_eval=False,
    )
    return booster.num_boosted_rounds(), booster.best_iteration, booster.best_score


def own(values, *, rounds, mode, min_delta=0.0):
    """Train with XGBoost's early stopping."""
    return trained(values, xgboost.callback.EarlyStopping(rounds=rounds, maximize=mode == "max", min_delta=min_delta))


def ours(values, *, rounds, mode, min_delta=0.0):
    """Train with the sink; the training data are the set, so the metric has its plain name."""
    return trained(values, XGBoostAdapter(EarlyStopping("m", patience=rounds, mode=mode, min_delta=min_delta)))


def sequence(draw):
    """Return values on a grid of eighths, on which differences are exact."""
    return [draw.randint(-8, 8) / 8 for _ in range(draw.randint(1, 20))]


@pytest.mark.parametrize("mode", ["min", "max"])
def test_stop_and_best_round_are_xgboosts(mode):
    """On random sequences, for each patience and difference."""
    draw = random.Random(mode)
    for _ in range(EXAMPLES):
        values = sequence(draw)
        options = {"rounds": draw.randint(1, 5), "mode": mode, "min_delta": draw.choice([0.0, 0.125, 0.5])}
        assert ours(values, **options) == own(values, **options), (values, options)


def test_a_first_nan_is_not_the_best():
    """XGBoost keeps it as the best for good, since nothing is less than NaN."""
    values = [float("nan"), 3.0, 2.0, 1.0]
    assert own(values, rounds=2, mode="min")[:2] == (3, 0)
    assert ours(values, rounds=2, mode="min") == (4, 3, 1.0)


def test_a_later_nan_counts_as_no_improvement_in_both():
    """They stop and choose alike."""
    values = [3.0, float("nan"), float("nan"), 1.0]
    assert ours(values, rounds=2, mode="min") == own(values, rounds=2, mode="min") == (3, 0, 3.0)


def test_a_patience_of_zero_acts_as_one():
    """XGBoost stops after the first round by it, and takes 0 in ``early_stopping_rounds`` as no early stopping."""
    values = [3.0, 2.0, 2.5, 1.0]
    assert own(values, rounds=0, mode="min")[0] == 1
    assert ours(values, rounds=0, mode="min") == own(values, rounds=1, mode="min")


def test_directions_are_xgboosts():
    """But for one metric, an accuracy, which XGBoost's early stopping takes as one that improves by falling."""
    from monitor_core.adapters.xgboost.model import LARGEST, SMALLEST

    labels = xgboost.DMatrix(np.zeros((4, 1)), np.zeros(4))
    differing = []
    for name in sorted(LARGEST | SMALLEST):
        stopping = xgboost.callback.EarlyStopping(rounds=9)
        for score in (1.0, 2.0):
            stopping._update_rounds(score=score, name="v", metric=name, model=xgboost.Booster({}, [labels]), epoch=0)
        if XGBoostModel(xgboost.Booster()).direction(f"valid_{name}@5") != ("max" if stopping.maximize else "min"):
            differing.append(name)
    assert differing == ["interval-regression-accuracy"]
