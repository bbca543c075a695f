"""The scalars in TensorBoard's event files, written by any library; the ``tensorboard`` package reads them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

_MARK = "tfevents"
_DEPTH = 2
"""How many levels of folders are looked at: those of one training, such as ``train`` and ``validation``, are below."""
_PREFIXES = {"": "", "train": "", "validation": "val_"}

Points = list[tuple[int, float, float]]
"""Steps, times in seconds since 1970, and values."""


def has_events(folder: Path) -> bool:
    """Return whether there are event files in a folder, or in those below it."""
    return bool(_files(folder))


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
        found = [(file, file.parent.relative_to(path).as_posix()) for file in _files(path)]
    else:
        path.stat()  # raises if it is not there
        near = _files(path.parent.parent / "validation") if path.parent.name == "train" else []
        found = [(path, ""), *((file, "validation") for file in near)]
    points: dict[tuple[str, str], dict[int, tuple[float, float]]] = {}
    for file, place in found:
        name = place.removeprefix(".")
        prefix = _PREFIXES.get(name, f"{name}_")
        for tag, each in _scalars(file):
            points.setdefault((prefix, tag), {}).update({step: (time, value) for step, time, value in each})
    for (prefix, tag), by_step in points.items():
        yield prefix, tag, [(step, *by_step[step]) for step in sorted(by_step)]


def _files(folder: Path) -> list[Path]:
    patterns = ["/".join(["*"] * depth + [f"*{_MARK}*"]) for depth in range(_DEPTH)]
    return sorted(path for pattern in patterns for path in folder.glob(pattern) if path.is_file())


def _scalars(file: Path) -> Iterator[tuple[str, Points]]:
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        from tensorboard.util import tensor_util
    except ImportError as error:
        raise ImportError(
            f'event files are read by the tensorboard package: pip install "monitor_core[tensorboard]" ({error})'
        ) from error
    events: Any = EventAccumulator(str(file), size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    tags = events.Tags()
    for tag in tags["scalars"]:
        yield tag, [(int(each.step), float(each.wall_time), float(each.value)) for each in events.Scalars(tag)]
    for tag in tags["tensors"]:
        if events.SummaryMetadata(tag).plugin_data.plugin_name == "scalars":  # as TensorFlow 2 writes them
            arrays = [(each, tensor_util.make_ndarray(each.tensor_proto)) for each in events.Tensors(tag)]
            yield tag, [(int(e.step), float(e.wall_time), float(np.ravel(a)[0])) for e, a in arrays if a.size == 1]
