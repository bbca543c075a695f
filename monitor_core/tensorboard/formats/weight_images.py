"""Weights as images: blue below zero, white at zero, red above it, yellow where a value is not finite.

The scale is symmetric about zero and ends at the largest magnitude shown, so that signs are visible and a constant
has one colour. An image is never much higher than wide, since TensorBoard stretches each to the width of its card, and
never too flat to see. Its sides have at most `SIDE` pixels.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor_core.tensorboard.formats.arrays import real_numbers

SIDE = 512
"""The largest side of an image, in pixels."""
_FLATTEST = 16  # the largest ratio of width to height, unless the image is one short row
_SMALLEST_IMAGE = 8  # the smallest side, in dots, of a square that a matrix's longer side may become
_MOST_PLANES = 32
_LARGEST_DOT = 16  # the largest side of a dot, in pixels
_SHADES = 120  # of each colour, so that an image has few enough colours for a palette

_BELOW, _ZERO, _ABOVE = (33, 102, 172), (255, 255, 255), (178, 24, 43)
_NOT_FINITE, _NOTHING = (np.array(rgb, np.uint8) for rgb in ((255, 217, 47), (128, 128, 128)))

Pixels = NDArray[np.uint8]
Values = NDArray[np.floating]


def weight_image(array: Any) -> Pixels | None:
    """Return a weight as an image.

    A vector is a row, wrapped if long. A matrix lies on its longer side; if long, that side continues in bands below
    each other, with gray lines between. If the longer side is a square number, such as the 784 = 28 x 28 pixels of an
    image, each element of the other side becomes a tile of 28 x 28. Kernels of convolutions become tiles, one from each
    input channel to each output channel: the more numerous channels run to the right and continue in bands. A kernel
    over one axis becomes a matrix for each position. Of a weight too large to show, each dot is the mean of its
    neighbours, and only the first tiles of a convolution are shown.

    Args:
        array: Real numbers of any shape: kernels in Keras's order ``(height, width, in, out)`` or in PyTorch's
            ``(out, in, height, width)``; the end with fewer elements is taken as the spatial axes.

    Returns:
        ``(height, width, 3) uint8``, sides at most `SIDE`; None for an empty array.

    Raises:
        TypeError: The array has no real numbers.
    """
    weight = real_numbers(array)
    if not weight.size:
        return None
    if weight.ndim < 2:
        return _magnified(_row(weight.ravel()))
    if weight.ndim == 2:
        return _magnified(_matrix(weight))
    return _magnified(_places(weight) if weight.ndim == 3 else _joined(_coloured(_tiles(weight))))


def _row(vector: Values) -> Pixels:
    dots = _coloured(_averaged(vector, 0, SIDE * SIDE))
    width = min(len(dots), SIDE, max(_FLATTEST, math.isqrt(_FLATTEST * len(dots))))
    return _in_bands(dots[np.newaxis], -(-len(dots) // width))[:, 0]


def _matrix(weight: Values) -> Pixels:
    wide = _lying(weight)
    height, width = wide.shape
    side = math.isqrt(width)
    if side**2 == width > height and side >= _SMALLEST_IMAGE and 2 * min(_room(height, side, side)) >= side:
        return _grid(wide.reshape(height, side, side))
    if height == 1:
        return _row(wide[0])
    wide = _averaged(wide, 0, SIDE)
    height = len(wide)
    most = max(1, min((SIDE + 1) // (height + 1), math.isqrt(width // (height + 1))))  # more: higher than wide
    wide = _averaged(wide, 1, SIDE * most)
    width = wide.shape[1]
    bands = max(-(-width // SIDE), 1 + math.isqrt(width // (_FLATTEST * (height + 1))))
    bands += -(-width // bands) > (_FLATTEST + 1) * (bands * (height + 1) - 1)  # few rows: the lines count for more
    return _joined(_in_bands(_coloured(wide), bands)[:, np.newaxis])


def _lying(matrices: Values) -> Values:
    """Return matrices, the last two axes, with the longer side horizontal."""
    return matrices.swapaxes(-1, -2) if matrices.shape[-2] > matrices.shape[-1] else matrices


def _in_bands(rows: Pixels, bands: int) -> Pixels:
    """Cut rows of dots, ``(height, width, 3)``, into bands, ``(bands, height, width, 3)``; the unused rest is gray."""
    height, length, _ = rows.shape
    width = -(-length // bands)
    padded = np.tile(_NOTHING, (height, bands * width, 1))
    padded[:, :length] = rows
    return padded.reshape(height, bands, width, 3).swapaxes(0, 1)


def _places(weight: Values) -> Pixels:
    """Return the matrices of a convolution over one axis."""
    if weight.shape[0] > weight.shape[2]:
        weight = weight.transpose(2, 1, 0)
    wide = _lying(weight[:_MOST_PLANES])
    return _matrix(wide[:, 0]) if wide.shape[1] == 1 else _grid(wide)


def _grid(tiles: Values) -> Pixels:
    """Return tiles, ``(n, height, width)``, in bands, each averaged as far as needed to show all of them."""
    bands = _bands(*tiles.shape)
    # The same number of dots in each mean, on both axes: otherwise edges would look ragged.
    together = max(-(-length // room) for length, room in zip(tiles.shape[1:], _room(*tiles.shape), strict=True))
    for axis in (1, 2):
        tiles = _averaged(tiles, axis, -(-tiles.shape[axis] // together))
    return _joined(_coloured(tiles[np.newaxis]), bands)


def _room(count: int, height: int, width: int) -> tuple[int, int]:
    """Return how many dots high and wide each tile in the bands can be."""
    bands = _bands(count, height, width)
    return (SIDE + 1) // bands - 1, (SIDE + 1) // -(-count // bands) - 1


def _bands(count: int, height: int, width: int) -> int:
    """Return how many bands of tiles make a nearly square image."""
    bands = max(1, math.isqrt(count * (width + 1) // (height + 1)))
    return -(-count // -(-count // bands))


def _tiles(weight: Values) -> Values:
    """Return the tiles of a convolution over two axes or more, ``(down, right, height, width)``.

    With more than two axes, the slices of each tile are side by side.
    """
    if math.prod(weight.shape[:-2]) <= math.prod(weight.shape[2:]):
        weight = np.moveaxis(weight, (-2, -1), (0, 1))
    else:
        weight = weight.swapaxes(0, 1)
    slices = weight.reshape(*weight.shape[:2], -1, *weight.shape[-2:]).swapaxes(2, 3)
    tiles = slices.reshape(*slices.shape[:3], -1)
    if len(tiles) > tiles.shape[1]:
        tiles = tiles.swapaxes(0, 1)
    tiles = _averaged(_averaged(tiles, 2, SIDE), 3, SIDE)
    down, right = (max(1, (SIDE + 1) // (side + 1)) for side in tiles.shape[2:])
    tiles = tiles[:down]
    return tiles[:, : right * (down // len(tiles))]


def _averaged(values: Values, axis: int, limit: int) -> Values:
    """Average neighbours along an axis, so that it is no longer than the limit."""
    length = values.shape[axis]
    if length <= limit:
        return values
    starts = np.arange(limit) * length // limit
    counts = np.diff(starts, append=length).astype(values.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        sums: Values = np.add.reduceat(values, starts, axis)
    means: Values = sums / np.expand_dims(counts, tuple(range(1, values.ndim - axis)))
    return means


def _coloured(values: Values) -> Pixels:
    """Return the colour of each value: the shape of the values, and 3."""
    finite = np.isfinite(values)
    largest = np.abs(values).max(where=finite, initial=0.0)
    shades = np.where(finite, values, 0) / (largest or 1.0) * _SHADES
    dots: Pixels = _colours()[_SHADES + shades.round().astype(np.intp)]
    dots[~finite] = _NOT_FINITE
    return dots


@functools.cache
def _colours() -> Pixels:
    """Return the colours from the lowest value to the highest, ``(2 * _SHADES + 1, 3)``."""
    places = [-_SHADES, 0, _SHADES]
    bands = zip(_BELOW, _ZERO, _ABOVE, strict=True)
    shades = np.arange(-_SHADES, _SHADES + 1)
    return np.stack([np.interp(shades, places, band) for band in bands], axis=1).round().astype(np.uint8)


def _joined(tiles: Pixels, bands: int | None = None) -> Pixels:
    """Put tiles, ``(rows, columns, height, width, 3)``, side by side with lines between, in bands if there are many."""
    rows, columns, height, width, _ = tiles.shape
    if bands is None:
        bands = max(_bands(columns, rows * (height + 1) - 1, width), -(-columns // ((SIDE + 1) // (width + 1))))
    columns = -(-columns // bands)
    framed = np.tile(_NOTHING, (rows, bands * columns, height + 1, width + 1, 1))
    framed[:, : tiles.shape[1], :-1, :-1] = tiles
    banded = framed.reshape(rows, bands, columns, height + 1, width + 1, 3).transpose(1, 0, 3, 2, 4, 5)
    return banded.reshape(bands * rows * (height + 1), columns * (width + 1), 3)[:-1, :-1]


def _magnified(image: Pixels) -> Pixels:
    """Show each dot as a square, as large as fits; rotate an image that is much higher than wide."""
    if len(image) > 2 * image.shape[1]:
        image = image.swapaxes(0, 1)
    side = max(1, min(_LARGEST_DOT, SIDE // max(image.shape[:2])))
    return image.repeat(side, axis=0).repeat(side, axis=1)
