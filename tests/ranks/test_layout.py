"""The results of several ranks become one."""

import math
from fractions import Fraction

import numpy as np
import pytest

from monitor_core.ranks.layout import Layout, reduced

NONE = {}


def exact_mean(values, weights):
    """Return the weighted mean, computed without rounding."""
    total = sum(Fraction(float(value)) * Fraction(float(weight)) for value, weight in zip(values, weights, strict=True))
    return float(total / sum(Fraction(float(weight)) for weight in weights))


@pytest.mark.parametrize("seed", range(20))
def test_means_are_exact(seed):
    """The weighted mean of random splits, over many magnitudes, is the exact one to 1e-12 relative."""
    random = np.random.default_rng(seed)
    ranks = int(random.integers(2, 1000))
    values = random.lognormal(0, 10, ranks)
    weights = random.integers(1, 1_000_000, ranks) * random.lognormal(0, 3)
    assert reduced(values, weights, "mean") == pytest.approx(exact_mean(values, weights), rel=1e-12)


def test_means_do_not_depend_on_the_scale_of_weights_or_overflow():
    """Values near the largest float have a mean."""
    largest = np.array([1.7e308, 1.5e308])
    assert reduced(largest, np.array([3e200, 1e200]), "mean") == pytest.approx(1.65e308, rel=1e-12)


def test_equal_values_stay_as_they_are():
    """Not one bit is off, whatever the weights: what a framework has reduced already stays the same."""
    values = np.full(3, 0.1)
    assert reduced(values, np.array([1.0, 3.0, 7.0]), "mean") == 0.1


@pytest.mark.parametrize(("reduction", "expected"), [("mean", 2.5), ("sum", 4.0), ("min", 1.0), ("max", 3.0)])
def test_reductions(reduction, expected):
    """Only values whose weight is above 0 count, not even as NaN."""
    values, weights = np.array([1.0, math.nan, 3.0]), np.array([1.0, 0.0, 3.0])
    assert reduced(values, weights, reduction) == expected


@pytest.mark.parametrize("reduction", ["mean", "sum", "min", "max"])
def test_a_nan_that_counts_is_seen_by_all(reduction):
    """A rank whose loss is NaN makes the result NaN, so that every rank can act on it."""
    assert math.isnan(reduced(np.array([1.0, math.nan]), np.ones(2), reduction))


@pytest.mark.parametrize(("values", "expected"), [([math.inf, 1.0], math.inf), ([math.inf, -math.inf], math.nan)])
def test_infinities(values, expected):
    """They are added as floats are."""
    assert reduced(np.array(values), np.ones(2), "mean") == pytest.approx(expected, nan_ok=True)


def test_without_weight_there_is_nothing():
    """As the mean of an epoch without a batch."""
    assert math.isnan(reduced(np.array([1.0, 2.0]), np.zeros(2), "mean"))


def test_a_metric_of_one_rank_is_a_result_of_all():
    """The others do not count in its mean."""
    layout = Layout()
    layout.add(["loss", "only"])
    rows = np.stack([layout.pack({"loss": 1.0, "only": 7.0}, {"loss": 2.0}), layout.pack({"loss": 4.0}, {"loss": 1.0})])
    assert layout.reduce(rows, NONE) == {"loss": 2.0, "only": 7.0}


def test_names_without_a_place_are_unknown():
    """A metric that no rank reports this time is left out."""
    layout = Layout()
    layout.add(["loss", "val_loss"])
    assert layout.unknown(["loss", "new"]) == ["new"]
    assert layout.reduce(layout.pack({"loss": 1.0, "new": 2.0}, NONE)[None], NONE) == {"loss": 1.0}
