"""Classifiers' outputs and targets, in all usual forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor_core.tensorboard.parts.classes import classify

ONE_HOT = np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0]])
SHARES = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.2, 0.5, 0.3]])


@pytest.mark.parametrize("targets", [ONE_HOT, [0, 2, 1], [[0], [2], [1]], np.array([0.0, 2.0, 1.0], "float32")])
def test_targets_are_indices_or_one_of_each(targets):
    """Class indices, with or without a class axis, and one-hot rows are equivalent."""
    found = classify(SHARES, targets)
    assert found.exclusive
    assert found.truth.tolist() == (ONE_HOT == 1).tolist()
    assert found.scores.tolist() == SHARES.tolist()
    assert found.confusion().tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 0]]


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_one_output_decides_between_two_classes(shape):
    """A single output is the probability of the second class, decided at one half."""
    found = classify(np.reshape([0.2, 0.5, 0.9, 0.1], shape), np.reshape([0, 0, 1, 1], shape))
    assert found.truth.tolist() == [[False], [False], [True], [True]]
    assert found.confusion().tolist() == [[1, 1], [1, 1]]


def test_several_classes_at_once_are_not_exclusive():
    """Rows with more than one class, or none, are multi-label targets."""
    found = classify(np.array([[0.9, 0.8], [0.1, 0.2]]), np.array([[1, 1], [0, 0]]))
    assert not found.exclusive


def test_logits_become_probabilities():
    """Outputs beyond 0 to 1 are logits: softmax for exclusive classes, the logistic function for others."""
    logits = np.log(SHARES) + 5
    assert np.allclose(classify(logits, ONE_HOT).scores, SHARES)
    assert np.allclose(classify(np.array([0.0, 800.0, -800.0]), np.array([0, 1, 1])).scores[:, 0], [0.5, 1.0, 0.0])
    assert np.allclose(classify(np.array([[0.0, 2.0]]), np.array([[1, 1]])).scores, [[0.5, 1 / (1 + np.exp(-2))]])


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1))
def test_the_confusion_matrix_counts_pairs(pairs):
    """Each sample is counted once, by its true and its predicted class."""
    truth, taken = np.array(pairs).T
    expected = np.zeros((4, 4), int)
    np.add.at(expected, (truth, taken), 1)
    assert classify(np.eye(4)[taken], truth).confusion().tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("outputs", "targets", "message"),
    [
        ([0.5, 0.7], [0.3, 2.5], r"targets must be 0 and 1 for outputs of 1 columns \(got 1 columns with 0.3, 2.5"),
        (SHARES, [0, 3, 1], "targets must be 0 and 1, or the indices of 3 classes,"),
        (SHARES, [0, 1], r"the same length \(got 3 and 2\)"),
        (SHARES * np.nan, [0, 1, 2], "outputs must be finite"),
        (np.ones((2, 3, 4)), [0, 1], r"numbers for each sample and class \(got the shape \(2, 3, 4\)"),
        (np.array(["a"]), [0], "outputs must be numbers"),
    ],
)
def test_outputs_of_other_models_are_refused(outputs, targets, message):
    """Regressions, sequences and strings are refused with what was found."""
    with pytest.raises(ValueError, match=message):
        classify(outputs, np.asarray(targets))
