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
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from monitor_core.files.csv_sheet import EVALUATIONS
from monitor_core.files.csv_table import CSVTable, TooLongError, begins_as_log, read_csv_table
from monitor_core.journal.events import MARK, log_files, read_events
from monitor_core.journal.facts import MidepochEvaluation
from monitor_core.journal.files import JOURNAL_SUFFIX, SIGNATURE, Damage, Kind, Record
from monitor_core.journal.rows import Rows, encode_rows, parse_rows
from monitor_core.journal.run_records import Log, RunRecord
from monitor_core.values.labels import UNNAMED, EvaluationLabel
from monitor_core.values.text import counted, shortened

CSV, HISTORY, EVENTS = "CSV log", "history", "event files"
"""The kinds of logs."""
CSV_SUFFIXES = (".csv", ".tsv", ".txt")
SEPARATORS = "_/.- "
"""What may be between an evaluation's name and a metric's."""
_HEAD = 1 << 16
"""How many bytes of a file of another name are looked at."""
_BLOCK = 100_000
MOST_EPOCHS = 1_000_000
"""How many rows of epochs are read of a file: each is a record of its own, unlike those of batches."""
_MOST_STEPS = 2**53
_MOST_DIGITS = 300
_LONGEST_NAME = 80
"""How many characters of a metric's name are in a message."""
Imported = tuple[list[RunRecord], list[Damage]]


def import_runs(path: Path, *, most_epochs: int = MOST_EPOCHS) -> Imported | None:
    """Return the runs in a file, or a folder of event files, that is not a journal; None for any other path.

    Args:
        path: The file or folder.
        most_epochs: How many rows of epochs a file may have.

    Raises:
        ImportError: The tensorboard package, which reads event files, is not installed.
        ValueError: It is not the log of a training; the message says what it lacks.
        OSError: It cannot be read.
    """
    kind = log_kind(path)
    if kind is None:
        return None
    runs, damage = _READERS[kind](path, most_epochs)
    for run in runs:
        run.log = attrs.evolve(run.log or Log(kind), began=_first_time(run))
    return runs, damage


def log_kind(path: Path) -> str | None:
    """Return what kind of log a path is, None for none: by its name, a folder by the names in it, else by its content.

    Raises:
        ValueError: It is a file that is neither a log nor a journal.
        OSError: It cannot be read.
    """
    suffix = path.suffix.lower()
    if path.is_dir():
        return EVENTS if log_files(path) else None
    if suffix in CSV_SUFFIXES:
        return CSV
    if suffix == ".json":
        return HISTORY
    if MARK in path.name:
        return EVENTS
    return None if suffix == JOURNAL_SUFFIX or not path.is_file() else _kind_of_content(path)


