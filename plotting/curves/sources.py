"""What can be drawn: any kind of history, read as columns whose rows are numbered as people count.

A row's number is its epoch (from 1) or its step. If several runs were recorded one after another, the numbers continue.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from monitor_core import History, open_run
from monitor_core.journal.recorded import RecordedRun
from monitor_core.journal.recorded_rows import RecordedHistory
from monitor_core.metrics.outcome import Outcome
from monitor_core.plotting.curves.smoothing import Floats

_KINDS = (
    "a History, an adapter or loop with one, what open_run returned, a CSV file's path, an object with a mapping "
    "`history`, a mapping from metric names to values, or several of these as a list or as a mapping from labels"
)


@attrs.frozen(eq=False)
class Source:
    """One run's columns, as recorded.

    Attributes:
        label: The run's label; None if there is only one run.
        rows: ``(n,) float64``, ascending: each row's number.
        columns: Each metric's values.
        epochs: The epochs of the last run, 0-based, and the numbers of their rows.
        outcome: What decided the last run, and how it ended.
    """

    label: str | None
    rows: Floats
    columns: Mapping[str, Any]
    epochs: Mapping[int, float] = attrs.field(factory=dict)
    outcome: Outcome = attrs.field(factory=Outcome)

    def values(self, name: str) -> Floats:
        """Return a metric's values, ``(n,) float64``.

        Raises:
            ValueError: They are not one number for each row.
        """
        try:
            values = np.asarray(self.columns[name], dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"the values of {name!r} must be numbers: {error}") from error
        if values.ndim != 1:
            raise ValueError(f"the values of {name!r} must be one number for each epoch (got the shape {values.shape})")
        return values

    def is_drawable(self, name: str) -> bool:
        """Return whether the metric's values are numbers."""
        try:
            self.values(name)
        except ValueError:
            return False
        return True


def read_sources(history: object, *, batches: bool = False) -> list[Source]:
    """Read one run, or several.

    Args:
        history: See `plot_history`.
        batches: Whether to read every batch, by step, instead of every epoch.

    Raises:
        FileNotFoundError: The file does not exist, or the folder contains no journal.
        TypeError: It has an unsupported type.
        ValueError: Batches were not recorded, the file is not a CSV file with a header, or an adapter does not have
            exactly one History.
    """
    if isinstance(history, Mapping) and history and all(map(_is_history, history.values())):
        return [_source(str(label), each, batches=batches) for label, each in history.items()]
    if isinstance(history, (list, tuple)) and history and all(map(_is_history, history)):
        return [_source(label, each, batches=batches) for label, each in zip(_labels(history), history, strict=True)]
    return [_source(None, history, batches=batches)]


def _is_history(value: object) -> bool:
    kinds = (History, Mapping, RecordedHistory, RecordedRun, str, PathLike)
    return isinstance(value, kinds) or any(hasattr(value, name) for name in ("history", "bus", "sinks"))


def _labels(histories: Sequence[object]) -> list[str]:
    """Return the names of their files if these differ, otherwise their numbers."""
    paths = [each.path if isinstance(each, RecordedRun) else each for each in histories]
    names = [Path(path).stem if isinstance(path, (str, PathLike)) else None for path in paths]
    if None not in names and len(set(names)) == len(names):
        return [str(name) for name in names]
    return [f"run {number}" for number in range(1, len(histories) + 1)]


def _source(label: str | None, history: Any, *, batches: bool) -> Source:
    if isinstance(history, (str, PathLike)):
        return _of_path(label, Path(fspath(history)), batches=batches)
    found = _history_within(history)
    if batches:
        return _batch_source(label, found)
    if isinstance(found, RecordedRun):
        return attrs.evolve(_source(label, found.history, batches=False), outcome=found.outcome)
    if isinstance(found, (History, RecordedHistory)):
        outcome = found.outcome if isinstance(found, History) else Outcome()
        return _epoch_source(label, {name: found[name] for name in found}, found.epoch, found.run.tolist(), outcome)
    columns = found if isinstance(found, Mapping) else getattr(found, "history", None)
    if isinstance(columns, Mapping):
        return _epoch_source(label, columns, getattr(found, "epoch", ()))
    raise TypeError(f"history must be {_KINDS} (got {type(found).__name__})")


