"""Histograms: every finite value counted once, as NumPy counts them, and shown by TensorBoard."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from monitor_core.tensorboard.formats.event_file import EventFile
from monitor_core.tensorboard.formats.histograms import histogram, histogram_value, non_finite

KINDS = st.sampled_from([np.float32, np.float64, np.float16, np.int8, np.uint8, np.int64, np.uint64, np.bool_])
NORMAL = np.random.default_rng(0).normal(size=300_001)


def check_against_numpy(values, bins):
    """Compare with NumPy: below each edge there are as many values, except for those that rounding moves."""
    found = histogram(values, bins)
    exact = np.asarray(values, np.float64).ravel()
    _, edges = np.histogram(exact, bins)
    np.testing.assert_allclose(found[:, 0], edges[:-1], rtol=1e-12, atol=1e-12 * np.ptp(exact))
    np.testing.assert_array_equal(found[1:, 0], found[:-1, 1])
    assert (found[0, 0], found[-1, 1]) == (exact.min(), exact.max())
    precision = np.finfo(values.dtype).eps if values.dtype.kind == "f" else np.finfo(np.float64).eps
    slack = 4 * precision * (np.ptp(exact) + abs(exact).max())
    below = found[:, 2].cumsum()[:-1]
    ordered = np.sort(exact)
    assert (ordered.searchsorted(edges[1:-1] - slack) <= below).all()
    assert (below <= ordered.searchsorted(edges[1:-1] + slack)).all()
    assert found[:, 2].sum() == exact.size


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("size", [2, 100, 16_385, 65_537, 300_001])
def test_counts_are_numpys(kind, size):
    """Arrays of every size are counted alike: one by one, in pairs, and in several chunks."""
    check_against_numpy(NORMAL[:size].astype(kind), 30)


@pytest.mark.parametrize("bins", [1, 2, 30, 255])
def test_any_number_of_buckets(bins):
    """There may be from 1 bucket to as many as fit in a byte."""
    check_against_numpy(NORMAL.astype(np.float32), bins)


@given(hnp.arrays(np.float32, st.integers(2, 60), elements=st.floats(-1e6, 1e6, width=32)), st.integers(1, 255))
def test_counts_are_numpys_for_any_values(values, bins):
    """Counts are right even if values lie on edges, or close together far from zero."""
    if np.ptp(values.astype(np.float64)) > 1e-6 * abs(values).max():  # else NumPy finds no edges between
        check_against_numpy(values, bins)


@given(KINDS.flatmap(lambda kind: hnp.arrays(kind, hnp.array_shapes(max_dims=3, max_side=6))))
def test_every_finite_value_is_counted_once(array):
    """For any dtype, magnitude or spacing, the counts plus the values that are not finite equal the size."""
    found = histogram(array)
    finite = int(np.isfinite(array).sum())
    assert non_finite(array, found) == array.size - finite
    if finite:
        assert found[:, 2].sum() == finite
        assert np.isfinite(found).all()
        assert (found[:, 0] <= found[:, 1]).all()
    else:
        assert found is None


@pytest.mark.parametrize(
    "values",
    [
        [1e308, -1e308, 0.0],
        [5e-324, 0.0, 1e-323],
        np.float32([3e38, -3e38, 0]),
        np.float32([1e-45, 0, 3e-45]),
        np.float32([1e30, 0, 1]),
    ],
)
def test_extreme_values_fall_into_the_first_and_last_bucket(values):
    """A bucket width that overflows or underflows the dtype loses no value."""
    found = histogram(values)
    assert (found[0, 0], found[-1, 1]) == (np.min(values), np.max(values))
    assert found[0, 2] >= 1
    assert found[-1, 2] >= 1
    assert found[:, 2].sum() == len(values)


@pytest.mark.parametrize("value", [3.0, 0.0, -1e308, np.float32(0.1), True])
def test_equal_values_are_one_bucket(value):
    """Equal values are one bucket of width 0."""
    assert histogram([value] * 4).tolist() == [[value, value, 4]]


@pytest.mark.parametrize("values", [[], [np.nan], [np.inf, -np.inf, np.nan], np.zeros((0, 3))])
def test_without_finite_values_there_is_no_histogram(values):
    """Without a finite value there is no histogram: TensorBoard would draw a line at zero."""
    assert histogram(values) is None
    assert histogram_value("a", values) is None
    assert non_finite(values, None) == np.size(values)


def test_values_that_are_not_finite_are_skipped():
    """Edges are always finite: one NaN among them would blank the chart."""
    values = np.array([np.nan, 1.0, 2.0, np.inf, -np.inf])
    np.testing.assert_array_equal(histogram(values), histogram([1.0, 2.0]))


def test_short_floats_of_accelerators_are_numbers():
    """The bfloat16 of JAX is counted as it is."""
    values = np.array([1, 2, 3], ml_dtypes.bfloat16)
    np.testing.assert_array_equal(histogram(values), histogram([1, 2, 3]))


def test_the_array_is_only_read():
    """The array is not changed, in any memory order, and may be read-only."""
    array = NORMAL[:10_000].reshape(100, 100).astype(np.float32)[::2].T
    array.setflags(write=False)
    np.testing.assert_array_equal(histogram(array), histogram(array.ravel()))


@pytest.mark.parametrize("array", [[1j], ["a"], [None], np.zeros(2, "f4,f4")])
def test_array_without_real_numbers_is_refused(array):
    """The message names the dtype."""
    with pytest.raises(TypeError, match="array must have real numbers"):
        histogram(array)


@pytest.mark.parametrize(("bins", "error"), [(0, ValueError), (256, ValueError), (3.0, TypeError)])
def test_a_wrong_number_of_buckets_is_refused(bins, error):
    """The message names the argument and the value."""
    with pytest.raises(error, match=rf"bins must be .* \(got {bins}"):
        histogram([1.0, 2.0], bins)


def test_tensorboard_shows_the_buckets(tmp_path, either_board):
    """Both tabs get histograms: the buckets unchanged, and the distribution derived from them."""
    file = EventFile(tmp_path / "train")
    for step in range(3):
        file.add_value(histogram_value("kernel", NORMAL[:1000] * (step + 1)), step)
    board = either_board(tmp_path)
    query = {"run": "train", "tag": "kernel"}
    rows = board.get("plugin/histograms/histograms", lambda rows: len(rows) == 3, **query)
    assert [(step, buckets) for _, step, buckets in rows] == [
        (step, histogram(NORMAL[:1000] * (step + 1)).tolist()) for step in range(3)
    ]
    assert len(board.get("plugin/distributions/distributions", **query)) == 3
