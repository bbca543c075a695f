"""Small curves and tables as HTML: what is drawn, gaps, spikes, and that names are text."""

import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from monitor_core.values.html import card, escaped, sparkline, table


def drawn(values, **others):
    """Return the SVG of a curve over 1, 2, ... as an element."""
    x = np.arange(1.0, len(values) + 1)
    html = sparkline({"loss": (x, np.array(values, float)), **others})
    return ET.fromstring(re.match("<svg.*?</svg>", html)[0])  # noqa: S314 - it is our own


def points(svg):
    """Return the points of the first path."""
    path = next(iter(svg.iter("{http://www.w3.org/2000/svg}path"))).get("d")
    return [tuple(map(float, each.split())) for each in re.findall(r"[ML]([\d. ]+)", path)]


def test_a_falling_curve_falls_within_its_frame():
    """From the upper left to the lower right."""
    found = points(drawn([3.0, 2.0, 1.0]))
    assert found == [(3.0, 3.0), (140.0, 35.0), (277.0, 67.0)]


def test_a_gap_is_a_gap_and_a_single_point_a_dot():
    """NaN and infinities are not bridged."""
    svg = drawn([1.0, np.nan, 2.0, np.inf, 3.0, 4.0])
    path = next(iter(svg.iter("{http://www.w3.org/2000/svg}path"))).get("d")
    assert re.sub(r"[\d. ]+", "", path) == "MMML"
    assert len(list(svg.iter("{http://www.w3.org/2000/svg}circle"))) == 2


def test_a_spike_among_many_points_is_drawn():
    """And the page stays small."""
    values = np.zeros(1_000_000)
    values[123_456] = 1.0
    found = points(drawn(values))
    assert min(y for _, y in found) == 3.0
    assert len(found) <= 3 * 280


def test_it_says_what_it_shows():
    """For readers who do not see it; the validation's curve is dashed."""
    svg = drawn([3.0, 1.0], val_loss=(np.array([1.0, 2.0]), np.array([4.0, 2.0])))
    assert svg.get("aria-label") == "loss, val_loss: from 1 to 4"
    assert [group.get("stroke-dasharray") for group in svg] == [None, "5 3"]


@pytest.mark.parametrize("values", [[], [np.nan], [np.inf, -np.inf]])
def test_nothing_finite_is_nothing(values):
    """No empty frame."""
    assert sparkline({"loss": (np.arange(float(len(values))), np.array(values))}) == ""


def test_a_huge_range_is_drawn():
    """Beyond what a difference of float64 can be."""
    assert drawn([-1e308, 1e308]) is not None


def test_texts_are_text():
    """In titles, lines, cells and names; also what UTF-8 cannot hold."""
    hostile = "<b>&\"'\ud800"
    html = card(hostile, [hostile], table((hostile,), [(hostile,)]), sparkline({hostile: (np.ones(1), np.ones(1))}))
    assert "<b>" not in html
    assert html.encode("utf-8").count(b"&lt;b&gt;&amp;&quot;&#x27;\\ud800") == 6
    assert len(escaped("a" * 1000)) == 80
