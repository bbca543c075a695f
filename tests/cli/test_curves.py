"""Curves of braille: what is drawn where, gaps, spikes and ranges."""

import itertools

import numpy as np

from monitor_core.cli.curves import HEIGHT, curve


def drawn(values, width=40, **lines):
    """Return the plot's lines as strings."""
    x = np.arange(1.0, len(values) + 1)
    return [line.plain for line in curve({"loss": (x, np.array(values)), **lines}, width=width)]


def cells(lines):
    """Return the rows of the plot without names, labels and axis, as lists of columns that have a dot."""
    margin = 1 + max(len(lines[row].split()[0]) for row in (1, HEIGHT))
    return [[place for place, each in enumerate(line[margin:]) if each > "\u2800"] for line in lines[1 : 1 + HEIGHT]]


def test_it_has_names_range_and_axis():
    """The highest value above, the lowest below, the first and last epoch under it."""
    lines = drawn([4.0, 2.0])
    assert lines[0] == "loss"
    assert (lines[1].split()[0], lines[HEIGHT].split()[0]) == ("4", "2")
    assert lines[-1].split() == ["epoch", "1", "2"]
    assert len(lines) == HEIGHT + 2


def test_a_falling_line_falls():
    """From the upper left to the lower right."""
    rows = cells(drawn(np.linspace(1.0, 0.0, 50)))
    assert rows[0][0] == 0
    assert all(first[0] < second[0] for first, second in itertools.pairwise(rows))


def test_a_gap_is_not_bridged():
    """Values that are not finite leave their place empty."""
    rows = cells(drawn([0.0, *[float("nan")] * 20, 1.0]))
    assert [rows[0], *rows[1:-1], rows[-1]] == [[37], *[[]] * (HEIGHT - 2), [0]]


def test_a_spike_among_a_million_points_is_drawn():
    """Thinning keeps the extremes."""
    values = np.zeros(1_000_000)
    values[123_456] = 1.0
    rows = cells(drawn(values))
    assert [len(row) for row in rows[:2]] == [1, 1]


def test_one_value_and_equal_values_are_drawn():
    """A range of nothing divides by nothing."""
    assert sum(map(len, cells(drawn([1.0])))) == 1
    assert any(cells(drawn([1.0, 1.0, 1.0])))


def test_curves_of_other_points_share_the_axes():
    """Evaluations and epochs are at steps of their own."""
    lines = drawn([1.0, 1.0, 1.0], val_loss=(np.array([1.0, 5.0]), np.array([0.0, 0.0])))
    assert lines[0] == "loss  val_loss"
    assert lines[-1].split() == ["epoch", "1", "5"]
    rows = cells(lines)
    assert (rows[0][-1] < rows[-1][-1], rows[0][0], rows[-1][0]) == (True, 0, 0)


def test_the_largest_numbers_are_drawn():
    """Their range is beyond them."""
    rows = cells(drawn([-1.7e308, 0.0, 1.7e308]))
    assert rows[0][-1] > rows[HEIGHT // 2][-1] > rows[-1][0]


def test_numbers_that_do_not_ascend_are_drawn():
    """The axis has all of them."""
    lines = [line.plain for line in curve({"loss": (np.array([5.0, 9.0, 1.0]), np.array([3.0, 1.0, 2.0]))}, width=40)]
    assert lines[-1].split() == ["epoch", "1", "9"]
