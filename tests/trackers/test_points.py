"""Points: what trackers send, as columns, rows and single values."""

import attrs
import numpy as np
import pytest

from monitor_core import Block
from monitor_core.trackers.points import Points


@pytest.fixture
def points():
    """Return three steps of two metrics, of which one is missing in the middle."""
    columns = {"loss": np.array([3.0, 2.0, 1.0]), "acc": np.array([0.1, np.nan, 0.3])}
    present = {"loss": None, "acc": np.array([True, False, True])}
    return Points.of_block(Block(1, np.array([5, 6, 7]), np.array([50.0, 60.0, 70.0]), columns, present))


def test_a_block_keeps_its_arrays(points):
    """Its metrics have names of their own, and its arrays are not copied."""
    assert (points.epoch, list(points.columns)) == (1, ["batch/loss", "batch/acc"])
    steps = np.array([1])
    block = Block(0, steps, steps, {}, {})
    assert Points.of_block(block).steps is steps


def test_single_values_come_metric_by_metric(points):
    """Each as name, value, time and step; a missing one is left out."""
    assert list(points.flat()) == [
        ("batch/loss", 3.0, 50.0, 5),
        ("batch/loss", 2.0, 60.0, 6),
        ("batch/loss", 1.0, 70.0, 7),
        ("batch/acc", 0.1, 50.0, 5),
        ("batch/acc", 0.3, 70.0, 7),
    ]


def test_rows_come_step_by_step(points):
    """Each with its time and the metrics that it has."""
    assert list(points.rows()) == [
        (5, 50.0, {"batch/loss": 3.0, "batch/acc": 0.1}),
        (6, 60.0, {"batch/loss": 2.0}),
        (7, 70.0, {"batch/loss": 1.0, "batch/acc": 0.3}),
    ]


def test_last_values_are_those_that_are_there(points):
    """A metric that the last step lacks has its value of the step before."""
    shorter = points.after({"batch/acc": 6})
    assert dict(points.last()) == {"batch/loss": 1.0, "batch/acc": 0.3}
    assert dict(shorter.last()) == {"batch/loss": 1.0, "batch/acc": 0.3}
    assert dict(points.after({"batch/acc": 7}).last()) == {"batch/loss": 1.0}


def test_last_steps_are_those_of_each_metric(points):
    """One that is missing at the end has an earlier one."""
    assert dict(points.last_steps()) == {"batch/loss": 7, "batch/acc": 7}
    masked = attrs.evolve(points, present={**points.present, "batch/acc": np.array([True, False, False])})
    assert dict(masked.last_steps()) == {"batch/loss": 7, "batch/acc": 5}


def test_steps_up_to_a_floor_are_left_out_for_each_metric(points):
    """One that has no floor keeps all."""
    assert [(name, step) for name, _, _, step in points.after({"batch/loss": 6}).flat()] == [
        ("batch/loss", 7),
        ("batch/acc", 5),
        ("batch/acc", 7),
    ]
    assert points.after({"batch/loss": 4, "other": 9}) is points


def test_results_that_are_not_numbers_are_left_out():
    """Strings and None among an epoch's logs are no points."""
    points = Points.of_logs(0, 4, {"loss": 1, "note": "text", "none": None, "rate": np.float32(0.5)})
    assert [(name, value, step) for name, value, _, step in points.flat()] == [("loss", 1.0, 4), ("rate", 0.5, 4)]
