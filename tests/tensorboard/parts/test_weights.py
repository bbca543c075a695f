"""Weights, activations and gradients as histograms and images, read back by TensorBoard."""

import io

import numpy as np
import pytest
from boards_reader import float32, plugins, scalars, steps, tensors
from PIL import Image

from monitor_core import Run
from monitor_core.tensorboard.formats.event_file import write_histogram
from monitor_core.tensorboard.parts.activations import Activations
from monitor_core.tensorboard.parts.files import TRAIN, RunFiles
from monitor_core.tensorboard.parts.gradients import Gradients
from monitor_core.tensorboard.parts.parts import Samples
from monitor_core.tensorboard.parts.weights import Weights


class Model:
    """A handle of two weights, which counts how often they are read."""

    reads = 0

    def weights(self):
        self.reads += 1
        yield "dense/kernel", np.arange(6.0).reshape(2, 3)
        yield "dense/bias", np.zeros(3)

    def activations(self, x):
        yield "dense", x * 2 - 1

    def gradients(self, x, y):
        yield "dense/kernel", np.array([x.sum(), y.sum()])


@pytest.fixture
def run():
    return Run(model=Model(), validation_data=(np.arange(4.0)[:, np.newaxis], np.arange(4.0)))


@pytest.fixture
def files(tmp_path):
    return RunFiles(tmp_path)


def over(epochs, part, run, files):
    """Call a part's methods for a number of epochs."""
    for epoch in range(epochs):
        part.end_epoch(run, epoch, files)


def counted(buckets):
    """Return the edges of a histogram, and how many values it has."""
    return buckets[0, 0], buckets[-1, 1], buckets[:, 2].sum()


def test_weights_are_written_when_due(run, files, tmp_path):
    """Histograms and images are written every given number of epochs, each at its own, starting with the first."""
    over(5, Weights(2, 3), run, files)
    found = {tag: [step for step, _ in events] for tag, events in tensors(tmp_path / "train").items()}
    assert found == {
        "dense/kernel/histogram": [0, 2, 4],
        "dense/kernel/image": [0, 3],
        "dense/bias/histogram": [0, 2, 4],
        "dense/bias/image": [0, 3],
    }
    assert run.model.reads == 4


def test_histograms_and_images_are_in_their_tabs(run, files, tmp_path):
    """Each is in its tab; the histogram has all values, the image is a PNG."""
    over(1, Weights(1, 1), run, files)
    kinds = plugins(tmp_path / "train")
    assert (kinds["dense/kernel/histogram"], kinds["dense/kernel/image"]) == ("histograms", "images")
    found = tensors(tmp_path / "train")
    assert counted(found["dense/kernel/histogram"][0][1]) == (0.0, 5.0, 6.0)
    width, height, png = found["dense/kernel/image"][0][1]
    assert Image.open(io.BytesIO(png)).size == (int(width), int(height))


def test_images_need_no_histograms(run, files, tmp_path):
    """With histograms off, only images are written, as in the tutorial."""
    over(1, Weights(0, 1), run, files)
    assert set(tensors(tmp_path / "train")) == {"dense/kernel/image", "dense/bias/image"}


def test_weights_are_not_read_in_vain(run, files):
    """An epoch in which nothing is due reads nothing."""
    Weights(2, 0).end_epoch(run, 1, files)
    assert run.model.reads == 0


def test_activations_are_those_of_the_samples(run, files, tmp_path):
    """Each layer's outputs on the first samples are written as a histogram."""
    over(3, Activations(2, Samples(3)), run, files)
    assert steps(tmp_path / "train", "dense/activations") == [0, 2]
    assert counted(tensors(tmp_path / "train")["dense/activations"][0][1]) == (-1.0, 3.0, 3.0)
    assert scalars(tmp_path / "train") == {}


class Outputs:
    """A handle of one layer with given outputs in each epoch."""

    def __init__(self, *epochs):
        self.epochs = list(epochs)

    def activations(self, x):
        yield "dense", np.array(self.epochs.pop(0))


def test_rectified_outputs_show_their_positive_part_and_the_share_of_zeros(files, tmp_path):
    """The histogram omits zeros, unless there is nothing else; their share is always written, even if it is 0."""
    outputs = Outputs([0.0, 0.0, 0.0, 1.0, 3.0], [0.0, 0.0], [2.0, 3.0])
    over(3, Activations(1, Samples(1)), Run(model=outputs, validation_data=np.zeros((1, 1))), files)
    found = tensors(tmp_path / "train")["dense/activations"]
    assert [counted(buckets) for _, buckets in found] == [(1.0, 3.0, 2.0), (0.0, 0.0, 2.0), (2.0, 3.0, 2.0)]
    assert scalars(tmp_path / "train") == {"zeros/dense/activations": [(0, float32(0.6)), (1, 1.0), (2, 0.0)]}


@pytest.mark.parametrize("outputs", [[0.0, -1.0, 2.0], [0.5, 1.0], [0.0, np.nan]])
def test_other_outputs_show_all_of_their_values(files, tmp_path, outputs):
    """If some are negative or not finite, or none is zero, the histogram has all values."""
    run = Run(model=Outputs(outputs), validation_data=np.zeros((1, 1)))
    over(1, Activations(1, Samples(1)), run, files)
    found = tensors(tmp_path / "train")
    assert counted(found["dense/activations"][0][1])[2] == np.isfinite(outputs).sum()
    assert not any(tag.startswith("zeros") for tag in found)


def test_default_activations_need_available_data(files, tmp_path):
    """Without data, with data that reading would change, or without such a handle, nothing is written or raised."""

    class Shuffled(list):
        element_spec = "as of a tf.data.Dataset"

    part = Activations(1, Samples(2), only_at_hand=True)
    for model, data in (
        (Model(), None),
        (Model(), iter([])),
        (Model(), Shuffled([np.zeros((2, 1))])),
        (object(), np.zeros((2, 1))),
    ):
        part.end_epoch(Run(model=model, validation_data=data), 0, files)
    assert list(tmp_path.iterdir()) == []
    part.end_epoch(Run(model=Model(), validation_data=np.zeros((2, 1))), 0, files)
    assert set(tensors(tmp_path / "train")) == {"dense/activations"}


def test_gradients_are_those_on_the_samples(run, files, tmp_path):
    """The gradient by each weight, with inputs and targets, becomes a histogram."""
    over(1, Gradients(1, Samples(4)), run, files)
    assert counted(tensors(tmp_path / "train")["dense/kernel/gradient"][0][1]) == (6.0, 6.0, 2.0)


def test_gradients_need_targets(files):
    """Validation data of inputs alone are an error that says so."""
    run = Run(model=Model(), validation_data=np.zeros((4, 1)))
    with pytest.raises(ValueError, match="no targets, which a loss needs"):
        Gradients(1, Samples(4)).end_epoch(run, 0, files)


def test_values_that_are_not_finite_are_counted_separately(files, tmp_path):
    """A histogram has the finite values, and the number of others is a scalar; without any there is none."""
    write_histogram(files[TRAIN], "a", np.array([1.0, np.nan, 2.0, np.inf]), 0)
    write_histogram(files[TRAIN], "b", np.array([np.nan]), 0)
    write_histogram(files[TRAIN], "c", np.array([1.0]), 0)
    found = tensors(tmp_path / "train")
    assert set(found) == {"a", "a/not_finite", "b/not_finite", "c"}
    assert (float(found["a/not_finite"][0][1]), float(found["b/not_finite"][0][1])) == (2.0, 1.0)
    assert counted(found["a"][0][1]) == (1.0, 2.0, 2.0)
