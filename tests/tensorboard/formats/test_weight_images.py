"""Weights as images: of every shape, with signs, of bounded size, even with values that are not finite."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from monitor_core.tensorboard.formats.weight_images import SIDE, weight_image

BLUE, WHITE, RED = (33, 102, 172), (255, 255, 255), (178, 24, 43)
YELLOW, GRAY = (255, 217, 47), (128, 128, 128)
SHAPES = [
    (1_000_003,),
    (100_000, 3),
    (3, 100_000),
    (3, 3, 600, 700),
    (600, 600, 2, 2),
    (9, 900, 800),
    (800, 700, 9),
    (2, 3, 3, 20, 20),
    (300, 2, 300),
    (1, 1, 5, 5),
    (2,) * 7,
    (10, 21, 17, 31),
]


def dots(array):
    """Return the image's dots as tuples, row by row, each once: of magnified dots, one pixel."""
    image = weight_image(array)
    side = next((side for side in range(16, 0, -1) if is_magnified(image, side)), 1)
    return [[tuple(dot) for dot in row] for row in image[::side, ::side].tolist()]


def is_magnified(image, side):
    """Return whether an image consists of squares of this side."""
    height, width = image.shape[0] // side, image.shape[1] // side
    squares = image[::side, ::side].repeat(side, axis=0).repeat(side, axis=1)
    return height * side == len(image) and width * side == image.shape[1] and (squares == image).all()


def test_signs_are_colours():
    """Red above zero, blue below, white at it, on a symmetric scale."""
    first, second = dots([[1.0, 0.0], [-1.0, 0.5]])
    assert (first, second[0]) == ([RED, WHITE], BLUE)
    np.testing.assert_allclose(second[1], (np.array(RED) + WHITE) / 2, atol=1)


def test_what_is_not_finite_is_marked():
    """A value that is not finite has its own colour, and the others keep theirs."""
    assert dots([[1.0, np.nan], [np.inf, -1.0]]) == [[RED, YELLOW], [YELLOW, BLUE]]


@pytest.mark.parametrize(
    ("value", "colour"), [(3.0, RED), (0.0, WHITE), (-1e-30, BLUE), (np.nan, YELLOW), (-1e308, BLUE)]
)
def test_a_constant_has_one_colour(value, colour):
    """A constant has one colour, which shows its sign."""
    assert {dot for row in dots(np.full((3, 4), value)) for dot in row} == {colour}


def test_a_vector_is_a_row_and_a_scalar_a_dot():
    """A vector, such as a bias, is read from left to right."""
    assert dots([1.0, 0.0, -1.0]) == [[RED, WHITE, BLUE]]
    assert dots(np.float32(2)) == [[RED]]


def test_a_long_vector_is_wrapped():
    """A long vector is wrapped, at most 16 times as wide as high, and the unused rest is gray."""
    vector = np.zeros(130)
    vector[[0, 44, 129]] = 1
    rows = dots(vector)
    assert [len(row) for row in rows] == [44, 44, 44]
    assert [(row.index(RED), row.count(GRAY)) for row in rows] == [(0, 0), (0, 0), (41, 2)]


def test_a_matrix_lies_on_its_longer_side():
    """A matrix lies on its longer side in either order of axes, so that no image is a vertical strip."""
    matrix = np.zeros((5, 2))
    matrix[3, 1] = 1
    assert dots(matrix) == [[WHITE] * 5, [WHITE, WHITE, WHITE, RED, WHITE]]
    np.testing.assert_array_equal(weight_image(matrix), weight_image(matrix.T))


def test_a_long_matrix_continues_in_bands():
    """200 x 2 becomes bands of two rows below each other, with gray between them."""
    matrix = np.zeros((200, 2))
    matrix[[0, 199], [0, 1]] = 1
    rows = dots(matrix)
    assert (len(rows), len(rows[0])) == (3 * 3 - 1, 67)
    assert (rows[0][0], rows[7][65], rows[7][66]) == (RED, RED, GRAY)
    assert [row for row, of_row in enumerate(rows) if set(of_row) == {GRAY}] == [2, 5]


@pytest.mark.parametrize("outputs", [2, 10, 128])
def test_inputs_that_are_an_image_become_one_for_each_output(outputs):
    """784 inputs are 28 x 28 pixels, in either order of axes."""
    kernel = np.zeros((784, outputs))
    kernel[3 * 28 + 5, 1] = 1
    rows = dots(kernel)
    assert [(row, of_row.index(RED)) for row, of_row in enumerate(rows) if RED in of_row] == [(3, 28 + 1 + 5)]
    assert {row[28] for row in rows} == {GRAY}
    np.testing.assert_array_equal(weight_image(kernel), weight_image(kernel.T))


