"""Curves in a terminal, of braille dots: two by four in each character."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from rich.text import Text

from monitor_core.cli.text import number, plain

HEIGHT = 10
"""How many lines high the plot is, without its axis."""
_COLOURS = ("cyan", "magenta", "yellow", "green")
_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
"""The bits of the dots in a braille character, by row and column."""

Floats = NDArray[np.float64]


def curve(x: Floats, lines: Mapping[str, Floats], *, width: int, unit: str = "epoch") -> Iterator[Text]:
    """Yield the lines of a plot: the names, the curves with their range on the left, and the axis.

    Args:
        x: Each point's number, ``(n,)``, ascending.
        lines: The curves, ``(n,)`` each. What is not finite is a gap. Where several points share a column of dots, all
            from the lowest to the highest is filled, so no spike is lost.
        width: How many characters wide.
        unit: What ``x`` counts.
    """
    finite = np.concatenate([values[np.isfinite(values)] for values in lines.values()])
    low, high = float(finite.min()), float(finite.max())
    labels = [number(high), number(low)]
    margin = max(map(len, labels)) + 1
    columns = max(width - margin, 10)
    colours = {name: _COLOURS[place % len(_COLOURS)] for place, name in enumerate(lines)}
    yield Text("  ").join(_named(name, colours[name]) for name in lines)
    layers = [(_dots(x, values, low, high, columns), colours[name]) for name, values in lines.items()]
    for row in range(HEIGHT):
        label = labels[0] if row == 0 else labels[1] if row == HEIGHT - 1 else ""
        yield Text(label.rjust(margin - 1) + " ") + _row(layers, row)
    first, last = f"{unit} {x[0]:.0f}", f"{x[-1]:.0f}"
    yield Text(" " * margin + first + last.rjust(columns - len(first)))


def _named(name: str, colour: str) -> Text:
    text = plain(name[:40])
    text.stylize(colour)
    return text


def _dots(x: Floats, values: Floats, low: float, high: float, columns: int) -> NDArray[np.bool_]:
    """Return which dots are set, ``(4 * HEIGHT, 2 * columns) bool``."""
    dots = np.zeros((4 * HEIGHT, 2 * columns), bool)
    x, values = _thinned(x, values, 8 * columns)
    span, range_ = float(x[-1] - x[0]) or 1.0, (high - low) or 1.0
    finite = np.isfinite(values)
    across = np.round((x - x[0]) / span * (2 * columns - 1)).astype(int)
    with np.errstate(invalid="ignore"):
        down = np.where(finite, np.round((high - values) / range_ * (4 * HEIGHT - 1)), 0).astype(int)
    for here in range(len(x)):
        if not finite[here]:
            continue
        dots[down[here], across[here]] = True
        if here and finite[here - 1]:
            _connect(dots, (across[here - 1], down[here - 1]), (across[here], down[here]))
    return dots


def _thinned(x: Floats, values: Floats, limit: int) -> tuple[Floats, Floats]:
    """Return at most about ``limit`` points: of each stretch the lowest, the highest, and one that is a gap."""
    if len(x) <= limit:
        return x, values
    kept: set[int] = set()
    for part in np.array_split(np.arange(len(x)), limit // 3):
        inside, is_finite = values[part], np.isfinite(values[part])
        if is_finite.any():
            kept |= {int(part[np.nanargmin(np.where(is_finite, inside, np.nan))])}
            kept |= {int(part[np.nanargmax(np.where(is_finite, inside, np.nan))])}
        if not is_finite.all():
            kept.add(int(part[(~is_finite).argmax()]))
    places = sorted(kept)
    return x[places], values[places]


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