def _history_within(owner: Any) -> Any:
    """Return the History of an adapter, a loop, a bus or a sink that has one; return other objects unchanged."""
    if isinstance(owner, (History, RecordedRun)):
        return owner
    if isinstance(sinks := getattr(getattr(owner, "bus", owner), "sinks", None), tuple):
        return _only_history(owner, sinks)
    inner = getattr(owner, "history", None)
    return inner if isinstance(inner, History) else owner


def _only_history(owner: object, sinks: Iterable[object]) -> History:
    found = [sink for sink in sinks if isinstance(sink, History)]
    if not found:
        found = [inner for sink in sinks if isinstance(inner := getattr(sink, "history", None), History)]
    if len(found) != 1:
        name = type(owner).__name__
        hint = "plot the one you mean" if found else f"add one, history = History(), to the {name} and plot it"
        raise ValueError(f"history must have one History among its sinks (got a {name} with {len(found)}): {hint}")
    return found[0]


def _epoch_source(
    label: str | None,
    columns: Mapping[str, Any],
    epochs: Sequence[int] = (),
    runs: Sequence[int] | None = None,
    outcome: Outcome | None = None,
) -> Source:
    count = max((len(values) for values in columns.values() if hasattr(values, "__len__")), default=0)
    rows = _ascending(np.asarray(epochs, dtype=np.float64) + 1, count)
    last = [True] * len(epochs) if runs is None else [run == runs[-1] for run in runs]
    places = {int(epoch): row for epoch, row, is_last in zip(epochs, rows.tolist(), last, strict=False) if is_last}
    return Source(label, rows, columns, places, outcome or Outcome())


def _batch_source(label: str | None, history: Any) -> Source:
    if isinstance(history, History) and not history.per_batch:
        raise ValueError("history must be recorded by History(per_batch=True) to draw batches (got per_batch=False)")
    if not isinstance(history, (History, RecordedRun)):
        raise TypeError(
            "history must be a monitor_core.History(per_batch=True), or what open_run returned, to draw batches "
            f"(got {type(history).__name__})"
        )
    recorded = history.batches
    rows = _ascending(np.asarray(recorded.steps, dtype=np.float64), len(recorded))
    return Source(label, rows, {name: recorded[name] for name in recorded})


def _ascending(numbers: Floats, count: int) -> Floats:
    """Return the rows' own numbers if they ascend; where a further run restarts them, let them continue."""
    if len(numbers) == count and (np.diff(numbers) > 0).all():
        return numbers
    return np.arange(1, 1 + count, dtype=np.float64)


def _of_path(label: str | None, path: Path, *, batches: bool) -> Source:
    if path.suffix.lower() in (".csv", ".tsv", ".txt"):
        return _of_csv(label, path, batches=batches)
    if path.suffix.lower() in (".json", ".npz"):
        kind = path.suffix.lower()[1:]
        raise TypeError(f"history must not be a path of this kind; write History.from_{kind}({str(path)!r}) instead")
    return _source(label, open_run(path), batches=batches)


def _of_csv(label: str | None, path: Path, *, batches: bool) -> Source:
    """Read a file written by `CSVLogger` or by Keras's callback of that name."""
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        head = file.readline()
        separator = max(",;\t|", key=head.count)
        file.seek(0)
        lines = [line for line in csv.reader(file, delimiter=separator) if line]
    names = lines[0] if lines else []
    if "epoch" not in names:
        raise ValueError(f"history must be a CSV file with a column 'epoch' (got {str(path)!r} with {names})")
    table = [line for line in lines[1:] if len(line) == len(names)]
    columns = {name: _numbers([line[place] for line in table]) for place, name in enumerate(names)}
    epochs, steps = columns.pop("epoch"), columns.pop("step", None)
    if batches != (steps is not None):
        kind = "has a row for every batch: pass batches=True" if steps is not None else "has no batches"
        raise ValueError(f"history must hold what is to be drawn; {str(path)!r} {kind}")
    if steps is not None:
        return Source(label, _ascending(np.asarray(steps, dtype=np.float64), len(table)), columns)
    return _epoch_source(label, columns, [int(epoch) for epoch in epochs])


def _numbers(fields: list[str]) -> list[Any]:
    """Return fields as floats, with NaN for an empty one; return them unchanged if they are not numbers."""
    try:
        return [float(field) if field.strip() else float("nan") for field in fields]
    except ValueError:
        return list(fields)
