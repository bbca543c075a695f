"""Fewer points of a curve: what stands out stays."""

import numpy as np
import pytest

from monitor_core.values.thinning import standing_out, thinned


def noisy(seed, count):
    """Return values of which some are NaN or infinite."""
    draw = np.random.default_rng(seed)
    values = draw.standard_normal(count)
    values[draw.random(count) < draw.choice([0.0, 0.1, 0.9])] = draw.choice([np.nan, np.inf, -np.inf])
    return values


@pytest.mark.parametrize("seed", range(30))
def test_each_stretch_keeps_its_extremes_its_middle_and_a_gap(seed):
    """Against a loop over the stretches, of which the last is shorter."""
    draw = np.random.default_rng(seed)
    count, stretches = int(draw.integers(1, 500)), int(draw.integers(1, 60))
    values = noisy(seed, count)
    size = -(-count // stretches)
    expected, middles = set(), set()
    for begin in range(0, count, size):
        places = np.arange(begin, min(begin + size, count))
        finite = places[np.isfinite(values[places])]
        expected |= {int(places[~np.isfinite(values[places])][0])} if len(finite) < len(places) else set()
        if len(finite):
            expected |= {int(finite[values[finite].argmin()]), int(finite[values[finite].argmax()])}
            middles.add(int(finite[np.argsort(values[finite], kind="stable")[(len(finite) - 1) // 2]]))
    assert standing_out(values, stretches).tolist() == sorted(expected)
    assert standing_out(values, stretches, middle=True).tolist() == sorted(expected | middles)


def test_a_short_curve_stays_as_it_is():
    """Up to the limit."""
    x, y = np.arange(5.0), np.array([1.0, np.nan, 3.0, 2.0, 0.0])
    assert thinned(x, y, limit=5, stretches=1)[1] is y
    assert thinned(x, y, limit=4, stretches=1)[0].tolist() == [1.0, 2.0, 4.0]
