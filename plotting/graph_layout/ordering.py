"""The order of items across the layers; sweeps reduce the crossings.

Contract. The whole drawing has one order, and it is hierarchical: within each group, the order of its items and nested
groups is the same in every layer. So no line passes a group on its left in one layer and on its right in the next.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from statistics import fmean

from monitor_core.plotting.graph_layout.layering import Group, Item

Places = dict[int, float]
"""Where items are across, in points, by the item's id."""

_SWEEPS = 16
_STANDING = 8.0  # the weight of an item from another layer, relative to one of the current layer


def order_items(items: Sequence[Item], gap: float) -> list[Item]:
    """Return the items in their order across: the best that several sweeps down and up the layers find.

    Args:
        items: All items, joined.
        gap: The distance of neighbours during the sweeps, in points.
    """
    best = present = list(items)
    fewest = crossings(best)
    places: Places = {id(item): 0.0 for item in items}
    for sweep in range(_SWEEPS):
        _sweep(present, places, gap, down=sweep % 2 == 0)
        present = hierarchical(present, places)
        if (count := crossings(present)) < fewest or sweep == 1:
            best, fewest = present, count
        if fewest == 0 and sweep:
            break
    return best


def _sweep(items: Iterable[Item], places: Places, gap: float, *, down: bool) -> None:
    """Move each item, layer by layer, to the mean of its connected items in the layer before, if neighbours allow."""
    layers: dict[int, list[Item]] = defaultdict(list)
    for item in items:
        for layer in range(item.first, item.last + 1):
            layers[layer].append(item)
    for layer in sorted(layers, reverse=not down):
        wanted, weights = {}, {}
        for item in layers[layer]:
            behind = item.above if down else item.below
            is_new = layer == (item.first if down else item.last)
            wanted[id(item)] = fmean(places[id(each)] for each in behind) if behind and is_new else places[id(item)]
            weights[id(item)] = 1.0 if is_new else _STANDING
        found = spread(hierarchical(layers[layer], wanted), wanted, weights, gap)
        places |= {name: place for name, place in found.items() if weights[name] == 1.0}


def spread(items: Sequence[Item], wanted: Mapping[int, float], weights: Mapping[int, float], gap: float) -> Places:
    """Return the least-squares closest positions to the wanted ones that the items' order and sizes allow.

    This is isotonic regression, by pooling adjacent violators, of the positions minus the room taken by the items
    before.
    """
    pools: list[tuple[float, float, int]] = []  # the mean, the weight, the number of items
    room = [0.0]
    for item, following in pairwise(items):
        room.append(room[-1] + (item.size + following.size) / 2 + gap)
    for item, before in zip(items, room, strict=True):
        mean, weight, count = wanted[id(item)] - before, weights[id(item)], 1
        while pools and pools[-1][0] > mean:
            other, heaviness, number = pools.pop()
            mean = (mean * weight + other * heaviness) / (weight + heaviness)
            weight, count = weight + heaviness, count + number
        pools.append((mean, weight, count))
    means = [mean for mean, _, count in pools for _ in range(count)]
    return {id(item): mean + before for item, mean, before in zip(items, means, room, strict=True)}


def hierarchical(items: Sequence[Item], places: Mapping[int, float], depth: int = 0) -> list[Item]:
    """Return the items sorted by position, those of a group together at their mean; ties keep their given order."""
    units: dict[Group | int, list[Item]] = {}
    for item in items:
        units.setdefault(item.group[: depth + 1] if len(item.group) > depth else id(item), []).append(item)
    ordered = sorted(units.values(), key=lambda unit: fmean(places[id(item)] for item in unit))
    return [
        item
        for unit in ordered
        for item in (unit if len(unit[0].group) <= depth else hierarchical(unit, places, depth + 1))
    ]


def crossings(items: Iterable[Item]) -> int:
    """Return how many pairs of lines cross if the items are in this order."""
    ranks = {id(item): rank for rank, item in enumerate(items)}
    gaps: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for item in items:
        rank = ranks[id(item)]
        gaps[item.last] += [(rank, ranks[id(other)]) for other in item.below]
        for layer in range(item.first, item.last):
            gaps[layer].append((rank, rank))
    return sum(map(_inversions, gaps.values()))


def _inversions(lines: Iterable[tuple[int, int]]) -> int:
    count = 0
    seen: list[int] = []
    for _, lower in sorted(lines):
        count += len(seen) - bisect_right(seen, lower)
        insort(seen, lower)
    return count
