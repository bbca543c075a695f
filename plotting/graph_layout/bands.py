"""The bands of a layered drawing: where each layer and each group begins and ends along the flow.

Contract. Bands follow each other with room between them, for lines and for the borders of groups. A group reaches from
its first band to its last one and a little beyond, borders of nested groups inside of those around them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from monitor_core.plotting.graph_layout.layering import Group
from monitor_core.plotting.graph_layout.placing import Room

_STEEPNESS = 0.08  # how much of the way that a line goes sideways it is given along, at least


class Bands:
    """Where the layers are.

    Args:
        thickness: The size along of each layer's largest box, in points, as all that follows.
        sideways: For the gap behind each layer but the last, how far the lines in it go sideways at most.
        spans: The first and the last layer of each group.
        room: The room to keep along.

    Attributes:
        opens: Where each layer begins, with the borders of groups that begin there.
        starts: Where its boxes begin.
        ends: Where they end.
        closes: Where it ends, with the borders of groups that end there.
        length: Where the whole drawing ends.
        frames: Where each group begins and ends.
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
        """Return the room that the borders of groups take at each layer."""
        found: defaultdict[int, float] = defaultdict(float)
        for group, border in borders.items():
            layer = self._spans[group][end]
            found[layer] = max(found[layer], border)
        return found


def _borders(layers: Mapping[Group, int], own: float) -> dict[Group, float]:
    """Return how far each group's border is from its outmost layer: beyond the borders of those in it."""
    found: dict[Group, float] = {}
    for group in sorted(layers, key=len, reverse=True):
        inner = (size for each, size in found.items() if each[:-1] == group and layers[each] == layers[group])
        found[group] = own + max(inner, default=0.0)
    return found
