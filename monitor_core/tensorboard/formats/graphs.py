"""Graphs for TensorBoard's Graphs tab: a model's layers, and the operations of a computation.

Layers are written as the smallest JSON that TensorBoard's reader of Keras models understands, for models of any kind:
on some of the JSON that Keras itself writes, that reader fails, and some it draws wrongly.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from monitor_core.tensorboard.formats.values import strings_value

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.graph_pb2 import GraphDef
    from tensorboard.compat.proto.summary_pb2 import Summary


class _Node(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def dtype(self) -> str: ...


class Layers(Protocol):
    """A model's layers, such as a `LayerGraph`: nodes, and edges as pairs of names."""

    @property
    def name(self) -> str:
        """The model's name."""

    @property
    def nodes(self) -> Sequence[_Node]:
        """The layers; slashes in their names make groups."""

    @property
    def edges(self) -> Sequence[tuple[str, str]]:
        """Pairs of a source layer's name and a target layer's name."""


def layers_value(graph: Layers, tag: str = "keras") -> Summary.Value:
    """Return a model's layers as a summary value: the tab's conceptual graph.

    Args:
        graph: The layers.
        tag: Its tag; the tab shows one graph for each.

    Raises:
        ValueError: There is no layer.
    """
    if not graph.nodes:
        raise ValueError(f"graph must have a layer (got none in {graph.name!r})")
    inputs: dict[str, list[str]] = {node.name: [] for node in graph.nodes}
    for source, target in graph.edges:
        inputs[target].append(node_name(source))
    layers = [
        {
            "class_name": node.kind.encode("ascii", "replace").decode(),
            "config": {"name": node_name(node.name)} | _dtype(node.dtype),
            "inbound_nodes": [_call(inputs[node.name])],
        }
        for node in graph.nodes
    ]
    config = {"name": node_name(graph.name) or "model", "layers": layers}
    content = json.dumps({"class_name": "Functional", "config": config}).encode()
    return strings_value(tag, "graph_keras_model", [content], content=b"1", blobs=True)


def layers_graph_value(graph: Layers, tag: str = "graph") -> Summary.Value:
    """Return a model's layers as a graph of operations too: the tab opens such a graph first, and fails without one.

    The layers are on the first level, which the tab shows at once; the conceptual graph has them in the model's box.

    Args:
        graph: The layers.
        tag: Its tag; the tab opens the first by name, so it should sort before that of `layers_value`.
    """
    from tensorboard.compat.proto.config_pb2 import RunMetadata

    metadata = RunMetadata()
    drawn = metadata.function_graphs.add().pre_optimization_graph
    for node in graph.nodes:
        sources = [node_name(source) for source, target in graph.edges if target == node.name]
        add_node(drawn, node_name(node.name), node.kind, sources)
    return strings_value(tag, "graph_run_metadata_graph", [metadata.SerializeToString()], content=b"1", blobs=True)


def graph_event(graph: GraphDef, time: float) -> Event:
    """Return the graph of a computation as an event: the tab's run graph, one for each run.

    Args:
        graph: The graph, as `jax_graph` or `torch_graph` returns it.
        time: Seconds since 1970.
    """
    from tensorboard.compat.proto.event_pb2 import Event

    return Event(wall_time=time, graph_def=graph.SerializeToString())


def add_node(
    graph: GraphDef, name: str, kind: str, inputs: Iterable[str], shapes: Iterable[Iterable[int | None]] = ()
) -> None:
    """Add an operation to a graph.

    Args:
        graph: The graph.
        name: The node's name, as `node_name` returns it.
        kind: The operation's name.
        inputs: The names of its input nodes.
        shapes: Its outputs' shapes; None for an unknown length.
    """
    node = graph.node.add(name=name, op=kind)
    node.input.extend(dict.fromkeys(inputs))
    for shape in shapes:
        described = node.attr["_output_shapes"].list.shape.add()
        for size in shape:
            described.dim.add(size=-1 if size is None else size)


def node_name(name: str) -> str:
    """Return a name without the characters that have a meaning in nodes' inputs: a colon, and a leading caret."""
    return name.replace(":", "_").lstrip("^").encode(errors="replace").decode()


def _dtype(name: str) -> dict[str, str]:
    """Return a layer's type in the reader's form; nothing if the reader does not know the type."""
    from tensorboard.compat.tensorflow_stub.dtypes import as_dtype

    try:
        as_dtype(name)
    except TypeError:
        return {}
    return {"dtype": name}


def _call(sources: Sequence[str]) -> dict[str, Any]:
    return {"args": [{"config": {"keras_history": [source, 0, 0]}} for source in sources]}
