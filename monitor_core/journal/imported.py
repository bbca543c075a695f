"""Runs that others recorded: a CSV log, a history as JSON, TensorBoard's event files, read as a journal's runs.

Contract. What a journal would have recorded of the same values, as far as the file has them: epochs, batches and
evaluations within epochs. Steps that the file does not have are 0, and so are times; the status is ``"unknown"``. Files
are not trusted, and nothing in them is executed.
"""

from __future__ import annotations

import itertools
import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from monitor_core.files.csv_table import CSVTable, read_csv_table
from monitor_core.journal.events import MARK, log_files, read_events
from monitor_core.journal.facts import MidepochEvaluation
from monitor_core.journal.files import Damage, Kind, Record
from monitor_core.journal.rows import Rows, encode_rows, parse_rows
from monitor_core.journal.run_records import Log, RunRecord
from monitor_core.values.labels import UNNAMED, EvaluationLabel

CSV, HISTORY, EVENTS = "CSV log", "history", "event files"
"""The kinds of logs."""
CSV_SUFFIXES = (".csv", ".tsv", ".txt")
SEPARATORS = "_/.- "
"""What may be between an evaluation's name and a metric's."""
_BLOCK = 100_000
Imported = tuple[list[RunRecord], list[Damage]]


def import_runs(path: Path) -> Imported | None:
    """Return the runs in a file, or a folder of event files, that is not a journal; None for any other path.

    Raises:
        ImportError: The tensorboard package, which reads event files, is not installed.
        ValueError: It is not the log of a training; the message says what it lacks.
        OSError: It cannot be read.
    """
    kind = log_kind(path)
    if kind is None:
        return None
    runs, damage = _READERS[kind](path)
    for run in runs:
        run.log = Log(kind, _first_time(run))
    return runs, damage


def log_kind(path: Path) -> str | None:
    """Return what kind of log a path is by its name, or a folder by the names in it; None for none."""
    suffix = path.suffix.lower()
    if path.is_dir():
        return EVENTS if log_files(path) else None
    if suffix in CSV_SUFFIXES:
        return CSV
    if suffix == ".json":
        return HISTORY
    return EVENTS if MARK in path.name else None


def _first_time(run: RunRecord) -> float:
    times = [part.matrix()[0, 1] for kind in (Kind.BATCHES, Kind.EPOCH) for part in run.rows(kind)[:1]]
    return float(min((each for each in times if each > 0), default=0.0))


