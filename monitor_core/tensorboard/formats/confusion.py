"""Confusion matrices: which classes are predicted as which, as numbers and as an image, drawn with Pillow alone."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from monitor_core.tensorboard.formats.pr_curves import checked_classes
from monitor_core.values.text import shortened

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

MOST_CLASSES = 1024
"""How many classes an image can show."""

_SIDE = 1024  # the largest side of the matrix, in pixels
_CELL = 52  # the largest side of a cell, in pixels
_COUNTED, _NAMED = 30, 9  # sides of a cell, in pixels, from which counts and names are readable
_LARGEST_TEXT, _SMALLEST_TEXT = 14, 8
_GAP = 8  # pixels between names and matrix
_CAPTION = ("rows: true", "columns: predicted")
_MOST_LETTERS = 24
_FULL = np.array((8, 48, 107))  # the colour of a cell that has its whole row


def confusion_matrix(labels: Any, predictions: Any, classes: int | None = None) -> NDArray[np.int64]:
    """Count how often each class is predicted as each.

    Args:
        labels: ``(n,)`` integers from 0: the true classes.
        predictions: ``(n,)`` integers from 0: the predicted classes.
        classes: The number of classes; None derives it from the largest class present.

    Returns:
        ``(classes, classes) int64``; rows are true classes, columns predicted ones.

    Raises:
        ValueError: Lengths differ, or a class is out of range.
    """
    if classes is None:
        classes = 1 + max(int(np.max(labels, initial=0)), int(np.max(predictions, initial=0)))
    true, predicted = checked_classes("labels", labels, classes), checked_classes("predictions", predictions, classes)
    if len(true) != len(predicted):
        raise ValueError(f"predictions must be {len(true)}, as labels are (got {len(predicted)})")
    return np.bincount(true * classes + predicted, minlength=classes**2).reshape(classes, classes)


def confusion_image(matrix: Any, names: Sequence[str] | None = None) -> NDArray[np.uint8]:
    """Draw a confusion matrix: the darker a cell, the larger its share of its row; with counts if they fit.

    Args:
        matrix: ``(classes, classes)`` counts, rows true, columns predicted, as `confusion_matrix` returns them.
        names: The classes' names; None numbers them.

    Returns:
        ``(height, width, 3) uint8``.

    Raises:
        ValueError: The matrix is not square, has more than `MOST_CLASSES`, or the number of names differs.
    """
    counts = np.asarray(matrix)
    if counts.ndim != 2 or len(counts) != counts.shape[1] or not 0 < len(counts) <= MOST_CLASSES:
        raise ValueError(f"matrix must have as many rows as columns, 1 to {MOST_CLASSES} (got {counts.shape})")
    titles = [str(number) for number in range(len(counts))] if names is None else [str(name) for name in names]
    if len(titles) != len(counts):
        raise ValueError(f"names must be {len(counts)}, one for each class (got {len(titles)})")
    return np.asarray(_drawn(counts, titles))


def _drawn(counts: NDArray[Any], titles: list[str]) -> Image:
    from PIL import Image, ImageDraw

    cell = max(1, min(_CELL, _SIDE // len(counts)))
    shown = [_abbreviated(title) for title in titles] if cell >= _NAMED else []
    corner = int(max(_font(_LARGEST_TEXT).getlength(text) for text in (*_CAPTION, *shown))) + 2 * _GAP
    side = corner + cell * len(counts) + _GAP
    image = Image.new("RGB", (side, side), "white")
    # The columns' names are drawn as rows and rotated, so that they read upwards from the matrix.
    above = Image.new("RGB", (corner, side), "white")
    _write_names(ImageDraw.Draw(above), shown, cell, corner, left=True)
    image.paste(above.rotate(90, expand=True), (0, 0))
    image.paste(_cells(counts, cell), (corner, corner))
    draw = ImageDraw.Draw(image)
    _write_names(draw, shown, cell, corner, left=False)
    draw.multiline_text((_GAP, _GAP), "\n".join(_CAPTION), "black", _font(_LARGEST_TEXT))
    if cell >= _COUNTED:
        _write_counts(draw, counts, cell, corner)
    return image


def _cells(counts: NDArray[Any], cell: int) -> Image:
    from PIL import Image

    shades = 255 - _shares(counts)[..., np.newaxis] * (255 - _FULL)
    pixels = shades.round().astype(np.uint8).repeat(cell, axis=0).repeat(cell, axis=1)
    if cell >= _NAMED:
        pixels[::cell] = pixels[:, ::cell] = 200
    return Image.fromarray(pixels)


def _shares(counts: NDArray[Any]) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = counts / np.maximum(1e-300, counts.sum(axis=1, keepdims=True))
    return shares.clip(0, 1)


def _write_names(draw: ImageDraw, titles: list[str], cell: int, corner: int, *, left: bool) -> None:
    """Draw a name next to each row of cells, starting or ending at the matrix."""
    font = _font(min(_LARGEST_TEXT, cell))
    place, anchor = (_GAP // 2, "lm") if left else (corner - _GAP // 2, "rm")
    for number, title in enumerate(titles):
        draw.text((place, corner + cell * number + cell // 2), title, "black", font, anchor)


def _write_counts(draw: ImageDraw, counts: NDArray[Any], cell: int, corner: int) -> None:
    for (row, column), share in np.ndenumerate(_shares(counts)):
        text = _short(float(counts[row, column]))
        size = next(size for size in range(_LARGEST_TEXT, 0, -1) if size == 1 or _font(size).getlength(text) < cell - 4)
        place = corner + cell * column + cell // 2, corner + cell * row + cell // 2
        draw.text(place, text, "white" if share > 0.5 else "black", _font(max(size, _SMALLEST_TEXT)), "mm")


def _abbreviated(title: str) -> str:
    return shortened(title, _MOST_LETTERS)


def _short(count: float) -> str:
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= 100 * unit:
            return f"{count / unit:.0f}{letter}"
    return f"{count:.5g}"


@functools.cache
def _font(size: int) -> FreeTypeFont | ImageFont:
    from PIL.ImageFont import load_default

    return load_default(size)
