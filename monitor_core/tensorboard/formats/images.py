"""Images for TensorBoard: arrays and figures as PNG files."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from monitor_core.tensorboard.formats.values import strings_value
from monitor_core.tensorboard.formats.weight_images import weight_image

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from tensorboard.compat.proto.summary_pb2 import Summary

__all__ = ["figure_image", "image_value", "png", "to_bytes", "weight_image"]

Pixels = NDArray[np.uint8]

_SAMPLE = 4096  # pixels that are enough to detect most photographs by their many colours


def image_value(tag: str, images: Any) -> Summary.Value:
    """Return images as a summary value.

    Args:
        tag: Its tag.
        images: One image, ``(height, width)`` or ``(height, width, channels)``, or several,
            ``(n, height, width, channels)``, with 1 (gray), 3 (RGB) or 4 channels (RGB and opacity): integers from 0 to
            255, or floats from 0 to 1, where NaN is 0; or booleans. Or a matplotlib figure. Or a sequence of images and
            figures of any sizes.

    Raises:
        TypeError: The values are not numbers.
        ValueError: The shape is none of these, or values are out of range.
    """
    many = images if isinstance(images, list | tuple) and not _is_rows(images) else [images]
    pixels = [one for each in many for one in _to_pixels(each)]
    height, width = pixels[0].shape[:2]
    strings = [str(width).encode(), str(height).encode(), *map(png, pixels)]
    return strings_value(tag, "images", strings, blobs=True)


def png(pixels: Pixels) -> bytes:
    """Return an image, ``(height, width)`` or with 3 or 4 channels, as a PNG file."""
    from PIL import Image

    buffer = io.BytesIO()
    palette, numbers = _palette(pixels)
    image = Image.fromarray(numbers)
    if len(palette):
        image.putpalette(palette.tobytes())
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _palette(pixels: Pixels) -> tuple[Pixels, Pixels]:
    """Return the palette of an image with few colours, and each pixel's index in it: a third of the bytes."""
    none = np.empty((0, 3), np.uint8), pixels
    if pixels.shape[2:] != (3,):
        return none
    colours = pixels @ np.array([1, 1 << 8, 1 << 16], np.uint32)
    for part in (colours.ravel()[:: 1 + colours.size // _SAMPLE], colours):
        found, numbers = np.unique(part, return_inverse=True)
        if len(found) > 256:
            return none
    palette = found.astype("<u4").view(np.uint8).reshape(-1, 4)[:, :3]
    return palette, numbers.reshape(colours.shape).astype(np.uint8)


def figure_image(figure: Figure) -> Pixels:
    """Draw a matplotlib figure with any backend; the figure stays open.

    Returns:
        ``(height, width, 4) uint8``, in the figure's own resolution.
    """
    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=figure.dpi)
    return np.asarray(Image.open(buffer).convert("RGBA"))


def to_bytes(images: Any) -> Pixels:
    """Return values of images as ``uint8``: integers from 0 to 255 as they are, floats from 0 to 1 scaled.

    Raises:
        TypeError: They are not numbers.
        ValueError: They are out of range.
    """
    array = np.asarray(images)
    if array.dtype.kind not in "biufV":
        raise TypeError(f"images must have numbers (got {array.dtype})")
    if array.dtype.kind == "b":
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype.kind in "iu":
        return _checked_range(array, 255).astype(np.uint8)
    floats = np.nan_to_num(array.astype(np.float32), nan=0.0, posinf=np.inf, neginf=-np.inf)
    # A tiny excess over the range is rounding.
    return (_checked_range(floats, 1, within=1e-3).clip(0, 1) * 255 + 0.5).astype(np.uint8)


def _checked_range(array: NDArray[Any], largest: int, *, within: float = 0.0) -> NDArray[Any]:
    low, high = array.min(initial=0), array.max(initial=0)
    if low < -within or high > largest + within:
        kind = "integers" if array.dtype.kind in "iu" else "floats"
        raise ValueError(f"images of {kind} must be within 0 to {largest} (got {low:g} to {high:g})")
    return array


def _is_rows(images: Sequence[Any]) -> bool:
    """Return whether these are the rows of one image, as nested lists of numbers."""
    return all(isinstance(each, list | tuple) or np.ndim(each) < 2 for each in images) and not any(
        hasattr(each, "savefig") for each in images
    )


def _to_pixels(images: Any) -> list[Pixels]:
    """Return images in a form that Pillow accepts: two axes, or three with 3 or 4 channels."""
    if hasattr(images, "savefig"):
        return [figure_image(images)]
    array = to_bytes(images)
    if array.ndim == 2:
        array = array[:, :, np.newaxis]
    if array.ndim == 3:
        array = array[np.newaxis]
    if array.ndim != 4 or array.shape[3] not in (1, 3, 4) or not array.size:
        raise ValueError(
            "images must have the shape (height, width), (height, width, 1, 3 or 4), or (n, height, width, 1, 3 or 4), "
            f"and not be empty (got {np.shape(images)})"
        )
    return [each[:, :, 0] if each.shape[2] == 1 else each for each in array]
