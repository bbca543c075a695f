"""The plot of a history."""

import itertools
import math
import os
import stat
import subprocess
import sys
import warnings
import xml.parsers.expat

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from monitor_core import Bus, History
from monitor_core.plotting import plot_history
from recorders import train

EPOCHS = {
    "accuracy": [0.2, 0.5, 0.7, 0.9],
    "loss": [2.0, 1.0, 0.5, 0.25],
    "val_accuracy": [0.2, 0.4, 0.5, 0.4],
    "val_loss": [2.0, 1.5, 1.25, 1.75],
}


def lines(axes, *, marks=False):
    """Return the curves of an axis by label; those that belong to marks and raw values only if asked."""
    return {line.get_label(): line for line in axes.lines if marks or not line.get_label().startswith("_")}


def points(line):
    return line.get_xdata().tolist(), line.get_ydata().tolist()


def marks(figure):
    """Return the labels of marked points; the labels of lines have one line each."""
    return [text.get_text() for axes in figure.axes for text in axes.texts if "\n" in text.get_text()]


def labels(axes):
    """Return the labels at the ends of the lines."""
    return [text for text in axes.texts if "\n" not in text.get_text()]


def recorded(*batches):
    history = History(per_batch=True)
    train(Bus(history), [dict(zip(("loss", "accuracy"), values, strict=True)) for values in batches])
    return history


def test_one_run_has_a_panel_for_losses_and_one_for_accuracies():
    """The default plot has two panels over the epochs, from 1, with the data as recorded."""
    figure = plot_history(EPOCHS)
    top, bottom = figure.axes
    assert (top.get_ylabel(), bottom.get_ylabel(), bottom.get_xlabel()) == ("loss", "accuracy", "epoch")
    drawn = {name: points(line) for axes in (top, bottom) for name, line in lines(axes).items()}
    assert drawn == {name: ([1, 2, 3, 4], EPOCHS[name]) for name in ("loss", "val_loss", "accuracy", "val_accuracy")}


def test_what_has_another_unit_is_in_a_small_panel_below():
    """Nothing that was recorded vanishes."""
    figure = plot_history({**EPOCHS, "mae": [4.0, 3.0, 2.0, 1.0], "learning_rate": [0.1, 0.1, 0.01, 0.01]})
    figure.canvas.draw()
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "accuracy", "mae", "learning\nrate"]
    heights = [axes.bbox.height for axes in figure.axes]
    assert max(heights[2:]) < min(heights[:2]) / 2


def test_many_small_panels_are_side_by_side():
    """Six metrics with units of their own do not make a tower."""
    figure = plot_history({"loss": [1.0], **{f"metric_{number}": [1.0] for number in range(6)}})
    figure.canvas.draw()
    places = [(round(axes.bbox.x0), round(axes.bbox.y0)) for axes in figure.axes[1:]]
    assert (len({x for x, _ in places}), len({y for _, y in places})) == (2, 3)


def test_lines_are_labelled_at_their_ends_in_their_colours():
    """No legend is needed; a label is where its line ends, to the right of the axes."""
    figure = plot_history(EPOCHS)
    figure.canvas.draw()
    for axes in figure.axes:
        found = {label.get_text(): label for label in labels(axes)}
        assert list(found) == list(lines(axes))
        assert axes.get_legend() is None
        for name, line in lines(axes).items():
            box = Text.get_window_extent(found[name])  # an annotation's own has its line in it
            end = axes.transData.transform((4, EPOCHS[name][-1]))[1]
            assert found[name].get_color() == line.get_color()
            assert box.x0 > axes.bbox.x1
            assert box.y0 - 2 <= end <= box.y1 + 2


def test_labels_of_lines_that_end_together_do_not_collide():
    """They are moved apart, and stay inside of the figure."""
    figure = plot_history({"loss": [2.0, 1.0], "val_loss": [2.0, 1.0], "a_loss": [2.0, 1.001], "b_loss": [2.0, 0.999]})
    figure.canvas.draw()
    boxes = sorted((Text.get_window_extent(label) for label in labels(figure.axes[0])), key=lambda box: box.y0)
    assert all(lower.y1 <= upper.y0 + 1 for lower, upper in itertools.pairwise(boxes))
    assert all(figure.bbox.x1 >= box.x1 for box in boxes)


