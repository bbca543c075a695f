"""Points, boxes and lines of a drawing, in points (1/72 inch) from its upper left corner; ``y`` increases downward."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import attrs

from monitor_core.plotting.graph_layout.layering import Group

Point = tuple[float, float]
Size = tuple[float, float]
Line = tuple[Point, ...]
"""A chain of cubic Bézier curves: a point, then two control points and a point for each curve."""

_ROUNDNESS = 0.55  # of the way to a corner: control points there approximate a circle


@attrs.frozen
class Box:
    """A rectangle.

    Attributes:
        x: Its left edge.
        y: Its upper edge.
        width: Its width.
        height: Its height.
    """

    x: float
    y: float
    width: float
    height: float

    def moved(self, x: float, y: float) -> Box:
        """Return the moved box."""
        return attrs.evolve(self, x=self.x + x, y=self.y + y)


@attrs.frozen
class Frame:
    """The frame of a group, or a part of it in a folded drawing.

    Attributes:
        group: The group.
        box: Where it is.
        is_first: Whether it is the first part, which has the title.
    """

    group: Group
    box: Box
    is_first: bool = True


@attrs.frozen
class Layout:
    """The positions of everything in a drawing.

    Attributes:
        width: The drawing's width.
        height: The drawing's height.
        boxes: One for each node.
        frames: Outer frames before those inside them.
        lines: One for each edge.
    """

    width: float
    height: float
    boxes: tuple[Box, ...]
    frames: tuple[Frame, ...]
    lines: tuple[Line, ...]

    def flipped(self) -> Layout:
        """Return the layout with x and y exchanged."""
        return Layout(
            self.height,
            self.width,
            tuple(map(_flipped, self.boxes)),
            tuple(attrs.evolve(frame, box=_flipped(frame.box)) for frame in self.frames),
            tuple(tuple((x, y) for y, x in line) for line in self.lines),
        )


def _flipped(box: Box) -> Box:
    return Box(box.y, box.x, box.height, box.width)


def bent(start: Point, end: Point) -> list[Point]:
    """Return the points after the start of a curve that leaves and arrives downward, straight if possible."""
    middle = (start[1] + end[1]) / 2
    return [(start[0], middle), (end[0], middle), end]


def straight(start: Point, end: Point) -> list[Point]:
    """Return the points after the start of a straight line, as a curve."""
    (x, y), (u, v) = start, end
    return [((2 * x + u) / 3, (2 * y + v) / 3), ((x + 2 * u) / 3, (y + 2 * v) / 3), end]


def cornered(points: Sequence[Point], radius: float) -> Line:
    """Return a line through points with rounded corners; its parts are horizontal or vertical."""
    line = [points[0]]
    for (corner, following), reach in zip(pairwise(points[1:]), _reaches(points, radius), strict=True):
        before, after = _towards(corner, line[-1], reach), _towards(corner, following, reach)
        line += straight(line[-1], before)
        line += [_between(before, corner), _between(after, corner), after]
    return tuple(line + straight(line[-1], points[-1]))


def _reaches(points: Sequence[Point], radius: float) -> Iterable[float]:
    """Return how far the rounding of each corner extends."""
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        yield min(radius, _distance(before, corner) / 2, _distance(corner, after) / 2)


def _distance(start: Point, end: Point) -> float:
    return abs(start[0] - end[0]) + abs(start[1] - end[1])


def _towards(start: Point, end: Point, reach: float) -> Point:
    """Return the point at a distance from the start, toward the end."""
    part = reach / (_distance(start, end) or 1.0)
    return start[0] + part * (end[0] - start[0]), start[1] + part * (end[1] - start[1])


def _between(point: Point, corner: Point) -> Point:
    return (
        point[0] + _ROUNDNESS * (corner[0] - point[0]),
        point[1] + _ROUNDNESS * (corner[1] - point[1]),
    )


def loop(box: Box, reach: float) -> Line:
    """Return a line from a box to itself, at its right side."""
    side, middle, half = box.x + box.width, box.y + box.height / 2, min(box.height / 4, 8.0)
    return (
        (side, middle + half),
        (side + 1.3 * reach, middle + half),
        (side + 1.3 * reach, middle - half),
        (side, middle - half),
    )
