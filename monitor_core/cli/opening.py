"""What a path may be, and reading it: a run's folder, one of its journals, a CSV file, or a history as JSON.

Contract. Only what is asked for is decoded: of ten million batches, their number and the last one.
"""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import attrs
import numpy as np
from numpy.typing import NDArray

from monitor_core.journal.evaluations import epochs_and_evaluations
from monitor_core.journal.files import Damage, Kind
from monitor_core.journal.recorded import read_runs
from monitor_core.journal.run_records import RunRecord
from monitor_core.journal.summary import BestValue, Summary, Tally, summary_of


class UnreadableError(Exception):
    """A path that holds nothing to show."""


@attrs.frozen(eq=False)
class Opened:
    """A run that was opened.

    Attributes:
        path: The path.
        summary: Its summary.
        numbers: Each row's number, ``(n,) float64``: its epoch's as people read it, from 1; or, where evaluations were
            within epochs, its step.
        unit: ``"epoch"`` or ``"step"``.
        columns: Each metric's values, ``(n,) float64``, NaN where missing.
        record: The run's record, if it is from a journal.
        damage: What could not be read.
        runs: How many runs the path holds.
    """

    path: Path
    summary: Summary
    numbers: NDArray[np.float64]
    columns: dict[str, NDArray[np.float64]]
    unit: str = "epoch"
    record: RunRecord | None = None
    damage: tuple[Damage, ...] = ()
    runs: int = 1

    def points(self, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return a metric's numbers and values; over steps, without the rows that lack it."""
        values = self.columns[name]
        there = ~np.isnan(values) if self.unit == "step" else np.ones(len(values), bool)
        return self.numbers[there], values[there]


def open_path(path: Path, run: int = -1) -> Opened:
    """Read what is at a path.

    Args:
        path: The path.
        run: Which of several runs in a folder, from the first (0) or the last (-1).

    Raises:
        UnreadableError: Nothing there can be shown; the message says what can be.
    """
    if not path.exists():
        raise UnreadableError(f"there is no {path}")
    if path.suffix == ".csv":
        return _of_csv(path)
    if path.suffix == ".json":
        return _of_json(path)
    try:
        runs, damage = read_runs(path)
    except FileNotFoundError:
        raise UnreadableError(
            f"{path} holds no recorded run: there is no journal-*.mcj in it. To see the runs below it: "
            f"monitor-core list {path}"
        ) from None
    if not runs:
        why = f": {damage[0].reason}" if damage else ", it is empty"
        raise UnreadableError(f"{path} holds no run that can be read{why}")
    if not -len(runs) <= run < len(runs):
        raise UnreadableError(f"{path} holds {len(runs)} runs, and none is number {run}")
    record = runs[run]
    return _of_record(path, record, tuple(damage), len(runs))


def _of_record(path: Path, record: RunRecord, damage: tuple[Damage, ...], runs: int) -> Opened:
    rows = list(epochs_and_evaluations(record))
    unit = "step" if any(kind is Kind.EVALUATION for kind, _ in rows) else "epoch"
    logs = [each.epoch_logs() for _, each in rows]
    names = dict.fromkeys(name for each in logs for name in each)
    columns = {name: np.array([each.get(name, math.nan) for each in logs]) for name in names}
    numbers = np.array([float(each.steps()[-1]) if unit == "step" else each.epoch + 1.0 for _, each in rows])
    return Opened(path, summary_of(record), numbers, columns, unit, record, damage, runs)


def _of_csv(path: Path) -> Opened:
    try:
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            rows = list(csv.DictReader(file))
    except csv.Error as error:
        raise UnreadableError(f"{path} is not a CSV file: {error}") from None
    if not rows or "epoch" not in rows[0]:
        raise UnreadableError(f"{path} is not a training's log: it has no column 'epoch', or no row")
    names = [name for name in rows[0] if name and name not in ("epoch", "step", "evaluation")]
    columns = {name: np.array([_float(row.get(name)) for row in rows]) for name in names}
    epochs = np.array([_float(row["epoch"]) + 1 for row in rows])
    if not np.isfinite(epochs).all():
        raise UnreadableError(f"{path} is not a training's log: an epoch is not a number")
    return _of_columns(path, epochs, columns)


def _of_json(path: Path) -> Opened:
    try:
        data = json.loads(path.read_bytes())
        data = dict(data.get("epochs") or data.get("history") or data)
        columns = {str(name): np.array([_float(each) for each in values]) for name, values in data.items()}
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise UnreadableError(f"{path} is not a history: {type(error).__name__}: {error}") from None
    rows = max((len(column) for column in columns.values()), default=0)
    if not rows or any(len(column) != rows for column in columns.values()):
        raise UnreadableError(f"{path} is not a history: a mapping from metric names to lists of one length")
    return _of_columns(path, np.arange(1.0, rows + 1), columns)


def _of_columns(path: Path, epochs: NDArray[np.float64], columns: dict[str, NDArray[np.float64]]) -> Opened:
    tally = Tally(None)
    for place, epoch in enumerate(epochs.tolist()):
        logs = {name: float(column[place]) for name, column in columns.items() if not math.isnan(column[place])}
        number = int(epoch) - 1 if math.isfinite(epoch) else place
        tally.add(logs, epoch=number, step=0, time=0.0, ends_epoch=True)
    tally.summary.status = "unknown"
    return Opened(path, tally.summary, epochs, columns)


def _float(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan


def main_metric(summary: Summary) -> tuple[str, BestValue] | None:
    """Return the metric by which a run is known, with its best value: the validation's loss, else another's."""
    preferred = ("val_loss", "loss")
    for name in (*preferred, *(each for each in summary.best if each.startswith("val_")), *summary.best):
        if name in summary.best:
            return name, summary.best[name]
    return None
