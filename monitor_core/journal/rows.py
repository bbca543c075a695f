"""Rows of metrics as a journal holds them: a step, a time and the values of each, as one matrix of float64.

Layout, all little-endian: the epoch (int64), the number of rows and the bytes of the names (uint32 each), the names as
a JSON list of strings, then the rows one after the other: the step (int64), the time and the values (float64). Every
matrix is self-contained, names included, so that damage elsewhere does not affect it. As rows lie one after the other,
many matrices of the same names are decoded as one. A missing value is a NaN with bits reserved for it.
"""

from __future__ import annotations

import functools
import itertools
import json
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from monitor_core.records.columns import Table
from monitor_core.values.blocks import Block
from monitor_core.values.labels import EvaluationLabel

_HEAD = struct.Struct("<qII")
_LABEL_SIZE = struct.Struct("<I")
_LABELS = 2
"""How many columns of the matrix come before the values: step and time."""
_MISSING_BITS = 0x7FF84D434A000001
_MISSING = struct.unpack("<d", struct.pack("<Q", _MISSING_BITS))[0]


@attrs.frozen(eq=False)
class Rows:
    """Rows of one epoch, undecoded.

    Attributes:
        epoch: The epoch they belong to, 0-based; -1 before the first.
        names: The metrics' names; one object for all rows of the same names that were decoded together.
        data: The rows' bytes.
        evaluation: For an evaluation's results, which evaluation; None in journals of format 1, and for other rows.
    """

    epoch: int
    names: tuple[str, ...]
    data: memoryview | bytes
    evaluation: EvaluationLabel | None = None

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.data) // (8 * (_LABELS + len(self.names)))

    def matrix(self) -> NDArray[np.float64]:
        """Return the rows, ``(rows, 2 + metrics) float64``; the bits of the first column are the steps' integers."""
        return _matrix(self.data, self.names)

    def steps(self) -> NDArray[np.int64]:
        """Return each row's step, ``(rows,) int64``."""
        return _steps(self.matrix())

    def at(self, step: int) -> Rows:
        """Return the rows at another step."""
        matrix = self.matrix().copy()
        matrix[:, 0].view("<i8")[:] = step
        return attrs.evolve(self, data=matrix.tobytes())

    def up_to(self, step: int) -> Rows:
        """Return the rows whose step is no later than this one."""
        kept = self.steps() <= step
        return self if kept.all() else attrs.evolve(self, data=self.matrix()[kept].tobytes())

    def first(self, rows: int) -> Rows:
        """Return the first rows."""
        return attrs.evolve(self, data=self.data[: 8 * rows * (_LABELS + len(self.names))])

    def block(self) -> Block:
        """Return the rows as the block that they were recorded from."""
        matrix = self.matrix()
        columns, present = {}, {}
        for index, name in enumerate(self.names, start=_LABELS):
            columns[name] = _frozen(matrix[:, index].astype(np.float64))
            there = columns[name].view(np.uint64) != _MISSING_BITS
            present[name] = None if there.all() else _frozen(there)
        times = _frozen(matrix[:, 1].astype(np.float64))
        return Block(self.epoch, _frozen(_steps(matrix)), times, MappingProxyType(columns), MappingProxyType(present))

    def place(self) -> tuple[int, float]:
        """Return the last row's step, and when it was recorded, seconds since 1970."""
        last = self.matrix()[-1:]
        return int(_steps(last)[-1]), float(last[-1, 1])

    def logs(self) -> dict[str, float]:
        """Return the last row's metrics."""
        return dict(zip(self.names, self.matrix()[-1, _LABELS:].tolist(), strict=True))

    def epoch_logs(self) -> dict[str, float]:
        """Return the last row's metrics, those of an evaluation with its prefix."""
        return self.logs() if self.evaluation is None else self.evaluation.renamed(self.logs())


def encode_rows(
    epoch: int,
    steps: Sequence[int] | NDArray[np.int64],
    times: Sequence[float] | NDArray[np.float64],
    columns: Mapping[str, Any],
    present: Mapping[str, Any] | None = None,
) -> bytes:
    """Return rows as a journal holds them; the arguments are as in `Block`."""
    names = _encoded(tuple(columns))
    matrix = np.empty((len(steps), _LABELS + len(columns)), "<f8")
    matrix[:, 0].view("<i8")[:] = steps
    matrix[:, 1] = times
    if columns:
        matrix[:, _LABELS:] = np.array(list(columns.values()), np.float64).T
    masks = map(present.get, columns) if present else ()
    for index, mask in enumerate(masks, start=_LABELS):
        if mask is not None:
            matrix[~mask, index] = _MISSING
    return b"".join((_HEAD.pack(epoch, len(steps), len(names)), names, matrix.tobytes()))


@functools.lru_cache(maxsize=16)
def _encoded(names: tuple[str, ...]) -> bytes:
    return json.dumps(names).encode("ascii")


