"""The scalars in TensorBoard's event files, written by any library; the ``tensorboard`` package reads them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from monitor_core.tensorboard.formats import event_file

MARK = "tfevents"
"""What the name of every event file contains."""
_DEPTH = 2
"""How many levels of folders are looked at: those of one training, such as ``train`` and ``validation``, are below."""
_PREFIXES = {"": "", "train": "", "validation": "val_"}

Points = list[tuple[int, float, float]]
"""Steps, times in seconds since 1970, and values."""


def read_events(path: Path) -> Iterator[tuple[str, str, Points]]:
    """Yield each scalar's prefix, tag and points; a point that was written again replaces the earlier one.

    Args:
        path: A folder, with ``train`` and ``validation`` in it if it is Keras's or `TensorBoard`'s, or a file. A file
            in ``train`` is read with those in ``validation`` next to it.

    Raises:
        ImportError: The tensorboard package is not installed.
        FileNotFoundError: There is no such file.
    """
    if path.is_dir():
        found = [(file, file.parent.relative_to(path).as_posix()) for file in log_files(path)]
    else:
        path.stat()  # raises if it is not there
        near = log_files(path.parent.parent / "validation") if path.parent.name == "train" else []
        found = [(path, ""), *((file, "validation") for file in near)]
    points: dict[tuple[str, str], dict[int, tuple[float, float]]] = {}
    for file, place in found:
        name = place.removeprefix(".")
        prefix = _PREFIXES.get(name, f"{name}_")
        for tag, each in _scalars(file):
            points.setdefault((prefix, tag), {}).update({step: (time, value) for step, time, value in each})
    for (prefix, tag), by_step in points.items():
        yield prefix, tag, [(step, *by_step[step]) for step in sorted(by_step)]


def log_files(folder: Path) -> list[Path]:
    """Return the event files in a folder, and in those below it, as they make up one log."""
    patterns = ["/".join(["*"] * depth + [f"*{MARK}*"]) for depth in range(_DEPTH)]
    return sorted(path for pattern in patterns for path in folder.glob(pattern) if path.is_file())


def _scalars(file: Path) -> Iterator[tuple[str, Points]]:
    """Yield each scalar of a file; by our own reader, as TensorBoard's imports TensorFlow where it is installed."""
    try:
        from tensorboard.compat.proto import event_pb2  # noqa: F401 (`event_file` imports it for each file)
        from tensorboard.util.tensor_util import make_ndarray
    except ImportError as error:
        raise ImportError(
            f'event files are read by the tensorboard package: pip install "monitor_core[tensorboard]" ({error})'
        ) from error
    kinds: dict[str, str] = {}  # only a tag's first value says which plugin it is of
    found: dict[str, Points] = {}
    for event in event_file.read_events(file):
        for value in event.summary.value:
            kind = kinds.setdefault(value.tag, value.metadata.plugin_data.plugin_name)
            if value.HasField("simple_value"):
                number: Any = value.simple_value
            elif kind == "scalars" and (array := make_ndarray(value.tensor)).size == 1:  # as TensorFlow 2 writes them
                number = np.ravel(array)[0]
            else:
                continue
            found.setdefault(value.tag, []).append((int(event.step), float(event.wall_time), float(number)))
    yield from found.items()
