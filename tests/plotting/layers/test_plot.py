"""The plots of activations, and what they show."""

import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from matplotlib.figure import Figure
from PIL import Image

from monitor_core.files.activations import Activations, write_activations
from monitor_core.plotting.layers.plot import plot_activation_distributions, plot_dead_units, plot_feature_maps
from monitor_core.plotting.layers.series import dead_units, read_dead_units, read_distributions

RNG = np.random.default_rng(0)
MAPS = RNG.random((3, 4, 5, 6))
LOOKS = [{"conv": (epoch + 1) * MAPS, "dense": RNG.normal(size=(3, 8))} for epoch in range(4)]


def write(folder, looks=LOOKS):
    """Write looks as files of one run, backwards, and return them by epoch."""
    paths = [folder / f"{number}.npz" for number in range(len(looks))]
    for epoch, path in reversed(list(enumerate(paths))):
        write_activations(path, Activations(looks[epoch], epoch=epoch, step=0, run="r"))
    return paths


def labels(figure):
    """Return the texts next to the images, and those of the legend."""
    legends = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    return [text.get_text() for axes in figure.axes for text in axes.texts] + legends


def colours_of(figure, number, shape=(4, 5)):
    """Return the different colours of an image of the grid, by its pixels' middles, as rows of texts."""
    axes = figure.axes[0]
    mosaic = axes.images[0].get_array()
    label = next(text for text in axes.texts if text.get_text().partition(":")[0] == str(number))
    left, top = round(label.get_position()[0] + 0.5), int(np.ceil(label.get_position()[1] + 0.5))
    while not mosaic[top, left, 3]:
        top += 1
    larger = np.append(mosaic[top:, left, 3], 0).argmin() // shape[0]
    rows = mosaic[top + larger // 2 :: larger, left + larger // 2 :: larger][: shape[0], : shape[1]]
    return [[bytes(pixel).hex() for pixel in row] for row in np.asarray(rows)]


def expected(values, low, high, name):
    """Return the colours that matplotlib gives to values between two limits."""
    pixels = mpl.colormaps[name]((np.asarray(values) - low) / (high - low), bytes=True)
    return [[bytes(pixel).hex() for pixel in row] for row in pixels]


# --- feature maps --------------------------------------------------------------------------------------------------


def test_each_channel_is_an_image_with_its_number():
    """All channels of the chosen sample are there, on one scale from 0, which is drawn next to them."""
    figure = plot_feature_maps(MAPS, sample=1)
    assert labels(figure) == ["0", "1", "2", "3", "4", "5"]
    high = MAPS[1].max()
    for channel in range(6):
        assert colours_of(figure, channel) == expected(MAPS[1, :, :, channel], 0, high, "viridis")
    assert figure.axes[1].get_ylim() == (0.0, high)


def test_channels_are_chosen_in_their_order():
    """Channels can be chosen, from the end too, and from an axis of their own."""
    for array, axis in ((MAPS[2], -1), (MAPS.transpose(0, 3, 1, 2), 1)):
        figure = plot_feature_maps(array, sample=-1, channels=[5, -6], channel_axis=axis)
        assert labels(figure) == ["5", "0"]
        high = MAPS[2][:, :, [0, 5]].max()
        assert colours_of(figure, 0) == expected(MAPS[2, :, :, 0], 0, high, "viridis")


def test_negative_values_have_colours_of_their_own():
    """Where some values are negative, 0 is in the middle of the scale; a map of zeros has a note."""
    maps = MAPS[0] - 0.25
    maps[:, :, 3] = 0
    figure = plot_feature_maps(maps)
    high = np.abs(maps).max()
    assert colours_of(figure, 2) == expected(maps[:, :, 2], -high, high, "RdBu_r")
    assert labels(figure)[3] == "3: all 0"
    assert figure.axes[1].get_ylim() == (-high, high)


def test_each_image_can_have_its_own_scale():
    """With a scale for each, every image has the full range and shows its end, and there is no common scale."""
    maps = MAPS[0] * [1, 10, 100, 0.1, 1, 1]
    figure = plot_feature_maps(maps, shared_scale=False)
    assert len(figure.axes) == 1
    assert labels(figure)[2] == f"2: to {maps[:, :, 2].max():.2g}"
    assert colours_of(figure, 2) == expected(maps[:, :, 2], 0, maps[:, :, 2].max(), "viridis")


def test_values_that_are_not_finite_are_grey():
    """NaN and infinity have no place on the scale, and do not spoil it."""
    maps = MAPS[0].copy()
    maps[0, 0, 0], maps[1, 1, 0] = np.nan, np.inf
    found = colours_of(plot_feature_maps(maps), 0)
    wanted = expected(np.where(np.isfinite(maps), maps, 0)[:, :, 0], 0, maps[np.isfinite(maps)].max(), "viridis")
    assert (found[0][0], found[1][1]) == ("8c8c8cff", "8c8c8cff")
    wanted[0][0] = wanted[1][1] = "8c8c8cff"
    assert found == wanted


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 300), (90, 2, 7), (2, 90, 7), (300, 400, 2)])
def test_images_of_any_size_and_number_fit(shape, tmp_path):
    """One pixel, hundreds of channels and long or large images make a plot of moderate size."""
    figure = plot_feature_maps(np.ones(shape), title="maps", to_file=tmp_path / "maps.png")
    width, height = figure.get_size_inches()
    assert 0.3 < width < 11
    assert 0.3 < height < 17
    with Image.open(tmp_path / "maps.png") as picture:
        assert picture.size == pytest.approx((150 * width, 150 * height), abs=1)


