"""The graph and the table of layers, read back by TensorBoard."""

import json

import numpy as np
import pytest
from boards_reader import plugins, tensors

from monitor_core import Run
from monitor_core.model.layer_graph import LayerGraph, LayerNode
from monitor_core.tensorboard.parts.files import RunFiles
from monitor_core.tensorboard.parts.graph import Graph
from monitor_core.tensorboard.parts.parts import Parts, Samples


class Model:
    """A handle with two layers, once it is built; it records the samples that it is given."""

    def __init__(self, *, built=True):
        self.built = built
        self.given = []

    def layer_graph(self, sample=None, *, expand_nested=False):
        self.given.append(sample)
        if not self.built:
            raise ValueError("it is not built")
        nodes = [LayerNode("first", "Dense", parameters=6), LayerNode("last", "Dense", parameters=2)]
        return LayerGraph("net", nodes, [("first", "last")])


@pytest.fixture
def files(tmp_path):
    return RunFiles(tmp_path)


def graph():
    return Parts(Graph(Samples(2)))


def test_the_layers_are_there_from_the_begin(files, tmp_path):
    """A model that is built has its graph and its table before the first epoch ends."""
    graph().begin(Run(model=Model()), files)
    assert plugins(tmp_path / "train") == {
        "graph": "graph_run_metadata_graph",
        "keras": "graph_keras_model",
        "model": "text",
    }
    found = tensors(tmp_path / "train")
    layers = json.loads(found["keras"][0][1].item())["config"]["layers"]
    assert [layer["config"]["name"] for layer in layers] == ["first", "last"]
    assert b"net: 8 parameters in 2 layers" in found["model"][0][1].item()


def test_they_are_written_once(files, tmp_path):
    """Later epochs and runs do not write them again."""
    part, run = graph(), Run(model=Model())
    for epoch in range(2):
        part.begin(run, files)
        part.call("end_epoch", run, epoch, files)
    assert {tag: len(events) for tag, events in tensors(tmp_path / "train").items()} == {
        "graph": 1,
        "keras": 1,
        "model": 1,
    }


def test_a_model_that_is_built_later_has_them_later(files, tmp_path, warned):
    """Layers that cannot be read at train begin are tried again at an epoch's end, without a warning in between."""
    part, run = graph(), Run(model=Model(built=False))
    part.begin(run, files)
    run.model.built = True
    part.call("end_epoch", run, 0, files)
    assert warned() == []
    assert set(tensors(tmp_path / "train")) == {"graph", "keras", "model"}


def test_a_model_that_cannot_be_read_is_warned_about(files, warned):
    """If the layers cannot be read at an epoch's end either, there is one warning."""
    part, run = graph(), Run(model=Model(built=False))
    part.begin(run, files)
    for epoch in range(2):
        part.call("end_epoch", run, epoch, files)
    assert warned() == ["TensorBoard cannot write the graph: ValueError: it is not built; training continues"]


def test_a_model_without_layers_is_passed_over(files, warned, tmp_path):
    """A handle without layers, or no handle, is not a failure: the graph is on by default."""
    for model in (None, object()):
        part = graph()
        part.begin(Run(model=model), files)
        part.call("end_epoch", Run(model=model), 0, files)
    assert warned() == []
    assert not (tmp_path / "train").exists()


def test_available_samples_are_passed(files):
    """If validation data are arrays, the model gets some of them for its shapes."""
    run = Run(model=Model(), validation_data=(np.arange(5), None))
    graph().begin(run, files)
    assert [sample.tolist() for sample in run.model.given] == [[0, 1]]
