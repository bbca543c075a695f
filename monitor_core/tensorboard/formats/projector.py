"""Embeddings in the files that TensorBoard's Projector reads: vectors, labels, images, and a configuration.

The Projector reads a run's configuration when it first sees the run, and never again. So the files are written, each
whole or not at all, in this order: vectors, labels and images, the configuration, and then the run's first event,
which makes the folder a run. A later snapshot needs a new folder.
"""

from __future__ import annotations

import io
import math
import re
import time as clock
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from monitor_core._log import logger
from monitor_core.files.replacing import replacing
from monitor_core.tensorboard.formats.arrays import real_numbers
from monitor_core.tensorboard.formats.event_file import EventFile, event_files
from monitor_core.tensorboard.formats.images import png, to_bytes

Labels = Sequence[Any] | Mapping[str, Sequence[Any]]
"""One label for each row, or several columns of labels by title."""

CONFIG = "projector_config.pbtxt"
"""The name of the configuration file that the Projector looks for in a run's folder."""
LARGEST_SPRITE = 8192
"""The largest side of a sprite that the Projector accepts, in pixels."""
_LATE = 3e9  # seconds since 1970, later than any snapshot


def write_embeddings(
    folder: str | PathLike[str], embeddings: Mapping[str, tuple[Any, Labels | None, Any | None]]
) -> None:
    """Write embeddings into a folder that is not a TensorBoard run yet.

    Rows that are not finite are skipped with a warning: otherwise the Projector would show nothing. Of more than
    100,000 rows it shows the first.

    Args:
        folder: The run's folder, created if missing.
        embeddings: By name: a matrix of real numbers, ``(n, dimensions)``; n labels, or columns of them by title, or
            None; n images of one size, ``(n, height, width)`` or with 1, 3 or 4 channels, as `image_value` takes them,
            or None. Names are shown in alphabetical order, numbers at their ends padded to one length.

    Raises:
        TypeError: A matrix has no real numbers.
        ValueError: A shape is wrong, the number of labels or images differs from the number of rows, or the images'
            sprite is too large.
        OSError: A file cannot be written.
    """
    from google.protobuf import text_format
    from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

    whole = {name: _Embedding.checked(name, *parts) for name, parts in embeddings.items()}
    config = ProjectorConfig()
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for number, (name, embedding) in enumerate(zip(_shown_names(whole), whole.values(), strict=True)):
        embedding.write(target, f"embedding-{number:03d}", config.embeddings.add(tensor_name=name))
    _write(target / CONFIG, text_format.MessageToString(config, as_utf8=True).encode())
    if not event_files(target):
        # The Projector opens the run whose first event is the oldest, so later snapshots get earlier times.
        EventFile(target, start=None, time=_LATE - clock.time()).close()


def read_labels(path: str | PathLike[str]) -> Labels:
    """Read labels as the Projector does: one per line, or several separated by tabs, with titles in the first line.

    Raises:
        OSError: The file cannot be read.
    """
    lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    if not lines or "\t" not in lines[0]:
        return lines
    titles, *rows = (line.split("\t") for line in lines)
    return {title: [row[place] if place < len(row) else "" for row in rows] for place, title in enumerate(titles)}