def test_the_number_of_columns_can_be_given():
    """With so many columns, the images are in rows of as many."""
    tops = [round(text.get_position()[1]) for text in plot_feature_maps(MAPS, columns=4).axes[0].texts]
    assert [tops.count(top) for top in sorted(set(tops))] == [4, 2]
    assert labels(plot_feature_maps(MAPS, columns=100)) == ["0", "1", "2", "3", "4", "5"]


@pytest.mark.parametrize(
    ("array", "options", "error", "message"),
    [
        (np.zeros((2, 2)), {}, ValueError, r"activation must be real numbers .* \(got float64 of the shape \(2, 2\)\)"),
        (np.zeros((0, 2, 2, 1)), {}, ValueError, "of the shape"),
        (np.array([[["a"]]]), {}, ValueError, r"\(got <U1"),
        (MAPS, {"sample": 3}, IndexError, r"sample must be >= -3 and < 3 \(got 3\)"),
        (MAPS, {"channels": [6]}, IndexError, r"channels must be >= -6 and < 6 \(got 6\)"),
        (MAPS, {"channels": []}, ValueError, "channels must have at least one number"),
        (MAPS, {"channels": [0.5]}, TypeError, r"channels must be an integer \(got 0\.5\)"),
        (MAPS, {"channel_axis": 4}, ValueError, r"channel_axis must be an axis of 4 \(got 4\)"),
        (MAPS, {"columns": 0}, ValueError, r"columns must be >= 1 \(got 0\)"),
        (MAPS, {"to_file": "a.jpg"}, ValueError, r"to_file must end in \.png or \.svg \(got 'a\.jpg'\)"),
    ],
)
def test_other_feature_maps_are_errors(array, options, error, message):
    """What cannot be drawn is refused by an error that names the argument, the rule and the value."""
    with pytest.raises(error, match=message):
        plot_feature_maps(array, **options)


# --- distributions -------------------------------------------------------------------------------------------------


def test_bands_lie_between_quantiles():
    """Of each layer and epoch the quantiles are those of all its values."""
    conv, dense = read_distributions(LOOKS)
    assert (conv.layer, dense.layer, conv.epochs.tolist()) == ("conv", "dense", [0.0, 1.0, 2.0, 3.0])
    wanted = [np.quantile((epoch + 1) * MAPS, [0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99]) for epoch in range(4)]
    np.testing.assert_allclose(conv.values, wanted)
    assert not conv.flawed.any()


def test_each_layer_has_a_diagram():
    """The median is a line over the epochs, within three bands, in a diagram that has the layer's name."""
    figure = plot_activation_distributions(LOOKS, title="Layers")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["conv", "dense"]
    axes = figure.axes[0]
    (median,) = [line for line in axes.lines if line.get_label() == "median"]
    np.testing.assert_allclose(median.get_xydata(), [(epoch, np.median((epoch + 1) * MAPS)) for epoch in range(4)])
    assert len(axes.collections) == 3
    assert labels(figure) == ["median", "25 to 75 %", "10 to 90 %", "1 to 99 %"]
    assert figure.get_suptitle() == "Layers"


def test_values_that_are_not_finite_are_marked():
    """They are left out of the quantiles, their epochs are marked, and one without any other is a gap."""
    looks = [{"a": np.array([1.0, 2.0, 3.0])}, {"a": np.array([1.0, np.nan, 3.0])}, {"a": np.array([np.inf])}]
    (series,) = read_distributions(looks)
    assert series.values[:2, 3].tolist() == [2.0, 2.0]
    assert np.isnan(series.values[2]).all()
    figure = plot_activation_distributions(looks)
    (marks,) = [line for line in figure.axes[0].lines if line.get_label() == "not finite"]
    assert marks.get_xdata().tolist() == [1.0, 2.0]
    assert labels(figure)[-1] == "some values not finite"