def test_a_line_that_ends_early_says_where():
    """A loss that is NaN from epoch 3 on is not mistaken for one that was not measured any more."""
    axes = plot_history({"loss": [2.0, 1.0, np.nan, np.nan], "val_loss": [2.0, 1.0, 1.0, 1.0]}).axes[0]
    assert [label.get_text() for label in labels(axes)] == ["loss (to 2)", "val_loss"]


def test_a_metric_has_one_hue_and_validation_is_dashed():
    """Training and validation differ by their lines, metrics by their colours."""
    drawn = {name: line for axes in plot_history(EPOCHS).axes for name, line in lines(axes).items()}
    assert {name: line.get_linestyle() for name, line in drawn.items()} == {
        "loss": "-",
        "val_loss": "--",
        "accuracy": "-",
        "val_accuracy": "--",
    }
    assert drawn["loss"].get_color() == drawn["val_loss"].get_color()
    assert drawn["accuracy"].get_color() == drawn["val_accuracy"].get_color()
    assert drawn["loss"].get_color() != drawn["accuracy"].get_color()


def test_colours_stay_when_validation_appears():
    """A live plot does not swap its colours once the first validation is done."""
    early = plot_history({"loss": [1.0], "accuracy": [0.1]})
    late = plot_history(EPOCHS)
    for name, axes in (("loss", 0), ("accuracy", 1)):
        assert lines(early.axes[axes])[name].get_color() == lines(late.axes[axes])[name].get_color()


def test_the_lowest_validation_loss_is_marked_with_epoch_and_value():
    """A vertical line through all panels, a dot and a text are at the best epoch."""
    figure = plot_history(EPOCHS)
    assert [list(lines(axes, marks=True)["_best epoch"].get_xdata()) for axes in figure.axes] == [[3, 3], [3, 3]]
    assert points(lines(figure.axes[0], marks=True)["_best"]) == ([3], [1.25])
    assert marks(figure) == ["lowest val_loss 1.25\nepoch 3"]


@pytest.mark.parametrize("figsize", [None, (4.0, 5.0)])
def test_the_mark_s_text_meets_no_curve_and_stays_inside(figsize):
    """The text is put where it can be read, also at the last epoch and in a narrow figure."""
    values = np.linspace(1.0, 0.1, 50)
    figure = plot_history({"loss": values, "val_loss": values * 1.2, "accuracy": 1 - values}, figsize=figsize)
    figure.canvas.draw()
    axes = figure.axes[0]
    (text,) = [text for text in axes.texts if "\n" in text.get_text()]
    box = Text.get_window_extent(text)
    assert axes.bbox.x0 <= box.x0 < box.x1 <= axes.bbox.x1
    for line in lines(axes).values():
        assert not line.get_path().transformed(axes.transData).intersects_bbox(box, filled=False)


def test_no_mark_if_not_asked():
    """``mark_best=False`` leaves the curves alone."""
    figure = plot_history(EPOCHS, mark_best=False)
    assert (list(lines(figure.axes[0], marks=True)), marks(figure)) == (["loss", "val_loss"], [])


def test_no_mark_without_validation():
    """The lowest training loss says nothing and is not marked."""
    assert marks(plot_history({"loss": [2.0, 1.0]})) == []


def test_chosen_metrics_are_drawn_in_that_order():
    """Within their panels; no other metric is drawn."""
    history = {**EPOCHS, "mae": [4.0, 3.0, 2.0, 1.0], "auc": [0.5, 0.6, 0.7, 0.8]}
    figure = plot_history(history, metrics=["mae", "auc", "val_acc", "loss"])
    assert [list(lines(axes)) for axes in figure.axes] == [["loss"], ["auc", "val_accuracy"], ["mae"]]


def test_an_unknown_metric_is_a_key_error_with_the_names():
    """The error about a misspelt name lists the right ones."""
    with pytest.raises(KeyError, match=r"no metric 'lose' .*this history has accuracy, loss, val_accuracy, val_loss"):
        plot_history(EPOCHS, metrics=["lose"])


def test_a_metric_of_every_other_epoch_is_a_line():
    """Its points are as far apart as they always are."""
    axes = plot_history({"loss": [4.0, 3.0, 2.0, 1.0], "val_loss": [np.nan, 3.0, np.nan, 2.0]}).axes[0]
    assert points(lines(axes)["val_loss"]) == ([2, 4], [3.0, 2.0])