def test_many_inputs_images_are_averaged_before_one_is_left_out():
    """784 x 512 has 512 tiles of 14 x 14."""
    height, width, _ = weight_image(np.ones((784, 512), np.float32)).shape
    assert (height, width) == (22 * 15 - 1, 24 * 15 - 1)


def test_a_convolutions_tiles_go_from_inputs_down_to_more_outputs_right():
    """Kernels of Keras's and of PyTorch's order of axes are the same image; more inputs than outputs go right too."""
    kernel = np.zeros((2, 2, 3, 4))
    kernel[:, :, 1, 2] = [[1, -1], [0, 1]]
    rows = dots(kernel)
    assert [row[6:8] for row in rows[3:5]] == [[RED, BLUE], [WHITE, RED]]
    assert [(len(rows), len(rows[0]))] == [(3 * 3 - 1, 4 * 3 - 1)]
    assert sum(row.count(GRAY) for row in rows) == 8 * 11 - 12 * 4
    np.testing.assert_array_equal(weight_image(kernel), weight_image(kernel.transpose(3, 2, 0, 1)))
    np.testing.assert_array_equal(weight_image(kernel), weight_image(kernel.transpose(0, 1, 3, 2)))


def test_many_outputs_of_few_inputs_continue_in_bands():
    """32 filters of one input make a nearly square image."""
    height, width, _ = weight_image(np.ones((3, 3, 1, 32))).shape
    assert 0.5 < height / width < 2


def test_a_convolution_over_one_axis_is_a_matrix_for_each_place():
    """One-dimensional kernels, in either order of axes, lie on their longer side."""
    kernel = np.zeros((2, 5, 3))
    kernel[1, 4, 0] = 1
    rows = dots(kernel)
    assert (len(rows), len(rows[0])) == (3, 5 + 1 + 5)
    assert rows[0][5 + 1 + 4] == RED
    np.testing.assert_array_equal(weight_image(kernel), weight_image(kernel.transpose(2, 1, 0)))


def test_the_slices_of_a_convolution_over_three_axes_are_side_by_side():
    """A kernel of 2 x 3 x 1 positions is a tile of two columns, one for each slice of three positions."""
    kernel = np.zeros((2, 3, 1, 4, 5))
    kernel[1, 2, :, 0, 0] = 1
    rows = dots(kernel)
    assert [row[:3] for row in rows[:3]] == [[WHITE, WHITE, GRAY], [WHITE, WHITE, GRAY], [WHITE, RED, GRAY]]
    assert (len(rows), len(rows[0])) == (4 * 4 - 1, 5 * 3 - 1)


def test_a_large_matrix_is_averaged():
    """In a large matrix, a block of ones stays visible at its position."""
    matrix = np.zeros((4 * SIDE, 3 * SIDE), np.float32)
    matrix[:, : SIDE * 3 // 2] = 1
    rows = weight_image(matrix)
    assert rows.shape == (SIDE, SIDE, 3)
    assert (rows[: SIDE // 2] == RED).all()
    assert (rows[SIDE // 2 :] == WHITE).all()


def test_what_is_not_finite_is_marked_among_means():
    """One infinity, two that cancel, and a sum that overflows the dtype are visible in a large matrix."""
    matrix = np.zeros((3 * SIDE, 2 * SIDE), np.float32)
    matrix[:3, :2], matrix[3:5, 0], matrix[6:9, 0] = np.inf, (np.inf, -np.inf), 3e38
    assert weight_image(matrix)[0, :4].tolist() == [[*YELLOW], [*YELLOW], [*YELLOW], [*WHITE]]


@pytest.mark.parametrize("shape", SHAPES)
def test_images_are_bounded(shape):
    """Images have bounded sides, however large the weight and however many its axes."""
    height, width, channels = weight_image(np.ones(shape, np.float32)).shape
    assert max(height, width) <= SIDE
    assert channels == 3


@given(hnp.arrays(np.float32, hnp.array_shapes(max_dims=6, max_side=9)))
def test_any_weight_has_an_image(array):
    """Images of any shape and values are bounded, and none is a vertical strip."""
    image = weight_image(array)
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert 1 <= max(image.shape[:2]) <= SIDE
    assert len(image) <= 2 * image.shape[1]


@given(st.lists(st.integers(1, 2000), min_size=2, max_size=2))
@example([211, 1024])
@example([255, 513])
@example([2, 35])
def test_no_matrix_is_a_strip(shape):
    """An image is not higher than wide, and not much more than 16 times as wide as high, unless it is short."""
    height, width, _ = weight_image(np.ones(shape, np.float32)).shape
    assert height <= width
    assert width <= 17 * height or max(shape) <= 16


def test_an_empty_weight_has_none():
    """An empty array has no image."""
    assert weight_image(np.zeros((0, 3))) is None


def test_array_without_numbers_is_refused():
    """The message names the dtype."""
    with pytest.raises(TypeError, match="array must have real numbers"):
        weight_image(["a"])
