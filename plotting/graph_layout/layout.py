"""A layered layout of a graph: the positions of boxes, lines and the frames of groups.

Contract. No two boxes overlap, and no box overlaps the frame of a group that it is not in. Every edge is a line from
the border of its source to the border of its target. It crosses no box and always leads forward, or backward if the
edge closes a cycle, except where it goes around a column of a folded drawing. The same graph gives the same layout.

Needs no matplotlib.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Literal

import attrs

from monitor_core.plotting.graph_layout.bands import Bands
from monitor_core.plotting.graph_layout.folding import fold
from monitor_core.plotting.graph_layout.layering import Edge, Group, Item, assign_layers, join, slacks, spans
from monitor_core.plotting.graph_layout.ordering import Places, order_items
from monitor_core.plotting.graph_layout.placing import Room, place
from monitor_core.plotting.graph_layout.shapes import Box, Frame, Layout, Line, Point, Size, bent, loop

Direction = Literal["TB", "LR"]


@attrs.frozen
class Spacing:
    """Distances, in points.

    Attributes:
        layers: Between two layers.
        neighbours: Between two boxes of a layer.
        line: The room that a line takes across.
        frame: Between a group's frame and its content.
        title: Additional room at the upper side of a group, for its title.
        twins: Between an edge and its reverse.
        loop: How far an edge from a box to itself extends sideways.
    """

    layers: float = 26.0
    neighbours: float = 22.0
    line: float = 4.0
    frame: float = 10.0
    title: float = 14.0
    twins: float = 14.0
    loop: float = 16.0


def lay_out(
    sizes: Sequence[Size],
    edges: Sequence[Edge],
    groups: Sequence[Group],
    titles: Mapping[Group, float],
    *,
    direction: Direction = "TB",
    longest: float = math.inf,
    spacing: Spacing = Spacing(),
) -> Layout:
    """Lay out a graph.

    Args:
        sizes: The width and height of each node's box, in points. Nodes are numbered in the order of flow: an edge to a
            lower number closes a cycle.
        edges: The numbers of the source and the target of each edge.
        groups: The group of each node.
        titles: The width of each group's title, in points; groups without a title may be omitted.
        direction: The direction of flow: from top to bottom, or from left to right.
        longest: The length, in points, beyond which the drawing is folded.
        spacing: The distances to keep.
    """
    is_down = direction == "TB"
    boxes = [size if is_down else size[::-1] for size in sizes]
    sketch = _Sketch(boxes, edges, groups, spacing)
    # A line that enters through the middle of a frame's upper side would cross the title.
    least = {group: (2 if is_down else 1) * width + 4 * spacing.frame for group, width in titles.items()}
    title = spacing.title if titles else 0.0
    across = Room(
        spacing.neighbours, spacing.frame + (0.0 if is_down else title), spacing.frame, least if is_down else {}
    )
    along = Room(spacing.layers, spacing.frame + (title if is_down else 0.0), spacing.frame, {} if is_down else least)
    layout = sketch.finished(across, along, longest)
    return layout if is_down else layout.flipped()


class _Sketch:
    """A graph that is being laid out; in sizes and points, the coordinate across comes first.

    Args:
        sizes: The size of each box.
        edges: As for `lay_out`, as are the following.
        groups: The group of each node.
        spacing: The distances to keep.
    """

    def __init__(self, sizes: Sequence[Size], edges: Sequence[Edge], groups: Sequence[Group], spacing: Spacing) -> None:
        self._sizes = sizes
        self._edges = edges
        self._spacing = spacing
        joined = _joined(len(sizes), edges)
        slack = slacks(len(sizes), joined)
        self._nodes = self._items(assign_layers(len(sizes), joined), groups, slack)
        self._spans = spans(self._nodes)
        self._twins = set(edges) & {(target, source) for source, target in edges}
        self._stretches = {edge: self._joining(edge, slack[edge]) for edge in joined}

    def _items(self, layers: Sequence[int], groups: Sequence[Group], slack: Mapping[Edge, int]) -> list[Item]:
        loops = {source for source, target in self._edges if source == target}
        spare: dict[int, int] = {}
        for edge, value in slack.items():
            spare |= {node: min(value, spare.get(node, value)) for node in edge}
        return [
            Item(size + 2 * self._spacing.loop * (node in loops), layer, layer, group, slack=spare.get(node, 0))
            for node, ((size, _), layer, group) in enumerate(zip(self._sizes, layers, groups, strict=True))
        ]

    def _joining(self, edge: Edge, slack: int) -> list[Item]:
        size = self._spacing.line + self._spacing.twins * (edge in self._twins)
        return join(self._nodes[edge[0]], self._nodes[edge[1]], self._spans, slack, size)

    def finished(self, across: Room, along: Room, longest: float) -> Layout:
        """Return the layout for the given room across and along, folded if it is too long."""
        items = [*self._nodes, *(item for stretches in self._stretches.values() for item in stretches)]
        ordered = order_items(items, across.gap)
        _sort_joints(ordered)
        whole = place(ordered, across)
        places = {id(item): offset + whole.size / 2 for item, offset in whole.items}
        bands = Bands(self._thickness(), _sideways(items, places), self._spans, along)
        boxes = [self._box(node, places, bands) for node in range(len(self._nodes))]
        frames = [
            Frame(group, Box(middle + (whole.size - size) / 2, start, size, end - start))
            for group, middle, size in whole.groups
            for start, end in [bands.frames[group]]
        ]
        frames.sort(key=lambda frame: len(frame.group))
        lines = tuple(self._line(edge, places, boxes, bands) for edge in self._edges)
        layout = Layout(whole.size, bands.length, tuple(boxes), tuple(frames), lines)
        return fold(layout, list(zip(bands.closes, bands.opens[1:], strict=False)), longest)

    def _thickness(self) -> list[float]:
        found = [0.0] * (1 + max((node.last for node in self._nodes), default=-1))
        for node, (_, size) in zip(self._nodes, self._sizes, strict=True):
            found[node.first] = max(found[node.first], size)
        return found

    def _box(self, node: int, places: Places, bands: Bands) -> Box:
        item, (across, along) = self._nodes[node], self._sizes[node]
        middle = (bands.starts[item.first] + bands.ends[item.first]) / 2
        return Box(places[id(item)] - across / 2, middle - along / 2, across, along)

    def _line(self, edge: Edge, places: Places, boxes: Sequence[Box], bands: Bands) -> Line:
        source, target = edge
        if source == target:
            return loop(boxes[source], self._spacing.loop)
        upper, lower = min(edge), max(edge)
        ends = [(self._nodes[node], places[id(self._nodes[node])]) for node in (upper, lower)]
        runs = [
            (ends[0][1], boxes[upper].y + boxes[upper].height, bands.closes[ends[0][0].last]),
            *(
                (places[id(item)], bands.opens[item.first], bands.closes[item.last])
                for item in self._stretches[upper, lower]
            ),
            (ends[1][1], bands.opens[ends[1][0].first], boxes[lower].y),
        ]
        if edge in self._twins:  # side by side
            apart = min(self._spacing.twins, boxes[source].width / 2, boxes[target].width / 2)
            shift = apart / 2 if source < target else -apart / 2
            runs = [(place + shift, start, end) for place, start, end in runs]
        line = _curve(runs)
        return line if source < target else line[::-1]


def _joined(count: int, edges: Iterable[Edge]) -> list[Edge]:
    """Return the edges from lower to higher numbers, with some added that put unconnected nodes below each other."""
    joined = dict.fromkeys((min(edge), max(edge)) for edge in edges if edge[0] != edge[1])
    ends = {node for edge in joined for node in edge}
    alone = [node for node in range(count) if node not in ends]
    return [*joined, *pairwise(alone)]


def _sort_joints(ordered: Iterable[Item]) -> None:
    ranks = {id(item): rank for rank, item in enumerate(ordered)}
    for item in ordered:
        for joined in (item.above, item.below):
            joined.sort(key=lambda each: ranks[id(each)])


def _sideways(items: Iterable[Item], places: Places) -> list[float]:
    """Return, for each gap between layers, the largest sideways distance of a line in it."""
    found: dict[int, float] = {}
    for item in items:
        for other in item.below:
            way = abs(places[id(item)] - places[id(other)])
            found[item.last] = max(way, found.get(item.last, 0.0))
    return [found.get(layer, 0.0) for layer in range(max(found, default=-1) + 1)]


def _curve(runs: Sequence[tuple[float, float, float]]) -> Line:
    """Return a line of straight runs along the flow and curves between them."""
    place, start, _ = runs[0]
    points: list[Point] = [(place, start)]
    for number, (across, begin, end) in enumerate(runs):
        if number:
            points += bent(points[-1], (across, begin))
        if end > points[-1][1]:
            points += bent(points[-1], (across, end))
    return tuple(points)
