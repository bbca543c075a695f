"""Build a layer graph from a model's calls, as an adapter finds them while it follows the tensors.

Contract. A layer that is called several times becomes one node, with the sources of all of its calls and their distinct
shapes. Layers are distinguished by identity, and duplicate names get a number.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import attrs

from monitor_core.model.layer_graph import LayerGraph, LayerNode, Shape

Sources = tuple[str, ...]
"""The names of the nodes that a tensor comes from; none for a constant."""


@attrs.define
class GraphBuilder:
    """Collects calls of layers, and builds their graph."""

    _labels: dict[tuple[Hashable, tuple[str, ...]], str] = attrs.field(factory=dict, init=False)
    _taken: set[str] = attrs.field(factory=set, init=False)
    _nodes: dict[str, LayerNode] = attrs.field(factory=dict, init=False)
    _calls: dict[str, list[tuple[tuple[Shape, ...], tuple[Shape, ...]]]] = attrs.field(factory=dict, init=False)
    _edges: dict[tuple[str, str], None] = attrs.field(factory=dict, init=False)

    def label(self, layer: Hashable, name: str, inside: tuple[str, ...] = ()) -> str:
        """Return the name of a layer or nested model, unique among its neighbours.

        Args:
            layer: A key for the layer itself: equal to nothing else, and as long-lived as the builder.
            name: Its own name.
            inside: The names of the nested models around it, as this method returned them.
        """
        key = (layer, inside)
        if key not in self._labels:
            label, number = name, 0
            while "/".join((*inside, label)) in self._taken:
                number += 1
                label = f"{name}_{number}"
            self._taken.add("/".join((*inside, label)))
            self._labels[key] = label
        return self._labels[key]

    def add(
        self, layer: Hashable, node: LayerNode, *, sources: Iterable[str] = (), inside: tuple[str, ...] = ()
    ) -> str:
        """Add a call of a layer.

        Args:
            layer: As in `label`.
            node: The layer with its own name and the shapes of this call.
            sources: The unique names of the nodes that feed this call.
            inside: As in `label`.

        Returns:
            The node's unique name.
        """
        name = "/".join((*inside, self.label(layer, node.name, inside)))
        self._nodes.setdefault(name, attrs.evolve(node, name=name, inside=inside))
        calls = self._calls.setdefault(name, [])
        if (shapes := (node.input_shapes, node.output_shapes)) not in calls:
            calls.append(shapes)
        self._edges |= dict.fromkeys((source, name) for source in sources)
        return name

    def build(self, name: str, *, parameters: int) -> LayerGraph:
        """Return the graph.

        Args:
            name: The model's name.
            parameters: The number of the model's parameters; weights that several layers share count once.
        """
        nodes = (self._with_shapes(node) for node in self._nodes.values())
        return LayerGraph(name, nodes, self._edges, parameters=parameters)

    def _with_shapes(self, node: LayerNode) -> LayerNode:
        calls = self._calls[node.name]
        return attrs.evolve(
            node,
            input_shapes=[shape for taken, _ in calls for shape in taken],
            output_shapes=[shape for _, given in calls for shape in given],
        )
