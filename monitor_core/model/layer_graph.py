"""A model's layers as a graph, without any framework: adapters build it, plots and tables show it.

Contract. Every layer is one node, however often the model calls it. An edge says that an output of one layer is an
input of the other, so shared layers may form cycles, and a layer that gets its own output has an edge to itself. Names
are unique: a layer inside a nested model is ``model/layer``, and no layer has the name of a nested model that is shown
with its layers. Nodes and edges are in the order in which the model uses them, as far as that is known.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import Any

import attrs

from monitor_core.checks import count

Shape = tuple[int | None, ...]
"""The axes of a tensor; None for an axis of any length, such as the batch's."""


def _shapes(shapes: Iterable[Iterable[int | None]]) -> tuple[Shape, ...]:
    return tuple(tuple(shape) for shape in shapes)


def _texts(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(texts)


def _pairs(edges: Iterable[Iterable[str]]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(edge) for edge in edges)


def _check_shapes(_: Any, field: attrs.Attribute[Any], shapes: tuple[Shape, ...]) -> None:
    for shape in shapes:
        for axis in shape:
            if axis is not None and (isinstance(axis, bool) or not isinstance(axis, int) or axis < 0):
                raise ValueError(f"{field.name} must have axes that are None or integers >= 0 (got {shape})")


def _check_texts(_: Any, field: attrs.Attribute[Any], texts: tuple[str, ...]) -> None:
    for text in texts:
        if not isinstance(text, str) or not text:
            raise ValueError(f"{field.name} must be strings that are not empty (got {text!r})")


@attrs.frozen
class LayerNode:
    """One layer, or one operation on tensors.

    Attributes:
        name: Its name, unique in the graph; inside nested models, theirs come first: ``model/layer``.
        kind: The name of its class, such as ``Dense``; for a wrapper with the wrapped layer's, ``Bidirectional(LSTM)``.
        dtype: The data type of its output, such as ``float32``; for several outputs, the distinct types, joined by
            commas; empty if unknown.
        input_shapes: The shape of each input; empty if unknown, and for inputs of the model.
        output_shapes: The shape of each output; empty if unknown.
        parameters: The number of its parameters, including those that are not trained.
        inside: The names of the nested models around it, outermost first; empty for a layer of the model itself.

    Raises:
        TypeError: ``parameters`` is not an integer.
        ValueError: A string is empty, an axis negative, or ``name`` does not begin with the names in ``inside``.
    """

    name: str = attrs.field()
    kind: str = attrs.field()
    dtype: str = ""
    input_shapes: tuple[Shape, ...] = attrs.field(default=(), converter=_shapes, validator=_check_shapes)
    output_shapes: tuple[Shape, ...] = attrs.field(default=(), converter=_shapes, validator=_check_shapes)
    parameters: int = attrs.field(default=0, validator=count())
    inside: tuple[str, ...] = attrs.field(default=(), converter=_texts, validator=_check_texts)

    @name.validator
    @kind.validator
    def _check_text(self, field: attrs.Attribute[Any], value: str) -> None:
        _check_texts(self, field, (value,))

    @inside.validator
    def _check_inside(self, field: attrs.Attribute[Any], inside: tuple[str, ...]) -> None:
        if inside and self.label in {"", self.name}:
            raise ValueError(f"name must begin with {self.group + '/'!r}, as inside says (got {self.name!r})")

    @property
    def group(self) -> str:
        """The unique name of the innermost nested model around it; empty for a layer of the model itself."""
        return "/".join(self.inside)

    @property
    def label(self) -> str:
        """Its name without those of the nested models around it."""
        return self.name.removeprefix(f"{self.group}/") if self.inside else self.name


def _nodes(nodes: Iterable[LayerNode]) -> tuple[LayerNode, ...]:
    found = tuple(nodes)
    for node in found:
        if not isinstance(node, LayerNode):
            raise TypeError(f"nodes must be LayerNode objects (got {node!r})")
    return found


@attrs.frozen
class LayerGraph:
    """The layers of a model and their connections.

    Attributes:
        name: The model's name.
        nodes: The layers; empty for a model without layers.
        edges: Pairs of a source layer's name and a target layer's name, each pair once.
        parameters: The number of the model's parameters; weights that several layers share count once. By default
            the sum over the nodes, which is right if no weights are shared.

    Raises:
        TypeError: ``nodes`` has an element of another type, or ``parameters`` is not an integer.
        ValueError: A name is used twice, is also that of a nested model, or an edge names a node that does not exist.
    """

    name: str
    nodes: tuple[LayerNode, ...] = attrs.field(converter=_nodes)
    edges: tuple[tuple[str, str], ...] = attrs.field(default=(), converter=_pairs)
    parameters: int = attrs.field(  # by `attrs.Factory`: pyright takes a field whose default is a method as required
        default=attrs.Factory(lambda graph: sum(node.parameters for node in graph.nodes), takes_self=True),
        kw_only=True,
        validator=count(),
    )

    @nodes.validator
    def _check_nodes(self, _: attrs.Attribute[Any], nodes: tuple[LayerNode, ...]) -> None:
        if twice := _first_repeated(node.name for node in nodes):
            raise ValueError(f"nodes must have unique names (got {twice!r} twice)")
        names = {node.name for node in nodes}
        for group in self.groups():
            if group in names:
                raise ValueError(f"nodes must not have the name of a nested model around others (got {group!r})")

    @edges.validator
    def _check_edges(self, _: attrs.Attribute[Any], edges: tuple[tuple[str, str], ...]) -> None:
        names = {node.name for node in self.nodes}
        for edge in edges:
            if len(edge) != 2:
                raise ValueError(f"edges must be pairs of names (got {edge!r})")
            for name in edge:
                if name not in names:
                    raise ValueError(f"edges must be between nodes of the graph (got {name!r} in {edge!r})")
        if twice := _first_repeated(edges):
            raise ValueError(f"edges must be unique (got {twice!r} twice)")

    def node(self, name: str) -> LayerNode:
        """Return the node with this name.

        Raises:
            KeyError: There is no such node.
        """
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(f"no layer {name!r}; this graph has {', '.join(node.name for node in self.nodes) or 'none'}")

    def sources(self) -> dict[str, tuple[str, ...]]:
        """Return for each node the names of its sources, in the order of the edges."""
        found: dict[str, list[str]] = {node.name: [] for node in self.nodes}
        for source, target in self.edges:
            found[target].append(source)
        return {name: tuple(sources) for name, sources in found.items()}

    def groups(self) -> tuple[str, ...]:
        """Return the unique names of the nested models that are shown with their layers, outer ones first."""
        found = ("/".join(node.inside[:depth]) for node in self.nodes for depth in range(1, len(node.inside) + 1))
        return tuple(dict.fromkeys(found))

    def ordered(self) -> tuple[LayerNode, ...]:
        """Return the nodes with each after its sources, otherwise in their given order.

        If shared layers form a cycle there is no such order: it is entered at its first given node.
        """
        by_name = {node.name: node for node in self.nodes}
        return tuple(by_name[name] for name in _ordered(list(by_name), self.edges))


def _first_repeated(values: Iterable[Any]) -> Any:
    seen = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None


def _ordered(names: list[str], edges: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield names in topological order, otherwise in the given order."""
    places = {name: place for place, name in enumerate(names)}
    targets: dict[str, list[str]] = {name: [] for name in names}
    missing = dict.fromkeys(names, 0)
    for source, target in edges:
        if source != target:
            targets[source].append(target)
            missing[target] += 1
    free = [places[name] for name in names if not missing[name]]
    left = dict.fromkeys(names)
    while left:
        name = names[heapq.heappop(free)] if free else next(iter(left))
        del left[name]
        yield name
        for target in targets[name]:
            missing[target] -= 1
            if not missing[target] and target in left:
                heapq.heappush(free, places[target])


def shape_text(shapes: Iterable[Shape]) -> str:
    """Return shapes in their usual form: ``(None, 28, 28)``, several joined by commas, empty for none."""
    return ", ".join(str(shape) for shape in shapes)


def summary_table(graph: LayerGraph) -> str:
    """Return the layers as a table: name, kind, output shape, parameters and sources, and the sum below.

    The table is Markdown, and its columns are aligned in plain text too.
    """
    sources = graph.sources()
    rows = [["layer", "kind", "output shape", "parameters", "fed by"]] + [
        [node.name, node.kind, shape_text(node.output_shapes), f"{node.parameters:,}", ", ".join(sources[node.name])]
        for node in graph.ordered()
    ]
    rows = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = [f"{'-' * (width - 1)}:" if place == 3 else "-" * width for place, width in enumerate(widths)]
    lines = [_line(row, widths) for row in [rows[0], rule, *rows[1:]]]
    return "\n".join([*lines, "", f"{graph.name}: {graph.parameters:,} parameters in {len(graph.nodes)} layers", ""])


def _line(cells: list[str], widths: list[int]) -> str:
    aligned = (
        cell.rjust(width) if place == 3 else cell.ljust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return f"| {' | '.join(aligned)} |"
