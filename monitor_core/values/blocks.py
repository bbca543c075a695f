"""Blocks: the values of several steps of one epoch as columns, and the buffer that gathers them.

The buffer keeps raw values as logged and converts them together when a block is taken: of `BLOCK_STEPS` steps, or of
the pending ones after `BLOCK_SECONDS`, at the epoch's end, and before a stop, an error or a signal takes effect. Every
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
"""Steps after which a block is closed. Larger blocks cost no less per step, and fetching 1,024 stalls for 15 ms."""
BLOCK_VALUES = 1 << 18
"""Values after which a block is closed: it bounds the buffer even if each step has thousands of metrics."""
BLOCK_SECONDS = 1.0
"""Age in seconds of its first value at which a block is closed."""
MANY_NAMES = 64
"""Metrics in a step from which on they are converted together: with fewer, looking whether they can be takes longer."""


@attrs.frozen(eq=False)
class Block:
    """The values of ``n`` steps of one epoch, in order. All arrays are read-only and shared by every sink.

    Attributes:
        epoch: Their epoch, 0-based.
        steps: ``(n,) int64``, ascending: each batch's step, counted from 1 over the whole run.
        times: ``(n,) float64``, seconds since 1970 when each batch ended, on a clock that never goes back.
        columns: Each metric's values, ``(n,) float64``, with NaN where it is missing.
        present: For each metric a mask ``(n,) bool`` of the steps that have it, or None if all have it.
        weights: For each metric that was logged with weights, ``(n,) float64``: the weight of each value in a mean.
            Without weights, each value has weight 1.
    """

    epoch: int
    steps: NDArray[np.int64]
    times: NDArray[np.float64]
    columns: Mapping[str, NDArray[np.float64]]
    present: Mapping[str, NDArray[np.bool_] | None]
    weights: Mapping[str, NDArray[np.float64]] = attrs.field(factory=dict)

    def __len__(self) -> int:
        """Return the number of steps."""
        return len(self.steps)

    def __repr__(self) -> str:
        steps = f"{self.steps[0]}..{self.steps[-1]}" if len(self) else "none"
        return f"Block(epoch={self.epoch}, steps {steps}, {', '.join(self.columns)})"

    def rows(self) -> Iterator[tuple[int, dict[str, float]]]:
        """Yield each step with its metrics, without missing ones."""
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


Row = tuple[int, float, dict[str, Any], dict[str, Any] | None]
"""A step, its end by `time.perf_counter`, its values as `keep` returned them, and their weights if there are any."""


class BlockBuffer:
    """Gathers the kept values of steps until they are taken as a `Block`.

    One thread appends to `rows`, and one thread at a time takes blocks.

    Args:
        on_skip: Called with each value that is not a number.

    Attributes:
        rows: The pending steps, in order.
    """

    __slots__ = ("_clock_origin", "_on_skip", "rows")

    def __init__(self, on_skip: OnSkip) -> None:
        self._on_skip = on_skip
        self._clock_origin = 0.0
        self.rows: list[Row] = []

    def __len__(self) -> int:
        """Return the number of pending steps."""
        return len(self.rows)

    def append(self, step: int, logs: Mapping[str, Any] | None, weights: Mapping[str, Any] | None = None) -> None:
        """Keep a step's values, and their weights."""
        kept = [{name: KEEPERS[type(value)](value) for name, value in (each or {}).items()} for each in (logs, weights)]
        self.rows.append((step, time.perf_counter(), kept[0], kept[1] or None))

    @property
    def limit(self) -> int:
        """At how many pending steps a block is full: `BLOCK_STEPS`, fewer if each has very many values."""
        return min(BLOCK_STEPS, BLOCK_VALUES // (len(self.rows[0][2]) or 1) + 1) if self.rows else BLOCK_STEPS

    def seconds_left(self) -> float | None:
        """Return in how many seconds a block is due, 0 or less if it is; None if nothing is pending."""
        rows = self.rows
        if not rows:
            return None
        return 0.0 if len(rows) >= self.limit else rows[0][1] + BLOCK_SECONDS - time.perf_counter()

    def take(self, epoch: int, *, ready_only: bool = False) -> Block | None:
        """Return the first pending steps, as a block of that epoch; None if there are none.

        If interrupted while waiting for a device, it keeps the gathered values for the next call.

        Args:
            epoch: The epoch's number.
            ready_only: Whether to leave steps whose values are not ready on their device.
        """
        rows = self.rows[: self.limit]
        if ready_only:
            rows = _ready(rows)
        if not rows:
            return None
        try:
            block = self._block(epoch, rows)
        except Exception:
            del self.rows[: len(rows)]
            raise
        del self.rows[: len(rows)]
        return block

    def _block(self, epoch: int, rows: list[Row]) -> Block:
        steps, times, values, weights = zip(*rows, strict=True)
        # The wall clock at the monotonic clock's zero. It follows a clock that is set forward, or a machine that
        # slept, and ignores one that is set back, so that times never go back.
        self._clock_origin = max(self._clock_origin, time.time() - time.perf_counter())
        columns, present = self._columns(values)
        return Block(
            epoch,
            _frozen(np.array(steps, dtype=np.int64)),
            _frozen(np.array(times) + self._clock_origin),
            MappingProxyType(columns),
            MappingProxyType(present),
            MappingProxyType(self._weights(weights, columns)),
        )

    def _columns(
        self, rows: Sequence[dict[str, Any]]
    ) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.bool_] | None]]:
        """Return each metric's column, and the mask of where it is present."""
        if (matrix := _matrix(rows)) is not None:
            return dict(zip(rows[0], matrix, strict=True)), dict.fromkeys(rows[0])
        columns: dict[str, NDArray[np.float64]] = {}
        present: dict[str, NDArray[np.bool_] | None] = {}
        for name, kept in _transpose(rows, self._on_skip).items():
            if not isinstance(name, str):
                self._on_skip(repr(name), "its name is not a string")
                continue
            column, mask = fetch(name, kept, self._on_skip)
            if mask is None or mask.any():
                columns[name], present[name] = _frozen(column), mask if mask is None else _frozen(mask)
        return columns, present

    def _weights(
        self, rows: Sequence[dict[str, Any] | None], columns: Mapping[str, Any]
    ) -> dict[str, NDArray[np.float64]]:
        """Return a column of weights for each metric that has any, with 1 at steps without one."""
        if not any(rows):
            return {}
        found: dict[str, NDArray[np.float64]] = {}
        for name, kept in _transpose([row or {} for row in rows], self._on_skip).items():
            if name in columns:
                column, mask = fetch(f"the weight of {name}", kept, self._on_skip)
                found[name] = _frozen(column if mask is None else np.where(mask, column, 1.0))
        return found


