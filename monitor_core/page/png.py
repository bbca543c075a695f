"""Small images as PNG in a data address, so that a page holds them."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray


def data_address(pixels: NDArray[Any]) -> str:
    """Return an image as an address that holds it.

    Args:
        pixels: ``(height, width)`` or ``(height, width, 3) uint8``.
    """
    height, width = pixels.shape[:2]
    colours = 2 if pixels.ndim == 3 else 0
    rows = np.ascontiguousarray(pixels, np.uint8).reshape(height, -1)
    data = np.hstack([np.zeros((height, 1), np.uint8), rows]).tobytes()  # each row begins with its filter, 0: none
    head = struct.pack(">IIBBBBB", width, height, 8, colours, 0, 0, 0)
    chunks = (_chunk(b"IHDR", head), _chunk(b"IDAT", zlib.compress(data, 9)), _chunk(b"IEND", b""))
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(chunks)).decode("ascii")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
