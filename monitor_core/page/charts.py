"""What a chart is, apart from any run: lines, marks, its summary in sentences, and its table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import attrs
import numpy as np
from numpy.typing import NDArray

from monitor_core.page.columns import Columns
from monitor_core.page.words import number
from monitor_core.values.text import counted, format_value
from monitor_core.values.thinning import standing_out

Unit = Literal["step", "epoch", "second"]
MarkKind = Literal["best", "stop", "rate", "resume", "failed", "disabled", "checkpoint", "finding", "asked"]
_TABLE_ROWS, _FEW = 24, 10_000
_PER_STRETCH = 4
"""How many points of a stretch a thinned line keeps at most."""

TRAINING, VALIDATION = 0, 1
"""The styles of lines: colour, dash and marker. Other lines take the next ones."""


@attrs.frozen(eq=False)
class Line:
    """A line of a chart.

    Attributes:
        name: Its name.
        x: The numbers of its points, ``(n,) int64``, ascending: steps, or epochs from 1.
        y: Its values, ``(n,) float64``.
        style: Which colour, dash and marker.
        hidden: Whether it is drawn only if asked for.
        kept: The places of the points that the page holds, ascending, ``(kept,) int64``; None for all.
    """

    name: str
    x: NDArray[np.int64]
    y: NDArray[np.float64]
    style: int = TRAINING
    hidden: bool = False
    kept: NDArray[np.int64] | None = None

    def thinned(self, points: int) -> Line:
        """Return the line with at most so many points, at least four, for the page to hold.

        Of each stretch the lowest, the middle and the highest value are kept, and one that is not finite.
        """
        if len(self.y) <= points:
            return self
        return attrs.evolve(self, kept=standing_out(self.y, points // _PER_STRETCH, middle=True))

    def described(self, unit: Unit) -> str:
        """Return what the line does, as a sentence."""
        finite = np.isfinite(self.y)
        lost = count_of_lost(self.y)
        if not finite.any():
            return f"{self.name}: {lost or 'no value'}."
        places = np.flatnonzero(finite)
        first, last = self.y[places[0]], self.y[places[-1]]
        low, high = (
            int(np.nanargmin(np.where(finite, self.y, np.nan))),
            int(np.nanargmax(np.where(finite, self.y, np.nan))),
        )
        if len(places) == 1:
            said = f"{self.name} has one value, {format_value(first)}, at {unit} {number(self.x[places[0]])}"
        elif self.y[low] == self.y[high]:
            said = f"{self.name} is {format_value(first)} in {'' if lost else 'all '}{counted(len(places), 'value')}"
        else:
            said = (
                f"{self.name} goes from {format_value(first)} to {format_value(last)} "
                f"in {counted(len(self.y), 'value')}; "
                f"lowest {format_value(self.y[low])} at {unit} {number(self.x[low])}, "
                f"highest {format_value(self.y[high])} at {unit} {number(self.x[high])}"
            )
        if self.kept is not None:
            said += f"; {number(len(self.kept))} of them are on this page"
        return f"{said}{f'; {lost}' if lost else ''}."


def count_of_lost(values: NDArray[np.float64]) -> str:
    """Return how many values are not finite, as text; the empty string if all are."""
    kinds = {"NaN": np.isnan(values), "infinite": np.isinf(values)}
    return " and ".join(f"{number(int(each.sum()))} {name}" for name, each in kinds.items() if each.any())


@attrs.frozen
class Mark:
    """Something that happened.

    Attributes:
        x: The step, or the epoch from 1.
        kind: What.
        label: A few words, for the chart.
    """

    x: float
    kind: MarkKind
    label: str


@attrs.frozen(eq=False)
class Chart:
    """A chart.

    Attributes:
        key: Its name within the page.
        title: Its title.
        unit: What its axis counts.
        lines: The lines.
        marks: What happened on the way.
        span: What is marked as a stretch, from and to; None for nothing.
        focus: What is shown first, from and to; None for all.
    """

    key: str
    title: str
    unit: Unit
    lines: Sequence[Line]
    marks: Sequence[Mark] = ()
    span: tuple[float, float] | None = None
    focus: tuple[float, float] | None = None

    @property
    def summary(self) -> str:
        """What it shows, for readers who cannot see it."""
        said = [self._stretches()] if self.span is not None else []
        return " ".join([*said, *(line.described(self.unit) for line in self.lines if not line.hidden)])

    def _stretches(self) -> str:
        """Return what is marked, and what is shown first, as a sentence."""
        marked = self._stretch(self.span or self.extent)
        if self.focus is None:
            return f"Marked: {marked}."
        whole = self._stretch(self.extent)
        return f"Marked: {marked}; shown first: {self._stretch(self.focus)}, of {whole}."

    @property
    def extent(self) -> tuple[float, float]:
        """Where its lines begin and end; (0, 0) without any point."""
        ends = [float(x) for line in self.lines for x in line.x[[0, -1][: len(line.x)]]]
        return min(ends, default=0.0), max(ends, default=0.0)

    def _stretch(self, ends: tuple[float, float]) -> str:
        """Return a stretch of the axis as text."""
        first, last = number(ends[0]), number(ends[1])
        return f"{self.unit} {first}" if first == last else f"{self.unit}s {first} to {last}"

    def thinned(self, points: int | None) -> Chart:
        """Return the chart with at most so many points a line, None for all; see `Line.thinned`."""
        return self if points is None else attrs.evolve(self, lines=[line.thinned(points) for line in self.lines])

    @property
    def is_thinned(self) -> bool:
        """Whether a line has points that the page does not hold."""
        return any(line.kept is not None for line in self.lines)

    def as_json(self, columns: Columns) -> dict[str, Any]:
        """Return its description for the page, with its numbers among the columns."""
        described: dict[str, Any] = {
            "unit": self.unit,
            "lines": [
                {
                    "name": line.name,
                    "x": columns.add_numbers(line.x if line.kept is None else line.x[line.kept]),
                    "y": columns.add(line.y if line.kept is None else line.y[line.kept]),
                    "style": line.style,
                    "hidden": line.hidden,
                }
                for line in self.lines
            ],
            "marks": [attrs.asdict(mark) for mark in self.marks],
        }
        stretches = {"span": self.span, "focus": self.focus}
        return described | {name: list(ends) for name, ends in stretches.items() if ends is not None}

    def table(self) -> ChartTable:
        """Return its numbers in at most `_TABLE_ROWS` rows."""
        longest = max(self.lines, key=lambda line: len(line.x), default=None)
        if longest is None or not len(longest.x):
            return ChartTable((self.unit,), [], is_whole=True)
        edges = _edges(longest.x, [line.x for line in self.lines if len(line.x)])
        is_whole = all(begin == end for begin, end in edges)
        return ChartTable(
            tuple(_headers(self.unit, self.lines, is_whole=is_whole)), list(_rows(edges, self.lines)), is_whole
        )


@attrs.frozen
class ChartTable:
    """A chart's numbers.

    Attributes:
        headers: The columns' names.
        rows: The cells.
        is_whole: Whether each row is one step or epoch; otherwise a stretch, with the lowest, median and highest value.
    """

    headers: tuple[str, ...]
    rows: list[list[str]]
    is_whole: bool


def _edges(longest: NDArray[np.int64], lines: Sequence[NDArray[np.int64]]) -> list[tuple[int, int]]:
    """Return the stretches of the table's rows: together they cover all lines."""
    if sum(map(len, lines)) <= _FEW:
        parts = np.array_split(np.unique(np.concatenate(lines)), _TABLE_ROWS)
        return [(int(part[0]), int(part[-1])) for part in parts if len(part)]
    begins = [int(part[0]) for part in np.array_split(longest, _TABLE_ROWS)]
    begins[0] = min(int(line[0]) for line in lines)
    last = max(int(line[-1]) for line in lines)
    return list(zip(begins, [*(begin - 1 for begin in begins[1:]), last], strict=True))


def _headers(unit: Unit, lines: Sequence[Line], *, is_whole: bool) -> Iterator[str]:
    yield unit if is_whole else f"{unit}s"
    for line in lines:
        yield line.name if is_whole else f"{line.name}: lowest, median, highest"


def _rows(edges: list[tuple[int, int]], lines: Sequence[Line]) -> Iterator[list[str]]:
    for begin, end in edges:
        row = [number(begin) if begin == end else f"{number(begin)} to {number(end)}"]
        for line in lines:
            inside = line.y[np.searchsorted(line.x, begin) : np.searchsorted(line.x, end, side="right")]
            row.append(_cell(inside, is_one=begin == end))
        yield row


def _cell(values: NDArray[np.float64], *, is_one: bool) -> str:
    finite = values[np.isfinite(values)]
    lost = count_of_lost(values)
    if not len(finite):
        return lost if not is_one or not len(values) else format_value(values[0])
    if is_one:
        return format_value(finite[-1])
    said = f"{format_value(finite.min())}, {format_value(float(np.median(finite)))}, {format_value(finite.max())}"
    return f"{said}; {lost}" if lost else said