def _kind_of_content(path: Path) -> str | None:
    """Return what kind of log a file of another name is; Keras's documentation calls a CSV file ``training.log``."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head.startswith(SIGNATURE):
        return None
    if head.lstrip()[:1] in (b"{", b"["):
        return HISTORY
    if begins_as_log(head.decode("utf-8-sig", "replace")):
        return CSV
    what = "" if head else ". It is empty"
    if head.startswith(b"\x80"):
        what = ". It is pickled, and to open it might run what is in it: write the history as JSON"
    kinds = "a journal, a CSV file with a column 'epoch', a history as JSON, or an event file of TensorBoard"
    raise ValueError(f"{path} is not a training's record: {kinds}{what}")


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
        self.add(kind, rows if label is None else attrs.evolve(rows, evaluation=label))

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
        self.add(Kind.FACT, MidepochEvaluation(name=label.name, epoch=epoch, step=step, time=0.0))

    def add(self, kind: Kind, content: Rows | MidepochEvaluation) -> None:
        """Add a record."""
        self.records.append(Record(0, kind, 0, content))


# --- CSV -----------------------------------------------------------------------------------------------------------


def _of_csv(path: Path, most_epochs: int) -> Imported:
    table = read_csv_table(path, most_epochs=most_epochs)
    if table.has_steps and not table.has_evaluations:
        runs = [_batches(table, rows) for rows in _stretches(table.steps)]
    else:
        apart = _rows_apart(table.epochs, table.steps, table.columns, table.present)
        runs = [_results(table, apart, rows) for rows in _stretches(_ends(table))]
    for run in runs:
        run.log = Log(CSV, texts=tuple(table.texts))
    return runs, [Damage(path.name, 0, 0, reason) for reason in _missing(table)]


def _missing(table: CSVTable) -> Iterator[str]:
    """Yield what was not read of a CSV file."""
    if table.is_torn:
        yield "the last line has no line end, so it may be half written: it is left out"
    if table.left_out == 1:
        yield "1 row is left out: it has another number of fields than the first line"
    elif table.left_out:
        yield f"{table.left_out} rows are left out: they have another number of fields than the first line"
    for name, count in table.unreadable.items():
        yield f"{counted(count, 'field')} of {_named(name)} {'is not a number' if count == 1 else 'are not numbers'}"
    for name, count in table.dropped.items():
        what = "is not a number" if count == 1 else "are not numbers"
        yield f"the column {_named(name)} is left out: {counted(count, 'field')} of {len(table)} {what}"


def _named(name: str) -> str:
    return repr(shortened(name, _LONGEST_NAME))


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


def _rows_apart(
    epochs: NDArray[np.int64],
    steps: NDArray[np.int64],
    columns: Mapping[str, NDArray[np.float64]],
    present: Mapping[str, NDArray[np.bool_]],
) -> list[Rows]:
    """Return rows one by one, without their gaps; those with the same gaps are encoded together."""
    count = len(epochs)
    if not count:
        return []
    there = np.stack([np.ones(count, np.bool_), *present.values()])
    gaps = np.ascontiguousarray(np.packbits(there, axis=0).T)
    _, alike = np.unique(gaps.view(f"V{gaps.shape[1]}").ravel(), return_inverse=True)
    order = np.argsort(alike, kind="stable")
    found: list[Any] = [None] * count
    known: dict[bytes, tuple[str, ...]] = {}
    for rows in np.split(order, np.flatnonzero(np.diff(alike[order])) + 1):
        values = {name: column[rows] for name, column in columns.items() if present[name][rows[0]]}
        together = parse_rows(memoryview(encode_rows(0, steps[rows], np.zeros(len(rows)), values)), known)
        size = len(together.data) // len(rows)
        for place, row in enumerate(rows.tolist()):
            found[row] = Rows(int(epochs[row]), together.names, together.data[place * size : (place + 1) * size])
    return found


def _results(table: CSVTable, apart: list[Rows], part: slice) -> RunRecord:
    """Return a run of epochs, and of evaluations within them."""
    writer = _Writer()
    for rows, named in zip(apart[part], table.evaluations[part], strict=True):
        if named is None:
            writer.add(Kind.EPOCH, rows)
            continue
        label = _label(named, rows.names)
        names = tuple(name.removeprefix(label.prefix) for name in rows.names)
        writer.add(Kind.EVALUATION, attrs.evolve(rows, names=names, evaluation=label))
        writer.within(label, rows.epoch, int(rows.steps()[-1]))
    return RunRecord(records=writer.records)


def _label(named: str, names: Collection[str]) -> EvaluationLabel:
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


def _of_json(path: Path, most_epochs: int) -> Imported:
    """Read what `History.to_json` wrote, a mapping from names to values, as Keras's ``History.history``, or rows.

    The values are a list, or, as pandas writes them, a mapping from each row's number. Rows are a list of mappings from
    names to numbers, one for each epoch.
    """
    try:
        return _of_data(_parsed(path), most_epochs), []
    except TooLongError as error:
        raise TooLongError(f"{path} is too long: {error}") from None
    except (AttributeError, LookupError, TypeError, OverflowError, struct.error):
        raise ValueError(f"{path} is not a history: its members are not those that a history has") from None
    except ValueError as error:
        raise ValueError(f"{path} is not a history: {error}") from None


def _parsed(path: Path) -> Any:
    """Return a file's JSON."""
    try:
        return json.loads(path.read_bytes(), parse_int=_integer)
    except UnicodeDecodeError:
        raise ValueError("it is not text") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error}") from None
    except RecursionError:
        raise ValueError("its lists or mappings are nested too deeply") from None


def _integer(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"it has a number of more than {_MOST_DIGITS} digits")
    return int(digits)


def _of_data(data: Any, most_epochs: int) -> list[RunRecord]:
    if isinstance(data, list):
        return [_of_rows(data, most_epochs)]
    if not isinstance(data, dict):
        raise ValueError(f"it must be a mapping from metrics to their values (got {_shown(data)})")  # noqa: TRY004 (of a file)
    if isinstance(data.get("labels"), dict) and isinstance(data.get("epochs"), dict):
        return _of_history(data, most_epochs)
    inner = data.get("history")
    if isinstance(inner, list):
        return [_of_rows(inner, most_epochs)]
    return [_of_lists(_lists(inner if isinstance(inner, dict) else data), most_epochs)]


