"""What can be drawn: any kind of history, read as columns whose rows are numbered as people count.

A row's number is its epoch (from 1) or its step. If several runs were recorded one after another, the numbers continue.
If a run has evaluations within epochs, everything is numbered by steps, unless a source lacks them.
"""

from __future__ import annotations

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
from monitor_core.plotting.curves.evaluations import Recorded, by_steps, within_epochs
from monitor_core.plotting.curves.smoothing import Floats
from monitor_core.records.evaluations import evaluation_arrays

_KINDS = (
    "a History, an adapter or loop with one, what open_run returned, a path that it opens, an object with a mapping "
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
        unit: What the numbers count: ``"epoch"`` or ``"step"``.
        begin: The number of the last run's first row.
        steps: The same with a row for each evaluation within an epoch, by steps; None if the steps are not known.
        is_evaluated: Whether there are such evaluations.
    """

    label: str | None
    rows: Floats
    columns: Mapping[str, Any]
    epochs: Mapping[int, float] = attrs.field(factory=dict)
    outcome: Outcome = attrs.field(factory=Outcome)
    unit: str = "epoch"
    begin: float = 0.0
    steps: Source | None = None
    is_evaluated: bool = False

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
        ValueError: Batches were not recorded, the file is not a training's log, or an adapter does not have exactly one
            History.
    """
    if isinstance(history, Mapping) and history and all(map(_is_history, history.values())):
        named = [(str(label), each) for label, each in history.items()]
    elif isinstance(history, (list, tuple)) and history and all(map(_is_history, history)):
        named = list(zip(_labels(history), history, strict=True))
    else:
        return _on_one_axis([_source(None, history, batches=batches)])
    return _on_one_axis([_source(label, each, batches=batches) for label, each in named])


def _on_one_axis(sources: list[Source]) -> list[Source]:
    """Number all by steps if one has evaluations within epochs and all know their steps."""
    by_steps = [each.steps for each in sources if each.steps is not None]
    return by_steps if len(by_steps) == len(sources) and any(each.is_evaluated for each in sources) else sources


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
        return _with_evaluations(_of_history(label, found.history, found.outcome), found.history, found.evaluations)
    if isinstance(found, History):
        return _with_evaluations(_of_history(label, found, found.outcome), found, found.evaluations)
    if isinstance(found, RecordedHistory):
        return _of_history(label, found, Outcome())
    columns = found if isinstance(found, Mapping) else getattr(found, "history", None)
    if isinstance(columns, Mapping):
        return _epoch_source(label, columns, getattr(found, "epoch", ()))
    raise TypeError(f"history must be {_KINDS} (got {type(found).__name__})")


def _of_history(label: str | None, history: History | RecordedHistory, outcome: Outcome) -> Source:
    columns = {name: history[name] for name in history}
    return _epoch_source(label, columns, history.epoch, history.run.tolist(), outcome)


def _with_evaluations(source: Source, history: History | RecordedHistory, evaluations: Any) -> Source:
    """Return a source with the evaluations within its epochs."""
    labels, values = evaluation_arrays(evaluations)
    epochs = Recorded(history.run, np.array(history.epoch, np.int64), history.steps, source.columns)
    return _by_steps(source, epochs, Recorded(labels["run"], labels["epoch"], labels["step"], values))


def _by_steps(source: Source, epochs: Recorded, evaluations: Recorded) -> Source:
    found = by_steps(epochs, evaluations)
    if found is None:
        return source
    steps = attrs.evolve(
        source, rows=found.rows, columns=found.columns, epochs=found.ends, unit="step", begin=found.begin
    )
    return attrs.evolve(source, steps=steps, is_evaluated=bool(within_epochs(epochs, evaluations).any()))


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
    begin = min(places.values(), default=0.0)
    return Source(label, rows, columns, places, outcome or Outcome(), begin=begin)


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
    return Source(label, rows, {name: recorded[name] for name in recorded}, unit="step")


def _ascending(numbers: Floats, count: int) -> Floats:
    """Return the rows' own numbers if they ascend; where a further run restarts them, let them continue."""
    if len(numbers) == count and (np.diff(numbers) > 0).all():
        return numbers
    return np.arange(1, 1 + count, dtype=np.float64)


def _of_path(label: str | None, path: Path, *, batches: bool) -> Source:
    if path.suffix.lower() == ".npz":
        raise TypeError(f"history must not be a path of this kind; write History.from_npz({str(path)!r}) instead")
    recorded = open_run(path)
    if not batches and not len(recorded.history) and len(recorded.batches):
        raise ValueError(
            f"history must hold what is to be drawn; {str(path)!r} has a row for every batch: pass batches=True"
        )
    return _source(label, recorded, batches=batches)
