"""The plot of a benchmark's ratios."""

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection
from PIL import Image

from support.ratios import plot_ratios


def row(variant, ratio, *quartiles):
    return {"variant": variant, "ratio": ratio, "quartiles": list(quartiles or (ratio, ratio))}


FLOOR = row("bare loop", 1.0)
CONTROL = row("A/A control", 1.01, 0.96, 1.02)
ROWS = [FLOOR, CONTROL, row("ours", 1.02, 1.01, 1.05), row("theirs", 3.84, 3.5, 4.0)]


def found(axes, kind):
    """Return the one collection of a kind."""
    (collection,) = (each for each in axes.collections if isinstance(each, kind))
    return collection


def dots(axes):
    return found(axes, PathCollection).get_offsets().tolist()


def names(axes):
    return [label.get_text() for label in axes.get_yticklabels()]


def texts(axes):
    return [text.get_text() for text in axes.texts]


def ticks(axes):
    """Return the labels along the ratios of an axis that has been drawn."""
    axes.figure.canvas.draw()
    return [label.get_text() for label in axes.get_xticklabels()]


def test_each_table_is_a_panel_with_its_title():
    """The tables are in their order, one panel each, and no empty one is left over."""
    figure = plot_ratios(dict.fromkeys(("first", "second", "third"), ROWS))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["first", "second", "third"]


def test_each_row_but_the_floor_is_a_dot_at_its_ratio():
    """The variants are below each other in the table's order; the floor, which is 1, is named at the axis."""
    (axes,) = plot_ratios({"loop": ROWS}).axes
    assert names(axes) == ["A/A control", "ours", "theirs"]
    assert dots(axes) == [[1.01, 0.0], [1.02, 1.0], [3.84, 2.0]]
    assert axes.yaxis_inverted()
    assert axes.get_xlabel() == "ratio to: bare loop"


def test_a_row_that_happens_to_be_at_one_is_drawn():
    """A ratio of exactly 1 alone makes no floor: its quartiles decide."""
    (axes,) = plot_ratios({"loop": [row("ours", 1.0, 0.9, 1.1)]}).axes
    assert dots(axes) == [[1.0, 0.0]]
    assert axes.get_xlabel() == "ratio to: the floor"


def test_whiskers_reach_from_quartile_to_quartile():
    """Each dot has a line between its quartiles."""
    (axes,) = plot_ratios({"loop": ROWS}).axes
    lines = [segment.tolist() for segment in found(axes, LineCollection).get_segments()]
    assert lines == [[[0.96, 0.0], [1.02, 0.0]], [[1.01, 1.0], [1.05, 1.0]], [[3.5, 2.0], [4.0, 2.0]]]


def test_the_band_of_noise_is_what_the_control_scatters_by_in_both_directions():
    """The band reaches as far above the floor as below it, to the control's farther quartile."""
    (axes,) = plot_ratios({"loop": ROWS}).axes
    (band,) = axes.patches
    assert (band.get_x(), band.get_x() + band.get_width()) == pytest.approx((0.96, 1 / 0.96))


def test_a_table_without_control_has_no_band():
    """Where nothing was measured twice, nothing is said about noise."""
    (axes,) = plot_ratios({"loop": [FLOOR, row("ours", 1.02)]}).axes
    assert not axes.patches


def test_the_axis_is_logarithmic_and_holds_every_whisker():
    """Half and double are as far from the floor, and nothing lies outside."""
    (axes,) = plot_ratios({"loop": [row("fast", 0.5, 0.4, 0.6), row("slow", 20.0, 15.0, 30.0)]}).axes
    low, high = axes.get_xlim()
    assert axes.get_xscale() == "log"
    assert low < 0.4
    assert high > 30.0


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [
        (1.01, ["1", "1.02", "1.05"]),
        (1.3, ["1", "1.05", "1.1", "1.2"]),
        (4.0, ["1", "1.5", "2", "3"]),
        (1800.0, ["1", "3", "10", "50", "200", "1000"]),
    ],
)
def test_ticks_are_round_ratios_that_leave_each_other_room(ratio, expected):
    """Whatever the range, the axis names a few round ratios, the floor among them."""
    (axes,) = plot_ratios({"loop": [FLOOR, row("ours", ratio)]}).axes
    assert ticks(axes) == expected


def test_every_ratio_is_written_next_to_its_row():
    """Ratios are written out: two decimals near the floor, three digits above, no fraction in the thousands."""
    rows = [row(str(ratio), ratio) for ratio in (0.985, 1.018, 9.994, 9.996, 240.51, 1755.4)]
    (axes,) = plot_ratios({"loop": rows}).axes
    assert texts(axes) == ["0.98", "1.02", "9.99", "10", "241", "1755"]


def test_the_plot_is_written_to_a_file(tmp_path):
    """A path writes a non-empty image, as large as the rows need."""
    heights = []
    for rows in (ROWS, ROWS * 4):
        plot_ratios({"loop": rows}, title="Loops", to_file=tmp_path / "ratios.png")
        with Image.open(tmp_path / "ratios.png") as picture:
            heights.append(picture.height)
            assert np.asarray(picture.convert("L")).std() > 5
    assert heights[1] > 2 * heights[0]


def test_settings_of_matplotlib_stay_as_they_are():
    """Drawing changes nothing for other plots."""
    before = dict(mpl.rcParams)
    plot_ratios({"loop": ROWS}, title="Loops")
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({}, r"tables must have at least one table \(got none\)"),
        ({"loop": []}, r"table 'loop' must have at least one row \(got none\)"),
        ({"loop": [row("ours", 0.0)]}, r"ratios of 'ours' must be finite and > 0 \(got 0.0\)"),
        ({"loop": [row("ours", 1.0, 0.9, float("inf"))]}, r"ratios of 'ours' must be finite and > 0 \(got inf\)"),
        ({"loop": [row("ours", float("nan"))]}, r"ratios of 'ours' must be finite and > 0 \(got nan\)"),
    ],
)
def test_what_cannot_be_drawn_is_an_error(tables, message):
    """Tables without rows, and ratios that have no place on a logarithmic axis, are refused by name."""
    with pytest.raises(ValueError, match=message):
        plot_ratios(tables)


def test_other_kinds_of_files_are_refused_before_anything_is_drawn(tmp_path):
    """The suffix must be one that all plots of this package accept."""
    with pytest.raises(ValueError, match=r"to_file must end in \.png or \.svg"):
        plot_ratios({"loop": ROWS}, to_file=tmp_path / "ratios.pdf")