def test_a_gap_is_bridged_by_a_pale_line():
    """What was not measured is not drawn like what was."""
    axes = plot_history({"loss": [5.0, 4.0, np.nan, np.inf, 1.0, 0.5]}).axes[0]
    drawn = lines(axes, marks=True)
    np.testing.assert_array_equal(drawn["loss"].get_ydata(), [5.0, 4.0, np.nan, 1.0, 0.5])
    assert points(drawn["_gap"]) == ([2, 5], [4.0, 1.0])
    assert drawn["_gap"].get_alpha() < 1


def test_epochs_without_a_value_keep_their_place():
    """A loss that diverged at epoch 2 does not shorten the axis."""
    axes = plot_history({"loss": [2.0, 1.0] + [np.nan] * 8}).axes[0]
    first, last = axes.get_xlim()
    assert (first < 1, last > 10) == (True, True)


def test_a_history_without_a_finite_value_is_drawn_empty():
    """A training that diverged at once has a plot too."""
    figure = plot_history({"loss": [np.nan, np.inf], "val_loss": [np.nan, np.nan]})
    figure.canvas.draw()
    assert (points(lines(figure.axes[0])["loss"]), marks(figure)) == (([], []), [])
    assert figure._supxlabel.get_text() == "without a finite value: loss, val_loss"


def test_a_single_epoch_is_seen_as_points():
    """A line of one point would be invisible without a marker."""
    figure = plot_history({name: values[:1] for name, values in EPOCHS.items()})
    assert all(line.get_marker() == "o" for axes in figure.axes for line in lines(axes).values())
    first, last = figure.axes[0].get_xlim()
    assert [tick for tick in figure.axes[0].get_xticks() if first <= tick <= last] == [1]


def test_huge_values_are_drawn():
    """The distance of two values that are finite may overflow; such values are left out."""
    figure = plot_history({"loss": [1e308, 2.0, -1e308, 1e200]})
    figure.canvas.draw()
    assert points(lines(figure.axes[0])["loss"])[1] == [2.0, 1e200]


def test_smoothing_draws_the_values_pale_below_their_average():
    """The average is the curve with the name; the values themselves stay in sight."""
    axes = plot_history({"loss": [1.0, 0.0]}, smoothing=0.5).axes[0]
    drawn = lines(axes, marks=True)
    assert points(drawn["_raw"])[1] == [1.0, 0.0]
    assert points(drawn["loss"])[1] == pytest.approx([1.0, 1 / 3])
    assert drawn["_raw"].get_alpha() < 1
    assert drawn["_raw"].get_zorder() < drawn["loss"].get_zorder()


@pytest.mark.parametrize("smoothing", [1.0, -0.1, float("nan")])
def test_smoothing_must_be_below_one(smoothing):
    """At 1 nothing would ever be forgotten."""
    with pytest.raises(ValueError, match=rf"smoothing must be >= 0 and < 1 \(got {smoothing}\)"):
        plot_history(EPOCHS, smoothing=smoothing)


def test_several_runs_have_a_colour_each_and_a_diagram_for_each_metric():
    """Comparison is within a diagram."""
    runs = {"small": EPOCHS, "large": {name: values[:3] for name, values in EPOCHS.items()}}
    losses, accuracies, _ = plot_history(runs).axes
    assert (losses.get_ylabel(), accuracies.get_ylabel()) == ("loss", "accuracy")
    assert {name: points(line)[1] for name, line in lines(losses).items()} == {
        "small: loss": EPOCHS["loss"],
        "small: val_loss": EPOCHS["val_loss"],
        "large: loss": EPOCHS["loss"][:3],
        "large: val_loss": EPOCHS["val_loss"][:3],
    }
    colours = {name: line.get_color() for axes in (losses, accuracies) for name, line in lines(axes).items()}
    assert len({colour for name, colour in colours.items() if name.startswith("small")}) == 1
    assert len(set(colours.values())) == 2


def test_many_runs_have_thin_lines_without_markers_and_training_apart():
    """Thirty solid and thirty dashed lines in one diagram could not be followed; both have the same limits."""
    values = np.linspace(2.0, 1.0, 8)
    figure = plot_history([{"loss": values + run / 30, "val_loss": values * 2 + run / 30} for run in range(30)])
    training, validation, _ = figure.axes
    assert (training.get_ylabel(), validation.get_ylabel()) == ("training loss", "validation loss")
    drawn = [line for axes in (training, validation) for line in lines(axes).values()]
    assert {(line.get_linestyle(), line.get_marker()) for line in drawn} == {("-", "None")}
    assert sorted({line.get_linewidth() for line in drawn}) == [0.9, 1.9]
    assert training.get_ylim() == validation.get_ylim()


