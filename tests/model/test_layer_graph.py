"""A model's layers as a graph, built by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor_core.model.layer_graph import LayerGraph, LayerNode, shape_text, summary_table


def graph(text, edges=""):
    """Return a graph of layers named by single letters."""
    return LayerGraph("model", [LayerNode(name, "Dense") for name in text], [tuple(pair) for pair in edges.split()])


def names(nodes):
    return "".join(node.name for node in nodes)


def test_layers_hold_tuples_whatever_they_are_given():
    """Shapes and names may come as lists, and a layer can be compared and hashed."""
    node = LayerNode("coder/dense", "Dense", "float32", [[None, 8]], [[None, 4]], 36, ["coder"])
    assert node == LayerNode("coder/dense", "Dense", "float32", ((None, 8),), ((None, 4),), 36, ("coder",))
    assert len({node, node}) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": ""}, r"name must be strings that are not empty \(got ''\)"),
        ({"kind": ""}, r"kind must be strings that are not empty \(got ''\)"),
        ({"inside": [""]}, r"inside must be strings that are not empty \(got ''\)"),
        ({"inside": ["coder"]}, r"name must begin with 'coder/', as inside says \(got 'a'\)"),
        ({"name": "coder/", "inside": ["coder"]}, r"name must begin with 'coder/', as inside says \(got 'coder/'\)"),
        ({"input_shapes": [(-1,)]}, r"input_shapes must have axes that are None or integers >= 0 \(got \(-1,\)\)"),
        ({"output_shapes": [(2.0,)]}, r"output_shapes must have axes .* \(got \(2.0,\)\)"),
        ({"output_shapes": [(True,)]}, r"output_shapes must have axes .* \(got \(True,\)\)"),
        ({"parameters": -1}, r"parameters must be >= 0 \(got -1\)"),
    ],
)
def test_wrong_layers_are_refused(options, message):
    """A layer's error names the argument, the rule and the value."""
    with pytest.raises(ValueError, match=message):
        LayerNode(**{"name": "a", "kind": "Dense"} | options)


def test_layers_know_their_names_without_and_their_models():
    """The label is the name within the innermost model, the group that model's name."""
    outer, inner = LayerNode("a", "Dense"), LayerNode("coder/block/a", "Dense", inside=("coder", "block"))
    assert [(node.label, node.group) for node in (outer, inner)] == [("a", ""), ("a", "coder/block")]


@pytest.mark.parametrize(
    ("nodes", "edges", "message"),
    [
        ("aa", "", r"nodes must have unique names \(got 'a' twice\)"),
        ("ab", "ac", r"edges must be between nodes of the graph \(got 'c' in \('a', 'c'\)\)"),
        ("ab", "ab ab", r"edges must be unique \(got \('a', 'b'\) twice\)"),
        ("ab", "aba", r"edges must be pairs of names \(got \('a', 'b', 'a'\)\)"),
    ],
)
def test_wrong_graphs_are_refused(nodes, edges, message):
    """A graph's error names the argument, the rule and the value."""
    with pytest.raises(ValueError, match=message):
        graph(nodes, edges)


def test_no_layer_has_the_name_of_a_nested_model():
    """A name is either a layer's or that of a model around layers."""
    with pytest.raises(ValueError, match=r"must not have the name of a nested model around others \(got 'a'\)"):
        LayerGraph("model", [LayerNode("a", "Dense"), LayerNode("a/b", "Dense", inside=("a",))])


def test_only_layers_make_a_graph():
    """An object that is not a node is refused with its value."""
    with pytest.raises(TypeError, match=r"nodes must be LayerNode objects \(got 'a'\)"):
        LayerGraph("model", ["a"])


def test_parameters_are_the_sum_unless_given():
    """The caller can give the number of parameters, if layers share weights."""
    nodes = [LayerNode("a", "Embedding", parameters=12), LayerNode("b", "Dense", parameters=12)]
    assert LayerGraph("model", nodes).parameters == 24
    assert LayerGraph("model", nodes, parameters=12).parameters == 12


def test_sources_are_listed_for_each_layer():
    """Each layer's sources are in the order of the edges; a layer may be its own source."""
    assert graph("abc", "bc ac cc").sources() == {"a": (), "b": (), "c": ("b", "a", "c")}


def test_groups_are_outermost_first():
    """Every nested model is named in full, before those that are nested in it."""
    nodes = [LayerNode("a", "Dense"), LayerNode("x/y/b", "Dense", inside=("x", "y"))]
    assert LayerGraph("model", nodes).groups() == ("x", "x/y")


def test_layers_are_found_by_name():
    """An unknown name's error lists the names."""
    assert graph("ab").node("b") == LayerNode("b", "Dense")
    with pytest.raises(KeyError, match="no layer 'c'; this graph has a, b"):
        graph("ab").node("c")


@pytest.mark.parametrize(
    ("nodes", "edges", "ordered"),
    [
        ("abc", "", "abc"),
        ("cab", "ab bc", "abc"),
        ("dbca", "ab ac bd cd", "abcd"),
        ("abcd", "ab bc cb cd", "abcd"),
        ("ba", "ab ba", "ba"),
        ("a", "aa", "a"),
    ],
)
def test_order_follows_the_edges_and_else_the_given_one(nodes, edges, ordered):
    """A layer comes after its sources; a cycle is entered at its first given layer."""
    assert names(graph(nodes, edges).ordered()) == ordered


@given(st.permutations("abcdefg"), st.sets(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=20))
def test_order_is_topological_for_every_graph_without_cycles(letters, pairs):
    """For any order of the layers, no edge leads back."""
    edges = " ".join("abcdefg"[min(pair)] + "abcdefg"[max(pair)] for pair in pairs if pair[0] < pair[1])
    found = graph(letters, edges)
    order = names(found.ordered())
    assert sorted(order) == list("abcdefg")
    assert all(order.index(source) < order.index(target) for source, target in found.edges)


@given(st.sets(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=30))
def test_order_has_every_layer_once_even_with_cycles(pairs):
    """Sorting a graph with cycles loses no layer."""
    edges = " ".join("abcdefg"[one] + "abcdefg"[other] for one, other in sorted(pairs))
    assert sorted(names(graph("abcdefg", edges).ordered())) == list("abcdefg")


def test_shapes_are_written_as_readers_know_them():
    """Axes of any length are None, and several shapes are listed."""
    assert shape_text([(None, 28, 28), (None,)]) == "(None, 28, 28), (None,)"
    assert shape_text([]) == ""


def test_summary_is_a_table_in_markdown_and_in_plain_text():
    """The layers are in topological order, with aligned columns and the sum at the end."""
    nodes = [
        LayerNode("out|put", "Dense", "float32", [(None, 8)], [(None, 1)], 1009),
        LayerNode("image", "InputLayer", "float32", [], [(None, 8)]),
    ]
    assert summary_table(LayerGraph("reader", nodes, [("image", "out|put")])).splitlines() == [
        "| layer    | kind       | output shape | parameters | fed by |",
        "| -------- | ---------- | ------------ | ---------: | ------ |",
        "| image    | InputLayer | (None, 8)    |          0 |        |",
        r"| out\|put | Dense      | (None, 1)    |      1,009 | image  |",
        "",
        "reader: 1,009 parameters in 2 layers",
    ]
