"""The history: results of epochs, evaluations and, if asked, batches, in memory, over any number of fits and runs."""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import attrs
import numpy as np
from numpy.typing import NDArray

from monitor_core import checks
from monitor_core._log import logger
from monitor_core.bus.copies import independent_copy
from monitor_core.bus.run import Run
from monitor_core.bus.sink import Logs, Sink
from monitor_core.files.replacing import replacing
from monitor_core.files.state import finite_or_name, refusing_damage
from monitor_core.metrics.outcome import Outcome
from monitor_core.records.batches import BatchHistory, joined
from monitor_core.records.columns import Column, Table
from monitor_core.records.evaluations import EvaluationHistory, evaluation_arrays
from monitor_core.records.frames import frame
from monitor_core.records.html import results_html
from monitor_core.records.lookup import Results
from monitor_core.values.blocks import Block

if TYPE_CHECKING:
    import pandas as pd

    from monitor_core.journal.recorded import RecordedRun
    from monitor_core.journal.recorded_rows import RecordedBatches, RecordedEvaluations, RecordedHistory

_FORMAT = 1
_PARTS = ("labels", "epochs", "batch_labels", "batches", "evaluation_labels", "evaluations")

_Arrays = dict[str, dict[str, NDArray[Any]]]


@attrs.frozen
class _Epochs:
    """A stretch of consecutive epochs of one run."""

    run: int
    epoch: int
    rows: int

    def before(self, epoch: int) -> _Epochs:
        return attrs.evolve(self, rows=max(0, min(self.rows, epoch - self.epoch)))


