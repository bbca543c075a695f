"""Places across the layers: what is joined stands in one straight line wherever its neighbours allow.

Contract. Neighbours in a layer keep their distance, and a group is a column of its own through all of its layers:
nothing from outside of it stands between its borders there. The items come in an order that `ordering` made.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, pairwise

import attrs

from monitor_core.plotting.graph_layout.blocks import Blocks, Joint
from monitor_core.plotting.graph_layout.layering import Group, Item


@attrs.frozen
class Room:
    """The room that is kept across, in points.

    Attributes:
        gap: Between neighbours; beside lines less.
        before: Between a group's border and the first thing in it.
        after: Between the last thing in a group and its border.
        least: The least size of each group.
    """

    gap: float
    before: float
    after: float
    least: Mapping[Group, float]

    def between(self, first: Unit, second: Unit) -> float:
        """Return how far apart the middles of two neighbours must be."""
        gap = self.gap * (0.5 + 0.25 * (not first.is_line) + 0.25 * (not second.is_line))
        return (first.size + second.size) / 2 + gap


@attrs.define(eq=False)
class Unit:
    """An item, or a group with all that is in it, as one thing to be placed.

    Attributes:
        size: Its size across, in points.
        first: Its first layer.
        last: Its last layer.
        is_line: Whether it is a stretch of a line.
        items: The items in it, and how far their middles are from its own.
        groups: The groups in it, itself included: how far their middles are from its own, and their sizes.
    """

    size: float
    first: int
    last: int
    is_line: bool = False
    items: list[tuple[Item, float]] = attrs.field(factory=list)
    groups: list[tuple[Group, float, float]] = attrs.field(factory=list)


def place(items: Sequence[Item], room: Room) -> Unit:
    """Place all items.

    Args:
        items: All items, joined and in their order across.
        room: The room to keep.

    Returns:
        The whole drawing.
    """
    return _column(items, (), room)


def _column(items: Sequence[Item], group: Group, room: Room) -> Unit:
    """Place the items of a group relative to its middle."""
    units = list(_units(items, group, room))
    places = _solved(units, room)
    start = min(place - unit.size / 2 for unit, place in zip(units, places, strict=True))
    end = max(place + unit.size / 2 for unit, place in zip(units, places, strict=True))
    padding = room.before + room.after if group else 0.0
    size = max(end - start + padding, room.least.get(group, 0.0))
    middle = (start + end) / 2 - (room.before - room.after) / 2 if group else (start + end) / 2
    whole = Unit(size, min(unit.first for unit in units), max(unit.last for unit in units))
    if group:
        whole.groups.append((group, 0.0, size))
    for unit, place in zip(units, places, strict=True):
        whole.items += [(item, offset + place - middle) for item, offset in unit.items]
        whole.groups += [(name, offset + place - middle, width) for name, offset, width in unit.groups]
    return whole


def _units(items: Iterable[Item], group: Group, room: Room) -> Iterator[Unit]:
    depth = len(group) + 1
    for key, members in groupby(items, lambda item: item.group[:depth] if len(item.group) >= depth else id(item)):
        inside = list(members)
        if isinstance(key, tuple):
            yield _column(inside, key, room)
        else:
            item = inside[0]
            yield Unit(item.size, item.first, item.last, item.is_line, [(item, 0.0)])


def _solved(units: Sequence[Unit], room: Room) -> list[float]:
    """Return a place for each unit of a column."""
    layers: dict[int, list[int]] = defaultdict(list)
    for number, unit in enumerate(units):
        for layer in range(unit.first, unit.last + 1):
            layers[layer].append(number)
    neighbours = {pair for present in layers.values() for pair in pairwise(present)}
    distances = {(left, right): room.between(units[left], units[right]) for left, right in neighbours}
    joints = list(_joints(units))
    blocks = Blocks(len(units), distances)
    for upper, lower, joint in sorted(joints, key=lambda each: max(each[0].slack, each[1].slack)):
        if _favourite(upper.below) is lower and _favourite(lower.above) is upper:
            blocks.align(joint)
    return blocks.places([joint for _, _, joint in joints])


def _joints(units: Sequence[Unit]) -> Iterator[tuple[Item, Item, Joint]]:
    """Yield the items of different units that are joined."""
    found = {id(item): (number, offset) for number, unit in enumerate(units) for item, offset in unit.items}
    for number, unit in enumerate(units):
        for item, offset in unit.items:
            for other in item.below:
                target, shift = found.get(id(other), (number, 0.0))
                if target != number:
                    yield item, other, Joint(number, target, offset - shift)


def _favourite(items: Sequence[Item]) -> Item | None:
    """Return the one to be in a straight line with, None where symmetry is better.

    It is the one on the longest path. Of an odd number of such, it is the middle one; of an even number, what is in
    the middle between them.
    """
    least = min(item.slack for item in items)
    longest = [place for place, item in enumerate(items) if item.slack == least]
    if len(longest) % 2:
        return items[longest[len(longest) // 2]]
    first, last = longest[len(longest) // 2 - 1 : len(longest) // 2 + 1]
    between = items[first + 1 : last]
    return between[len(between) // 2] if len(between) % 2 else None