def _of_rows(data: list[Any], most_epochs: int) -> RunRecord:
    """Return a run of rows, in order; their values that are not numbers, such as times as text, are left out."""
    if not data or not all(isinstance(row, dict) for row in data):
        raise ValueError("a list must hold a mapping from names to numbers for each epoch")
    _require_at_most(most_epochs, len(data))
    labels = {name: [row.get(name) for row in data] for name in EVALUATIONS}
    epochs = labels["epoch"] if _are_counts(labels["epoch"]) else list(range(len(data)))
    if any(later <= earlier for earlier, later in itertools.pairwise(epochs)):
        raise ValueError("the epochs of its rows must ascend")
    steps = labels["step"] if _are_counts(labels["step"]) else [0] * len(data)
    names = dict.fromkeys(name for row in data for name in row if name not in labels)
    columns = {name: [_value(row.get(name)) for row in data] for name in names}
    columns = {name: values for name, values in columns.items() if any(each is not None for each in values)}
    if not columns:
        raise ValueError("its rows have no numbers")
    return _of_epochs(epochs, steps, columns)


def _of_epochs(epochs: list[int], steps: list[int], columns: Mapping[str, list[float | None]]) -> RunRecord:
    """Return a run of epochs; None is a gap."""
    present = {name: np.array([each is not None for each in values], np.bool_) for name, values in columns.items()}
    numbers = {name: np.array(values, np.float64) for name, values in columns.items()}
    writer = _Writer()
    for rows in _rows_apart(np.array(epochs, np.int64), np.array(steps, np.int64), numbers, present):
        writer.add(Kind.EPOCH, rows)
    return RunRecord(records=writer.records)


def _require_at_most(most: int, epochs: int) -> None:
    if epochs > most:
        raise TooLongError(f"it has more than {most:,} rows of epochs")


def _are_counts(values: list[Any]) -> bool:
    return all(type(each) in (int, float) and 0 <= each < _MOST_STEPS and each == int(each) for each in values)


def _value(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _shown(value: Any) -> str:
    """Return what a file has where something else should be, in a few words."""
    if isinstance(value, (list, dict)):
        return "a list" if isinstance(value, list) else "a mapping"
    return shortened(json.dumps(value), _LONGEST_NAME)


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
            raise ValueError(f"{_named(name)} must be {what} (got {_shown(values)})")  # noqa: TRY004 (of a file)
        found[str(name)] = [values[row] for row in rows[0]] if isinstance(values, dict) else values
    return found


def _of_lists(columns: Mapping[str, list[Any]], most_epochs: int) -> RunRecord:
    lengths = {name: len(values) for name, values in columns.items()}
    if not lengths or len(set(lengths.values())) > 1:
        found = f"got {', '.join(f'{length} for {_named(name)}' for name, length in [*lengths.items()][:5])}"
        raise ValueError(f"its metrics must have lists of one length ({found if lengths else 'it is empty'})")
    count = max(lengths.values())
    _require_at_most(most_epochs, count)
    numbers = {name: [_number(name, each) for each in values] for name, values in columns.items()}
    return _of_epochs(list(range(count)), [0] * count, numbers)


def _number(name: str, value: Any) -> float | None:
    """Return a value of a metric as a number, None for a gap."""
    if value is None or isinstance(value, (int, float)):
        return None if value is None else float(value)
    raise ValueError(f"the values of {_named(name)} must be numbers (got {_shown(value)})")


def _of_history(data: Mapping[str, Any], most_epochs: int) -> list[RunRecord]:
    """Return the runs of a `History`.

    Its NaN may be a gap: that of an evaluation that was not in the epoch, or that had no such metric, is one.
    """
    labels, epochs, measured = data["labels"], data["epochs"], data["evaluations"]
    _require_at_most(most_epochs, len(labels["epoch"]))
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


def _of_events(path: Path, _most_epochs: int) -> Imported:
    """Read the scalars of event files: those of epochs by epoch, if there are some, and all others by step."""
    epochs: dict[int, dict[str, float]] = {}
    moments: dict[int, float] = {}
    others: dict[str, list[tuple[int, float, float]]] = {}
    last = 0
    for prefix, tag, points in read_events(path):
        if tag.startswith(("evaluation_", "batch_")):
            last = max(last, *(step for step, _, _ in points))
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
    if not writer.records:
        return [], []
    log = Log(EVENTS, steps=last if epochs else None)  # next to epochs, those of other tags may count anything
    return [RunRecord(records=writer.records, log=log)], []


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
