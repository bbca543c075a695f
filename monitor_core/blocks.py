"""Blocks: the values of some steps of one epoch as columns, and the buffer that gathers them.

The buffer keeps raw values as handed in and converts them together when the block is closed: after `BLOCK_STEPS`
steps, after `BLOCK_SECONDS`, at the epoch's end, and before a stop, an error or a signal goes on. Every value
arrives once, in order. Not thread-safe: one training thread feeds one buffer.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from monitor_core.values import OnSkip, fetch, flattened, keep

BLOCK_STEPS = 256
"""Steps after which a block is closed. Larger ones cost no less per step, and fetching 1,024 stalls for 15 ms."""
BLOCK_SECONDS = 1.0
"""Age in seconds of its first value after which a block is closed by the next step."""


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


class BlockBuffer:
    """Gathers the raw values of steps until they are taken as a `Block`."""

    __slots__ = ("_clock_origin", "_due", "_names", "_on_skip", "_rows", "_steps", "_times")

    def __init__(self, on_skip: OnSkip) -> None:
        self._on_skip = on_skip
        self._clock_origin = 0.0
        self._clear()

    def __len__(self) -> int:
        """Return the number of steps that are waiting."""
        return len(self._steps)

    def _clear(self) -> None:
        self._steps: list[int] = []
        self._times: list[float] = []
        self._names: list[tuple[str, ...]] = []
        self._rows: list[list[Any]] = []
        self._due = 0.0

    def append(self, step: int, logs: Mapping[str, Any] | None) -> bool:
        """Keep a step's values; answer whether a block is due."""
        now = time.perf_counter()
        steps = self._steps
        if not steps:
            self._due = now + BLOCK_SECONDS
        row = [keep(value) for value in logs.values()] if logs else []
        steps.append(step)
        self._times.append(now)
        self._names.append(tuple(logs) if logs else ())
        self._rows.append(row)
        return len(steps) >= BLOCK_STEPS or now >= self._due

    def take(self, epoch: int) -> Block:
        """Return what was gathered as a block of that epoch, and begin anew.

        Interrupted while it waits for a device, it keeps what was gathered for the next call.
        """
        try:
            block = self._block(epoch)
        except Exception:
            self._clear()
            raise
        self._clear()
        return block

    def _block(self, epoch: int) -> Block:
        steps, times, names, rows = self._steps, self._times, self._names, self._rows
        # The wall clock at the monotonic clock's zero. It follows a clock set forward, or a machine that slept,
        # and ignores one set back, so that times never go back.
        self._clock_origin = max(self._clock_origin, time.time() - time.perf_counter())
        columns: dict[str, NDArray[np.float64]] = {}
        present: dict[str, NDArray[np.bool_] | None] = {}
        for name, kept in _transpose(names, rows, self._on_skip).items():
            if not isinstance(name, str):
                self._on_skip(repr(name), "its name is not a string")
                continue
            column, mask = fetch(name, kept, self._on_skip)
            if mask is None or mask.any():
                columns[name], present[name] = _frozen(column), mask if mask is None else _frozen(mask)
        return Block(
            epoch,
            _frozen(np.array(steps, dtype=np.int64)),
            _frozen(np.array(times) + self._clock_origin),
            MappingProxyType(columns),
            MappingProxyType(present),
        )


def _transpose(names: list[tuple[str, ...]], rows: list[list[Any]], on_skip: OnSkip) -> dict[str, list[Any]]:
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