def parse_rows(payload: memoryview, known: dict[bytes, tuple[str, ...]]) -> Rows:
    """Return what `encode_rows` encoded.

    Args:
        payload: The bytes.
        known: Names that were decoded before, by their bytes; new ones are added.

    Raises:
        ValueError: The bytes are not rows that `encode_rows` encoded.
    """
    if len(payload) < _HEAD.size:
        raise ValueError("the head of the rows is incomplete")
    epoch, rows, size = _HEAD.unpack_from(payload)
    begin = _HEAD.size + size
    text = bytes(payload[_HEAD.size : begin])
    names = known.get(text)
    if names is None:
        names = known[text] = _decoded(text)
    if not rows:
        raise ValueError("there are no rows")
    if begin + 8 * rows * (_LABELS + len(names)) != len(payload):
        raise ValueError(f"{rows} rows of {len(names)} metrics do not fit {len(payload) - begin} bytes")
    return Rows(epoch, names, payload[begin:])


def encode_evaluation(label: EvaluationLabel, rows: bytes) -> bytes:
    """Return an evaluation's results as a journal holds them: the label's bytes (uint32), the label, the rows."""
    text = json.dumps([label.name, label.prefix]).encode("ascii")
    return _LABEL_SIZE.pack(len(text)) + text + rows


def parse_evaluation(payload: memoryview, known: dict[bytes, tuple[str, ...]]) -> Rows:
    """Return what `encode_evaluation` encoded; the arguments are as in `parse_rows`.

    Raises:
        ValueError: The bytes are not such results.
    """
    if len(payload) < _LABEL_SIZE.size:
        raise ValueError("the label of the evaluation is incomplete")
    begin = _LABEL_SIZE.size + _LABEL_SIZE.unpack_from(payload)[0]
    try:
        name, prefix = json.loads(bytes(payload[_LABEL_SIZE.size : begin]))
    except (TypeError, RecursionError):
        name = prefix = 0
    is_label = isinstance(prefix, str) and isinstance(name, str | None)
    if not is_label:
        raise ValueError("the label of the evaluation is damaged")
    return attrs.evolve(parse_rows(payload[begin:], known), evaluation=EvaluationLabel(name, prefix))


def _decoded(text: bytes) -> tuple[str, ...]:
    try:
        names = json.loads(text)
    except RecursionError:
        raise ValueError("names are not a list of strings") from None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("names are not a list of strings")
    if len(set(names)) < len(names):
        raise ValueError("names contain a duplicate")
    return tuple(names)


def extend_table(table: Table, parts: Iterable[Rows]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Append rows to a table, neighbours with the same names together; return their steps and times."""
    steps: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    times: list[NDArray[np.float64]] = [np.empty(0)]
    for names, group in _by_names(parts):
        matrix = _matrix(b"".join(each.data for each in group), names)
        table.extend(len(matrix), {name: matrix[:, index] for index, name in enumerate(names, start=_LABELS)})
        steps.append(_steps(matrix))
        times.append(matrix[:, 1].astype(np.float64))
    return np.concatenate(steps), np.concatenate(times)


def present_values(
    parts: Iterable[Rows],
) -> dict[str, tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]]:
    """Return each metric's epochs, steps, times and values, ``(n,)`` each, of the rows that have a value of it."""
    found: dict[str, list[tuple[NDArray[Any], ...]]] = {}
    for names, group in _by_names(parts):
        matrix = _matrix(b"".join(each.data for each in group), names)
        steps, times = _steps(matrix), matrix[:, 1]
        epochs = np.repeat(np.array([each.epoch for each in group], np.int64), [len(each) for each in group])
        for index, name in enumerate(names, start=_LABELS):
            values = matrix[:, index].astype(np.float64)
            there = values.view(np.uint64) != _MISSING_BITS
            chosen = slice(None) if there.all() else there
            found.setdefault(name, []).append((epochs[chosen], steps[chosen], times[chosen], values[chosen]))
    return {
        name: tuple(np.concatenate(column) for column in zip(*pieces, strict=True))  # type: ignore[misc]
        for name, pieces in found.items()
    }


def presence(parts: Sequence[Rows]) -> dict[str, NDArray[np.bool_]]:
    """Return which of the rows have a value of each metric, ``(rows,) bool``; NaN that was logged is a value."""
    found: dict[str, NDArray[np.bool_]] = {}
    length, begin = sum(map(len, parts)), 0
    for names, group in _by_names(parts):
        matrix = _matrix(b"".join(each.data for each in group), names)
        end = begin + len(matrix)
        for index, name in enumerate(names, start=_LABELS):
            mask = found.setdefault(name, np.zeros(length, np.bool_))
            mask[begin:end] = np.ascontiguousarray(matrix[:, index]).view(np.uint64) != _MISSING_BITS
        begin = end
    return found


def _by_names(parts: Iterable[Rows]) -> Iterator[tuple[tuple[str, ...], list[Rows]]]:
    """Yield neighbours with the same names together, compared by identity: there may be thousands of names."""
    for _, group in itertools.groupby(parts, key=lambda rows: id(rows.names)):
        neighbours = list(group)
        yield neighbours[0].names, neighbours


def _matrix(data: memoryview | bytes, names: tuple[str, ...]) -> NDArray[np.float64]:
    return np.frombuffer(data, "<f8").reshape(-1, _LABELS + len(names))


def _steps(matrix: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.ascontiguousarray(matrix[:, 0]).view("<i8").astype(np.int64)


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    array.setflags(write=False)
    return array
