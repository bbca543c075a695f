"""Weights as pictures: blue below zero, white at zero, red above it, yellow where a value is not finite.

The scale is symmetrical about zero and ends at the largest magnitude shown, so that signs can be read and a constant
has one colour. A picture's sides have at most `SIDE` pixels.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor_core.tensorboard.formats.arrays import real_numbers

SIDE = 512
"""Pixels of a picture's longer side at most."""
_LONGEST_ROW = 64  # values of a vector in one row, if it is no longer than the square of it
_MOST_PLANES = 32
_LARGEST_DOT = 16  # pixels of a value's side
_SHADES = 120  # of each colour, so that a picture has few enough colours for a palette

_BELOW, _ZERO, _ABOVE = (33, 102, 172), (255, 255, 255), (178, 24, 43)
_NOT_FINITE, _NOTHING = (np.array(rgb, np.uint8) for rgb in ((255, 217, 47), (128, 128, 128)))

Pixels = NDArray[np.uint8]
Values = NDArray[np.floating]


def weight_image(array: Any) -> Pixels | None:
    """Return a weight as a picture.

    A vector is a row, wrapped where it is long. A matrix is shown as it is, rows from the top; where it is too large, a
    dot is the mean of its neighbours. Kernels of convolutions become tiles with gray lines between: one from each
    input channel (down) to each output channel (to the right, and on in bands below each other), or, of those over one
    axis, a matrix from inputs to outputs for each place. Of too many tiles the first are shown.

    Args:
        array: Real numbers of any shape: kernels in Keras's order ``(height, width, in, out)`` or in PyTorch's
            ``(out, in, height, width)``; of the two ends, the one with fewer elements is taken as the places.

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
        return _magnified(_coloured(_averaged(_averaged(weight, 0, SIDE), 1, SIDE)))
    return _magnified(_joined(_coloured(_planes(weight) if weight.ndim == 3 else _tiles(weight))))


def _row(vector: Values) -> Pixels:
    dots = _coloured(_averaged(vector, 0, SIDE * SIDE))
    width = min(len(dots), max(_LONGEST_ROW, math.isqrt(len(dots) - 1) + 1))
    height = -(-len(dots) // width)
    wrapped = np.tile(_NOTHING, (height * width, 1))
    wrapped[: len(dots)] = dots
    return wrapped.reshape(height, width, 3)


def _planes(weight: Values) -> Values:
    """Return the matrices of a convolution over one axis, side by side or below each other, as `_joined` takes them."""
    if weight.shape[0] > weight.shape[2]:
        weight = weight.transpose(2, 1, 0)
    weight = weight[:_MOST_PLANES]
    share = max(1, SIDE // len(weight) - 1)
    flat = weight.shape[1] < weight.shape[2]
    weight = _averaged(_averaged(weight, 1, share if flat else SIDE), 2, SIDE if flat else share)
    return weight[:, np.newaxis] if flat else weight[np.newaxis]


def _tiles(weight: Values) -> Values:
    """Return the tiles of a convolution over two axes or more, ``(in, out, height, width)``."""
    if math.prod(weight.shape[:-2]) <= math.prod(weight.shape[2:]):
        weight = np.moveaxis(weight, (-2, -1), (0, 1))
    else:
        weight = weight.swapaxes(0, 1)
    tiles = weight.reshape(*weight.shape[:2], -1, weight.shape[-1])
    tiles = _averaged(_averaged(tiles, 2, SIDE), 3, SIDE)
    down, right = (max(1, (SIDE + 1) // (side + 1)) for side in tiles.shape[2:])
    tiles = tiles[:down]
    return tiles[:, : right * (down // len(tiles))]


def _averaged(values: Values, axis: int, limit: int) -> Values:
    """Return means of neighbours along an axis, so that it is no longer than the limit."""
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
    """Return a dot for each value: the shape of the values, and 3."""
    finite = np.isfinite(values)
    largest = np.abs(values).max(where=finite, initial=0.0)
    shades = np.where(finite, values, 0) / (largest or 1.0) * _SHADES
    dots: Pixels = _colours()[_SHADES + shades.round().astype(np.intp)]
    dots[~finite] = _NOT_FINITE
    return dots


@functools.cache
def _colours() -> Pixels:
    """Return the colours from the lowest value's to the highest's, ``(2 * _SHADES + 1, 3)``."""
    places = [-_SHADES, 0, _SHADES]
    bands = zip(_BELOW, _ZERO, _ABOVE, strict=True)
    shades = np.arange(-_SHADES, _SHADES + 1)
    return np.stack([np.interp(shades, places, band) for band in bands], axis=1).round().astype(np.uint8)


def _joined(tiles: Pixels) -> Pixels:
    """Put tiles, ``(rows, columns, height, width, 3)``, side by side with lines between, in bands if they are many."""
    rows, columns, height, width, _ = tiles.shape
    bands = max(1, math.isqrt(columns * (width + 1) // (rows * (height + 1))))
    bands = -(-columns // -(-columns // bands))
    columns = -(-columns // bands)
    framed = np.tile(_NOTHING, (rows, bands * columns, height + 1, width + 1, 1))
    framed[:, : tiles.shape[1], :-1, :-1] = tiles
    banded = framed.reshape(rows, bands, columns, height + 1, width + 1, 3).transpose(1, 0, 3, 2, 4, 5)
    return banded.reshape(bands * rows * (height + 1), columns * (width + 1), 3)[:-1, :-1]


def _magnified(picture: Pixels) -> Pixels:
    """Show each dot as a square, as large as there is room for."""
    side = max(1, min(_LARGEST_DOT, SIDE // max(picture.shape[:2])))
    return picture.repeat(side, axis=0).repeat(side, axis=1)