def test_a_run_that_diverges_leaves_the_diagram_marked_and_noted():
    """The others are not flattened, and nothing vanishes silently."""
    runs = {f"run {number}": {"loss": [2.0, 1.0, 0.5]} for number in range(9)}
    figure = plot_history({**runs, "wild": {"loss": [2.0, 1e4, 1e8]}})
    axes = figure.axes[0]
    assert axes.get_ylim()[1] < 3.0
    assert points(lines(axes, marks=True)["_beyond"]) == ([2], [1.0])
    assert figure._supxlabel.get_text() == "▲ wild leaves the plot of loss (up to 1e+08)"


def test_values_over_three_decades_have_a_logarithmic_axis():
    """Each panel decides by itself."""
    figure = plot_history({"loss": [1000.0, 10.0, 0.1], "accuracy": [0.1, 0.5, 0.9]})
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "linear"]


def test_the_best_epoch_of_each_run_has_a_dot():
    """Each run's lowest validation loss is marked in its colour, the best run's first."""
    axes = plot_history({"a": EPOCHS, "b": {"val_loss": [0.5, 0.25]}}, metrics=["val_loss"]).axes[0]
    dots = {points(line)[1][0]: line for line in axes.lines if line.get_label() == "_best"}
    assert {value: points(dot)[0] for value, dot in dots.items()} == {1.25: [3], 0.25: [2]}
    drawn = lines(axes)
    assert dots[1.25].get_markerfacecolor() == drawn["a: val_loss"].get_color()
    assert dots[0.25].get_markerfacecolor() == drawn["b: val_loss"].get_color()


def test_a_dozen_runs_still_have_a_colour_each():
    """Past the palette the colours are taken from a scale."""
    figure = plot_history({f"run {number}": {"loss": [1.0, number]} for number in range(12)})
    assert len({tuple(line.get_color()) for line in lines(figure.axes[0]).values()}) == 12


def test_three_metrics_of_several_runs_leave_no_empty_diagram():
    """The last axes are the table's."""
    run = {"loss": [1.0], "mae": [1.0], "auc": [0.5]}
    figure = plot_history({"a": run, "b": run}, metrics=["loss", "mae", "auc"])
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "auc", "mae", ""]


def test_batches_are_drawn_over_their_steps():
    """Batches need no marks; the axes are as for epochs."""
    top, bottom = plot_history(recorded((3.0, 0.1), (2.0, 0.2), (1.0, 0.4)), batches=True).axes
    assert bottom.get_xlabel() == "step"
    assert points(lines(top)["loss"]) == ([1, 2, 3], [3.0, 2.0, 1.0])
    assert points(lines(bottom)["accuracy"]) == ([1, 2, 3], [0.1, 0.2, 0.4])


def test_batches_that_were_not_recorded_are_an_error():
    """The message says what to record with."""
    with pytest.raises(ValueError, match=r"recorded by History\(per_batch=True\)"):
        plot_history(History(), batches=True)


def test_a_million_batches_become_few_points_and_lose_no_extreme():
    """A spike of one batch in a million is in the plot."""
    history = History(per_batch=True)
    train(Bus(history), [{"loss": 1.0}])
    values = np.random.default_rng(0).normal(size=999_999)
    values[[123_456, 654_321]] = 50.0, -50.0
    history.batches.extend(0, 0, np.arange(2, 1_000_001), np.zeros(999_999), {"loss": values})
    axes = plot_history(history, batches=True, smoothing=0.99).axes[0]
    raw = dict(zip(*points(lines(axes, marks=True)["_raw"]), strict=True))
    assert len(raw) < 5000
    assert (raw[123_458], raw[654_323]) == (50.0, -50.0)
    assert {1, 1_000_000} <= raw.keys()


def test_the_title_and_the_size_are_as_asked():
    """Both go to the figure."""
    figure = plot_history(EPOCHS, title="Digits", figsize=(4.0, 3.0))
    assert (figure.get_suptitle(), figure.get_size_inches().tolist()) == ("Digits", [4.0, 3.0])


def test_png_is_written(tmp_path):
    """The file is a whole image of the figure's size, at 150 dots per inch, and nothing else is left there."""
    path = tmp_path / "curves.PNG"
    plot_history(EPOCHS, to_file=path, figsize=(4.0, 3.0))
    with Image.open(path) as image:
        image.load()
        assert (image.format, image.size) == ("PNG", (600, 450))
    assert list(tmp_path.iterdir()) == [path]