def test_one_epoch_is_drawn_as_wide_bands():
    """The bands of a single epoch have a width, so that they are seen."""
    figure = plot_activation_distributions(LOOKS[2:3], layers=["dense"])
    (axes,) = figure.axes
    box = axes.collections[0].get_datalim(axes.transData)
    assert (box.x0, box.x1) == (-0.4, 0.4)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7])
def test_any_number_of_layers_fits(count):
    """Each layer has one diagram, and the lowest ones say what is below them."""
    figure = plot_activation_distributions([{f"layer {number}": MAPS for number in range(count)}])
    assert len(figure.axes) == count
    figure.canvas.draw()
    columns = {1: 1, 2: 2, 3: 3, 4: 2}.get(count, 3)
    told = [axes.get_xlabel() == "epoch" for axes in figure.axes]
    assert told == [number + columns >= count for number in range(count)]


def test_complex_values_are_drawn_by_their_size():
    """Complex activations, as of a Fourier layer, are shown by their absolute values."""
    (series,) = read_distributions([{"a": np.array([3 + 4j])}])
    assert series.values.tolist() == [[5.0] * 7]


# --- dead units ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "dead"),
    [
        ([[0.0, 1.0], [0.0, 0.0]], [True, False]),
        ([[0.0, -0.0, 2.0, np.nan]], [True, True, False, False]),
        ([[2.0, 2.0, np.nan, np.inf], [2.0, 2.5, np.nan, np.inf]], [True, False, False, False]),
        ([0.0, 0.0], [True]),
        ([0.0, 1.0], [False]),
        (0.0, [True]),
        (np.zeros((2, 0, 3)), [True, True, True]),
        ([[False, True], [False, False]], [True, False]),
    ],
)
def test_a_unit_that_always_gives_the_same_is_dead(array, dead):
    """Always 0, or always the same of two values at least, is dead; what is not finite is not."""
    assert dead_units(np.array(array)).tolist() == dead


@given(
    units=arrays("float32", array_shapes(min_dims=2, max_dims=4, max_side=4), elements=st.sampled_from([0, 1, -2])),
    data=st.data(),
)
def test_dead_units_are_those_of_the_definition(units, data):
    """Along any axis, a unit is dead if and only if it has one value, and that is 0 or not the only one."""
    axis = data.draw(st.integers(-units.ndim, units.ndim - 1))
    wanted = []
    for number in range(units.shape[axis]):
        values = units.take(number, axis=axis).ravel().tolist()
        wanted.append(len(set(values)) == 1 and (values[0] == 0 or len(values) > 1))
    assert dead_units(units, channel_axis=axis).tolist() == wanted


def test_shares_of_dead_units_are_lines():
    """Each layer is a line over the epochs, and the legend shows its last share."""
    looks = [{"conv": MAPS * ([0] * epoch + [1] * (6 - epoch)), "dense": MAPS[:, 0, 0]} for epoch in range(4)]
    figure = plot_dead_units(looks)
    (axes,) = figure.axes
    conv, dense = axes.lines
    np.testing.assert_allclose(conv.get_xydata(), [(epoch, epoch / 6) for epoch in range(4)])
    assert dense.get_ydata().tolist() == [0.0] * 4
    assert labels(figure) == ["conv   50%", "dense   0%"]


def test_units_can_be_along_another_axis():
    """PyTorch's channels come second; an array without such an axis is an error that names the layer."""
    look = {"conv": np.ones((2, 3, 4, 4)) * np.arange(3)[:, None, None] * RNG.random((2, 3, 4, 4))}
    (series,) = read_dead_units([look], channel_axis=1)
    np.testing.assert_allclose(series.values, [[1 / 3]])
    with pytest.raises(ValueError, match=r"channel_axis must be an axis of 4 \(got 5\) in layer 'conv'"):
        plot_dead_units([look], channel_axis=5)


def test_many_layers_have_colours_by_depth():
    """More layers than there are colours for all kinds of vision run from dark to light."""
    lines = plot_dead_units([{f"layer {number}": MAPS for number in range(9)}]).axes[0].lines
    assert len({line.get_color() for line in lines}) == 9


# --- where it comes from, and where it goes ------------------------------------------------------------------------

PLOTS = [plot_activation_distributions, plot_dead_units]


