"""Scalars as records, a block at a time: a template for each set of tags, filled in for all steps at once by NumPy.

The messages are ``Event(wall_time, step, summary)`` with a ``simple_value`` for each tag. Every reader of event files
understands these, TensorBoard's `EventAccumulator.Scalars` included, and they need no metadata. 256 steps of 2 metrics
take 0.3 us of CPU a scalar, written to the file, and of 8 metrics 0.1 us (benchmarks/writers.py).
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from monitor_core.tensorboard.formats import checksums
from monitor_core.tensorboard.formats.axes import EPOCH_FIELD, Axis
from monitor_core.tensorboard.formats.checksums import RowChecksums, Words
from monitor_core.tensorboard.formats.records import FOOTER_BYTES, HEADER_BYTES, frame

_TIME, _STEP, _SUMMARY = b"\x09", b"\x10", b"\x2a"  # fields 1, 2 and 5 of Event: fixed64, varint, message
_VALUE = b"\x0a"  # field 1 of Summary: message
_TAG, _SIMPLE_VALUE = b"\x0a", b"\x15"  # fields 1 and 2 of Summary.Value: string, fixed32
_FEW = 16  # records


def scalar_records(
    tags: Sequence[str],
    steps: NDArray[np.int64],
    times: NDArray[np.float64],
    columns: Sequence[NDArray[np.floating]],
    axis: Axis = "step",
) -> bytes:
    """Return a record for each step, with a value for each tag.

    Args:
        tags: The values' tags, encodable as UTF-8.
        steps: ``(n,) int64``.
        times: ``(n,) float64``, seconds since 1970.
        columns: Each tag's values, ``(n,)``; they become float32, infinite if beyond its range.
        axis: What the steps are.
    """
    if not len(steps):
        return b""
    unsigned = steps.astype(np.uint64)
    layout = _layout(tuple(tags), _varint_bytes(int(unsigned.max())), axis)
    buffer = bytearray(layout.record) * len(steps)
    rows = np.frombuffer(buffer, np.uint8).reshape(len(steps), -1)
    rows[:, layout.fields] = layout.octets(unsigned, times, columns)
    rows[:, -FOOTER_BYTES:] = _checksums(layout, buffer, rows).astype("<u4")[:, np.newaxis].view(np.uint8)
    return bytes(buffer)


@attrs.frozen  # compared by its record, which has the tags in it
class _Layout:
    """Records of one length.

    Attributes:
        record: One with zeros for what differs.
        step_bytes: How many bytes the step has.
        fields: Where the bytes are that differ: those of the time, the step and the values.
    """

    record: bytes
    step_bytes: int
    fields: NDArray[np.intp] = attrs.field(eq=False)

    def octets(
        self, steps: NDArray[np.uint64], times: NDArray[np.float64], columns: Sequence[NDArray[np.floating]]
    ) -> NDArray[np.uint8]:
        """Return the bytes of the fields, ``(n, fields) uint8``."""
        shifts = 7 * np.arange(self.step_bytes, dtype=np.uint64)
        # Steps with fewer digits than the largest get leading zeros, which are valid in a varint.
        varints = (steps[:, np.newaxis] >> shifts).astype(np.uint8) & 0x7F
        varints[:, :-1] |= 0x80  # there are more
        with np.errstate(over="ignore"):
            values = np.ascontiguousarray(np.array(columns, dtype="<f4").T)
        return np.concatenate((_bytes_of(times.astype("<f8")), varints, _bytes_of(values)), axis=1)


def _bytes_of(array: NDArray[Any]) -> NDArray[np.uint8]:
    return array.view(np.uint8).reshape(len(array), -1)


def _checksums(layout: _Layout, buffer: bytearray, rows: NDArray[np.uint8]) -> Words:
    """Return each record's checksum: of many records by NumPy, all together; of a few in C, without tables for it."""
    crc32c = checksums.crc32c()
    if len(rows) > _FEW or crc32c is checksums.crc32c_by_numpy:
        return _row_checksums(layout).masked(rows.take(layout.fields, axis=1))
    size = len(layout.record)
    last = size - FOOTER_BYTES
    whole = bytes(buffer)
    found = [crc32c(whole[first + HEADER_BYTES : first + last]) for first in range(0, len(whole), size)]
    return checksums.masked_words(np.array(found, np.uint32))


@functools.lru_cache(maxsize=512)  # 4 KB for each tag
def _row_checksums(layout: _Layout) -> RowChecksums:
    return RowChecksums(layout.record[HEADER_BYTES:-FOOTER_BYTES], (layout.fields - HEADER_BYTES).tolist())


# 60 bytes for each tag besides the tag itself; 130,000 tags, grouped as `EventFile` does.
@functools.lru_cache(maxsize=4096)
def _layout(tags: tuple[str, ...], step_bytes: int, axis: Axis) -> _Layout:
    """Return the layout of events with these tags and this many bytes for the step."""
    message = bytearray(_TIME + bytes(8) + _STEP + bytes(step_bytes) + _SUMMARY)
    places = [*range(1, 9), *range(10, 10 + step_bytes)]
    wrapped = [_with_length(_VALUE, _with_length(_TAG, tag.encode()) + _SIMPLE_VALUE + bytes(4)) for tag in tags]
    message += _varint(sum(map(len, wrapped)))
    for value in wrapped:
        message += value
        places += range(len(message) - 4, len(message))
    if axis == "epoch":
        message += EPOCH_FIELD
    return _Layout(frame(bytes(message)), step_bytes, HEADER_BYTES + np.array(places))


def opening_records(time: float, start: int | None) -> bytes:
    """Return the records that a file begins with: the format's version, and the step from which it has the run.

    Args:
        time: Seconds since 1970.
        start: The step; None omits that record.
    """
    began = _TIME + struct.pack("<d", time)
    version = frame(began + _with_length(b"\x1a", b"brain.Event:2"))  # field 3 of Event: string
    if start is None:
        return version
    # field 7 of Event: SessionLog(status=START)
    return version + frame(began + _STEP + _varint(start) + _with_length(b"\x3a", b"\x08\x01"))


def _with_length(field: bytes, content: bytes) -> bytes:
    return field + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    if number < 0x80:
        return bytes((number,))
    digits = [number >> 7 * place & 0x7F | 0x80 for place in range(_varint_bytes(number))]
    digits[-1] &= 0x7F
    return bytes(digits)


def _varint_bytes(number: int) -> int:
    return max(1, -(-number.bit_length() // 7))