def test_svg_is_written(tmp_path):
    """The file is well-formed XML with the root ``svg``; a path may be a string."""
    path = tmp_path / "curves.svg"
    plot_history(EPOCHS, to_file=str(path))
    elements = []
    parser = xml.parsers.expat.ParserCreate()
    parser.StartElementHandler = lambda name, _: elements.append(name)
    parser.Parse(path.read_bytes(), True)
    assert elements[0] == "svg"


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
def test_files_have_the_user_s_own_permissions(tmp_path):
    """A temporary file's stricter mode would keep a web server from showing the image."""
    path, other = tmp_path / "curves.png", tmp_path / "other"
    other.touch()
    plot_history(EPOCHS, to_file=path)
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(other.stat().st_mode)


def test_a_failed_write_leaves_the_old_image(tmp_path, monkeypatch):
    """The file is replaced only by a complete one, and no partial file remains."""
    path = tmp_path / "curves.png"
    path.write_bytes(b"old")

    def run_out_of_space(figure, file, **options):
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", run_out_of_space)
    with pytest.raises(OSError, match="No space left"):
        plot_history(EPOCHS, to_file=path)
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {"curves.png": b"old"}


@pytest.mark.parametrize("name", ["curves.jpg", "curves", "png"])
def test_other_suffixes_are_refused_before_anything_is_drawn(name):
    """The message lists the suffixes."""
    with pytest.raises(ValueError, match=rf"to_file must end in \.png or \.svg \(got '{name}'\)"):
        plot_history({}, to_file=name)


def test_no_setting_of_matplotlib_changes(tmp_path):
    """All of its settings, and its backend, are the same after a plot as before."""
    before = dict(mpl.rcParams)
    plot_history({"a": EPOCHS, "b": EPOCHS}, smoothing=0.5, title="Digits", to_file=tmp_path / "curves.png")
    assert dict(mpl.rcParams) == before


def test_the_user_s_style_is_kept():
    """Paper and text keep the colours of a dark style."""
    with mpl.rc_context({"figure.facecolor": "black", "text.color": "white"}):
        figure = plot_history(EPOCHS)
    assert figure.get_facecolor() == (0.0, 0.0, 0.0, 1.0)
    (mark,) = [text for text in figure.axes[0].texts if "\n" in text.get_text()]
    assert mark.get_color() == "white"


def test_hues_are_lighter_for_light_text():
    """On dark paper, the palette's blue would be hard to see."""
    plain = lines(plot_history(EPOCHS).axes[0])["loss"].get_color()
    with mpl.rc_context({"text.color": "white"}):
        light = lines(plot_history(EPOCHS).axes[0])["loss"].get_color()
    assert sum(to_rgb(light)) > sum(to_rgb(plain))


def test_neither_pyplot_nor_a_display_is_needed(tmp_path):
    """A fresh process without a display writes an image and has not imported pyplot."""
    path = tmp_path / "curves.png"
    code = (
        "import sys\n"
        "from monitor_core.plotting import plot_history\n"
        "assert 'matplotlib' not in sys.modules\n"
        f"plot_history({EPOCHS!r}, to_file={str(path)!r})\n"
        "print('matplotlib.pyplot' in sys.modules, 'tkinter' in sys.modules)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name not in {"DISPLAY", "MPLBACKEND"}}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (result.stdout, result.stderr) == ("False False\n", "")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_the_error_says_what_to_install():
    """The extra's name is in the message."""
    code = (
        "import sys\n"
        "sys.modules['matplotlib'] = None\n"
        "from monitor_core.plotting import plot_history\n"
        "try:\n"
        "    plot_history({'loss': [1.0]})\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout == 'drawing needs matplotlib: pip install "monitor_core[plot]"\n', result.stderr


@pytest.mark.parametrize("name", ["$\\frac{$ loss", "$\\frac{$", "x" * 1_000_000 + " loss"])
def test_any_name_is_drawn(name):
    """As written, not as a formula, and cut if it is very long."""
    values = {name: [1.0, 2.0], f"val_{name}": [2.0, 1.0], f"{name} acc": [math.nan, math.nan]}
    for history in (values, {"a": values, name: values}):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            figure = plot_history(history)
        texts = [text.get_text() for text in figure.findobj(Text)]
        assert max(map(len, texts)) < 2_000
        assert any(name[:20] in text for text in texts)