class _Writer:
    """Collects a run's records."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self._names: dict[bytes, tuple[str, ...]] = {}

    def rows(
        self,
        kind: Kind,
        epoch: int,
        steps: Sequence[int] | NDArray[np.int64],
        columns: Mapping[str, Any],
        *,
        times: NDArray[np.float64] | None = None,
        present: Mapping[str, Any] | None = None,
        label: EvaluationLabel | None = None,
    ) -> None:
        """Add rows; see `encode_rows`."""
        moments = np.zeros(len(steps)) if times is None else times
        rows = parse_rows(memoryview(encode_rows(epoch, steps, moments, columns, present)), self._names)
        self._add(kind, rows if label is None else attrs.evolve(rows, evaluation=label))

    def row(
        self,
        kind: Kind,
        epoch: int,
        step: int,
        logs: Mapping[str, float],
        label: EvaluationLabel | None = None,
        *,
        time: float = 0.0,
    ) -> None:
        """Add one row, without its gaps."""
        columns = {name: [value] for name, value in logs.items()}
        self.rows(kind, epoch, [step], columns, times=np.array([time]), label=label)

    def within(self, label: EvaluationLabel, epoch: int, step: int) -> None:
        """Note that more batches followed the evaluation."""
        self._add(Kind.FACT, MidepochEvaluation(name=label.name, epoch=epoch, step=step, time=0.0))

    def _add(self, kind: Kind, content: Rows | MidepochEvaluation) -> None:
        self.records.append(Record(0, kind, 0, content))


# --- CSV -----------------------------------------------------------------------------------------------------------


def _of_csv(path: Path) -> Imported:
    table = read_csv_table(path)
    if table.has_steps and not table.has_evaluations:
        runs = [_batches(table, rows) for rows in _stretches(table.steps)]
    else:
        runs = [_results(table, rows) for rows in _stretches(_ends(table))]
    reasons = [f"{table.left_out} rows are of another width"] if table.left_out else []
    reasons += [f"{count} fields of {name!r} are not numbers" for name, count in table.unreadable.items()]
    return runs, [Damage(path.name, 0, 0, reason) for reason in reasons]


def _ends(table: CSVTable) -> NDArray[np.float64]:
    """Return numbers that ascend with the rows of a run: an evaluation comes before the end of its epoch."""
    is_end = np.array([label is None for label in table.evaluations], np.bool_)
    ends = table.epochs.astype(np.float64)
    count = len(ends)
    return np.where(is_end, ends, ends - 1 + (np.arange(count) + 1) / (count + 2))


def _stretches(numbers: NDArray[Any]) -> Iterator[slice]:
    """Yield the rows of each run: where numbers do not ascend, another run was appended."""
    edges = [0, *(np.flatnonzero(np.diff(numbers) <= 0) + 1).tolist(), len(numbers)]
    for begin, end in itertools.pairwise(edges):
        if end > begin:
            yield slice(begin, end)


def _results(table: CSVTable, rows: slice) -> RunRecord:
    """Return a run of epochs, and of evaluations within them."""
    writer = _Writer()
    for row in range(rows.start, rows.stop):
        epoch, step, named = int(table.epochs[row]), int(table.steps[row]), table.evaluations[row]
        logs = {name: float(values[row]) for name, values in table.columns.items() if table.present[name][row]}
        if named is None:
            writer.row(Kind.EPOCH, epoch, step, logs)
            continue
        label = _label(named, logs)
        stripped = {name.removeprefix(label.prefix): value for name, value in logs.items()}
        writer.row(Kind.EVALUATION, epoch, step, stripped, label)
        writer.within(label, epoch, step)
    return RunRecord(records=writer.records)


def _label(named: str, names: Mapping[str, float]) -> EvaluationLabel:
    """Return the evaluation that a file calls by this name; its prefix is the one that its metrics share."""
    if named == UNNAMED.label:
        return UNNAMED
    for separator in SEPARATORS:
        if names and all(name.startswith(named + separator) for name in names):
            return EvaluationLabel(named, named + separator)
    return EvaluationLabel(named, "")


def _batches(table: CSVTable, rows: slice) -> RunRecord:
    """Return a run of batches."""
    writer = _Writer()
    begin = rows.start
    while begin < rows.stop:
        others = np.flatnonzero(table.epochs[begin : min(rows.stop, begin + _BLOCK)] != table.epochs[begin])
        end = begin + int(others[0]) if len(others) else min(rows.stop, begin + _BLOCK)
        part = slice(begin, end)
        columns = {name: values[part] for name, values in table.columns.items() if table.present[name][part].any()}
        present = {name: table.present[name][part] for name in columns}
        writer.rows(Kind.BATCHES, int(table.epochs[begin]), table.steps[part], columns, present=present)
        begin = end
    return RunRecord(records=writer.records)


# --- JSON ----------------------------------------------------------------------------------------------------------


def _of_json(path: Path) -> Imported:
    """Read what `History.to_json` wrote, or a mapping from names to values, as Keras's ``History.history`` is.

    The values are a list, or, as pandas writes them, a mapping from each row's number.
    """
    try:
        data = json.loads(path.read_bytes())
        if isinstance(data.get("labels"), dict) and isinstance(data.get("epochs"), dict):
            return _of_history(data), []
        inner = data.get("history")
        columns = inner if isinstance(inner, dict) else data
        return [_of_lists(_lists(columns))], []
    except (
        AttributeError, LookupError, TypeError, ValueError, OverflowError, RecursionError, struct.error
    ) as error:  # fmt: skip
        raise ValueError(f"{path} is not a history: {type(error).__name__}: {error}") from None


def _lists(columns: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return each metric's values in the order of the rows."""
    mappings = [values for values in columns.values() if isinstance(values, dict)]
    if any(not row.isdecimal() for values in mappings for row in values):
        raise ValueError("its rows must be numbered from 0, or its values be lists")
    rows = [sorted(values, key=int) for values in mappings]
    if rows and (len(rows) < len(columns) or any(each != rows[0] for each in rows)):
        raise ValueError("its metrics must have the same rows")
    found: dict[str, list[Any]] = {}
    for name, values in columns.items():
        if not isinstance(values, (list, dict)):
            what = "a list of numbers, or a mapping from rows to them"
            raise TypeError(f"{name!r} must be {what} (got {type(values).__name__})")
        found[str(name)] = [values[row] for row in rows[0]] if isinstance(values, dict) else values
    return found


def _of_lists(columns: Mapping[str, list[Any]]) -> RunRecord:
    lengths = {name: len(values) for name, values in columns.items()}
    if not lengths or len(set(lengths.values())) > 1:
        raise ValueError(f"it must map metrics' names to lists of one length (got the lengths {lengths})")
    writer = _Writer()
    for epoch in range(max(lengths.values())):
        values = {name: column[epoch] for name, column in columns.items()}
        writer.row(Kind.EPOCH, epoch, 0, {name: float(each) for name, each in values.items() if each is not None})
    return RunRecord(records=writer.records)


