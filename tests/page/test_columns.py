"""Columns as the page holds them, decoded as the page decodes them."""

import numpy as np
import pytest

from monitor_core.page.columns import Columns
from page_support import decoded


def test_values_keep_six_digits():
    """Rounded to 21 bits, to the nearest; zero, NaN and infinities are exact."""
    columns = Columns()
    values = np.random.default_rng(0).standard_normal(1000) * 10.0 ** np.arange(-15, 15).repeat(34)[:1000]
    found = decoded(columns, columns.add(values))
    np.testing.assert_allclose(found, values, rtol=2**-21)
    special = [0.0, np.nan, np.inf, -np.inf, 1.0, -2.5]
    np.testing.assert_array_equal(decoded(columns, columns.add(special)), special)


@pytest.mark.parametrize("values", [[1e300, -1e300], [1e-50, 0.0, 1.0], [1e39, np.nan, np.inf], [1e-300, 1e300, 2e-40]])
def test_values_beyond_float32_keep_six_digits(values):
    """A loss of 1e300 stays 1e300, and one of 1e-50 is not zero."""
    columns = Columns()
    np.testing.assert_allclose(decoded(columns, columns.add(values)), values, rtol=2**-21)


def test_the_largest_values_have_a_finite_range():
    """A chart from the lowest to the highest one can be drawn."""
    columns = Columns()
    with np.errstate(over="raise"):
        found = decoded(columns, columns.add([1.7e308, -1.7e308]))
        assert np.ptp(found) > 1e307


@pytest.mark.parametrize(
    "numbers",
    [[], [5], [5, 8], [1, 2, 3, 4], [70, 140, 210], [1, 2, 4, 8], [0, 3, 2**32 - 1], [16_777_217, 16_777_219]],
)
def test_numbers_are_exact(numbers):
    """Steps are whole numbers, also those that float32 cannot hold."""
    columns = Columns()
    assert decoded(columns, columns.add_numbers(numbers)).tolist() == numbers


def test_equal_columns_are_stored_once():
    """A curve that two charts show is in the file once."""
    columns = Columns()
    assert columns.add([1.0, 5.0, 2.0]) == columns.add([1.0, 5.0, 2.0])
    assert len(columns.texts) == 1


def test_regular_numbers_take_no_space():
    """Steps that follow one another are a first one, a distance and a count."""
    columns = Columns()
    assert columns.add_numbers(np.arange(1, 100_001)) == {"first": 1, "stride": 1, "count": 100_000}
    assert columns.texts == []
