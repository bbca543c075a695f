"""`EarlyStopping` has the stop and the best round of LightGBM's own, but for the differences that are pinned here."""

import os
import random

import numpy as np
import pytest

from monitor_core import EarlyStopping

lightgbm = pytest.importorskip("lightgbm")

from monitor_core.adapters.lightgbm import LightGBMAdapter, LightGBMModel  # noqa: E402 (it imports lightgbm)

EXAMPLES = 5_000 if os.environ.get("MONITOR_CORE_LONG") else 100
X = np.zeros((4, 1))


def trained(values, mode, callbacks):
    """Train as many rounds as there are values of a metric; return the rounds, the best round from 0 and its value."""
    found, seen = iter(values), []

    def metric(predicted, data):
        seen.append(next(found))
        return "m", seen[-1], mode == "max"

    data = lightgbm.Dataset(X, np.zeros(4))
    booster = lightgbm.train(
        {"metric": "none", "num_threads": 1, "verbosity": -1},
        data,
        len(values),
        valid_sets=[lightgbm.Dataset(X, np.zeros(4), reference=data)],
        valid_names=["valid"],
        feval=metric,
        callbacks=callbacks,
    )
    return len(seen), booster.best_iteration - 1, booster.best_score["valid"]["m"]


def own(values, *, rounds, mode="min", min_delta=0.0):
    """Train with LightGBM's early stopping."""
    return trained(values, mode, [lightgbm.early_stopping(rounds, min_delta=min_delta, verbose=False)])


def ours(values, *, rounds, mode="min", min_delta=0.0):
    """Train with the sink."""
    sink = EarlyStopping("valid_m", patience=rounds, mode=mode, min_delta=min_delta)
    return trained(values, mode, LightGBMAdapter(sink))


def sequence(draw):
    """Return values on a grid of eighths, on which differences are exact."""
    return [draw.randint(-8, 8) / 8 for _ in range(draw.randint(1, 20))]


@pytest.mark.parametrize("mode", ["min", "max"])
def test_stop_and_best_round_are_lightgbms(mode):
    """On random sequences, for each patience and difference."""
    draw = random.Random(mode)
    for _ in range(EXAMPLES):
        values = sequence(draw)
        options = {"rounds": draw.randint(1, 5), "mode": mode, "min_delta": draw.choice([0.0, 0.125, 0.5])}
        assert ours(values, **options) == own(values, **options), (values, options)


def test_a_first_nan_is_not_the_best():
    """LightGBM keeps it as the best for good, since nothing is less than NaN."""
    values = [float("nan"), 3.0, 2.0, 1.0]
    assert own(values, rounds=2)[:2] == (3, 0)
    assert ours(values, rounds=2) == (4, 3, 1.0)


def test_a_later_nan_counts_as_no_improvement_in_both():
    """They stop and choose alike."""
    values = [3.0, float("nan"), float("nan"), 1.0]
    assert ours(values, rounds=2) == own(values, rounds=2) == (3, 0, 3.0)


def test_a_patience_of_zero_acts_as_one():
    """LightGBM takes it as no early stopping."""
    values = [3.0, 2.0, 2.5, 1.0]
    assert own(values, rounds=0)[:2] == (4, -1)
    assert ours(values, rounds=0) == own(values, rounds=1)


def test_several_metrics_are_judged_by_one():
    """LightGBM's early stopping looks at all of them and stops by the first that runs out; a sink names one."""

    def metrics(predicted, data):
        calls.append(0)
        return [("rises", float(len(calls)), False), ("falls", float(-len(calls)), False)]

    def rounds(callbacks):
        calls.clear()
        data = lightgbm.Dataset(X, np.zeros(4))
        valid = lightgbm.Dataset(X, np.zeros(4), reference=data)
        params = {"metric": "none", "verbosity": -1, "num_threads": 1}
        lightgbm.train(params, data, 9, valid_sets=[valid], valid_names=["valid"], feval=metrics, callbacks=callbacks)
        return len(calls)

    calls = []
    assert rounds([lightgbm.early_stopping(2, verbose=False)]) == 3
    assert rounds(LightGBMAdapter(EarlyStopping("valid_falls", patience=2, mode="min"))) == 9
    assert rounds(LightGBMAdapter(EarlyStopping("valid_rises", patience=2, mode="min"))) == 3


def maximized(objective, labels, metrics, **options):
    """Return which of these metrics LightGBM takes as improving by rising."""
    x = np.arange(len(labels), dtype=float)[:, None]
    params = {"objective": objective, "metric": list(metrics), "verbosity": -1, "num_threads": 1, **options}
    data = lightgbm.Dataset(x, labels, group=[len(labels)] if objective == "lambdarank" else None)
    booster = lightgbm.Booster(params, data)
    return {result[1].partition("@")[0]: result[3] for result in booster.eval_train()}


def test_directions_are_lightgbms():
    """But for one, the R2 score, which LightGBM takes as one that improves by falling."""
    from monitor_core.adapters.lightgbm.model import LARGEST, SMALLEST

    ranks, classes = {"map", "ndcg"}, {"auc_mu", "multi_error", "multi_logloss"}
    two = {"auc", "average_precision", "binary_error", "binary_logloss", "cross_entropy", "cross_entropy_lambda"}
    two |= {"kullback_leibler"}
    found = {
        **maximized("lambdarank", [0, 1, 2, 1], ranks),
        **maximized("multiclass", [0, 1, 2, 1], classes, num_class=3),
        **maximized("binary", [0, 1, 1, 1], two),
        **maximized("regression", [1, 2, 3, 4], (LARGEST | SMALLEST) - ranks - classes - two),
    }
    assert found.keys() == LARGEST | SMALLEST
    model = LightGBMModel(lightgbm.Booster(params={"verbosity": -1}, train_set=lightgbm.Dataset(X, np.zeros(4))))
    ours = {name: model.direction(f"valid_{name}") == "max" for name in found}
    assert {name for name in found if ours[name] != found[name]} == {"r2"}
