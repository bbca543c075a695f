"""Confusion matrices: the counts, and an image that shows them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor_core.tensorboard.formats.confusion import confusion_image, confusion_matrix


def test_rows_are_true_and_columns_predicted():
    """A two predicted as a one counts in the third row, second column."""
    assert confusion_matrix([2, 2, 0, 1], [1, 2, 0, 1]).tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5))))
def test_every_sample_is_counted_once(pairs):
    """Each pair adds one to its cell."""
    labels, predictions = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    expected = np.zeros((6, 6), int)
    for pair in pairs:
        expected[pair] += 1
    np.testing.assert_array_equal(confusion_matrix(labels, predictions, 6), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 1], [0]), r"predictions must be 2, as labels are \(got 1\)"),
        (([0, 3], [0, 1], 3), r"labels must be within 0 to 2 \(got 0 to 3\)"),
        (([0, 1], [0, -1]), r"predictions must be within 0 to 1 \(got -1 to 0\)"),
        (([0.5], [0]), "labels must be integers"),
    ],
)
def test_bad_classes_are_refused(arguments, message):
    """The message names the argument, the rule and the value."""
    with pytest.raises(ValueError, match=message):
        confusion_matrix(*arguments)


def cell(image, classes, row, column):
    """Return the colour near the corner of a cell, where no count is written."""
    corner = image.shape[0] - 8 - 52 * classes
    return image[corner + 52 * row + 5, corner + 52 * column + 5].tolist()


def test_a_cell_is_as_dark_as_its_share_of_the_row():
    """A cell is white for no samples and dark for all of its row, and an empty row is white."""
    image = confusion_image([[4, 0, 0], [1, 1, 0], [0, 0, 0]], ["cat", "dog", "bird"])
    shades = [[cell(image, 3, row, column) for column in range(3)] for row in range(3)]
    full, none = [8, 48, 107], [255, 255, 255]
    half = [132, 152, 181]
    assert shades == [[full, none, none], [half, half, none], [none, none, none]]


def test_counts_and_names_are_drawn():
    """Different counts or names give a different image."""
    images = [
        confusion_image([[1, 0], [0, 1]]),
        confusion_image([[2, 0], [0, 2]]),
        confusion_image([[1, 0], [0, 1]], ["8", "9"]),
    ]
    assert len({image.tobytes() for image in images}) == 3


@pytest.mark.parametrize("classes", [1, 2, 40, 200, 1024])
def test_any_number_of_classes_fits(classes):
    """The image has a size that a browser can show."""
    image = confusion_image(np.eye(classes), [f"a long name of class {number}" for number in range(classes)])
    assert image.shape[0] == image.shape[1]
    assert image.shape[0] < 1300


@pytest.mark.parametrize(
    ("matrix", "names", "message"),
    [
        (np.zeros((2, 3)), None, r"matrix must have as many rows as columns, 1 to 1024 \(got \(2, 3\)\)"),
        (np.zeros((0, 0)), None, "matrix must have as many rows as columns"),
        (np.zeros((1025, 1025)), None, "matrix must have as many rows as columns"),
        (np.zeros((2, 2)), ["a"], r"names must be 2, one for each class \(got 1\)"),
    ],
)
def test_bad_matrices_are_refused(matrix, names, message):
    """The message names the argument, the rule and the value."""
    with pytest.raises(ValueError, match=message):
        confusion_image(matrix, names)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (99_999, "99999"), (123_456, "123k"), (5e8, "500M"), (0.5, "0.5")]
)
def test_large_counts_are_abbreviated(count, text):
    """Counts are shortened to five characters, which fit in a cell."""
    from monitor_core.tensorboard.formats.confusion import _short

    assert _short(count) == text