@attrs.define(eq=False)
class History(Results, Sink):
    """Keep the results of every epoch and evaluation, and optionally every batch's, over any number of runs.

    ``history["loss"]`` is an array over all epochs; a metric that appears late or is missing in an epoch is NaN
    there, so that all columns have the same length. ``acc`` finds ``accuracy`` and vice versa, unless both exist.
    ``history.evaluations["val_loss"]`` is the same over all evaluations of a run, with ``evaluations.steps`` and
    ``evaluations.names``: an epoch's ``val_loss`` is only that of its last one.

    Args:
        per_batch: Whether to record every batch too, in `batches`.

    Attributes:
        outcome: The metrics that decided about the last run, and how it ended; plots mark them. Files do not hold it.

    Example:
        >>> history = History()
        >>> bus = Bus(history)
        >>> bus.train_begin(); bus.epoch_begin(0); bus.epoch_end(0, {"loss": 0.5}); bus.train_end()
        >>> history["loss"]
        array([0.5])
    """

    __copy__ = independent_copy

    read_only: ClassVar[bool] = True
    background: ClassVar[bool] = True

    per_batch: bool = attrs.field(default=False, kw_only=True, validator=checks.boolean)
    batches: BatchHistory = attrs.field(init=False, factory=BatchHistory)
    evaluations: EvaluationHistory = attrs.field(init=False, factory=EvaluationHistory)
    outcome: Outcome = attrs.field(init=False, factory=Outcome)
    _epochs: Table = attrs.field(init=False, factory=Table)
    _steps: Column = attrs.field(init=False, factory=Column)
    _stretches: list[_Epochs] = attrs.field(init=False, factory=list)
    _run: int = attrs.field(init=False, default=0)
    _on_record: tuple[int, int, int] = attrs.field(init=False, default=(0, 0, 0))

    def __repr__(self) -> str:
        batches = f", {len(self.batches)} batches" if self.per_batch else ""
        return f"History({len(self)} epochs{batches}: {', '.join(self) or 'no metrics'})"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: how the run ended, a small curve, the last and the best values."""
        status = self.outcome.status or ("running" if len(self) else "empty")
        lines = [f"{status}, {len(self)} epochs", *filter(None, [self.outcome.stop_reason])]
        ways = {each.metric: each.mode for each in self.outcome.watched}
        return results_html("History", lines, {name: self[name] for name in self}, self.epoch, ways)

    def _columns(self) -> Table:
        return self._epochs

    @property
    def epoch(self) -> list[int]:
        """Each epoch's number within its run, 0-based."""
        return [each.epoch + row for each in self._stretches for row in range(each.rows)]

    @property
    def run(self) -> NDArray[np.int64]:
        """Each epoch's run, counted from 0 since the last `reset`, ``(epochs,) int64``."""
        return joined([np.full(each.rows, each.run) for each in self._stretches], np.int64)

    @property
    def steps(self) -> NDArray[np.int64]:
        """How many steps of its run had ended at each epoch's end, ``(epochs,) int64``."""
        return self._steps.array().astype(np.int64)

    def wants_hook(self, hook: str) -> bool:
        """Listen to blocks only if every batch is to be recorded."""
        return hook != "on_block" or self.per_batch

    def reset(self) -> None:
        """Drop everything that was recorded."""
        self.batches, self.evaluations = BatchHistory(), EvaluationHistory()
        self.outcome = Outcome()
        self._epochs, self._steps, self._stretches, self._run = Table(), Column(), [], 0

    def on_train_begin(self, run: Run) -> None:
        """Begin a run; its number follows those of the runs recorded since the last reset."""
        self._run = self._recorded_runs()
        self.outcome = Outcome(run.watched)  # the list itself: later sinks still add to it

    def on_train_end(self, run: Run, logs: Logs) -> None:
        """Note how the run ended, and why."""
        self.outcome.status = run.status
        if run.stop_reason is not None:
            self.outcome.stop_reason, self.outcome.stop_epoch = run.stop_reason, run.epoch

    def on_epoch_begin(self, run: Run, epoch: int) -> None:
        """Begin an epoch."""
        self.evaluations.begin_epoch()

    def on_evaluation_end(self, run: Run, logs: Logs) -> None:
        """Append the evaluation's results, if a run is open."""
        evaluation = run.evaluation
        if run.status == "running" and evaluation is not None:
            prefixed = evaluation.renamed(logs)
            place = {"run": self._run, "epoch": run.epoch, "step": evaluation.step}
            self.evaluations.append(prefixed, **place, time=time.time(), name=evaluation.label)

    def on_midepoch_evaluation(self, run: Run, logs: Logs) -> None:
        """Note that its step is final."""
        self.evaluations.settle()

    def on_epoch_end(self, run: Run, epoch: int, logs: Logs) -> None:
        """Append the epoch's results."""
        self.evaluations.end_epoch(run.step)
        self._epochs.append(logs)
        self._steps.extend([run.step])
        self._label(self._run, epoch)

    def on_block(self, run: Run, block: Block) -> None:
        """Append the batches."""
        self.batches.extend(self._run, block.epoch, block.steps, block.times, block.columns)

    def _recorded_runs(self) -> int:
        """Return how many runs have left a record since the last reset."""
        last = self._stretches[-1].run if self._stretches else -1
        return 1 + max(last, self.batches.last_run, self.evaluations.last_run)

    def _label(self, run: int, epoch: int) -> None:
        last = self._stretches[-1] if self._stretches else None
        if last is not None and (run, epoch) == (last.run, last.epoch + last.rows):
            self._stretches[-1] = attrs.evolve(last, rows=last.rows + 1)
        else:
            self._stretches.append(_Epochs(run, epoch, 1))

    def on_rewind(self, run: Run, epoch: int, step: int) -> None:
        """Drop the epochs and evaluations from ``epoch`` on, and the batches after ``step``, of this run."""
        kept = [each if each.run < self._run else each.before(epoch) for each in self._stretches]
        self._stretches = [each for each in kept if each.rows]
        rows = sum(each.rows for each in self._stretches)
        self._epochs.truncate(rows)
        self._steps.truncate(rows)
        self.batches.truncate(self._run, step)
        self.evaluations.truncate(self._run, epoch, step)

    def state_dict(self) -> dict[str, Any]:
        """Return how many epochs, batches and evaluations are recorded, not the values."""
        recorded = {"epochs": len(self), "batches": len(self.batches), "evaluations": len(self.evaluations)}
        return {"run": self._run, **recorded}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue the run that was recorded; the record itself comes from a file or a journal."""
        self._run = state["run"]
        self._on_record = (state["epochs"], state["batches"], state.get("evaluations", 0))

    def load_record(self, recorded: RecordedRun) -> None:
        """Load what was recorded up to the loaded state; ``resume=...`` of a loop or an adapter calls this.

        Args:
            recorded: A journal's record up to that state. It may hold runs from before this history's first.
        """
        parts = _arrays(recorded.history, recorded.batches, recorded.evaluations)
        labels = (parts["labels"], parts["batch_labels"], parts["evaluation_labels"])
        shift = self._run - max(each["run"].max(initial=-1) for each in labels)
        for each in labels:
            each["run"] = each["run"] + shift
        lacking = [had - has for had, has in zip(self._on_record, self._lengths(), strict=True)]
        counts = [count for count in lacking for _ in range(2)]  # of labels and values
        self._fill({part: _last(count, parts[part]) for part, count in zip(_PARTS, counts, strict=True)})
        if self._lengths() != self._on_record:
            logger.warning(
                "the journal has only %d epochs, %d batches and %d evaluations of the %d, %d and %d that this history "
                "had",
                *(*self._lengths(), *self._on_record),
            )

    def _lengths(self) -> tuple[int, int, int]:
        return len(self), len(self.batches), len(self.evaluations)

    # --- files -----------------------------------------------------------------------------------------------------

    def to_json(self, path: str | PathLike[str]) -> None:
        """Write everything as JSON, atomically.

        Non-finite values are written as the strings ``NaN``, ``Infinity`` and ``-Infinity``.
        """
        data: dict[str, Any] = {"format": _FORMAT, "runs": self._recorded_runs(), "per_batch": self.per_batch}
        for part, arrays in self._parts().items():
            data[part] = {name: _listed(array) for name, array in arrays.items()}
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(data, allow_nan=False), encoding="utf-8")

    @classmethod
    def from_json(cls, path: str | PathLike[str]) -> Self:
        """Read what `to_json` wrote.

        Raises:
            ValueError: `to_json` did not write the file, or it is damaged.
        """
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
            _check_format(data["format"])
            parts = {part: {name: _array(part, name, values) for name, values in data[part].items()} for part in _PARTS}
            return cls._from_arrays(parts, data["runs"], per_batch=data["per_batch"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"{path} is not a history of format {_FORMAT}: {error}") from error

    def to_npz(self, path: str | PathLike[str]) -> None:
        """Write everything as a compressed NumPy archive without object arrays, atomically."""
        runs = self._recorded_runs()
        header = {"format": np.int64(_FORMAT), "runs": np.int64(runs), "per_batch": np.bool_(self.per_batch)}
        arrays: dict[str, Any] = {name: np.asarray(value) for name, value in header.items()}
        for part, named in self._parts().items():
            arrays.update({f"{part}/{name}": array for name, array in named.items()})
        with replacing(path) as temporary, temporary.open("wb") as file:  # given a name, NumPy would append its suffix
            np.savez_compressed(file, allow_pickle=False, **arrays)

    @classmethod
    def from_npz(cls, path: str | PathLike[str]) -> Self:
        """Read what `to_npz` wrote; nothing in the file is executed.

        Raises:
            ValueError: `to_npz` did not write the file, or it is damaged.
        """
        parts: dict[str, dict[str, NDArray[Any]]] = {part: {} for part in _PARTS}
        with (
            refusing_damage(f"{path} is not a history of format {_FORMAT}"),
            Path(path).open("rb") as file,
            np.load(file, allow_pickle=False) as archive,
        ):
            _check_format(archive["format"])
            for key in archive.files:
                part, slash, name = key.partition("/")
                if slash:
                    parts[part][name] = archive[key]
                elif key not in ("format", "runs", "per_batch"):
                    raise ValueError(f"it holds {key!r}")
            return cls._from_arrays(parts, int(archive["runs"]), per_batch=bool(archive["per_batch"]))

    @classmethod
    def _from_arrays(cls, parts: Mapping[str, Mapping[str, NDArray[Any]]], runs: int, *, per_batch: bool) -> Self:
        history = cls(per_batch=per_batch)
        history._run = max(0, runs - 1)
        history._fill(parts)
        return history

    def _fill(self, parts: Mapping[str, Mapping[str, NDArray[Any]]]) -> None:
        """Append rows, given as the function `_arrays` returns them."""
        runs, epochs = (parts["labels"][name].astype(int).tolist() for name in ("run", "epoch"))
        for label in zip(runs, epochs, strict=True):
            self._label(*label)
        self._epochs.extend(len(epochs), parts["epochs"])
        self._steps.extend(parts["labels"]["step"])
        self.evaluations.extend(parts["evaluation_labels"], parts["evaluations"])
        run, epoch, step, time = (parts["batch_labels"][name] for name in ("run", "epoch", "step", "time"))
        starts = np.flatnonzero((np.diff(run, prepend=-1) != 0) | (np.diff(epoch, prepend=-1) != 0))
        for first, last in itertools.pairwise([*starts, len(run)]):
            rows = slice(first, last)
            columns = {name: column[rows] for name, column in parts["batches"].items()}
            self.batches.extend(int(run[first]), int(epoch[first]), step[rows].astype(np.int64), time[rows], columns)

    def to_pandas(self, *, batches: bool = False, evaluations: bool = False) -> pd.DataFrame:
        """Return a pandas frame with the columns ``run``, ``epoch`` and ``step``, then the metrics.

        Batches and evaluations have their ``time`` too, seconds since 1970, and evaluations their ``name``.

        Args:
            batches: Whether to return the batches instead of the epochs.
            evaluations: Whether to return the evaluations instead.

        Raises:
            ImportError: pandas is not installed.
            ValueError: Both are asked for.
        """
        if batches and evaluations:
            raise ValueError("batches and evaluations must not both be true: each is a frame of its own")
        arrays = self._parts()
        which = 2 if batches else 4 if evaluations else 0
        labels, metrics = _PARTS[which : which + 2]
        return frame(arrays[labels], arrays[metrics])

    def _parts(self) -> _Arrays:
        return _arrays(self, self.batches, self.evaluations)


def _arrays(
    epochs: History | RecordedHistory,
    batches: BatchHistory | RecordedBatches,
    evaluations: EvaluationHistory | RecordedEvaluations,
) -> _Arrays:
    """Return all labels and values as arrays, by part."""
    evaluation_labels, evaluation_values = evaluation_arrays(evaluations)
    return {
        "labels": {"run": epochs.run, "epoch": np.array(epochs.epoch, dtype=np.int64), "step": epochs.steps},
        "epochs": {name: epochs[name] for name in epochs},
        "batch_labels": {
            "run": batches.runs,
            "epoch": batches.epochs,
            "step": batches.steps,
            "time": batches.times,
        },
        "batches": {name: batches[name] for name in batches},
        "evaluation_labels": evaluation_labels,
        "evaluations": evaluation_values,
    }


def _listed(array: NDArray[Any]) -> list[Any]:
    return [value if isinstance(value, str) else finite_or_name(value) for value in array.tolist()]


def _array(part: str, name: str, values: list[Any]) -> NDArray[Any]:
    """Return a column that was read from JSON; only the evaluations' names are strings."""
    if (part, name) == ("evaluation_labels", "name"):
        return np.array([str(value) for value in values], str)
    return np.array([math.nan if value is None else float(value) for value in values])


def _last(rows: int, columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name: column[max(0, len(column) - max(0, rows)) :] for name, column in columns.items()}


def _check_format(number: Any) -> None:
    if number != _FORMAT:
        raise ValueError(f"its format is {number!r}")
