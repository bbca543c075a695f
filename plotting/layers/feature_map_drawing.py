"""Draw feature maps: the channels of a layer as a grid of images, in one plot for any number of channels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from monitor_core.model.handles import Array
from monitor_core.plotting.figures import DOTS_PER_INCH
from monitor_core.plotting.layers.activation_drawing import GREY, WIDTH, new_figure

try:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure
except ModuleNotFoundError as error:
    raise ImportError('drawing needs matplotlib: pip install "monitor_core[plot]"') from error

_NOT_FINITE = (140, 140, 140, 255)
_MARGIN, _GAP_INCHES, _LABEL_INCHES = 0.12, 0.07, 0.2
_WIDEST, _HIGHEST = 3.0, 12.0
"""Inches that an image is wide at most, and that all of them together are high at most, without the labels."""
_LEAST_PIXELS = 40
"""Pixels in an inch at least: with fewer, the space between images could only be as wide as one of them."""


@attrs.frozen
class _Grid:
    """The layout of the images: number, size in pixels, columns, and the pixels between and above them."""

    count: int
    height: int
    width: int
    columns: int

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return -(-self.count // self.columns)

    @property
    def pixels(self) -> float:
        """How many pixels are in an inch."""
        return max(self.columns * self.width / WIDTH, self.width / _WIDEST, self.rows * self.height / _HIGHEST)

    @property
    def gap(self) -> int:
        """How many pixels are between two columns."""
        return max(1, round(_GAP_INCHES * self.pixels))

    @property
    def label(self) -> int:
        """How many pixels are above each row."""
        return max(1, round(_LABEL_INCHES * self.pixels))

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the whole in pixels."""
        return self.rows * (self.height + self.label), self.columns * (self.width + self.gap) - self.gap

    def place(self, number: int) -> tuple[int, int]:
        """Return the pixel of an image's upper left corner."""
        row, column = divmod(number, self.columns)
        return row * (self.height + self.label) + self.label, column * (self.width + self.gap)


def draw_maps(
    maps: Array,
    numbers: Sequence[int],
    *,
    columns: int | None = None,
    shared_scale: bool = True,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Draw images side by side.

    Args:
        maps: ``(n, height, width)``, at least one.
        numbers: The number to write above each.
        columns: How many side by side; None chooses.
        shared_scale: Whether a colour means the same in all of them.
        title: A title above the plot.
        figsize: Width and height in inches.
    """
    count, height, width = maps.shape
    grid = _Grid(count, height, width, min(columns or _columns(count, height / width), count))
    larger = math.ceil(_LEAST_PIXELS / grid.pixels)
    grid = attrs.evolve(grid, height=larger * height, width=larger * width)
    is_signed = bool((maps < 0).any())
    scale = _Scale.of(maps, is_signed=is_signed)
    scales = [scale if shared_scale else _Scale.of(each, is_signed=is_signed) for each in maps]
    figure, axes, bar = _sheet(grid, title, figsize, has_bar=shared_scale)
    # Pixels stay square, unless the image has fewer of them than the maps.
    interpolation = "nearest" if grid.pixels <= DOTS_PER_INCH else "antialiased"
    axes.imshow(_mosaic(grid, maps, scales, larger), interpolation=interpolation)
    for place, (number, each, own) in enumerate(zip(numbers, maps, scales, strict=True)):
        row, column = grid.place(place)
        text = _label(number, each, own, shared_scale=shared_scale)
        if size := _font_size(text, grid.width / grid.pixels):
            axes.text(column - 0.5, row - 0.5 - 0.25 * grid.label, text, fontsize=size, ha="left", va="baseline")
    if bar is not None:
        figure.colorbar(scale.mappable(), cax=bar).outline.set(linewidth=0.7, edgecolor=GREY)
        bar.tick_params(width=0.7, length=3.0, color=GREY, labelsize="small")
    return figure


def _columns(count: int, ratio: float) -> int:
    """Return the number of columns that makes the plot wide rather than high, and its last row full."""
    best = math.sqrt(1.6 * count * ratio)
    candidates = range(max(1, math.floor(0.7 * best)), min(count, math.ceil(1.4 * best)) + 1)
    return min(candidates or [count], key=lambda columns: (-count % columns / columns > 0.25, abs(columns - best)))


def _sheet(
    grid: _Grid, title: str | None, figsize: tuple[float, float] | None, *, has_bar: bool
) -> tuple[Figure, Any, Any]:
    """Return a figure with axes for the images, and for the scale if there is one."""
    inner_width, inner_height = grid.shape[1] / grid.pixels, grid.shape[0] / grid.pixels
    width, height = inner_width + 2 * _MARGIN + 0.7 * has_bar, inner_height + 2 * _MARGIN + 0.3 * (title is not None)
    figure = new_figure(figsize or (width, height), title, is_laid_out=True)
    bottom = _MARGIN / height
    axes = figure.add_axes((_MARGIN / width, bottom, inner_width / width, inner_height / height))
    axes.set_axis_off()
    if not has_bar:
        return figure, axes, None
    top = inner_height - grid.label / grid.pixels
    place = ((_MARGIN + inner_width + 0.15) / width, bottom, 0.14 / width, top / height)
    return figure, axes, figure.add_axes(place)


def _mosaic(grid: _Grid, maps: Array, scales: Sequence[_Scale], larger: int) -> Array:
    """Return one image of all maps, ``(height, width, 4) uint8``: red, green, blue, opacity; transparent between."""
    mosaic = np.zeros((*grid.shape, 4), dtype=np.uint8)
    for place, (values, scale) in enumerate(zip(maps, scales, strict=True)):
        row, column = grid.place(place)
        colours = scale.colours(values).repeat(larger, axis=0).repeat(larger, axis=1)
        mosaic[row : row + grid.height, column : column + grid.width] = colours
    return mosaic


def _label(number: int, values: Array, scale: _Scale, *, shared_scale: bool) -> str:
    if not values.any():
        return f"{number}: all 0"
    return str(number) if shared_scale else f"{number}: {'±' if scale.low else 'to '}{scale.high:.2g}"


def _font_size(text: str, inches: float) -> float:
    """Return the size in points at which a text fits into a width; 0 if it would be illegible."""
    size = min(7.5, 72 * inches / (0.62 * len(text)))
    return size if size >= 3.5 else 0.0


@attrs.frozen
class _Scale:
    """What the colours mean, from ``low`` to ``high``."""

    low: float
    high: float

    @classmethod
    def of(cls, values: Array, *, is_signed: bool) -> _Scale:
        finite = values[np.isfinite(values)].astype(np.float64)
        high = float(np.abs(finite).max(initial=0.0)) or 1.0
        return cls(-high if is_signed else 0.0, high)

    def mappable(self) -> ScalarMappable:
        return ScalarMappable(Normalize(self.low, self.high), colormaps["RdBu_r" if self.low else "viridis"])

    def colours(self, values: Array) -> Array:
        """Return red, green, blue and opacity of each value, in 0..255."""
        finite = np.isfinite(values)
        colours: Array = self.mappable().to_rgba(np.where(finite, values, 0.0), bytes=True)
        colours[~finite] = _NOT_FINITE
        return colours
