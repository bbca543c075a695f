"""Positions across the layers: connected items are in a straight line wherever their neighbours allow.

Contract. Neighbours in a layer keep their distance, and a group is a separate column through all of its layers: nothing
from outside is between its borders. The items come in the order that `ordering` computed.
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
    """The room to keep across, in points.

    Attributes:
        gap: Between neighbours; less next to lines.
        before: Between a group's border and its first content.
        after: Between a group's last content and its border.
        least: The least size of each group.
    """

    gap: float
    before: float
    after: float
    least: Mapping[Group, float]

    def between(self, first: Unit, second: Unit) -> float:
        """Return the least distance between the centers of two neighbours."""
        gap = self.gap * (0.5 + 0.25 * (not first.is_line) + 0.25 * (not second.is_line))
        return (first.size + second.size) / 2 + gap


@attrs.define(eq=False)
class Unit:
    """An item, or a group with its content, placed as one.

    Attributes:
        size: Its size across, in points.
        first: Its first layer.
        last: Its last layer.
        is_line: Whether it is a stretch of a line.
        items: The items in it, and the offsets of their centers from its own.
        groups: The groups in it, including itself: the offsets of their centers from its own, and their sizes.
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
        items: All items, connected and in their order across.
        room: The room to keep.

    Returns:
        The whole drawing.
    """
    return _column(items, (), room)


def _column(items: Sequence[Item], group: Group, room: Room) -> Unit:
    """Place the items of a group relative to its center."""
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
    """Return a position for each unit of a column."""
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
    """Yield the connected items of different units."""
    found = {id(item): (number, offset) for number, unit in enumerate(units) for item, offset in unit.items}
    for number, unit in enumerate(units):
        for item, offset in unit.items:
            for other in item.below:
                target, shift = found.get(id(other), (number, 0.0))
                if target != number:
                    yield item, other, Joint(number, target, offset - shift)


def _favourite(items: Sequence[Item]) -> Item | None:
    """Return the item to align with; None if symmetry is better.

    It is the item on the longest path. Of an odd number of such items it is the middle one; of an even number, what
    lies between the middle two.
    """
    least = min(item.slack for item in items)
    longest = [place for place, item in enumerate(items) if item.slack == least]
    if len(longest) % 2:
        return items[longest[len(longest) // 2]]
    first, last = longest[len(longest) // 2 - 1 : len(longest) // 2 + 1]
    between = items[first + 1 : last]
    return between[len(between) // 2] if len(between) % 2 else None
