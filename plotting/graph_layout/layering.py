"""Layers of a drawing: the layer of each node, and the items that are then ordered and placed.

The layers follow each other along the direction of flow; the other direction is called across. An item is a node, or a
stretch of a long edge through the layers between its ends, drawn as one straight line. Needs no matplotlib.

Source:
    Sugiyama, Tagawa, Toda, Methods for visual understanding of hierarchical system structures (1981): layers, dummy
    nodes and sweeps. Here the dummy nodes of an edge are one item, so that long edges are straight by construction.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise

import attrs

Edge = tuple[int, int]
Group = tuple[str, ...]
"""The names of the nested models around something, outermost first."""


@attrs.define(eq=False)
class Item:
    """A node, or a stretch of a long edge.

    Attributes:
        size: Its size across, in points.
        first: The layer in which it starts.
        last: The layer in which it ends; for a node, the same layer.
        group: The group that contains it.
        is_line: Whether it is a stretch of an edge.
        slack: How much shorter the longest path through it is than the longest path overall.
        above: The connected items in the layer above.
        below: The connected items in the layer below.
    """

    size: float
    first: int
    last: int
    group: Group = ()
    is_line: bool = False
    slack: int = 0
    above: list[Item] = attrs.field(factory=list, init=False)
    below: list[Item] = attrs.field(factory=list, init=False)


def assign_layers(count: int, edges: Iterable[Edge]) -> list[int]:
    """Return each node's layer: as early as its inputs allow, or as late as possible if it has more outputs.

    Args:
        count: The number of nodes.
        edges: From lower to higher numbers.

    Returns:
        The layers, from 0; every edge leads to a later layer.
    """
    above, below = _neighbours(edges)
    layers = [0] * count
    for node in range(count):
        layers[node] = max((layers[each] + 1 for each in above[node]), default=0)
    for node in reversed(range(count)):
        if len(below[node]) > len(above[node]):
            layers[node] = min(layers[each] for each in below[node]) - 1
    return layers


def slacks(count: int, edges: Sequence[Edge]) -> dict[Edge, int]:
    """Return, for each edge, how much shorter the longest path through it is than the longest path overall."""
    above, below = _neighbours(edges)
    to, since = [0] * count, [0] * count
    for node in range(count):
        to[node] = max((to[each] + 1 for each in above[node]), default=0)
    for node in reversed(range(count)):
        since[node] = max((since[each] + 1 for each in below[node]), default=0)
    longest = max((here + there for here, there in zip(to, since, strict=True)), default=0)
    return {(source, target): longest - to[source] - 1 - since[target] for source, target in edges}


def _neighbours(edges: Iterable[Edge]) -> tuple[defaultdict[int, list[int]], defaultdict[int, list[int]]]:
    above: defaultdict[int, list[int]] = defaultdict(list)
    below: defaultdict[int, list[int]] = defaultdict(list)
    for source, target in edges:
        above[target].append(source)
        below[source].append(target)
    return above, below


def spans(items: Iterable[Item]) -> dict[Group, tuple[int, int]]:
    """Return the first and the last layer of each group."""
    found: dict[Group, tuple[int, int]] = {}
    for item in items:
        for depth in range(1, len(item.group) + 1):
            first, last = found.get(item.group[:depth], (item.first, item.last))
            found[item.group[:depth]] = min(first, item.first), max(last, item.last)
    return found


def join(source: Item, target: Item, found: dict[Group, tuple[int, int]], slack: int, size: float) -> list[Item]:
    """Connect two nodes by the stretches of a line between them.

    A line stays inside its source's groups until these end, and inside its target's groups from where these start, so
    that it never enters an unrelated group.

    Args:
        source: The node above.
        target: The node below.
        found: Each group's span.
        slack: The edge's slack.
        size: The line's size across, in points.

    Returns:
        The stretches, from top to bottom; none for nodes in adjacent layers.
    """
    between = range(source.last + 1, target.first)
    stretches = []
    for group, layers in groupby(between, lambda layer: _group_at(layer, source.group, target.group, found)):
        inside = list(layers)
        stretches.append(Item(size, inside[0], inside[-1], group, is_line=True, slack=slack))
    for upper, lower in pairwise([source, *stretches, target]):
        upper.below.append(lower)
        lower.above.append(upper)
    return stretches


def _group_at(layer: int, source: Group, target: Group, found: dict[Group, tuple[int, int]]) -> Group:
    shared = 0
    while shared < min(len(source), len(target)) and source[shared] == target[shared]:
        shared += 1
    for group in (source, target):
        for depth in range(len(group), shared, -1):
            first, last = found[group[:depth]]
            if first <= layer <= last:
                return group[:depth]
    return source[:shared]