@pytest.mark.parametrize("read", [read_distributions, read_dead_units])
def test_files_folders_and_arrays_give_the_same(tmp_path, read):
    """A folder, its files in any order, and the arrays themselves are read alike, by their epochs."""
    paths = write(tmp_path)
    found = [
        [(each.layer, each.epochs.tolist(), each.values.tolist()) for each in read(source)]
        for source in (LOOKS, tmp_path, str(tmp_path), paths, paths[::-1], iter(paths))
    ]
    assert found == found[:1] * 6


@pytest.mark.parametrize("read", [read_distributions, read_dead_units])
def test_layers_are_chosen_in_their_order(tmp_path, read):
    """Layers come in the order in which they were asked for; where none is, in that of the files."""
    write(tmp_path)
    assert [each.layer for each in read(tmp_path, ["dense", "conv"])] == ["dense", "conv"]
    assert [each.layer for each in read(tmp_path)] == ["conv", "dense"]


def test_layers_may_be_missing_in_some_epochs():
    """A layer that was not recorded in each epoch has fewer points."""
    first, second = read_dead_units([{"a": MAPS, "b": MAPS}, {"a": MAPS}, {"b": MAPS, "none": MAPS[:0]}])
    assert (first.epochs.tolist(), second.epochs.tolist()) == ([0.0, 1.0], [0.0, 2.0])


@pytest.mark.parametrize("plot", PLOTS)
@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ([], ValueError, r"activations must have at least one layer with values \(got none\)"),
        ([{"a": np.zeros(0)}], ValueError, "at least one layer with values"),
        (3, TypeError, r"activations must be a folder, or a sequence of files or mappings \(got 3\)"),
        ("nowhere", FileNotFoundError, "nowhere"),
    ],
)
def test_nothing_to_draw_is_an_error(plot, source, error, message):
    """Where there is nothing to draw, the message says so."""
    with pytest.raises(error, match=message):
        plot(source)


@pytest.mark.parametrize("plot", PLOTS)
def test_an_unknown_layer_is_an_error(plot):
    """A layer that was not recorded is an error with the nearest name."""
    with pytest.raises(ValueError, match=r"\(got 'cov'\): there are conv"):
        plot(LOOKS, layers=["cov"])


@pytest.mark.parametrize("plot", [lambda **options: plot_feature_maps(MAPS, **options), *PLOTS])
@pytest.mark.parametrize("suffix", [".png", ".SVG"])
def test_plots_are_written_atomically(tmp_path, plot, suffix):
    """A plot replaces an existing file, has the requested size, and changes no setting of matplotlib."""
    path = tmp_path / f"picture{suffix}"
    path.write_text("before")
    settings = dict(mpl.rcParams)
    source = () if plot not in PLOTS else (LOOKS,)
    figure = plot(*source, to_file=path, figsize=(6, 3), title="title")
    assert isinstance(figure, Figure)
    assert dict(mpl.rcParams) == settings
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    if suffix == ".png":
        with Image.open(path) as picture:
            assert picture.size == (900, 450)
    else:
        assert "<svg" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("plot", PLOTS)
def test_another_suffix_is_refused_before_anything_is_read(plot):
    """A file of another kind is refused at once."""
    with pytest.raises(ValueError, match=r"to_file must end in \.png or \.svg \(got 'a\.pdf'\)"):
        plot("nowhere", to_file="a.pdf")


def test_neither_pyplot_nor_matplotlib_is_imported_too_early():
    """Importing the plots imports no matplotlib, and drawing no pyplot."""
    code = (
        "import sys, numpy as np\n"
        "from monitor_core.plotting.layers.plot import plot_dead_units, plot_feature_maps\n"
        "before = 'matplotlib' in sys.modules\n"
        "plot_dead_units([{'a': np.ones((2, 2))}])\n"
        "plot_feature_maps(np.ones((2, 2, 2)))\n"
        "print(before, 'matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == [
        "False", "False",
    ]  # fmt: skip


@pytest.mark.parametrize("plot", ["plot_dead_units([{'a': np.ones((2, 2))}])", "plot_feature_maps(np.ones((2, 2, 2)))"])
def test_the_error_says_what_to_install(plot):
    """Without matplotlib the error says what to install."""
    code = (
        "import sys, numpy as np\n"
        "sys.modules['matplotlib'] = None\n"
        "from monitor_core.plotting.layers.plot import *\n"
        "from monitor_core.plotting.layers import plot as activations\n"
        f"activations.{plot}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert 'ImportError: drawing needs matplotlib: pip install "monitor_core[plot]"' in done.stderr
