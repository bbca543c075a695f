"""Averages of noisy curves, and curves with no more points than can be seen."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor_core.plotting.curves.smoothing import automatic_smoothing, envelope, smooth


@given(st.lists(st.floats(-1e6, 1e6), max_size=300), st.floats(0.0, 1.0, exclude_max=True))
def test_smoothing_is_the_weighted_mean_of_all_values_so_far(values, smoothing):
    """Each value weighs ``smoothing ** age``; computed in blocks, it is what the definition gives."""
    expected, total, weight = [], 0.0, 0.0
    for value in values:
        total, weight = value + smoothing * total, 1.0 + smoothing * weight
        expected.append(total / weight)
    np.testing.assert_allclose(smooth(np.array(values), smoothing), expected, rtol=1e-7, atol=1e-6)


def test_smoothing_continues_over_blocks_of_blocks():
    """A long curve is the sum of three levels of blocks."""
    values = np.random.default_rng(0).normal(size=70_000)
    total, expected = 0.0, []
    for value in values.tolist():
        total = value + 0.9999 * total
        expected.append(total)
    weights = (1 - 0.9999 ** np.arange(1, 70_001)) / (1 - 0.9999)
    np.testing.assert_allclose(smooth(values, 0.9999), np.array(expected) / weights, rtol=1e-8, atol=1e-12)


def test_smoothing_a_constant_keeps_it():
    """Without its correction, the average would begin near zero."""
    np.testing.assert_allclose(smooth(np.full(1000, 3.0), 0.999), 3.0, rtol=1e-12)


@given(st.integers(1, 400), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_envelope_keeps_every_column_s_extremes_and_both_ends(count, columns, seed):
    """No extreme is lost, points stay in order, and there are few of them."""
    y = np.random.default_rng(seed).normal(size=count)
    x = np.arange(count, dtype=np.float64)
    kept_x, kept_y = envelope(x, y, columns)
    assert kept_y.tolist() == y[kept_x.astype(int)].tolist()
    assert (np.diff(kept_x) > 0).all()
    assert (kept_x[0], kept_x[-1]) == (0, count - 1)
    assert len(kept_x) <= max(2 * columns + 4, 4 * columns)
    if count > 4 * columns:
        width = -(-count // columns)
        parts = [y[start : start + width] for start in range(0, count, width)]
        assert {float(extreme) for part in parts for extreme in (part.min(), part.max())} <= set(kept_y.tolist())


def test_short_curves_are_drawn_whole():
    """Below four points for each column nothing is left out."""
    x, y = np.arange(8000.0), np.zeros(8000)
    assert envelope(x, y) == (x, y)


def test_long_noisy_curves_are_smoothed_unasked():
    """A thousand epochs of noise become an average of some thirty."""
    noise = np.random.default_rng(0).normal(size=1000)
    assert automatic_smoothing(noise + np.exp(-np.arange(1000) / 100)) == pytest.approx(0.942, abs=1e-3)


@pytest.mark.parametrize(
    "values",
    [np.random.default_rng(0).normal(size=100), np.exp(-np.arange(1000) / 100), np.ones(1000), np.empty(0)],
    ids=["short", "smooth", "constant", "empty"],
)
def test_other_curves_are_drawn_as_they_are(values):
    """A short curve, and one without noise, is not changed unasked."""
    assert automatic_smoothing(values) == 0.0
