"""Snapshots: what they have of a classifier and of other models, when they are made, and what is left out."""

import numpy as np
import pytest

from monitor_core import Journal, LayerGraph, Loop, SetupError, Snapshots, open_run
from monitor_core.model.layer_graph import LayerNode
from monitor_core.testing import Recorder, SinkContract

X = np.arange(12.0).reshape(6, 2)
Y = np.array([0, 1, 1, 0, 2, 2])


class Model:
    """A handle that says class 1 for all samples but the last two, with a rising confidence."""

    def predict(self, x):
        scores = np.full((len(x), 3), 0.05)
        scores[:, 1] = np.linspace(0.5, 0.9, len(x))
        scores[-2:] = [[0.1, 0.1, 0.8], [0.1, 0.1, 0.8]]
        return scores

    def activations(self, x, layers=None):
        yield "hidden", np.reshape(x, (len(x), -1))[:, :2] * [1.0, 3.0]
        yield "out", self.predict(x)

    def layer_graph(self, sample=None, *, expand_nested=False):
        nodes = [LayerNode("hidden", "Dense", parameters=6), LayerNode("out", "Dense", output_shapes=[(None, 3)])]
        return LayerGraph("model", nodes, [("hidden", "out")])


class TestContract(SinkContract):
    """What holds for every sink."""

    @pytest.fixture
    def make_sink(self):
        return lambda: Snapshots(data=(X, Y))


def train(sink, model, epochs=4, **options):
    """Train for some epochs of two batches; return the snapshots."""
    with Loop(sink, recorder := Recorder("on_snapshot"), model=model, **options) as loop:
        for _ in loop.epochs(epochs):
            for _ in loop.batches(range(2)):
                loop.log(loss=1.0)
    return [event[1] for event in recorder.events]


def test_a_classifier_has_a_confusion_matrix_and_its_mistakes():
    """Rows are the true classes; the mistake that it is surest of comes first."""
    [found] = train(Snapshots(data=(X, Y), class_names=["a", "b", "c"]), Model())
    assert (found.epoch, found.step, found.samples, found.classes) == (3, 8, 6, ("a", "b", "c"))
    assert found.confusion.tolist() == [[0, 2, 0], [0, 2, 0], [0, 0, 2]]
    assert (found.mistakes.places.tolist(), found.mistakes.truth.tolist()) == ([3, 0], [0, 0])
    assert found.mistakes.predicted.tolist() == [1, 1]
    assert found.mistakes.confidence[0] > found.mistakes.confidence[1]
    assert found.mistakes.images is None
    assert found.skipped == ()


def test_the_last_hidden_layer_is_seen_in_the_plane_of_its_variance():
    """With each sample's class as its label."""
    [found] = train(Snapshots(data=(X, Y)), Model())
    assert (found.embedding.name, found.embedding.labels) == ("hidden", ("0", "1", "1", "0", "2", "2"))
    distances = np.linalg.norm(np.diff(found.embedding.points, axis=0), axis=1)
    np.testing.assert_allclose(distances, np.hypot(2.0, 6.0), rtol=1e-5)
    np.testing.assert_allclose(found.embedding.explained, [1.0, 0.0], atol=1e-12)


def test_an_embedding_matrix_comes_first():
    """Its rows have the labels that were given, and numbers where they end."""

    class Embedded(Model):
        def embeddings(self):
            yield "words", np.eye(4)

    [found] = train(Snapshots(data=(X, Y), labels=["the", "a"]), Embedded())
    assert (found.embedding.name, found.embedding.labels) == ("words", ("the", "a", "2", "3"))


def test_samples_that_are_images_are_kept_as_images():
    """Flat ones by their given shape, scaled to bytes; large ones lose rows and columns."""
    x = np.zeros((6, 64))
    x[3, 9] = 5.0
    [found] = train(Snapshots(data=(x, Y), image_shape=(8, 8)), Model())
    assert (found.mistakes.images.shape, found.mistakes.images[0, 1, 1]) == ((2, 8, 8), 255)
    [found] = train(Snapshots(data=(np.zeros((6, 200, 100, 3), np.float32), Y)), Model())
    assert found.mistakes.images.shape == (2, 50, 25, 3)


def test_it_looks_at_the_end_and_every_few_epochs():
    """Once for each step, also if both fall together."""
    assert [(each.epoch, each.step) for each in train(Snapshots(every=3, data=(X, Y)), Model())] == [(2, 6), (3, 8)]
    assert [(each.epoch, each.step) for each in train(Snapshots(every=2, data=(X, Y)), Model())] == [(1, 4), (3, 8)]


def test_what_cannot_be_made_is_left_out_with_the_reason():
    """The others are there."""

    class Broken(Model):
        def predict(self, x):
            raise RuntimeError("out of memory")

        activations = None

    [found] = train(Snapshots(data=(X, Y)), Broken())
    assert found.confusion is None
    assert found.graph.name == "model"
    assert found.skipped[0] == "the predictions: out of memory"
    assert found.skipped[1].startswith("the embedding: ")


def test_a_regression_has_no_confusion_matrix():
    """And that is not a failure."""
    [found] = train(Snapshots(data=(X, Y + 0.5)), Model())
    assert (found.confusion, found.mistakes, found.skipped) == (None, None, ())


def test_without_data_there_is_the_graph():
    """A run without validation data is not an error."""
    [found] = train(Snapshots(), Model())
    assert (found.confusion, found.embedding, found.samples) == (None, None, 0)
    assert len(found.graph.nodes) == 2


@pytest.mark.parametrize("order", [0, 1])
def test_a_journal_has_it_and_gives_it_back(tmp_path, order):
    """Whichever of the two sinks comes first."""
    sinks = [Snapshots(data=(np.ones((6, 8, 8)), Y)), Journal(tmp_path)]
    with Loop(*sinks[:: 1 - 2 * order], recorder := Recorder("on_snapshot"), model=Model()) as loop:
        for _ in loop.epochs(1):
            loop.log(loss=1.0)
    made, found = recorder.events[0][1], open_run(tmp_path).snapshot
    assert (found.graph, found.classes, found.samples) == (made.graph, made.classes, 6)
    assert found.confusion.tolist() == made.confusion.tolist()
    assert found.mistakes.images.tolist() == made.mistakes.images.tolist()
    assert found.embedding.points.tolist() == made.embedding.points.tolist()
    assert open_run(tmp_path).status == "completed"


def test_a_run_without_snapshots_has_none(tmp_path):
    """As one that was recorded by an earlier release."""
    with Loop(Journal(tmp_path)) as loop:
        for _ in loop.epochs(1):
            loop.log(loss=1.0)
    assert open_run(tmp_path).snapshot is None


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"every": 0}, ValueError, "every must be >= 1"),
        ({"samples": 0}, ValueError, "samples must be >= 1"),
        ({"image_shape": (28,)}, ValueError, r"image_shape must be \(height, width\)"),
    ],
)
def test_bad_arguments_are_refused(options, error, message):
    """At construction."""
    with pytest.raises(error, match=message):
        Snapshots(**options)


def test_data_that_cannot_be_read_are_refused_at_train_begin():
    """With the reason."""
    with pytest.raises(SetupError, match="Snapshots cannot read samples"):
        train(Snapshots(data=iter([1])), Model())
