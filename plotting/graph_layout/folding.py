"""Fold a long drawing into columns side by side, as a newspaper sets text.

Contract. The drawing is cut between layers, where there are few lines. A line that is cut goes around: below its
column, up between the two columns, and into the next one from above. Boxes keep their size and do not overlap, and no
line crosses a box.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence

import attrs

from monitor_core.plotting.graph_layout.shapes import Box, Frame, Layout, Line, Point, cornered, straight

Gap = tuple[float, float]
"""Where a gap between two layers begins and ends."""

_TRACK = 7.0  # between two lines around columns
_CLEAR = 14.0  # between a column and the lines around it
_BORDER = 5.0  # between borders of nested frames at a cut
_RADIUS = 6.0
_EXACT = 1e-6
_LONGEST = 1.6  # of a column, as a fraction of the wanted length
_PRICE = 0.1  # of cutting a line; a column that is half too long or too short costs 0.25


def fold(layout: Layout, gaps: Sequence[Gap], longest: float) -> Layout:
    """Fold a drawing that is too long into columns that together are about as wide as high.

    Args:
        layout: The drawing; its flow goes down.
        gaps: The gaps between its layers.
        longest: The length, in points, beyond which a drawing is folded.

    Returns:
        The folded drawing, or the same one.
    """
    if layout.height <= longest:
        return layout
    length = math.sqrt(layout.height * (layout.width + 2 * _CLEAR))
    cuts = _chosen_cuts(layout, gaps, length)
    return _Folded(layout, cuts).layout() if cuts else layout


def _chosen_cuts(layout: Layout, gaps: Sequence[Gap], length: float) -> list[Gap]:
    """Return the gaps to cut at, with the least total cost.

    A column costs its squared deviation from the wanted length; a cut costs the lines that it cuts.
    """
    ends = [*gaps, (layout.height, layout.height)]
    prices = [_PRICE * _cut_by(layout, gap) for gap in gaps] + [0.0]
    starts: list[tuple[float, float, list[Gap]]] = [(0.0, 0.0, [])]  # the cost up to a cut, and the cuts
    for (end, following), price in zip(ends, prices, strict=True):
        near = [each for each in starts if end - each[1] <= _LONGEST * length] or starts[-1:]
        costs = [cost + ((end - start) / length - 1) ** 2 for cost, start, _ in near]
        least = costs.index(min(costs))
        starts.append((costs[least] + price, following, [*near[least][2], (end, following)]))
    return starts[-1][2][:-1]


def _cut_by(layout: Layout, gap: Gap) -> int:
    lines = sum(_is_cut(line[0][1], line[-1][1], gap) for line in layout.lines)
    frames = sum(_is_cut(frame.box.y, frame.box.y + frame.box.height, gap) for frame in layout.frames)
    return lines + 2 * frames


def _is_cut(start: float, end: float, gap: Gap) -> bool:
    return min(start, end) <= gap[0] + _EXACT and gap[1] <= max(start, end) + _EXACT


@attrs.define
class _Column:
    """A part of the drawing.

    Attributes:
        start: Where it starts in the long drawing.
        end: Where it ends there.
        left: Its left edge there.
        right: Its right edge there.
        move: How far it moves.
    """

    start: float
    end: float
    left: float = math.inf
    right: float = -math.inf
    move: Point = (0.0, 0.0)

    def include(self, *places: float) -> None:
        """Extend the column to contain something."""
        self.left, self.right = min(self.left, *places), max(self.right, *places)

    def moved(self, point: Point) -> Point:
        """Return the position of one of its points in the folded drawing."""
        return point[0] + self.move[0], point[1] + self.move[1]


class _Folded:
    """A drawing cut into columns.

    Args:
        layout: The drawing.
        cuts: The gaps to cut at, in order, at least one.
    """

    def __init__(self, layout: Layout, cuts: Sequence[Gap]) -> None:
        self._cuts = cuts
        starts, ends = [0.0, *(end for _, end in cuts)], [*(start for start, _ in cuts), layout.height]
        self._columns = [_Column(start, end) for start, end in zip(starts, ends, strict=True)]
        self._boxes = layout.boxes
        self._backward = [line[0][1] > line[-1][1] for line in layout.lines]
        lines = (line[::-1] if back else line for line, back in zip(layout.lines, self._backward, strict=True))
        self._lines = [_split(line, cuts) for line in lines]
        cut = [frame for frame in layout.frames if any(_is_cut(*_ends(frame.box), each) for each in cuts)]
        self._depth = max((len(frame.group) for frame in cut), default=0)
        self._frames = [part for frame in layout.frames for part in self._frame_parts(frame)]
        self._turning = [self._turning_at(number) for number in range(len(cuts))]
        self._clear = _CLEAR + self._depth * _BORDER
        self._head = self._clear + _TRACK * max(map(len, self._turning))
        self._move_columns()

    def layout(self) -> Layout:
        """Return the folded drawing."""
        return Layout(
            max(column.moved((column.right, 0.0))[0] for column in self._columns),
            max(column.moved((0.0, column.end))[1] for column in self._columns) + self._head,
            tuple(box.moved(*self._columns[self._number(box.y)].move) for box in self._boxes),
            tuple(attrs.evolve(part, box=part.box.moved(*self._columns[number].move)) for number, part in self._frames),
            tuple(self._joined(number, parts) for number, parts in enumerate(self._lines)),
        )

    def _number(self, place: float) -> int:
        """Return the number of the column that contains something."""
        return bisect_right([end for _, end in self._cuts], place + _EXACT)

    def _turning_at(self, cut: int) -> list[int]:
        """Return the numbers of the lines cut there, the rightmost first."""
        found = []
        for number, parts in enumerate(self._lines):
            before = cut - self._number(parts[0][0][1])
            if 0 <= before < len(parts) - 1:
                found.append((parts[before][-1][0], number))
        return [number for _, number in sorted(found, reverse=True)]

    def _frame_parts(self, frame: Frame) -> Iterator[tuple[int, Frame]]:
        """Yield each column that a frame is in, with the frame's part there."""
        start, end = _ends(frame.box)
        beyond = _BORDER * (self._depth - len(frame.group) + 1)
        first = self._number(start)
        for number, column in enumerate(self._columns):
            if start < column.end and end > column.start:
                upper = start if number == first else column.start - beyond
                lower = end if end <= column.end + _EXACT else column.end + beyond
                box = attrs.evolve(frame.box, y=upper, height=lower - upper)
                yield number, Frame(frame.group, box, is_first=number == first)

    def _move_columns(self) -> None:
        for box in self._boxes:
            self._columns[self._number(box.y)].include(box.x, box.x + box.width)
        for number, part in self._frames:
            self._columns[number].include(part.box.x, part.box.x + part.box.width)
        for parts in self._lines:
            for place, points in enumerate(parts, start=self._number(parts[0][0][1])):
                self._columns[place].include(*(x for x, _ in points))
        side = 0.0
        for column, turning in zip(self._columns, [*self._turning, []], strict=True):
            column.move = (side - column.left, self._head - column.start)
            side += column.right - column.left + 2 * self._clear + _TRACK * (len(turning) - 1)

    def _joined(self, number: int, parts: Sequence[Line]) -> Line:
        """Join a line's parts with the ways around columns between them."""
        column = self._number(parts[0][0][1])
        line = [self._columns[column].moved(point) for point in parts[0]]
        for cut, part in enumerate(parts[1:], start=column):
            moved = [self._columns[cut + 1].moved(point) for point in part]
            line += [*self._way_around(cut, number, line[-1], moved[0])[1:], *moved[1:]]
        return tuple(line[::-1] if self._backward[number] else line)

    def _way_around(self, cut: int, number: int, start: Point, end: Point) -> Line:
        """Return the way of a line from below a column to above the next; such lines do not cross."""
        inner = self._turning[cut].index(number)
        outer = len(self._turning[cut]) - 1 - inner
        column = self._columns[cut]
        below = column.moved((0.0, column.end))[1] + self._clear + _TRACK * inner
        beside = column.moved((column.right, 0.0))[0] + self._clear + _TRACK * inner
        above = self._head - self._clear - _TRACK * outer
        return cornered([start, (start[0], below), (beside, below), (beside, above), (end[0], above), end], _RADIUS)


def _split(line: Line, cuts: Sequence[Gap]) -> list[Line]:
    """Return the parts of a line that goes down, without the gaps at which it is cut."""
    parts = [[line[0]]]
    for start, first, second, end in zip(line[::3], line[1::3], line[2::3], line[3::3], strict=False):
        crossed = [cut for cut in cuts if start[1] <= cut[0] + _EXACT and cut[1] <= end[1] + _EXACT]
        for before, after in crossed:
            if before > parts[-1][-1][1]:
                parts[-1] += straight(parts[-1][-1], (start[0], before))
            parts.append([(end[0], after)])
        if not crossed:
            parts[-1] += [first, second, end]
        elif end[1] > parts[-1][-1][1]:
            parts[-1] += straight(parts[-1][-1], end)
    return [tuple(part) for part in parts]


def _ends(box: Box) -> tuple[float, float]:
    return box.y, box.y + box.height