def _matrix(rows: Sequence[dict[str, Any]]) -> NDArray[np.float64] | None:
    """Return plain numbers under the same names, if they are many, as ``(metrics, n) float64``; else None.

    Converted one by one, columns of a few rows take 2 us each, half a second where there are 100,000 metrics.
    """
    names = tuple(rows[0])
    if len(names) < MANY_NAMES or any(tuple(row) != names for row in rows):
        return None
    kinds = set().union(*(map(type, row.values()) for row in rows))
    if not kinds <= {float, int, bool} or set(map(type, names)) != {str}:
        return None
    try:
        return _frozen(np.ascontiguousarray(np.array([list(row.values()) for row in rows], dtype=np.float64).T))
    except OverflowError:
        return None


def _ready(rows: list[Row]) -> list[Row]:
    """Return the steps before the first one that is not ready, since devices compute in order."""
    count = len(rows)
    while count and not all(map(is_ready, rows[count - 1][2].values())):
        count -= 1
    return rows[:count]


def _transpose(rows: Sequence[dict[str, Any]], on_skip: OnSkip) -> dict[str, list[Any]]:
    """Convert rows of values to a list for each metric, with None where a row lacks it."""
    names = [tuple(row) for row in rows]
    columns: dict[str, list[Any]] = {}
    if names.count(names[0]) == len(names):
        columns.update(zip(names[0], map(list, zip(*(row.values() for row in rows), strict=True)), strict=True))
    else:
        for index, row in enumerate(rows):
            for name, value in row.items():
                columns.setdefault(name, [None] * len(rows))[index] = value
    if any(dict in set(map(type, kept)) for kept in columns.values()):  # metrics within a metric, as in Keras
        return _transpose([flattened(row, on_skip) for row in rows], on_skip)
    return columns


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    array.setflags(write=False)
    return array