def _of_history(data: Mapping[str, Any]) -> list[RunRecord]:
    """Return the runs of a `History`.

    Its NaN may be a gap: that of an evaluation that was not in the epoch, or that had no such metric, is one.
    """
    labels, epochs, measured = data["labels"], data["epochs"], data["evaluations"]
    places, batches = _places(data["evaluation_labels"]), _places(data["batch_labels"])
    writers: dict[int, _Writer] = {}
    if any(epoch < 0 for epoch in labels["epoch"]):
        raise ValueError(f"its epochs must be >= 0 (got {min(labels['epoch'])})")
    for row, (run, epoch, step) in enumerate(zip(labels["run"], labels["epoch"], labels["step"], strict=True)):
        writer = writers.setdefault(int(run), _Writer())
        if rows := batches.get((int(run), int(epoch))):
            _history_batches(writer, data, int(epoch), rows)
        here = places.get((int(run), int(epoch)), [])
        for place in here:
            if data["evaluation_labels"]["step"][place] < step:
                _evaluation(writer, data, place)
        found = {name for place in here for name in _measured(data, place)}
        values = {name: float(column[row]) for name, column in epochs.items() if column[row] is not None}
        logs = {name: each for name, each in values.items() if name not in measured or name in found}
        writer.row(Kind.EPOCH, int(epoch), int(step), logs)
    return [RunRecord(records=writer.records) for writer in writers.values()]


def _places(labels: Mapping[str, Any]) -> dict[tuple[int, int], list[int]]:
    """Return the rows of each run's epochs."""
    places: dict[tuple[int, int], list[int]] = {}
    for row, (run, epoch) in enumerate(zip(labels["run"], labels["epoch"], strict=True)):
        places.setdefault((int(run), int(epoch)), []).append(row)
    return places


def _history_batches(writer: _Writer, data: Mapping[str, Any], epoch: int, rows: list[int]) -> None:
    labels = data["batch_labels"]
    steps, times = ([float(labels[name][row]) for row in rows] for name in ("step", "time"))
    found = {name: [values[row] for row in rows] for name, values in data["batches"].items()}
    present = {name: np.array([value is not None for value in values], np.bool_) for name, values in found.items()}
    columns = {name: [math.nan if each is None else float(each) for each in values] for name, values in found.items()}
    columns = {name: values for name, values in columns.items() if present[name].any()}
    whole = [int(step) for step in steps]
    writer.rows(Kind.BATCHES, epoch, whole, columns, times=np.array(times), present=present)


def _measured(data: Mapping[str, Any], place: int) -> dict[str, float]:
    """Return an evaluation's values; NaN is one if the metric's name begins with the evaluation's."""
    name = str(data["evaluation_labels"]["name"][place])
    found = {each: column[place] for each, column in data["evaluations"].items()}
    values = {each: float(value) for each, value in found.items() if value is not None}
    own = tuple(name + separator for separator in SEPARATORS)
    return {each: value for each, value in values.items() if not math.isnan(value) or each.startswith(own)}


def _evaluation(writer: _Writer, data: Mapping[str, Any], place: int) -> None:
    labels = {name: values[place] for name, values in data["evaluation_labels"].items()}
    logs = _measured(data, place)
    label = _label(str(labels["name"]), logs)
    stripped = {name.removeprefix(label.prefix): value for name, value in logs.items()}
    writer.row(Kind.EVALUATION, int(labels["epoch"]), int(labels["step"]), stripped, label)
    writer.within(label, int(labels["epoch"]), int(labels["step"]))


# --- event files ---------------------------------------------------------------------------------------------------


def _of_events(path: Path) -> Imported:
    """Read the scalars of event files: those of epochs by epoch, if there are some, and all others by step."""
    epochs: dict[int, dict[str, float]] = {}
    moments: dict[int, float] = {}
    others: dict[str, list[tuple[int, float, float]]] = {}
    for prefix, tag, points in read_events(path):
        if tag.startswith("evaluation_"):
            continue  # their epochs are not in the file; those of epochs' ends are among the epochs
        if tag.startswith("epoch_"):
            for step, time, value in points:
                epochs.setdefault(step, {})[prefix + tag.removeprefix("epoch_")] = value
                moments[step] = max(moments.get(step, 0.0), time)
        else:
            others[prefix + tag.removeprefix("batch_")] = points
    writer = _Writer()
    if others:
        _add_columns(writer, others)
    for epoch in sorted(epochs):
        writer.row(Kind.EPOCH, epoch, 0, epochs[epoch], time=moments[epoch])
    return [RunRecord(records=writer.records)] if writer.records else [], []


def _add_columns(writer: _Writer, columns: Mapping[str, list[tuple[int, float, float]]]) -> None:
    steps = np.unique([step for points in columns.values() for step, _, _ in points]).astype(np.int64)
    times, values, present = np.zeros(len(steps)), {}, {}
    for name, points in columns.items():
        rows = np.searchsorted(steps, [step for step, _, _ in points])
        times[rows] = [time for _, time, _ in points]
        values[name], present[name] = np.full(len(steps), np.nan), np.zeros(len(steps), np.bool_)
        values[name][rows], present[name][rows] = [value for _, _, value in points], True
    writer.rows(Kind.BATCHES, 0, steps, values, times=np.maximum.accumulate(times), present=present)


_READERS = {CSV: _of_csv, HISTORY: _of_json, EVENTS: _of_events}
