"""The model's graph as a drawing: boxes with the layers' kinds, names and shapes, and lines between them."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from monitor_core.model.layer_graph import LayerGraph, LayerNode
from monitor_core.page.words import number
from monitor_core.plotting.graph_layout.layout import lay_out
from monitor_core.plotting.graph_layout.shapes import Box, Line
from monitor_core.values.text import counted, shortened

_MOST = 400
_LETTER, _HEIGHT, _ROW = 7.2, 24.0, 16.0
"""About how wide a letter is, and how high a box and each of its further lines are, in points."""
_LONGEST = 900.0


@attrs.frozen
class DrawnLayer:
    """A layer's box.

    Attributes:
        box: Where it is.
        lines: Its text, line by line: the kind, the name, the output's shape, the number of parameters.
    """

    box: Box
    lines: list[str]


@attrs.frozen
class DrawnGraph:
    """A graph.

    Attributes:
        width: How wide it is.
        height: How high it is.
        layers: The boxes.
        paths: The lines, as SVG.
        frames: The frames of nested models, each with its name.
        summary: What it shows.
        table: The cells of its table: layer, kind, output shape, parameters.
    """

    width: float
    height: float
    layers: list[DrawnLayer]
    paths: list[str]
    frames: list[tuple[Box, str]]
    summary: str
    table: list[list[str]]


def drawn(graph: LayerGraph) -> DrawnGraph | None:
    """Return a model's graph as a drawing; None for one without layers, or with too many to draw."""
    nodes = graph.ordered()
    if not 0 < len(nodes) <= _MOST:
        return None
    numbers = {node.name: place for place, node in enumerate(nodes)}
    texts = [list(_lines(node)) for node in nodes]
    layout = lay_out(
        [_size(lines) for lines in texts],
        [(numbers[source], numbers[target]) for source, target in graph.edges],
        [node.inside for node in nodes],
        {group: _LETTER * len(group[-1]) for node in nodes for group in _groups(node)},
        direction="TB",
        longest=_LONGEST,
    )
    shown = [[node.name, node.kind, _shapes(node), number(node.parameters)] for node in nodes]
    return DrawnGraph(
        width=layout.width,
        height=layout.height,
        layers=[DrawnLayer(box, lines) for box, lines in zip(layout.boxes, texts, strict=True)],
        paths=[_path(line) for line in layout.lines],
        frames=[(frame.box, frame.group[-1] if frame.is_first else "") for frame in layout.frames],
        summary=f"{graph.name}: {counted(len(nodes), 'layer')}, {counted(graph.parameters, 'parameter')}.",
        table=shown,
    )


def _groups(node: LayerNode) -> list[tuple[str, ...]]:
    return [node.inside[:depth] for depth in range(1, len(node.inside) + 1)]


def _lines(node: LayerNode) -> Iterator[str]:
    yield node.kind
    if node.label != node.kind:
        yield shortened(node.label, 40)
    if shapes := _shapes(node):
        yield shapes
    if node.parameters:
        yield counted(node.parameters, "parameter")


def _shapes(node: LayerNode) -> str:
    shown = [" × ".join("any" if axis is None else str(axis) for axis in shape) for shape in node.output_shapes[:2]]  # noqa: RUF001
    return ", ".join(shown)


def _size(lines: list[str]) -> tuple[float, float]:
    return max(len(line) for line in lines) * _LETTER + 28.0, _HEIGHT + _ROW * (len(lines) - 1) + 6.0


def _path(line: Line) -> str:
    """Return a line, a start and then cubic curves of three points each, as SVG."""
    points = [f"{x:.1f} {y:.1f}" for x, y in line]
    curves = (points[place : place + 3] for place in range(1, len(points) - 2, 3))
    return f"M{points[0]}" + "".join(f"C{', '.join(each)}" for each in curves)
