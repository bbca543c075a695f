"""Precision-recall curves: as TensorBoard's own library computes them, and as its tab draws them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor_core.tensorboard.formats.event_file import EventFile
from monitor_core.tensorboard.formats.pr_curves import pr_curve, pr_curve_value

LABELS = np.array([0, 0, 1, 1, 1])
SCORES = np.array([0.1, 0.5, 0.5, 0.8, 1.0])


def test_a_curve_by_hand():
    """At each threshold, samples count as positive if their score is not below it."""
    assert pr_curve(LABELS, SCORES, 3).tolist() == [
        [3, 3, 1],
        [2, 1, 0],
        [0, 1, 2],
        [0, 0, 2],
        [3 / 5, 3 / 4, 1],
        [1, 1, 1 / 3],
    ]


def test_weights_count_samples_more_than_once():
    """A weight of two counts a sample twice, a weight of zero not at all."""
    twice = pr_curve([0, 0, 1, 1, 1], [0.2, 0.2, 0.6, 0.7, 0.9], 11)
    np.testing.assert_allclose(pr_curve([0, 1, 1, 1, 1], [0.2, 0.6, 0.7, 0.9, 0.3], 11, [2, 1, 1, 1, 0]), twice)


@given(st.data(), st.integers(1, 40), st.integers(2, 200))
def test_curves_are_those_of_the_definition(data, size, thresholds):
    """For any labels, and scores between thresholds, the curve equals a count per threshold."""
    labels = np.array(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    buckets = data.draw(st.lists(st.integers(0, thresholds - 2), min_size=size, max_size=size))
    scores = (np.array(buckets) + 0.5) / (thresholds - 1)
    expected = by_counting(labels, scores, thresholds)
    np.testing.assert_allclose(pr_curve(labels, scores, thresholds), expected)


@pytest.mark.parametrize("seed", range(5))
def test_curves_are_tensorboards(seed):
    """TensorBoard's own library, which needs TensorFlow, gives the same numbers."""
    pytest.importorskip("tensorflow")
    from tensorboard.plugins.pr_curve.summary import pb

    random = np.random.default_rng(seed)
    labels, scores, weights = random.random(50) < 0.4, random.random(50), random.random(50)
    summary = pb("pr", labels, scores, num_thresholds=127, weights=weights)
    expected = np.frombuffer(summary.value[0].tensor.tensor_content, np.float32).reshape(6, 127)
    np.testing.assert_allclose(pr_curve(labels, scores, 127, weights), expected, rtol=1e-5, atol=1e-5)


def by_counting(labels, scores, thresholds):
    """Compute a curve by the definition, one threshold at a time."""
    rows = []
    for threshold in np.linspace(0, 1, thresholds):
        taken = scores >= threshold
        counts = [np.sum(taken & labels), np.sum(taken & ~labels), np.sum(~taken & ~labels), np.sum(~taken & labels)]
        precision, recall = (counts[0] / max(1e-7, counts[0] + counts[other]) for other in (1, 3))
        rows.append([*counts, precision, recall])
    return np.transpose(rows)


def test_tensorboard_shows_the_curve(tmp_path, either_board):
    """The tab gets precision and recall for each threshold except those that no score reaches."""
    EventFile(tmp_path / "validation").add_value(pr_curve_value("pr", LABELS, SCORES, 11), 4)
    query = {"run": "validation", "tag": "pr"}
    found = either_board(tmp_path).get("plugin/pr_curves/pr_curves", lambda runs: runs.get("validation"), **query)
    (row,) = found["validation"]
    assert row["step"] == 4
    np.testing.assert_allclose(row["thresholds"], np.linspace(0, 1, 11))
    np.testing.assert_allclose(row["precision"], pr_curve(LABELS, SCORES, 11)[4], rtol=1e-6)
    np.testing.assert_allclose(row["recall"], pr_curve(LABELS, SCORES, 11)[5], rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 1], [0.5]), r"scores must have the shape \(2,\), as labels have \(got \(1,\)\)"),
        (([0, 2], [0.5, 0.5]), "labels must be 0 and 1"),
        (([], []), "labels must be 0 and 1"),
        (([0, 1], [-3.0, 4.0]), r"scores must be probabilities within 0 to 1 \(got -3 to 4\); of logits"),
        (([0, 1], [0.5, np.nan]), "scores must be probabilities"),
        (([0, 1], [0.5, 0.5], 1), r"thresholds must be >= 2 \(got 1\)"),
        (([0, 1], [0.5, 0.5], 5, [1]), r"weights must have the shape \(2,\)"),
        (([0, 1], [0.5, 0.5], 5, [1, -1]), r"weights must be finite and >= 0 \(got -1 to 1\)"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    """The message names the argument, the rule and the value."""
    with pytest.raises(ValueError, match=message):
        pr_curve_value("pr", *arguments)
