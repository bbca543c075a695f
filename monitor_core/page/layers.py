"""What the model looked like inside: layers by epochs as heat maps, and distributions over the epochs as ridgelines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from monitor_core.journal.recorded_inside import Histograms, InsideTable
from monitor_core.page.words import number
from monitor_core.values.text import format_value

LEVELS = 9
"""How many colours a heat map has."""
_MOST_ROWS, _MOST_COLUMNS = 64, 96
_MOST_DISTRIBUTIONS, _MOST_RIDGES = 24, 12
_WIDTH, _STEP, _PEAK = 240.0, 9.0, 34.0
"""A ridgeline's width, the distance of its ridges, and their height, in units of its drawing."""

_SMOOTHING = np.array([0.25, 0.5, 0.25])
"""Neighbouring bins of few values differ by chance; ridges are smoothed over three bins."""

Floats = NDArray[np.float64]


@attrs.frozen
class Cell:
    """A cell of a heat map.

    Attributes:
        level: Its colour, from 0; None where nothing was recorded.
        text: What it shows, for a pointer that rests on it.
    """

    level: int | None
    text: str


@attrs.frozen
class HeatMap:
    """A statistic of each layer or weight by epoch.

    Attributes:
        key: Its name within the page.
        title: What it shows.
        summary: The same in a sentence.
        rows: Each name, its cells, and its last value.
        first: The first column's epoch.
        last: The last column's epoch; the empty string if there is one column.
        scale: The values at the ends of the colours.
        table: The cells of its table: name, first, lowest, highest and last value.
    """

    key: str
    title: str
    summary: str
    rows: list[tuple[str, list[Cell], str]]
    first: str
    last: str
    scale: tuple[str, str]
    table: list[list[str]]


_MAPS = (
    ("weights", "gradient", "Gradient norm", True),
    ("weights", "update_ratio", "Update ratio: how far a weight moves in a step, as a share of its norm", True),
    ("layers", "dead", "Dead share: units that are 0 for every sample", False),
)


def heat_maps(layers: InsideTable, weights: InsideTable) -> list[HeatMap]:
    """Return the heat maps of what was recorded."""
    tables = {"layers": layers, "weights": weights}
    found = []
    for source, statistic, title, is_logarithmic in _MAPS:
        table = tables[source]
        if len(table) and np.isfinite(values := table[statistic]).any():
            found.append(_heat_map(f"heat-{statistic}", title, table, values, is_logarithmic=is_logarithmic))
    return found


def _heat_map(key: str, title: str, table: InsideTable, values: Floats, *, is_logarithmic: bool) -> HeatMap:
    rows = np.flatnonzero(np.isfinite(values).any(axis=1))
    kept, columns = rows[:_MOST_ROWS], _spread(len(table), _MOST_COLUMNS)
    levels, scale = _levels(values[kept], is_logarithmic=is_logarithmic)
    epochs = [_epoch(epoch) for epoch in table.epochs]
    shown = []
    for place, row in enumerate(kept):
        cells = [
            Cell(
                None if levels[place, column] < 0 else int(levels[place, column]),
                f"{table.names[row]}, {epochs[column]}: {_value(values[row, column])}",
            )
            for column in columns
        ]
        shown.append((table.names[row], cells, _value(_last(values[row]))))
    said = f"{title}. {_described(table.names, values[kept], kept)}"
    if len(rows) > len(kept):
        said += f" The first {len(kept)} of {number(len(rows))} are shown."
    if len(columns) < len(table):
        said += f" {len(columns)} of {number(len(table))} looks are shown."
    listed = [_row(table.names[row], values[row]) for row in kept]
    first, last = ("start" if table.epochs[place] < 0 else epochs[place] for place in columns[[0, -1]])
    last = "" if len(columns) == 1 else last
    return HeatMap(key, title, said, shown, first, last, scale, listed)


def _levels(values: Floats, *, is_logarithmic: bool) -> tuple[NDArray[np.int64], tuple[str, str]]:
    """Return each value's colour, -1 for none, and the values at the ends of the colours."""
    finite = np.isfinite(values)
    if is_logarithmic:
        positive = values[finite & (values > 0)]
        least = float(positive.min()) if len(positive) else 1e-12
        scaled = np.log10(np.where(finite, np.maximum(values, least), least))
    else:
        scaled = np.where(finite, values, 0.0)
    low = float(scaled[finite].min()) if is_logarithmic else 0.0
    high = float(scaled[finite].max()) if is_logarithmic else 1.0
    share = (scaled - low) / ((high - low) or 1.0)
    levels = np.clip((share * LEVELS).astype(np.int64), 0, LEVELS - 1)
    ends = (10.0**low, 10.0**high) if is_logarithmic else (low, high)
    return np.where(finite, levels, -1), (format_value(ends[0]), format_value(ends[1]))


def _described(names: Sequence[str], values: Floats, rows: NDArray[np.int64]) -> str:
    last = np.array([_last(row) for row in values])
    high, low = int(np.nanargmax(last)), int(np.nanargmin(last))
    if last[high] == last[low]:
        return f"At the last look all are at {_value(last[high])}."
    return (
        f"At the last look the highest is {_value(last[high])} in {names[rows[high]]}, "
        f"the lowest {_value(last[low])} in {names[rows[low]]}."
    )


