"""Images: arrays and figures as the PNG files that TensorBoard shows."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from monitor_core.tensorboard.formats.event_file import EventFile
from monitor_core.tensorboard.formats.images import figure_image, image_value, png, to_bytes

GRAY = np.arange(6, dtype=np.uint8).reshape(2, 3) * 50
RGB = np.stack([GRAY, GRAY[::-1], GRAY * 0], axis=2)


def opened(data):
    """Return the pixels of a PNG file."""
    image = Image.open(io.BytesIO(data))
    return np.asarray(image.convert("RGB") if image.mode == "P" else image)


def size_and_images(value):
    """Return a value's width, height and images."""
    width, height, *files = value.tensor.string_val
    return int(width), int(height), [opened(file) for file in files]


@pytest.fixture
def figure():
    """Return a figure of 200 by 100 pixels."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(2, 1), dpi=100)
    drawn.add_subplot().plot([1, 2])
    return drawn


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (GRAY, [GRAY]),
        (GRAY[..., np.newaxis], [GRAY]),
        (RGB, [RGB]),
        (np.dstack([RGB, GRAY]), [np.dstack([RGB, GRAY])]),
        (np.stack([RGB, 255 - RGB]), [RGB, 255 - RGB]),
        ([GRAY, RGB], [GRAY, RGB]),
        (GRAY.astype(np.int64), [GRAY]),
        (GRAY / 255, [GRAY]),
        (GRAY > 100, [(GRAY > 100) * np.uint8(255)]),
        (GRAY.tolist(), [GRAY]),
    ],
)
def test_images_of_every_form_are_read_back(images, expected):
    """One or several, gray, in colour or with opacity, of any number type."""
    width, height, found = size_and_images(image_value("a", images))
    assert (width, height, len(found)) == (3, 2, len(expected))
    for image, pixels in zip(found, expected, strict=True):
        np.testing.assert_array_equal(image, pixels)


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40).map(lambda shape: (*shape, 3))))
def test_no_colour_is_lost(pixels):
    """Images with few colours, stored with a palette, or with many are exact."""
    np.testing.assert_array_equal(opened(png(pixels)), pixels)


def test_few_colours_take_fewer_bytes():
    """An image of 256 colours is stored with a palette, one of more is not."""
    numbers = np.random.default_rng(0).integers(0, 256, (100, 100)).astype(np.uint8)
    few, many = np.dstack([numbers, numbers, 255 - numbers]), np.dstack([numbers, numbers.T, numbers])
    assert (Image.open(io.BytesIO(png(few))).mode, Image.open(io.BytesIO(png(many))).mode) == ("P", "RGB")
    assert 2 * len(png(few)) < len(png(many))


@given(st.floats(0, 1, width=32))
def test_floats_are_scaled(value):
    """0 is black, 1 is white, and between them the nearest of 256 shades."""
    assert to_bytes(value) == round(float(np.float32(value) * np.float32(255)) + 1e-9)


def test_floats_that_are_nan_are_black_and_rounding_is_forgiven():
    """An image is shown even if a pixel is NaN or slightly too bright."""
    assert to_bytes([np.nan, 1.0001, -0.0001]).tolist() == [0, 255, 0]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (GRAY * 1.0, r"images of floats must be within 0 to 1 \(got 0 to 250\)"),
        ([[np.inf, 0]], r"images of floats must be within 0 to 1 \(got 0 to inf\)"),
        (GRAY.astype(int) - 1, r"images of integers must be within 0 to 255 \(got -1 to 249\)"),
        (np.zeros((3, 4, 5)), r"images must have the shape .* \(got \(3, 4, 5\)\)"),
        (np.zeros((0, 5)), r"images must have the shape .* \(got \(0, 5\)\)"),
        (np.zeros(5), r"images must have the shape .* \(got \(5,\)\)"),
    ],
)
def test_images_of_other_shapes_and_ranges_are_refused(images, message):
    """The message has the rule and the value."""
    with pytest.raises(ValueError, match=message):
        image_value("a", images)


def test_array_that_is_not_an_image_is_refused():
    """The message names the dtype."""
    with pytest.raises(TypeError, match="images must have numbers"):
        image_value("a", [["x"]])


def test_a_figure_is_drawn_as_it_is(figure):
    """A figure is drawn in its own resolution, without a display, and is unchanged."""
    canvas = figure.canvas
    assert figure_image(figure).shape == (100, 200, 4)
    assert size_and_images(image_value("a", figure))[:2] == (200, 100)
    assert figure.canvas is canvas


def test_figures_and_images_of_any_sizes_can_be_together(figure):
    """Images of different sizes are samples of one tag."""
    _, _, found = size_and_images(image_value("a", [figure, RGB]))
    assert [each.shape[:2] for each in found] == [(100, 200), (2, 3)]


def test_tensorboard_shows_the_images(tmp_path, either_board):
    """Each sample of each step is the file that was written."""
    file = EventFile(tmp_path / "train")
    for step in range(2):
        file.add_value(image_value("digits", np.stack([RGB + step, RGB])), step)
    board = either_board(tmp_path)
    tags = board.get("plugin/images/tags", lambda runs: "digits" in runs.get("train", ()))
    assert tags["train"]["digits"]["samples"] == 2
    query = {"run": "train", "tag": "digits", "sample": 0}
    rows = board.get("plugin/images/images", lambda rows: len(rows) == 2, **query)
    shown = [board.client.get(f"/data/plugin/images/individualImage?{row['query']}").data for row in rows]
    assert shown == [png(RGB), png(RGB + 1)]
