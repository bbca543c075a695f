"""Graphs of layers: read by TensorBoard's reader of Keras models, for models of any kind."""

import json

import attrs
import pytest
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.plugins.graph.keras_util import keras_model_to_graph_def

from monitor_core.model.layer_graph import LayerGraph, LayerNode
from monitor_core.tensorboard.formats.event_file import EventFile
from monitor_core.tensorboard.formats.graphs import add_node, graph_event, layers_graph_value, layers_value

NODES = [
    LayerNode("words", "InputLayer", "int32"),
    LayerNode("encoder/dense", "Dense", "mixed_float16", inside=["encoder"]),
    LayerNode("encoder/norm", "Größe", "float32, int32", inside=["encoder"]),
    LayerNode("out", "Dense", "float32"),
]
EDGES = [("words", "encoder/dense"), ("encoder/dense", "encoder/norm"), ("encoder/norm", "out"), ("words", "out")]


def read(graph):
    """Return what TensorBoard reads from a graph: each node's inputs, class and type."""
    (content,) = layers_value(graph).tensor.string_val
    nodes = keras_model_to_graph_def(json.loads(content)).node
    return {
        node.name: (list(node.input), node.attr["keras_class"].s.decode(), node.attr["dtype"].type) for node in nodes
    }


def test_layers_edges_and_kinds_are_read():
    """Layers of nested models are in groups, and a type that TensorBoard does not know is omitted."""
    int32, float32 = 3, 1
    assert read(LayerGraph("model", NODES, EDGES)) == {
        "model/words": ([], "InputLayer", int32),
        "model/encoder/dense": (["model/words"], "Dense", 0),
        "model/encoder/norm": (["model/encoder/dense"], "Gr??e", 0),
        "model/out": (["model/encoder/norm", "model/words"], "Dense", float32),
    }


def test_a_layer_without_inputs_has_no_edge():
    """A layer without edges has no input: the previous layer is not taken for it."""
    assert [inputs for inputs, _, _ in read(LayerGraph("model", NODES, [])).values()] == [[], [], [], []]


def test_a_layer_may_have_an_edge_to_itself():
    """A layer may have an edge to itself, as a shared layer can."""
    assert read(LayerGraph("model", NODES[3:], [("out", "out")]))["model/out"][0] == ["model/out"]


def test_what_has_a_meaning_in_inputs_is_replaced():
    """Colons and carets in names are replaced: they would redirect an edge."""
    found = read(LayerGraph("", [LayerNode("^a:0", "A"), LayerNode("b", "B")], [("^a:0", "b")]))
    assert {name: inputs for name, (inputs, _, _) in found.items()} == {"model/a_0": [], "model/b": ["model/a_0"]}


def test_any_object_with_nodes_and_edges_will_do():
    """Any object with nodes and edges can be the graph."""

    @attrs.frozen
    class Graph:
        name: str
        nodes: tuple
        edges: tuple

    assert list(read(Graph("model", NODES[:1], ()))) == ["model/words"]


def test_a_graph_without_layers_is_refused():
    """A graph without layers is refused: TensorBoard would respond with an error."""
    with pytest.raises(ValueError, match=r"graph must have a layer \(got none in 'model'\)"):
        layers_value(LayerGraph("model", []))


def test_tensorboard_shows_the_layers(tmp_path, either_board):
    """The tab offers the conceptual graph and gets its nodes."""
    EventFile(tmp_path / "train").add_value(layers_value(LayerGraph("model", NODES, EDGES)), 0)
    board = either_board(tmp_path)
    info = board.get("plugin/graphs/info", lambda runs: runs.get("train", {}).get("tags"))
    assert info["train"]["tags"]["keras"]["conceptual_graph"] is True
    query = {"run": "train", "tag": "keras", "conceptual": "true", "limit_attr_size": 1024}
    text = board.get("plugin/graphs/graph", large_attrs_key="_too_large_attrs", **query).decode()
    assert text.count("node {") == 4
    assert 'name: "model/encoder/dense"' in text


def test_tensorboard_shows_a_run_graph(tmp_path, either_board):
    """The tab offers the run's graph and gets its nodes with their shapes."""
    graph = GraphDef()
    add_node(graph, "input", "Input", [], [(None, 4)])
    add_node(graph, "scope/sum", "Sum", ["input", "input"], [()])
    EventFile(tmp_path / "train").add_event(graph_event(graph, 1.7e9))
    board = either_board(tmp_path)
    info = board.get("plugin/graphs/info", lambda runs: runs.get("train"))
    assert info["train"]["run_graph"] is True
    query = {"run": "train", "limit_attr_size": 1024, "large_attrs_key": "_too_large_attrs"}
    text = board.get("plugin/graphs/graph", **query).decode()
    assert text.count("node {") == 2
    assert text.count('input: "input"') == 1
    assert "size: -1" in text


def test_layers_are_a_graph_of_operations_too():
    """The tab opens with each layer and its inputs, in a box only if it is in a nested model."""
    from tensorboard.compat.proto.config_pb2 import RunMetadata

    graph = LayerGraph(
        "net", [LayerNode("a", "Dense"), LayerNode("in/b", "Add"), LayerNode("c", "Dense")], [("a", "in/b")]
    )
    value = layers_graph_value(graph)
    assert (value.tag, value.metadata.plugin_data.plugin_name) == ("graph", "graph_run_metadata_graph")
    (drawn,) = RunMetadata.FromString(value.tensor.string_val[0]).function_graphs
    found = [(node.name, node.op, list(node.input)) for node in drawn.pre_optimization_graph.node]
    assert found == [("a", "Dense", []), ("in/b", "Add", ["a"]), ("c", "Dense", [])]
