"""Event files: what TensorBoard reads, one file for each writer and folder.

Contract. The call that adds records passes them to the operating system, each whole or not at all; they stay readable
after a kill at any moment. Once the file is open, a failing disk raises nothing: see `AppendFile`. Methods may be
called from any thread; a forked process writes nothing. Scalars need NumPy alone; everything else needs the package
``tensorboard``, which is imported by the first such call, and never TensorFlow.

A folder is a TensorBoard run and has one writer at a time: of two, TensorBoard drops the steps that they share.
"""

from __future__ import annotations

import itertools
import os
import re
import socket
import threading
import time as clock
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from monitor_core._log import logger
from monitor_core.checks import checked_count
from monitor_core.files.replacing import replacing
from monitor_core.files.writing import AppendFile
from monitor_core.tensorboard.formats.axes import Axis, axis_of, mark
from monitor_core.tensorboard.formats.histograms import histogram, non_finite
from monitor_core.tensorboard.formats.records import Record, frame, read_records
from monitor_core.tensorboard.formats.scalar_records import opening_records, scalar_records
from monitor_core.tensorboard.formats.tags import clean_tag
from monitor_core.tensorboard.formats.values import numbers_value

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

Keep = Callable[[int, str, Axis], bool]
"""Returns whether to keep the value of a step and a tag, by what its step is."""

PENDING_BYTES = 1 << 24
"""How many bytes an event file keeps by default while they cannot be written."""

_VALUES_PER_EVENT = 32
_ROWS = 4096  # rows encoded at a time
_PREFIX = "events.out.tfevents."
_NAME = re.compile(re.escape(_PREFIX) + r"(\d{10})\.")
_numbers = itertools.count()


class EventFile:
    """A new file in a run's folder.

    Its name is unique, even among files made within the same second by other threads, processes or hosts. It sorts
    after those in the folder, since TensorBoard reads files in that order.

    Args:
        folder: The run's folder, created if missing.
        start: The step from which this file has the run. TensorBoard drops what earlier files of the folder have from
            this step on. Give 0 for a run that starts from scratch, one more than the largest step so far for one that
            continues, None for a file that only adds to others.
        limit: How many bytes to keep at most while they cannot be written.
        time: When the run began, seconds since 1970; TensorBoard sorts runs by it. None is now.

    Attributes:
        path: The file.

    Raises:
        SetupError: The folder cannot be created or written.
        TypeError: ``start`` is not an integer.
        ValueError: ``start`` is negative.
    """

    def __init__(
        self,
        folder: str | PathLike[str],
        *,
        start: int | None = 0,
        limit: int = PENDING_BYTES,
        time: float | None = None,
    ) -> None:
        if start is not None:
            checked_count("start", start)
        now = clock.time()
        self._file = AppendFile(Path(folder) / _new_name(Path(folder), now), limit=limit)
        self._file.head = opening_records(now if time is None else time, start)
        self._file.append(b"")  # writes the head, by which TensorBoard recognises the folder as a run
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._tags: dict[str, str] = {}

    @property
    def path(self) -> Path:
        """The file, absolute and with symbolic links resolved."""
        return self._file.path

    @property
    def dropped(self) -> int:
        """How many values were dropped because they could not be written for too long."""
        return self._file.dropped

    def add_columns(
        self,
        steps: NDArray[np.int64],
        times: NDArray[np.float64],
        columns: Mapping[str, NDArray[np.float64]],
        present: Mapping[str, NDArray[np.bool_] | None],
        axis: Axis = "step",
    ) -> None:
        """Add metrics' values.

        They become float32, the precision in which TensorBoard shows scalars: about seven digits. Values beyond 3.4e38
        become infinite. NaN and infinities are kept.

        Args:
            steps: ``(n,) int64``.
            times: ``(n,) float64``, seconds since 1970.
            columns: Each metric's values by name, ``(n,) float64``.
            present: Which steps have a value, by the same names, ``(n,) bool``; None for all.
            axis: What the steps are: how many batches have ended, or epochs.
        """
        together: dict[bytes, list[str]] = {}  # one by one, thousands of metrics that appear late would take seconds
        for name, mask in present.items():
            together.setdefault(b"" if mask is None else mask.tobytes(), []).append(name)
        records: list[tuple[bytes, int]] = []
        for group in together.values():
            mask = present[group[0]]
            some_steps, some_times = (steps, times) if mask is None else (steps[mask], times[mask])
            for first in range(0, len(group), _VALUES_PER_EVENT):
                names = group[first : first + _VALUES_PER_EVENT]
                chosen = [columns[name] if mask is None else columns[name][mask] for name in names]
                records += self._records(names, some_steps, some_times, chosen, axis)
        self._append(records)

    def add_value(self, value: Summary.Value, step: int, time: float | None = None, *, axis: Axis = "step") -> None:
        """Add any other value, such as one returned by a function of this package.

        Args:
            value: The value, with its tag and metadata.
            step: Its step.
            time: Seconds since 1970; None is now.
            axis: What the step is, as in `add_columns`.
        """
        from tensorboard.compat.proto.event_pb2 import Event

        event = Event(wall_time=clock.time() if time is None else time, step=step)
        added = event.summary.value.add()
        added.CopyFrom(value)
        added.tag = self._clean(value.tag)
        mark(event, axis)
        self.add_event(event)

    def add_event(self, event: Event) -> None:
        """Add an event as it is."""
        self._append([(frame(event.SerializeToString()), max(1, len(event.summary.value)))])

    def rewind(self, keep: Keep) -> None:
        """Rewrite the file without the values that ``keep`` rejects, and without damaged records.

        Args:
            keep: Called with each value's step, tag and axis, later and again where the file cannot be written now.
                What is not a value, such as a run graph, is kept.
        """
        if self._is_ours():
            with self._lock:
                self._file.change(lambda old: _kept_records(old, self.path, keep))

    def flush(self) -> None:
        """Retry writing what could not be written before, if anything."""
        self._append([])

    def close(self) -> None:
        """Sync what was written to disk, and close the file; adding a value opens it again."""
        if self._is_ours():
            with self._lock:
                self._file.close()

    def _records(
        self,
        names: Sequence[str],
        steps: NDArray[np.int64],
        times: NDArray[np.float64],
        columns: Sequence[NDArray[np.float64]],
        axis: Axis,
    ) -> Iterator[tuple[bytes, int]]:
        """Yield scalars as records, each with how many values it holds."""
        tags = [self._clean(name) for name in names]
        for first in range(0, len(steps), _ROWS):
            rows = slice(first, first + _ROWS)
            data = scalar_records(tags, steps[rows], times[rows], [each[rows] for each in columns], axis)
            yield data, len(tags) * len(steps[rows])

    def _append(self, records: Sequence[tuple[bytes, int]]) -> None:
        if self._is_ours():  # checked before the lock, which in a fork a thread of the parent may hold forever
            with self._lock:
                self._file.append(*(data for data, _ in records), values=[values for _, values in records])

    def _clean(self, name: str) -> str:
        """Return a name's tag; warn the first time if they differ."""
        if name not in self._tags:
            self._tags[name] = tag = clean_tag(name)
            if tag != name:
                logger.warning("TensorBoard cannot show the name %r; it is shown as %r", name[:100], tag[:120])
        return self._tags[name]

    def _is_ours(self) -> bool:
        return os.getpid() == self._pid


