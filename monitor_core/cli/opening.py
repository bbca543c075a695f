"""Reading what is at a path, for a terminal: anything that `open_run` opens.

Contract. Only what is asked for is decoded: of ten million batches, their number and the last one.
"""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

import attrs
import numpy as np
import typer
from numpy.typing import NDArray

from monitor_core.cli.text import plain
from monitor_core.errors import SetupError
from monitor_core.journal.evaluations import epochs_and_evaluations
from monitor_core.journal.files import Damage, Kind
from monitor_core.journal.recorded import RecordedRun, read_any_runs, record_of
from monitor_core.journal.recorded_rows import RecordedBatches
from monitor_core.journal.rows import presence
from monitor_core.journal.run_records import RunRecord
from monitor_core.journal.summary import Summary, summary_of
from monitor_core.store.addresses import StorePath, located
from monitor_core.values.text import counted

FINDINGS = 3
"""The exit code of a command that found something."""


class UnreadableError(Exception):
    """A path that holds nothing to show."""


class Direction(StrEnum):
    """Which way a metric improves, as an option."""

    AUTO = "auto"
    MIN = "min"
    MAX = "max"


@contextmanager
def readable() -> Iterator[None]:
    """Raise what is wrong with a path, a name or a value as `UnreadableError`, whose message is all that is shown."""
    try:
        yield
    except FileNotFoundError as error:
        what = "" if error.strerror == os.strerror(errno.ENOENT) else f": {error.strerror}"
        raise UnreadableError(
            f"there is no run at {error.filename}{what}" if what else f"there is no {error.filename}"
        ) from None
    except PermissionError as error:
        raise UnreadableError(not_permitted(error)) from None
    except KeyError as error:
        raise UnreadableError(str(error.args[0])) from None
    except (FileExistsError, ImportError, IndexError, SetupError, TypeError, ValueError) as error:
        raise UnreadableError(str(error)) from None


@contextmanager
def used_well() -> Iterator[None]:
    """Raise what is wrong with an option's value as wrong usage, whose exit code is 2."""
    try:
        yield
    except (SetupError, TypeError, ValueError) as error:
        raise typer.BadParameter(plain(error).plain) from None


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
        present: Where each metric has a value, ``(n,) bool``: a NaN that was logged is one.
        record: The run's record; that of a log of others has no begin.
        damage: What could not be read.
        runs: How many runs the path holds.
        run: Which of them it is, from 0.
    """

    path: Path
    summary: Summary
    numbers: NDArray[np.float64]
    columns: dict[str, NDArray[np.float64]]
    present: dict[str, NDArray[np.bool_]]
    unit: str
    record: RunRecord
    damage: tuple[Damage, ...] = ()
    runs: int = 1
    run: int = 0

    def points(self, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return a metric's numbers and values; over steps, without the rows that lack it."""
        there = self.present[name] if self.unit == "step" else np.ones(len(self.numbers), bool)
        return self.numbers[there], self.columns[name][there]

    def logs(self, place: int) -> dict[str, float]:
        """Return the values of a row, NaN among them, without those that it lacks."""
        return {name: float(values[place]) for name, values in self.columns.items() if self.present[name][place]}


def not_permitted(error: PermissionError) -> str:
    """Return what to say about a file or folder that this user may not use."""
    return f"you may not open {error.filename}: {error.strerror}" if error.filename else str(error)


def _no_run_at(path: Path) -> str:
    """Return what to say about a path without a run."""
    what = "store.json" if isinstance(path, StorePath) else "journal-*.mcj"
    return f"{path} holds no recorded run: there is no {what} in it. To see the runs below it: monitor-core list {path}"


def open_path(path: Path, run: int = -1) -> Opened:
    """Read what is at a path.

    Args:
        path: The path.
        run: Which of several runs in a folder, from the first (0) or the last (-1).

    Raises:
        UnreadableError: Nothing there can be shown; the message says what can be.
    """
    path = located(path)
    runs, damage = _runs(path, run)
    return attrs.evolve(_of_record(path, runs[run], tuple(damage), len(runs)), run=run % len(runs))


def open_recorded(path: Path, run: int = -1) -> RecordedRun:
    """Read what is at a path, in the form that `open_run` returns; see `open_path`."""
    path = located(path)
    runs, damage = _runs(path, run)
    return record_of(path, [runs[run]], damage)


def _runs(path: Path, run: int) -> tuple[list[RunRecord], list[Damage]]:
    """Return the runs at a path, among them the one that is asked for, and what could not be read."""
    try:
        if not isinstance(path, StorePath) and not path.exists():
            raise UnreadableError(f"there is no {path}")
        runs, damage = read_any_runs(path)
    except FileNotFoundError:
        raise UnreadableError(_no_run_at(path)) from None
    except PermissionError as error:
        raise UnreadableError(not_permitted(error)) from None
    except (ImportError, ValueError) as error:
        raise UnreadableError(str(error)) from None
    if not runs:
        why = f": {damage[0].reason}" if damage else ": it is empty"
        raise UnreadableError(f"{path} holds no run that can be read{why}")
    if not -len(runs) <= run < len(runs):
        raise UnreadableError(f"{path} holds {counted(len(runs), 'run')}, and none is number {run}")
    return runs, damage


def _of_record(path: Path, record: RunRecord, damage: tuple[Damage, ...], runs: int) -> Opened:
    rows = list(epochs_and_evaluations(record))
    if not rows:
        return _of_batches(path, record, damage, runs)
    unit = "step" if any(kind is Kind.EVALUATION for kind, _ in rows) else "epoch"
    logs = [each.epoch_logs() for _, each in rows]
    names = dict.fromkeys(name for each in logs for name in each)
    columns = {name: np.array([each.get(name, math.nan) for each in logs]) for name in names}
    present = {name: np.array([name in each for each in logs], np.bool_) for name in names}
    numbers = np.array([float(each.steps()[-1]) if unit == "step" else each.epoch + 1.0 for _, each in rows])
    return Opened(path, summary_of(record), numbers, columns, present, unit, record, damage, runs)


def _of_batches(path: Path, record: RunRecord, damage: tuple[Damage, ...], runs: int) -> Opened:
    """Return a run by its batches, because no epoch has ended."""
    parts = record.rows(Kind.BATCHES)
    batches = RecordedBatches([(0, rows) for rows in parts])
    columns = {name: batches[name] for name in batches}
    present = presence(parts)
    summary = summary_of(record)
    for name, values in columns.items():
        there = values[present[name]]
        if len(there):
            summary.last[name] = float(there[-1])
    numbers = batches.steps.astype(np.float64)
    return Opened(path, summary, numbers, columns, present, "step", record, damage, runs)
