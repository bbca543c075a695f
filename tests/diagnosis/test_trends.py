"""Trends and noise of series, against SciPy and by construction."""

import numpy as np
import pytest

from monitor_core.diagnosis.rules.validation import generalization_loss, progress, rising_strips
from monitor_core.diagnosis.trends import falls, noise, rises, score


def test_score_agrees_with_kendalls_tau():
    """The sign and size follow SciPy's rank correlation with time, on random series."""
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    for _ in range(50):
        values = rng.normal(size=20) + rng.normal() * np.linspace(0, 2, 20)
        tau = stats.kendalltau(np.arange(20), values).statistic
        assert np.sign(score(values)) == np.sign(tau)
        total = tau * 20 * 19 / 2
        assert score(values) == pytest.approx((total - np.sign(total)) / np.sqrt(20 * 19 * 45 / 18))


def test_noise_is_that_around_a_slow_change():
    """A trend does not count, and neither do a few jumps."""
    rng = np.random.default_rng(0)
    values = np.linspace(5, 0, 400) + rng.normal(0, 0.1, 400)
    values[[50, 200]] += 10
    assert noise(values) == pytest.approx(0.1, rel=0.15)


def test_noise_alone_neither_falls_nor_rises():
    """In at most one of twenty series, as the level says."""
    rng = np.random.default_rng(1)
    found = [falls(values) or rises(values) for values in rng.normal(size=(200, 30))]
    assert np.mean(found) < 0.08


def test_a_trend_in_noise_is_seen():
    """A fall by three deviations over thirty values."""
    rng = np.random.default_rng(2)
    values = rng.normal(size=(100, 30)) - np.linspace(0, 3, 30)
    assert np.mean([falls(each) for each in values]) > 0.95


def test_prechelts_criteria():
    """GL, P_k and UP as in the paper's definitions."""
    assert generalization_loss(np.array([2.0, 1.0, 1.5])) == pytest.approx(50)
    assert progress(np.array([9.0, 2.0, 2.0, 2.0, 2.0, 1.0])) == pytest.approx(1000 * (9 / 5 - 1))
    assert rising_strips(np.array([1.0] * 5 + [2.0] * 5 + [3.0] * 5)) == 2
    assert rising_strips(np.array([1.0] * 5 + [3.0] * 5 + [2.0] * 5)) == 0


def test_many_values_are_compared_by_the_medians_of_40_stretches():
    """Those of `np.array_split`, whatever their number."""
    rng = np.random.default_rng(0)
    for count in (41, 79, 80, 100, 1234):
        values = rng.normal(size=count)
        expected = [np.median(part) for part in np.array_split(values, 40)]
        assert score(values) == score(np.array(expected))