@attrs.frozen(eq=False)
class _Embedding:
    """One embedding, whose parts all have the same number of rows.

    Attributes:
        matrix: ``(n, dimensions) float32``, finite, at least 2 dimensions.
        columns: Labels by title; none, or one without a title, or several.
        images: ``(n, height, width, channels) uint8``, or None.
    """

    matrix: NDArray[np.float32]
    columns: Mapping[str, Sequence[str]]
    images: NDArray[np.uint8] | None

    @classmethod
    def checked(cls, name: str, matrix: Any, labels: Labels | None, images: Any | None) -> _Embedding:
        rows = real_numbers(matrix)
        if rows.ndim != 2 or not rows.size:
            raise ValueError(f"the matrix of {name!r} must have the shape (n, dimensions) (got {rows.shape})")
        named = labels if isinstance(labels, Mapping) else {} if labels is None else {"": labels}
        columns = {title: [_cell(label) for label in column] for title, column in named.items()}
        for title, column in columns.items():
            if len(column) != len(rows):
                which = f"labels {title!r}" if title else "labels"
                raise ValueError(f"there must be {len(rows)} {which} of {name!r}, one for each row (got {len(column)})")
        images = None if images is None else _checked_images(name, images, len(rows))
        with np.errstate(over="ignore"):
            rows = rows.astype(np.float32)
        return cls._finite(name, rows, columns, images)

    @classmethod
    def _finite(
        cls, name: str, rows: NDArray[Any], columns: dict[str, list[str]], images: NDArray[np.uint8] | None
    ) -> _Embedding:
        good = np.isfinite(rows).all(axis=1)
        if not good.any():
            raise ValueError(f"the matrix of {name!r} must have a finite row (got none of {len(rows)})")
        if not good.all():
            logger.warning("the embedding %r has %d rows that are not finite; they are skipped", name, np.sum(~good))
            columns = {title: np.array(column, object)[good].tolist() for title, column in columns.items()}
            images = None if images is None else images[good]
            rows = rows[good]
        if rows.shape[1] == 1:  # the Projector does not show one dimension
            rows = np.pad(rows, ((0, 0), (0, 1)))
        return cls(rows, columns, images)

    def write(self, folder: Path, stem: str, info: Any) -> None:
        """Write the files, and name them in the configuration."""
        octets = self.matrix.astype("<f4").tobytes()
        is_text = _is_utf8(octets)
        info.tensor_path = f"{stem}.tsv" if is_text else f"{stem}.bytes"
        info.tensor_shape.extend(self.matrix.shape)
        _write(folder / info.tensor_path, _tsv(self.matrix) if is_text else octets)
        if self.columns:
            info.metadata_path = f"{stem}-labels.tsv"
            _write(folder / info.metadata_path, _metadata(self.columns))
        if self.images is not None:
            info.sprite.image_path = f"{stem}-images.png"
            info.sprite.single_image_dim.extend([self.images.shape[2], self.images.shape[1]])
            _write(folder / info.sprite.image_path, png(_sprite(self.images)))


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def _is_utf8(octets: bytes) -> bool:
    """Return whether the Projector would read the bytes as text: it tries that first."""
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True


def _tsv(matrix: NDArray[np.float32]) -> bytes:
    buffer = io.BytesIO()
    np.savetxt(buffer, matrix, fmt="%.9g", delimiter="\t")
    return buffer.getvalue()


def _metadata(columns: Mapping[str, Sequence[str]]) -> bytes:
    """Return the labels' file: with a header only for several columns, since the Projector drops it only then."""
    rows = zip(*columns.values(), strict=True)
    lines = ["\t".join(row) for row in rows]
    if len(columns) > 1:
        lines.insert(0, "\t".join(map(_cell, columns)))
    return "".join(f"{line}\n" for line in lines).encode()


def _cell(label: Any) -> str:
    text = label.decode(errors="replace") if isinstance(label, bytes) else str(label)
    return " ".join(text.encode(errors="replace").decode().split()) or "(empty)"


def _checked_images(name: str, given: Any, rows: int) -> NDArray[np.uint8]:
    images = to_bytes(given)
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.ndim != 4 or images.shape[3] not in (1, 3, 4) or len(images) != rows or not images.size:
        raise ValueError(
            f"there must be {rows} images of {name!r}, one for each row, of the shape (n, height, width) or "
            f"(n, height, width, 1, 3 or 4) (got {np.shape(given)})"
        )
    side = math.isqrt(rows - 1) + 1
    if (largest := side * max(images.shape[1:3])) > LARGEST_SPRITE:
        raise ValueError(
            f"the images of {name!r} must fit in {LARGEST_SPRITE} x {LARGEST_SPRITE} pixels, all side by side in a "
            f"square (got {largest}): give smaller or fewer images"
        )
    return images


def _sprite(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Put images side by side, row by row, in a square grid."""
    count, height, width, channels = images.shape
    side = math.isqrt(count - 1) + 1
    grid = np.zeros((side * side, height, width, channels), np.uint8)
    grid[:count] = images
    sprite = grid.reshape(side, side, height, width, channels).swapaxes(1, 2)
    whole = sprite.reshape(side * height, side * width, channels)
    return whole[:, :, 0] if channels == 1 else whole


def _shown_names(names: Iterable[str]) -> list[str]:
    """Return the names in a form that the Projector shows: unique, in its characters, and in numeric order."""
    cleaned = [re.sub(r"[\x00-\x1f\ud800-\udfff&:]+", "_", name) or "embedding" for name in names]
    parts = [re.fullmatch(r"(.*?)(\d*)", name, re.DOTALL) for name in cleaned]
    stems = [(part[1], part[2]) for part in parts if part is not None]
    longest: dict[str, int] = {}
    for stem, digits in stems:
        longest[stem] = max(longest.get(stem, 0), len(digits))
    shown: list[str] = []
    for stem, digits in stems:
        name = stem + (digits.zfill(longest[stem]) if digits else "")
        while name in shown:
            name += "_"
        shown.append(name)
    return shown