def _row(name: str, values: Floats) -> list[str]:
    finite = values[np.isfinite(values)]
    return [name, *(_value(each) for each in (finite[0], finite.min(), finite.max(), finite[-1]))]


def _last(values: Floats) -> float:
    finite = values[np.isfinite(values)]
    return float(finite[-1]) if len(finite) else np.nan


def _value(value: float) -> str:
    return "not recorded" if np.isnan(value) else f"{value:.3g}"


def _epoch(epoch: int) -> str:
    return "before the first epoch" if epoch < 0 else f"epoch {number(epoch + 1)}"


def _spread(count: int, most: int) -> NDArray[np.int64]:
    """Return up to so many places, evenly spread, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


@attrs.frozen
class Ridges:
    """A distribution by epoch.

    Attributes:
        name: The layer or weight.
        paths: Each ridge, the oldest first: its outline as SVG, and its colour from 0.
        height: How high the drawing is; it is `_WIDTH` wide.
        low: The value at its left edge.
        high: The value at its right edge.
        first: The oldest ridge's epoch.
        last: The newest ridge's epoch.
        summary: What it shows.
    """

    name: str
    paths: list[tuple[str, int]]
    height: float
    low: str
    high: str
    first: str
    last: str
    summary: str

    @property
    def width(self) -> float:
        """How wide the drawing is."""
        return _WIDTH


def ridgelines(histograms: Mapping[str, Histograms]) -> list[Ridges]:
    """Return the distributions of each layer or weight, as many as a page holds."""
    return [_ridges(name, each) for name, each in list(histograms.items())[:_MOST_DISTRIBUTIONS] if len(each)]


def _ridges(name: str, histograms: Histograms) -> Ridges:
    looks = _spread(len(histograms), _MOST_RIDGES)
    edges, counts = histograms.edges[looks], histograms.counts[looks].astype(np.float64)
    low, high = float(edges[:, 0].min()), float(edges[:, -1].max())
    widths = np.maximum(edges[:, 1:] - edges[:, :-1], 1e-300)
    densities = counts / widths / np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
    densities = np.array([np.convolve(each, _SMOOTHING, mode="same") for each in densities])
    heights = densities / np.maximum(densities.max(axis=1, keepdims=True), 1e-300) * _PEAK
    paths = []
    for place in range(len(looks)):
        base = _PEAK + 2.0 + place * _STEP
        level = round(place / max(len(looks) - 1, 1) * (LEVELS - 1))
        paths.append((_outline(edges[place], heights[place], base, low, high), level))
    first, last = _epoch(int(histograms.epochs[looks[0]])), _epoch(int(histograms.epochs[looks[-1]]))
    middles = [_middle(each, count) for each, count in zip(edges[[0, -1]], counts[[0, -1]], strict=True)]
    ends = format_value(_but_zero(low)), format_value(_but_zero(high))
    if ends[0] == ends[1]:
        said = f"{name}: all values are {ends[0]}."
    else:
        said = f"{name}: from {ends[0]} to {ends[1]}; its middle is at {format_value(middles[0])} {_at(first)}"
        said += f" and at {format_value(middles[1])} {_at(last)}." if len(looks) > 1 else "."
    height = _PEAK + 4.0 + (len(looks) - 1) * _STEP
    return Ridges(name, paths, height, *ends, first, last, said)


def _but_zero(value: float) -> float:
    """Return a value, 0.0 for one that is nearly that: the bins of values that are all 0 have some width."""
    return 0.0 if abs(value) < 1e-30 else value


def _at(epoch: str) -> str:
    return f"in {epoch}" if epoch.startswith("epoch") else epoch


def _outline(edges: Floats, heights: Floats, base: float, low: float, high: float) -> str:
    def across(value: float) -> str:
        return f"{(value - low) / ((high - low) or 1.0) * _WIDTH:.1f}"

    middles = (edges[1:] + edges[:-1]) / 2
    points = " ".join(f"L{across(x)} {base - y:.1f}" for x, y in zip(middles, heights, strict=True))
    return f"M{across(edges[0])} {base:.1f} {points} L{across(edges[-1])} {base:.1f}Z"


def _middle(edges: Floats, counts: Floats) -> float:
    """Return about the median of a distribution."""
    below = np.cumsum(counts)
    place = int(np.searchsorted(below, below[-1] / 2))
    place = min(place, len(counts) - 1)
    middle = float((edges[place] + edges[place + 1]) / 2)
    return _but_zero(middle)


def distributions(kinds: Mapping[str, Mapping[str, Histograms]]) -> Iterator[tuple[str, list[Ridges]]]:
    """Yield the title and the ridgelines of each kind of distribution that was recorded."""
    for kind, title in (("weights", "Weights"), ("activations", "Activations"), ("gradients", "Gradients")):
        if found := ridgelines(kinds.get(kind, {})):
            yield title, found
