"""Labels at the ends of lines are apart, and moved no further than needed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor_core.plotting.curves.labels import spread


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ([], []),
        ([0.3], [0.3]),
        ([0.2, 0.8], [0.2, 0.8]),
        ([0.5, 0.5], [0.45, 0.55]),
        ([0.52, 0.5, 0.51], [0.61, 0.41, 0.51]),
        ([1.0, 1.0], [0.9, 1.0]),
        ([0.0, 0.02], [0.0, 0.1]),
    ],
)
def test_labels_are_moved_apart_around_where_they_belong(wanted, expected):
    """Those that have room stay; those that collide share the way; none leaves the diagram."""
    assert spread(wanted, 0.1, 0.0, 1.0).tolist() == pytest.approx(expected)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(0.001, 0.2))
def test_labels_are_apart_in_their_order_and_inside(wanted, gap):
    """Where there is not room for all gaps, the labels are evenly spaced."""
    heights = spread(wanted, gap, 0.0, 1.0)
    order = np.argsort(wanted, kind="stable")
    gaps = np.diff(heights[order])
    assert (gaps >= min(gap, 1.0 / max(len(wanted) - 1, 1)) - 1e-9).all()
    assert heights.min() >= -1e-9
    assert heights.max() <= 1 + 1e-9
