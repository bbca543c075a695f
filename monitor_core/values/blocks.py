"""Blocks: the values of some steps of one epoch as columns, and the buffer that gathers them.

The buffer keeps raw values as handed in and converts them together when a block is taken: of `BLOCK_STEPS` steps, or
of those that wait after `BLOCK_SECONDS`, at the epoch's end, and before a stop, an error or a signal goes on. Every
value arrives once, in order.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from monitor_core.values.scalars import KEEPERS, OnSkip, fetch, flattened, is_ready

BLOCK_STEPS = 256
"""Steps after which a block is closed. Larger ones cost no less per step, and fetching 1,024 stalls for 15 ms."""
BLOCK_VALUES = 1 << 18
"""Values after which a block is closed: what waits is bounded also where each step has thousands of metrics."""
BLOCK_SECONDS = 1.0
"""Age in seconds of its first value at which a block is closed."""
MANY_NAMES = 64
"""Metrics in a step from which on they are converted together: with fewer, looking whether they can be takes longer."""


@attrs.frozen(eq=False)
class Block:
    """The values of ``n`` steps of one epoch, in order. All arrays are read-only and shared by every sink.

    Attributes:
        epoch: The epoch they belong to, 0-based.
        steps: ``(n,) int64``, ascending: each batch's step, counted from 1 over the whole run.
        times: ``(n,) float64``, seconds since 1970 when each batch ended, on a clock that never goes back.
        columns: Each metric's values, ``(n,) float64``, with NaN where it is missing.
        present: For each metric a mask ``(n,) bool`` of the steps that have it, or None where all have.
    """

    epoch: int
    steps: NDArray[np.int64]
    times: NDArray[np.float64]
    columns: Mapping[str, NDArray[np.float64]]
    present: Mapping[str, NDArray[np.bool_] | None]

    def __len__(self) -> int:
        """Return the number of steps."""
        return len(self.steps)

    def __repr__(self) -> str:
        steps = f"{self.steps[0]}..{self.steps[-1]}" if len(self) else "none"
        return f"Block(epoch={self.epoch}, steps {steps}, {', '.join(self.columns)})"

    def rows(self) -> Iterator[tuple[int, dict[str, float]]]:
        """Yield each step with its metrics, missing ones left out."""
        for index, step in enumerate(self.steps.tolist()):
            yield (
                step,
                {
                    name: float(column[index])
                    for name, column in self.columns.items()
                    if (mask := self.present[name]) is None or mask[index]
                },
            )


def values_per_row(rows: int, present: Mapping[str, NDArray[np.bool_] | None]) -> NDArray[np.int64]:
    """Return how many values each row of a block has, ``(rows,) int64``; ``present`` is as in `Block`."""
    masks = [mask for mask in present.values() if mask is not None]
    counts = np.full(rows, len(present) - len(masks), dtype=np.int64)
    for mask in masks:
        counts += mask
    return counts


def count_values(block: Block) -> int:
    """Return how many values a block has, without those that are missing."""
    return int(values_per_row(len(block), block.present).sum())


class BlockBuffer:
    """Gathers the raw values of steps until they are taken as a `Block`.

    One thread appends, and one at a time takes.

    Args:
        on_skip: Told of each value that is no number.

    Attributes:
        limit: At how many waiting steps a block is full: `BLOCK_STEPS`, fewer where each has very many values.
        attend_at: At how many waiting steps whoever appends should look after them; for its user to set.
        deferred: How many values were left for a later block because their device was still at work.
    """

    __slots__ = ("_clock_origin", "_on_skip", "_rows", "attend_at", "deferred", "limit")

    def __init__(self, on_skip: OnSkip) -> None:
        self._on_skip = on_skip
        self._clock_origin = 0.0
        self._rows: list[tuple[int, float, tuple[str, ...], list[Any]]] = []
        self.limit = self.attend_at = BLOCK_STEPS
        self.deferred = 0

    def __len__(self) -> int:
        """Return the number of steps that are waiting."""
        return len(self._rows)

    def append(self, step: int, logs: Mapping[str, Any] | None) -> int:
        """Keep a step's values; return how many steps are waiting now."""
        values = [KEEPERS[type(value)](value) for value in logs.values()] if logs else []
        rows = self._rows
        rows.append((step, time.perf_counter(), tuple(logs) if logs else (), values))
        waiting = len(rows)
        if waiting == 1:
            self.limit = min(BLOCK_STEPS, BLOCK_VALUES // (len(values) or 1) + 1)
        return waiting

    def seconds_left(self) -> float | None:
        """Return in how many seconds a block is due, 0 or less if it is; None if nothing waits."""
        rows = self._rows
        if not rows:
            return None
        return 0.0 if len(rows) >= self.limit else rows[0][1] + BLOCK_SECONDS - time.perf_counter()

    def take(self, epoch: int, *, ready_only: bool = False) -> Block | None:
        """Return the first steps that wait, as a block of that epoch; None if there are none.

        Interrupted while it waits for a device, it keeps what was gathered for the next call.

        Args:
            epoch: The epoch's number.
            ready_only: Whether to leave steps whose values are not ready on their device.
        """
        rows = self._rows[: self.limit]
        if ready_only:
            rows = self._ready(rows)
        if not rows:
            return None
        try:
            block = self._block(epoch, rows)
        except Exception:
            del self._rows[: len(rows)]
            raise
        del self._rows[: len(rows)]
        return block

    def _ready(self, rows: list[Any]) -> list[Any]:
        """Return the steps before the first one that is not ready: devices compute in order."""
        count = len(rows)
        while count and not all(is_ready(value) for value in rows[count - 1][3]):
            count -= 1
            self.deferred += len(rows[count][3])
        return rows[:count]

    def _block(self, epoch: int, rows: list[Any]) -> Block:
        steps, times, names, values = zip(*rows, strict=True)
        # The wall clock at the monotonic clock's zero. It follows a clock set forward, or a machine that slept,
        # and ignores one set back, so that times never go back.
        self._clock_origin = max(self._clock_origin, time.time() - time.perf_counter())
        columns, present = self._columns(names, values)
        return Block(
            epoch,
            _frozen(np.array(steps, dtype=np.int64)),
            _frozen(np.array(times) + self._clock_origin),
            MappingProxyType(columns),
            MappingProxyType(present),
        )

    def _columns(
        self, names: Sequence[tuple[str, ...]], rows: Sequence[list[Any]]
    ) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.bool_] | None]]:
        """Return each metric's column, and the mask of where it is present."""
        if (matrix := _matrix(names, rows)) is not None:
            return dict(zip(names[0], matrix, strict=True)), dict.fromkeys(names[0])
        columns: dict[str, NDArray[np.float64]] = {}
        present: dict[str, NDArray[np.bool_] | None] = {}
        for name, kept in _transpose(names, rows, self._on_skip).items():
            if not isinstance(name, str):
                self._on_skip(repr(name), "its name is not a string")
                continue
            column, mask = fetch(name, kept, self._on_skip)
            if mask is None or mask.any():
                columns[name], present[name] = _frozen(column), mask if mask is None else _frozen(mask)
        return columns, present


