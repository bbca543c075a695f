"""Build a layer graph call by call."""

from monitor_core.model.graph_builder import GraphBuilder
from monitor_core.model.layer_graph import LayerGraph, LayerNode

SMALL, LARGE = ((None, 4),), ((None, 8),)


def test_a_layer_that_is_called_twice_is_one_node():
    """A layer's calls are joined to one node, with all sources and each shape once."""
    builder = GraphBuilder()
    sources = [builder.add(name, LayerNode(name, "Input")) for name in ("left", "right")]
    for source in sources:
        builder.add("coder", LayerNode("coder", "Dense", "", LARGE, SMALL), sources=[source])
    nodes = [LayerNode("left", "Input"), LayerNode("right", "Input"), LayerNode("coder", "Dense", "", LARGE, SMALL)]
    edges = [("left", "coder"), ("right", "coder")]
    assert builder.build("twins", parameters=7) == LayerGraph("twins", nodes, edges, parameters=7)


def test_different_shapes_of_calls_are_all_listed():
    """A layer that is called on two shapes has both."""
    builder = GraphBuilder()
    for shapes in (LARGE, SMALL, LARGE):
        builder.add("relu", LayerNode("relu", "ReLU", "", shapes, shapes))
    (node,) = builder.build("model", parameters=0).nodes
    assert node.input_shapes == node.output_shapes == (*LARGE, *SMALL)


def test_names_that_are_there_twice_get_a_number():
    """Layers are distinguished by their keys; the same name inside another model is a different one."""
    builder = GraphBuilder()
    added = [builder.add(number, LayerNode("add", "Add")) for number in range(3)]
    assert added == ["add", "add_1", "add_2"]
    assert builder.add(1, LayerNode("add", "Add")) == "add_1"
    assert builder.add(1, LayerNode("add", "Add"), inside=("block",)) == "block/add"


def test_nested_models_and_layers_share_their_names():
    """A layer with the name of a nested model next to it gets a number."""
    builder = GraphBuilder()
    inside = (builder.label("model", "block"),)
    assert builder.add("dense", LayerNode("dense", "Dense"), inside=inside) == "block/dense"
    assert builder.add("layer", LayerNode("block", "Dense")) == "block_1"
    assert builder.build("model", parameters=0).groups() == ("block",)
