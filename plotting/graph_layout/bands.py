"""The bands of a layered drawing: where each layer and each group starts and ends along the flow.

Contract. Between consecutive bands there is room for lines and for the borders of groups. A group extends from its
first band to its last one and a little beyond; borders of nested groups are inside those of the groups around them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from monitor_core.plotting.graph_layout.layering import Group
from monitor_core.plotting.graph_layout.placing import Room

_STEEPNESS = 0.08  # the least room along the flow, as a fraction of a line's sideways distance


class Bands:
    """The positions of the layers.

    Args:
        thickness: The size along the flow of each layer's largest box, in points, as are all sizes below.
        sideways: For the gap after each layer except the last, the largest sideways distance of a line in it.
        spans: The first and the last layer of each group.
        room: The room to keep along the flow.

    Attributes:
        opens: Where each layer starts, including the borders of groups that start there.
        starts: Where its boxes start.
        ends: Where its boxes end.
        closes: Where the layer ends, including the borders of groups that end there.
        length: Where the whole drawing ends.
        frames: Where each group starts and ends.
    """

    def __init__(
        self, thickness: Sequence[float], sideways: Sequence[float], spans: Mapping[Group, tuple[int, int]], room: Room
    ) -> None:
        self._gaps = [max(room.gap, min(_STEEPNESS * way, 3 * room.gap)) for way in sideways]
        self._spans = spans
        self._before = _borders({group: first for group, (first, _) in spans.items()}, room.before)
        self._after = _borders({group: last for group, (_, last) in spans.items()}, room.after)
        self._set(list(thickness))
        for group in sorted(spans, key=len, reverse=True):
            start, end = self.frames[group]
            if (missing := room.least.get(group, 0.0) - (end - start)) > 0:
                self._thickness[spans[group][1]] += missing
                self._set(self._thickness)

    def _set(self, thickness: list[float]) -> None:
        self._thickness = thickness
        leading, trailing = self._extra(self._before, 0), self._extra(self._after, 1)
        self.opens: list[float] = []
        self.closes: list[float] = []
        self.starts: list[float] = []
        self.ends: list[float] = []
        place = 0.0
        for layer, size in enumerate(thickness):
            self.opens.append(place)
            self.starts.append(place + leading[layer])
            self.ends.append(self.starts[-1] + size)
            self.closes.append(self.ends[-1] + trailing[layer])
            place = self.closes[-1] + (self._gaps[layer] if layer < len(self._gaps) else 0.0)
        self.length = self.closes[-1] if self.closes else 0.0
        self.frames = {
            group: (self.starts[first] - self._before[group], self.ends[last] + self._after[group])
            for group, (first, last) in self._spans.items()
        }

    def _extra(self, borders: Mapping[Group, float], end: int) -> defaultdict[int, float]:
        """Return the room that borders of groups take at each layer."""
        found: defaultdict[int, float] = defaultdict(float)
        for group, border in borders.items():
            layer = self._spans[group][end]
            found[layer] = max(found[layer], border)
        return found


def _borders(layers: Mapping[Group, int], own: float) -> dict[Group, float]:
    """Return the distance of each group's border from its outermost layer: beyond the borders of the groups inside."""
    found: dict[Group, float] = {}
    for group in sorted(layers, key=len, reverse=True):
        inner = (size for each, size in found.items() if each[:-1] == group and layers[each] == layers[group])
        found[group] = own + max(inner, default=0.0)
    return found
