"""Precision-recall curves and confusion matrices from validation predictions, read back by TensorBoard."""

import io

import numpy as np
import pytest
from boards_reader import plugins, tensors
from PIL import Image

from monitor_core import Run
from monitor_core.tensorboard.parts.files import RunFiles
from monitor_core.tensorboard.parts.parts import Samples
from monitor_core.tensorboard.parts.predictions import Predictions


class Model:
    """A handle whose predictions are a function of its inputs."""

    def __init__(self, function=lambda x: x):
        self.predict = function


SCORES = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1], [0.1, 0.9, 0.0]])


def written(tmp_path, outputs, targets, names=None, epochs=1, freq=1):
    """Return what is written for given outputs of a model."""
    run = Run(model=Model(), validation_data=(outputs, targets))
    part, files = Predictions(freq, Samples(100), names), RunFiles(tmp_path)
    for epoch in range(epochs):
        part.end_epoch(run, epoch, files)
    return tensors(tmp_path / "validation")


def test_two_classes_have_one_curve(tmp_path):
    """A single output has one curve, whose counts are those of its scores, and a confusion matrix."""
    scores, targets = np.array([0.1, 0.4, 0.6, 0.9])[:, np.newaxis], np.array([0, 1, 0, 1])
    found = written(tmp_path, scores, targets)
    assert plugins(tmp_path / "validation") == {"pr_curve": "pr_curves", "confusion_matrix": "images"}
    curve = found["pr_curve"][0][1]
    thresholds = np.linspace(0, 1, curve.shape[1])
    passed = scores[:, 0] >= thresholds[:, np.newaxis]
    assert curve[0].tolist() == (passed & (targets == 1)).sum(axis=1).tolist()
    assert curve[1].tolist() == (passed & (targets == 0)).sum(axis=1).tolist()


def test_several_classes_have_a_curve_each(tmp_path):
    """Each class among the targets has a curve under its name; other classes have none."""
    found = written(tmp_path, SCORES, np.array([0, 1, 1, 1]), ["cat", "dog", "owl"])
    assert set(found) == {"pr_curve/cat", "pr_curve/dog", "confusion_matrix"}
    width, height, png = found["confusion_matrix"][0][1]
    assert Image.open(io.BytesIO(png)).size == (int(width), int(height))


def test_classes_without_names_are_numbered(tmp_path):
    """Without names, the classes are numbered."""
    assert set(written(tmp_path, SCORES, np.array([0, 1, 2, 1]))) == {
        "pr_curve/0",
        "pr_curve/1",
        "pr_curve/2",
        "confusion_matrix",
    }


def test_several_labels_at_once_have_no_matrix(tmp_path):
    """If samples belong to several classes, there are only curves."""
    assert set(written(tmp_path, SCORES, np.array([[1, 1, 0]] * 4))) == {"pr_curve/0", "pr_curve/1"}


@pytest.mark.parametrize("kind", [dict, list])
def test_each_output_has_its_tags(tmp_path, kind):
    """Several outputs, by name or in order, have separate tags."""
    outputs, targets = {"a": SCORES, "b": SCORES[:, :1]}, {"a": np.array([0, 1, 0, 1]), "b": np.array([1, 0, 1, 0])}
    names = ("a", "b") if kind is dict else ("0", "1")
    if kind is list:
        outputs, targets = list(outputs.values()), list(targets.values())
    found = written(tmp_path, outputs, targets)
    assert set(found) == {
        f"pr_curve/{names[0]}/0",
        f"pr_curve/{names[0]}/1",
        f"confusion_matrix/{names[0]}",
        f"pr_curve/{names[1]}",
        f"confusion_matrix/{names[1]}",
    }


def test_they_are_written_when_due(tmp_path):
    """Outputs are written every given number of epochs, starting with the first."""
    found = written(tmp_path, SCORES, np.array([0, 1, 0, 1]), epochs=5, freq=2)
    assert {tuple(step for step, _ in events) for events in found.values()} == {(0, 2, 4)}


def test_a_wrong_number_of_names_is_refused(tmp_path):
    """There must be one name for each class; a single output has two classes."""
    with pytest.raises(ValueError, match=r"class_names must have 3 names, one for each class \(got 2\)"):
        written(tmp_path, SCORES, np.array([0, 1, 0, 1]), ["cat", "dog"])
    with pytest.raises(ValueError, match=r"class_names must have 2 names, one for each class \(got 1\)"):
        written(tmp_path, SCORES[:, 0], np.array([0, 1, 0, 1]), ["dog"])


def test_predictions_need_targets(tmp_path):
    """Validation data of inputs alone are an error that says so."""
    with pytest.raises(ValueError, match="no targets to compare with"):
        written(tmp_path, SCORES, None)
