"""Scalars: the metrics of epochs, batches and evaluations, under the same tags as with Keras."""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Mapping

import attrs
import numpy as np

from monitor_core.bus.run import Evaluation, Run
from monitor_core.bus.sink import Logs
from monitor_core.tensorboard.formats.event_file import EventFile, write_row
from monitor_core.tensorboard.parts.files import TRAIN, VALIDATION, RunFiles
from monitor_core.values.blocks import Block


def write_block(block: Block, shift: int, files: RunFiles) -> None:
    """Write every batch's metrics as ``batch_<name>`` over the shifted steps."""
    files[TRAIN].add_columns(
        block.steps + shift,
        block.times,
        {f"batch_{name}": column for name, column in block.columns.items()},
        {f"batch_{name}": mask for name, mask in block.present.items()},
    )


@attrs.define
class Spacing:
    """Chooses the batches to write: each batch that reaches the next multiple of a number of steps.

    If a framework gives one value for several steps, as Keras does with ``steps_per_execution``, it is the first value
    at or after the multiple.

    Args:
        every: How many steps, at least 1.
    """

    every: int
    _last: int | None = None

    def begin_epoch(self, step: int) -> None:
        """Begin an epoch; ``step`` batches of the run have ended."""
        self._last = step

    def chosen(self, block: Block, shift: int) -> Block:
        """Return a block of the batches to write; their numbers in TensorBoard are larger by ``shift``."""
        if self.every == 1:
            return block
        last = block.steps[0] - 1 if self._last is None else self._last  # None: added within the epoch
        reached = (np.concatenate(([last], block.steps)) + shift) // self.every
        self._last = int(block.steps[-1])
        rows = reached[1:] > reached[:-1]
        return Block(
            block.epoch,
            block.steps[rows],
            block.times[rows],
            {name: column[rows] for name, column in block.columns.items()},
            {name: None if mask is None else mask[rows] for name, mask in block.present.items()},
        )


def write_evaluation(logs: Logs, step: int, file: EventFile) -> None:
    """Write an evaluation's metrics as ``evaluation_<name>_vs_iterations`` over the steps."""
    if logs:
        write_row(file, step, {f"evaluation_{name}_vs_iterations": logs[name] for name in logs})


def write_epoch(logs: Logs, epoch: int, files: RunFiles, places: Mapping[str, str]) -> None:
    """Write an epoch's metrics as ``epoch_<name>``; those of evaluations go, without the prefix, to a run of their own.

    Args:
        logs: The metrics.
        epoch: The epoch's number.
        files: The event files.
        places: The run of each prefix.
    """
    rows: dict[str, dict[str, float]] = {}
    for name, value in logs.items():
        prefix = max((each for each in places if name.startswith(each)), key=len, default="")
        rows.setdefault(places.get(prefix, TRAIN), {})[f"epoch_{name[len(prefix) :]}"] = value
    for run, row in rows.items():
        write_row(files[run], epoch, row, "epoch")


def run_of(evaluation: Evaluation) -> str:
    """Return the TensorBoard run that an evaluation's metrics go to: `VALIDATION`, or one of its name."""
    if evaluation.prefix == "val_":
        return VALIDATION
    label = evaluation.label
    cleaned = re.sub(r"[^\w.-]+", "_", label).strip(".") or "evaluation"
    if cleaned != label:
        return f"{cleaned}_{zlib.crc32(label.encode(errors='surrogatepass')):08x}"
    return f"evaluation_{label}" if label.lower() in (TRAIN, VALIDATION) else label


@attrs.define
class Evaluations:
    """Where evaluations go, and those of the current epoch whose step is not known yet.

    Attributes:
        places: The run of each prefix of an evaluation's metrics.
    """

    places: dict[str, str] = attrs.field(factory=lambda: {"val_": VALIDATION})
    _waiting: list[tuple[Evaluation, dict[str, float]]] = attrs.field(factory=list)
    _began_at: int | None = None

    def begin_epoch(self, step: int) -> None:
        """Begin an epoch; ``step`` batches of the run have ended."""
        self._began_at, self._waiting = step, []

    def end(self, evaluation: Evaluation, logs: Logs) -> Evaluation | None:
        """Take an evaluation that has ended; return it if it is to be written, None if it waits for its step.

        While no batch of the epoch has ended, they may not be reported: their number is known at the epoch's end.
        """
        if evaluation.prefix:
            self.places.setdefault(evaluation.prefix, run_of(evaluation))
        if evaluation.step != self._began_at:
            return evaluation
        self._waiting.append((evaluation, dict(logs)))
        return None

    def settle(self, evaluation: Evaluation | None) -> list[tuple[Evaluation, dict[str, float]]]:
        """Return what waits of one that more batches follow, whose step is right."""
        found = [each for each in self._waiting if each[0] is evaluation]
        self._waiting = [each for each in self._waiting if each[0] is not evaluation]
        return found

    def end_epoch(self) -> list[tuple[Evaluation, dict[str, float]]]:
        """Return what waits for the epoch's end."""
        waiting, self._waiting, self._began_at = self._waiting, [], None
        return waiting


def rates_of(run: Run) -> dict[str, float]:
    """Return the learning rates as an epoch's logs; those of further parameter groups are numbered from 2.

    If the model's handle has none, or they cannot be read, the logs are empty, and the metrics are still written.
    """
    try:
        rates = getattr(run.model, "learning_rates", None) or []
    except Exception:
        return {}
    return {f"learning_rate_{number}" if number > 1 else "learning_rate": rate for number, rate in enumerate(rates, 1)}


@attrs.define
class Stopwatch:
    """Measures an epoch's training steps per second, excluding the time of its evaluations."""

    _since: float | None = None
    _first_step: int = 0
    _seconds: float = 0.0

    def begin_epoch(self, run: Run) -> None:
        """Begin an epoch."""
        self._since, self._first_step, self._seconds = time.perf_counter(), run.step, 0.0

    def pause(self) -> None:
        """Stop the clock when an evaluation begins."""
        if self._since is not None:
            self._seconds += time.perf_counter() - self._since
            self._since = None

    def resume(self) -> None:
        """Restart the clock when an evaluation ends."""
        self._since = time.perf_counter()

    def rate(self, run: Run) -> dict[str, float]:
        """Return the epoch's ``steps_per_second`` as logs; empty if no step or no time has passed."""
        self.pause()
        steps = run.step - self._first_step
        return {"steps_per_second": steps / self._seconds} if steps > 0 and self._seconds > 0 else {}
