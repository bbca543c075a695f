"""Student's t distribution, against SciPy's."""

import itertools

import pytest

from monitor_core.runs.student import critical, exceeds, shift_seen

stats = pytest.importorskip("scipy.stats")
DEGREES = (1, 2, 4, 8, 30, 1000)


@pytest.mark.parametrize(("df", "shift"), list(itertools.product(DEGREES, (0.0, 1.0, 4.0, 8.0))))
def test_tails_are_those_of_scipy(df, shift):
    """Central and not."""
    for t in (-3.0, 0.0, 0.5, 3.0, 9.0):
        expected = stats.nct.sf(t, df, shift) if shift else stats.t.sf(t, df)
        assert exceeds(t, df, shift) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("df", "alpha"), list(itertools.product(DEGREES, (0.001, 0.01, 0.2))))
def test_critical_values_are_those_of_scipy(df, alpha):
    """To nine digits."""
    assert critical(df, alpha) == pytest.approx(stats.t.isf(alpha, df), rel=1e-9)


@pytest.mark.parametrize("df", DEGREES)
def test_a_shift_is_seen_as_often_as_asked(df):
    """By SciPy's noncentral distribution, which has four digits where the shift is large."""
    assert stats.nct.sf(critical(df, 0.01), df, shift_seen(df, 0.01, 0.9)) == pytest.approx(0.9, abs=1e-4)