def _matrix(names: Sequence[tuple[str, ...]], rows: Sequence[list[Any]]) -> NDArray[np.float64] | None:
    """Return plain numbers under the same names, if they are many, as ``(metrics, n) float64``; else None.

    Converted one by one, columns of a few rows take 2 us each, half a second where there are 100,000 metrics.
    """
    if len(names[0]) < MANY_NAMES or names.count(names[0]) < len(names):
        return None
    kinds = set().union(*(map(type, row) for row in rows))
    if not kinds <= {float, int, bool} or set(map(type, names[0])) != {str}:
        return None
    try:
        return _frozen(np.ascontiguousarray(np.array(rows, dtype=np.float64).T))
    except OverflowError:
        return None


def _transpose(names: Sequence[tuple[str, ...]], rows: Sequence[list[Any]], on_skip: OnSkip) -> dict[str, list[Any]]:
    """Turn rows of values into a list for each metric, with None where a row lacks it."""
    columns: dict[str, list[Any]] = {}
    if names.count(names[0]) == len(names):
        columns.update(zip(names[0], map(list, zip(*rows, strict=True)), strict=True))
    else:
        for index, (row_names, row) in enumerate(zip(names, rows, strict=True)):
            for name, value in zip(row_names, row, strict=True):
                columns.setdefault(name, [None] * len(rows))[index] = value
    if any(dict in set(map(type, kept)) for kept in columns.values()):  # metrics within a metric, as in Keras
        flat = [flattened(dict(zip(*row, strict=True)), on_skip) for row in zip(names, rows, strict=True)]
        return _transpose([tuple(each) for each in flat], [list(each.values()) for each in flat], on_skip)
    return columns


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    array.setflags(write=False)
    return array
