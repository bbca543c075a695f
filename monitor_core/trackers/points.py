"""What trackers send: points of metrics as columns, facts of a run, and how it ended.

Contract. Everything here is immutable and shares no object with the training, so that it may wait in a queue. A batch's
metrics are named ``batch/loss``, those of epochs and evaluations keep their names, and all of them are placed at
training steps: those of an epoch at its last step, or at the epoch's number if the run has no batches.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from monitor_core.bus.run import Run, Status
from monitor_core.journal import provenance
from monitor_core.values.blocks import Block

BATCH = "batch/"
"""What the names of the batches' metrics begin with."""


@attrs.frozen(eq=False)
class Points:
    """The values of some metrics at ``n`` steps.

    Attributes:
        epoch: Their epoch, 0-based.
        steps: ``(n,) int64``, ascending.
        times: ``(n,) float64``, seconds since 1970.
        columns: Each metric's values, ``(n,) float64``.
        present: For each metric a mask ``(n,) bool`` of the steps that have it, or None if all have it.
    """

    epoch: int
    steps: NDArray[np.int64]
    times: NDArray[np.float64]
    columns: Mapping[str, NDArray[np.float64]]
    present: Mapping[str, NDArray[np.bool_] | None]

    @classmethod
    def of_block(cls, block: Block) -> Points:
        """Return the metrics of some batches; the arrays are the block's own."""
        columns = {BATCH + name: column for name, column in block.columns.items()}
        present = {BATCH + name: mask for name, mask in block.present.items()}
        return cls(block.epoch, block.steps, block.times, columns, present)

    @classmethod
    def of_logs(cls, epoch: int, step: int, logs: Mapping[str, Any]) -> Points:
        """Return the results of an epoch or an evaluation; values that are not numbers are left out."""
        numbers = {name: value for name, value in logs.items() if isinstance(value, (int, float, np.number))}
        columns = {name: np.array([value], dtype=np.float64) for name, value in numbers.items()}
        return cls(epoch, np.array([step]), np.array([time.time()]), columns, dict.fromkeys(columns))

    def flat(self) -> Iterator[tuple[str, float, float, int]]:
        """Yield each value as its metric's name, the value, its time and its step."""
        times, steps = self.times.tolist(), self.steps.tolist()
        for name, column in self.columns.items():
            mask = self.present[name]
            for index, value in enumerate(column.tolist()):
                if mask is None or mask[index]:
                    yield name, value, times[index], steps[index]

    def rows(self) -> Iterator[tuple[int, float, dict[str, float]]]:
        """Yield each step that has a value with its time and its metrics."""
        lists = {name: (column.tolist(), self.present[name]) for name, column in self.columns.items()}
        for index, (step, moment) in enumerate(zip(self.steps.tolist(), self.times.tolist(), strict=True)):
            row = {name: values[index] for name, (values, mask) in lists.items() if mask is None or mask[index]}
            if row:
                yield step, moment, row

    def last(self) -> Iterator[tuple[str, float]]:
        """Yield each metric's last value."""
        for name, index in self._last_rows():
            yield name, float(self.columns[name][index])

    def last_steps(self) -> Iterator[tuple[str, int]]:
        """Yield the last step of each metric."""
        for name, index in self._last_rows():
            yield name, int(self.steps[index])

    def _last_rows(self) -> Iterator[tuple[str, int]]:
        for name, mask in self.present.items():
            if mask is None:
                yield name, -1
            elif mask.any():
                yield name, int(np.flatnonzero(mask)[-1])

    def after(self, floors: Mapping[str, int]) -> Points:
        """Return the points without those up to a step, given for each metric."""
        if all(int(self.steps[0]) > floors.get(name, -1) for name in self.columns):
            return self
        present: dict[str, NDArray[np.bool_] | None] = {}
        for name, mask in self.present.items():
            later = self.steps > floors.get(name, -1)
            present[name] = later if mask is None else mask & later
        return attrs.evolve(self, present=present)


@attrs.frozen(eq=False)
class About:
    """What is known of a run when it begins.

    Attributes:
        id: The run's own, which it keeps when it is resumed.
        resumed: Whether it continues an earlier process's.
        step: The step from which it continues.
        epochs: How many epochs are planned, or None.
        began: When it began, in seconds since 1970.
        rank: The number of this process in its job, from 0.
        job: What the run is part of, by its id or name; else the SLURM job, as ``slurm-<id>``; else empty.
    """

    id: str
    resumed: bool
    step: int
    epochs: int | None
    began: float
    rank: int = 0
    job: str = ""

    @classmethod
    def of(cls, run: Run) -> About:
        """Return what a run is, as plain values."""
        return cls(run.id, run.resumed, run.step, run.epochs, time.time(), run.rank, _job(run))


def _job(run: Run) -> str:
    if run.origin is not None:
        return run.origin.parent
    slurm = provenance.job().get("slurm_job_id")
    return "" if slurm is None else f"slurm-{slurm}"


@attrs.frozen(eq=False)
class Rewind:
    """The run goes back to a step."""

    step: int


@attrs.frozen(eq=False)
class End:
    """How a run ended.

    Attributes:
        status: As in `monitor_core.Run`.
        reason: Why it was asked to stop, or what the training raised, or None.
        time: When, in seconds since 1970.
    """

    status: Status
    reason: str | None
    time: float


def place(run: Run, epoch: int) -> int:
    """Return the step at which an epoch's results stand."""
    return run.step or max(epoch, 0)