def write_row(file: EventFile, step: int, row: Mapping[str, float], axis: Axis = "step") -> None:
    """Write values of one step, now."""
    file.add_columns(
        np.array([step], dtype=np.int64),
        np.array([clock.time()]),
        {tag: np.array([value], dtype=np.float64) for tag, value in row.items()},
        dict.fromkeys(row),
        axis,
    )


def write_histogram(file: EventFile, tag: str, array: Any, step: int, axis: Axis = "step") -> None:
    """Write a histogram of an array's finite values, and, as ``<tag>/not_finite``, how many others it has."""
    buckets = histogram(array)
    if buckets is not None:
        file.add_value(numbers_value(tag, "histograms", buckets), step, axis=axis)
    if others := non_finite(array, buckets):
        write_row(file, step, {f"{tag}/not_finite": others}, axis)


def rewind_folder(folder: str | PathLike[str], keep: Keep) -> None:
    """Rewrite the event files of a folder, those of earlier processes too, without the values that ``keep`` rejects.

    Files with nothing to drop are not rewritten. An `EventFile` of this process in that folder continues with the
    rewritten file; nothing may be added to it in the meantime.

    Args:
        folder: The run's folder; its subfolders are other runs.
        keep: Called with each value's step, tag and axis.

    Raises:
        OSError: A file cannot be read or written; it is unchanged.
    """
    for path in event_files(folder):
        with path.open("rb") as old:
            if path.stat().st_size == sum(map(len, _kept_records(old, path, keep))):
                continue
            old.seek(0)
            with replacing(path) as temporary, temporary.open("wb") as new:
                new.writelines(_kept_records(old, path, keep))


def event_files(folder: str | PathLike[str]) -> list[Path]:
    """Return a folder's event files in the order in which TensorBoard reads them."""
    return sorted(path for path in Path(folder).glob("*tfevents*") if path.is_file())


def read_events(path: str | PathLike[str]) -> Iterator[Event]:
    """Yield a file's events, up to its end or to an unfinished or damaged record, which is logged.

    Raises:
        OSError: The file cannot be read.
    """
    with Path(path).open("rb") as file:
        for record in read_records(file, path):
            event = _parsed(record)
            if event is None:
                logger.warning("%s has a damaged record; the rest of the file is not read", path)
                return
            yield event


def _kept_records(old: BinaryIO, path: Path, keep: Keep) -> Iterator[bytes]:
    for record in read_records(old, path):
        event = _parsed(record)
        if event is None:
            logger.warning("%s has a damaged record, which is dropped", path)
            continue
        values = event.summary.value
        axis = axis_of(event)
        kept = [keep(event.step, value.tag, axis) for value in values]
        if all(kept):
            yield frame(record.message)
        elif any(kept):
            for index in reversed(range(len(kept))):
                if not kept[index]:
                    del values[index]
            yield frame(event.SerializeToString())


def _parsed(record: Record) -> Event | None:
    """Return a record's event; None if it is damaged or is not an event."""
    from google.protobuf.message import DecodeError
    from tensorboard.compat.proto.event_pb2 import Event

    try:
        return Event.FromString(record.message) if record.is_sound else None
    except DecodeError:
        return None


def _new_name(folder: Path, now: float) -> str:
    """Return a unique name that sorts after the existing ones, even if its process id or clock is lower."""
    origin = f"{socket.gethostname()}.{os.getpid()}.{next(_numbers):06d}-{uuid.uuid4().hex[:8]}"
    seconds = int(now)
    for path in event_files(folder):
        if (found := _NAME.match(path.name)) and path.name > f"{_PREFIX}{seconds:010d}.{origin}":
            seconds = int(found[1]) + 1
    return f"{_PREFIX}{seconds:010d}.{origin}"
