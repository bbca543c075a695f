"""Curves in a terminal, of braille dots: two by four in each character."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping

import attrs
import numpy as np
from numpy.typing import NDArray
from rich.text import Text

from monitor_core.cli.text import plain
from monitor_core.values.text import format_value
from monitor_core.values.thinning import thinned

HEIGHT = 10
"""How many lines high the plot is, without its axis."""
_COLOURS = ("cyan", "magenta", "yellow", "green")
_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
"""The bits of the dots in a braille character, by row and column."""

Floats = NDArray[np.float64]


def curve(lines: Mapping[str, tuple[Floats, Floats]], *, width: int, unit: str = "epoch") -> Iterator[Text]:
    """Yield the lines of a plot: the names, the curves with their range on the left, and the axis.

    Args:
        lines: The curves: each point's number and its value, ``(n,)`` each. What is not finite is a gap.
            Where several points share a column of dots, all from the lowest to the highest is filled, so no spike is
            lost. One value at least must be finite.
        width: How many characters wide.
        unit: What the numbers count.
    """
    finite = np.concatenate([values[np.isfinite(values)] for _, values in lines.values()])
    begin = min(float(x.min()) for x, _ in lines.values() if len(x))
    end = max(float(x.max()) for x, _ in lines.values() if len(x))
    low, high = float(finite.min()), float(finite.max())
    labels = [format_value(high), format_value(low)]
    margin = max(map(len, labels)) + 1
    columns = max(width - margin, 10)
    colours = {name: _COLOURS[place % len(_COLOURS)] for place, name in enumerate(lines)}
    yield Text("  ").join(_named(name, colours[name]) for name in lines)
    area = _Area(begin, end, low, high, columns)
    layers = [(area.dots(x, values), colours[name]) for name, (x, values) in lines.items()]
    for row in range(HEIGHT):
        label = labels[0] if row == 0 else labels[1] if row == HEIGHT - 1 else ""
        yield Text(label.rjust(margin - 1) + " ") + _row(layers, row)
    first, last = f"{unit} {begin:.0f}", f"{end:.0f}"
    yield Text(" " * margin + first + last.rjust(columns - len(first)))


def _named(name: str, colour: str) -> Text:
    text = plain(name[:40])
    text.stylize(colour)
    return text


@attrs.frozen
class _Area:
    """Where values are drawn: their ranges, and how many characters there are."""

    begin: float
    end: float
    low: float
    high: float
    columns: int

    def dots(self, x: Floats, values: Floats) -> NDArray[np.bool_]:
        """Return which dots are set, ``(4 * HEIGHT, 2 * columns) bool``."""
        dots = np.zeros((4 * HEIGHT, 2 * self.columns), bool)
        limit = 8 * self.columns
        x, values = thinned(x, values, limit=limit, stretches=limit // 3)
        finite = np.isfinite(values)
        across = np.round((x - self.begin) / ((self.end - self.begin) or 1.0) * (2 * self.columns - 1)).astype(int)
        part = 0.5 if math.isinf(self.high - self.low) else 1.0
        below = part * self.high - part * np.where(finite, values, self.high)
        heights = below / ((part * self.high - part * self.low) or 1.0)
        down = np.round(heights * (4 * HEIGHT - 1)).astype(int)
        for here in finite.nonzero()[0].tolist():
            dots[down[here], across[here]] = True
            if here and finite[here - 1]:
                _connect(dots, (across[here - 1], down[here - 1]), (across[here], down[here]))
        return dots


def _connect(dots: NDArray[np.bool_], begin: tuple[int, int], end: tuple[int, int]) -> None:
    """Set the dots between two points."""
    steps = max(abs(end[0] - begin[0]), abs(end[1] - begin[1]), 1)
    across = np.round(np.linspace(begin[0], end[0], steps + 1)).astype(int)
    down = np.round(np.linspace(begin[1], end[1], steps + 1)).astype(int)
    dots[down, across] = True


def _row(layers: list[tuple[NDArray[np.bool_], str]], row: int) -> Text:
    """Return a line of characters; a character that several curves share has the colour of the last."""
    cells = []
    for column in range(layers[0][0].shape[1] // 2):
        code, colour = 0, ""
        for dots, own in layers:
            bits = int((dots[4 * row : 4 * row + 4, 2 * column : 2 * column + 2] * _DOTS).sum())
            if bits:
                code, colour = code | bits, own
        cells.append((chr(0x2800 + code) if code else " ", colour))
    text = Text()
    for colour, group in itertools.groupby(cells, key=lambda cell: cell[1]):  # few changes of colour on a slow line
        text.append("".join(character for character, _ in group), style=colour)
    return text
