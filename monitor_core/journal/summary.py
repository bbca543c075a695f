"""The summary of a run: how it ended, its last and best values and its configuration, in at most 8 KB.

Contract. A `Tally` takes a run's results one by one, live or from a record, and gives the same summary for both. The
file ``summary.json`` in a run's folder is the last run's; what it has is in the journal too, so it may be removed.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from monitor_core.files.replacing import replacing
from monitor_core.files.state import finite_or_name
from monitor_core.journal.evaluations import results
from monitor_core.journal.facts import Begin, End, Plan, Raised
from monitor_core.journal.files import Kind
from monitor_core.journal.rows import Rows
from monitor_core.journal.run_records import RunRecord
from monitor_core.metrics.decisions import Best, Mode
from monitor_core.metrics.monitor import DIRECTIONS
from monitor_core.values.blocks import Block
from monitor_core.values.text import shortened

SUMMARY_NAME = "summary.json"
LIMIT = 8 * 1024
"""How many bytes a summary has at most."""
_FORMAT = 1
_TEXT = 200
_DEPTH = 8
"""How deep mappings and lists of a configuration are kept; deeper ones are text."""
METRICS = 40
"""How many metrics a summary that is written has at most."""
PREFERRED = ("val_loss", "loss")
_LARGEST = 2**63 - 1
"""The largest epoch or step: programs that read summaries count in 64 bits."""
LATEST = 253_402_300_799.0
"""The last moment that calendars can say, in the year 9999, seconds since 1970."""


@attrs.frozen
class BestValue:
    """The best value of a metric.

    Attributes:
        value: The value.
        epoch: Its epoch, 0-based; -1 if that is not known.
        step: Its step.
        mode: ``"min"`` or ``"max"``.
    """

    value: float
    epoch: int
    step: int
    mode: str


@attrs.define
class Summary:
    """What a run came to.

    Attributes:
        id: The run's id.
        status: As in `RecordedRun.status`; of a run that had not ended, ``"running"``.
        begun: When it began, seconds since 1970.
        time: When this was written, or the last record, seconds since 1970.
        epochs: How many epochs have ended; of a log, how many it has.
        planned_epochs: How many are planned, None if unknown.
        step: How many batches have ended.
        last: The last value of each metric.
        best: The best value of each metric whose direction is known.
        config: The configuration; long values are cut.
        stop_reason: Why a sink asked to stop, or None.
        error: What the training raised, or None.
        process: Which process recorded it, see `monitor_core.journal.provenance.this_process`.
        git_commit: The commit of the working directory, or None.
        parent: What the run is part of, by its id or name, or None.
    """

    id: str = ""
    status: str = "running"
    begun: float = 0.0
    time: float = 0.0
    epochs: int = 0
    planned_epochs: int | None = None
    step: int = 0
    last: dict[str, float] = attrs.field(factory=dict)
    best: dict[str, BestValue] = attrs.field(factory=dict)
    config: dict[str, Any] = attrs.field(factory=dict)
    stop_reason: str | None = None
    error: str | None = None
    process: dict[str, Any] = attrs.field(factory=dict)
    git_commit: str | None = None
    parent: str | None = None

    def advance(self, step: int, time: float) -> None:
        """Take how far the run has come."""
        self.step, self.time = max(self.step, step), max(self.time, _moment(time))

    @property
    def seconds(self) -> float:
        """How long it has trained, by the records' times; 0.0 if it is not known when it began."""
        return max(0.0, self.time - self.begun) if self.begun else 0.0

    def to_json(self) -> bytes:
        """Return the summary as JSON, of at most `LIMIT` bytes.

        What does not fit is left out: of the configuration what comes last, and of more than `METRICS` metrics those by
        which a run is least known.
        """
        data = {"format": _FORMAT, **attrs.asdict(self, filter=lambda field, _: field.name not in _SHORTENED)}
        data["config"] = _fitting(self.config)
        data["stop_reason"], data["error"] = _cut(self.stop_reason), _cut(self.error)
        ranks = {name: rank for rank, name in enumerate(self._ranked()[:METRICS])}
        data["last"] = {name: finite_or_name(value) for name, value in self.last.items() if name in ranks}
        data["best"] = {
            name: {**attrs.asdict(best), "value": finite_or_name(best.value)}
            for name, best in self.best.items()
            if name in ranks
        }
        while len(text := json.dumps(data, allow_nan=False).encode("ascii")) > LIMIT:
            longest = max(("config", "last", "best"), key=lambda name: len(json.dumps(data[name])))
            if longest == "config":
                _leave_out_last(data["config"])
            else:
                del data[longest][max(data[longest], key=ranks.__getitem__)]
        return text

    def _ranked(self) -> list[str]:
        """Return the metrics' names, those by which a run is best known first."""

        def rank(name: str) -> tuple[bool, bool, bool]:
            return name not in PREFERRED, name not in self.best, not name.startswith("val_")

        return sorted(dict.fromkeys([*self.last, *self.best]), key=rank)

    @classmethod
    def from_json(cls, text: bytes) -> Summary:
        """Return what `to_json` wrote.

        Raises:
            ValueError: It is not a summary of this format.
        """
        try:
            data = _of_this_format(json.loads(text))
            data["config"] = _fitting(data["config"])
            data["last"] = {name: float(value) for name, value in data["last"].items()}
            data["best"] = {
                name: BestValue(**{**best, "value": float(best["value"])}) for name, best in data["best"].items()
            }
            known = attrs.fields_dict(cls)
            return _checked(cls(**{name: value for name, value in data.items() if name in known}))
        except (ArithmeticError, LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
            raise ValueError(f"it is not a run's summary ({type(error).__name__}: {error})") from None

    def write(self, folder: Path) -> None:
        """Replace the folder's summary.

        Raises:
            OSError: It cannot be written; the old one is unchanged.
        """
        with replacing(folder / SUMMARY_NAME) as temporary:
            temporary.write_bytes(self.to_json())


def _checked(summary: Summary) -> Summary:
    bests = summary.best.values()
    counts = [summary.epochs, summary.step, *(number for best in bests for number in (best.epoch, best.step))]
    counts += [] if summary.planned_epochs is None else [summary.planned_epochs]
    texts = [summary.id, summary.status, *(best.mode for best in bests)]
    optional = (summary.git_commit, summary.stop_reason, summary.error, summary.parent)
    texts += [each for each in optional if each is not None]
    if (
        not _all_are(str, texts)
        or not _all_are(dict, (summary.config, summary.process))
        or not all(type(each) is int for each in counts)
        or not all(type(each) in (int, float) for each in (summary.begun, summary.time))
    ):
        raise TypeError("a member is of another type")
    if not all(-_LARGEST <= each <= _LARGEST for each in counts):
        raise ValueError("a count is out of range")
    if not all(_moment(each) == each for each in (summary.begun, summary.time)):
        raise ValueError("a time is out of range")
    return summary


def _all_are(kind: type, values: Iterable[object]) -> bool:
    return all(isinstance(each, kind) for each in values)


def _moment(time: float) -> float:
    """Return a time, seconds since 1970; 0.0 for what no clock says."""
    return time if 0.0 <= time <= LATEST else 0.0


def _of_this_format(data: dict[str, Any]) -> dict[str, Any]:
    if data.pop("format") != _FORMAT:
        raise ValueError("it is of another format")
    return data


_SHORTENED = {"config", "last", "best", "stop_reason", "error"}


def _cut(value: Any, depth: int = _DEPTH) -> Any:
    """Return a value with long strings cut; what is nested too deeply as text."""
    if isinstance(value, str):
        return shortened(value, _TEXT)
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return finite_or_name(value)
    if depth and isinstance(value, Mapping):
        return {_cut(str(name)): _cut(each, depth - 1) for name, each in value.items()}
    if depth and isinstance(value, (list, tuple)):
        return [_cut(each, depth - 1) for each in value]
    return _cut(json.dumps(value))


def _fitting(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration's first members, as many as fit into a summary; a list is kept whole or not at all."""
    return _first_members(_cut(config), LIMIT)[0]


def _first_members(values: Mapping[str, Any], room: int) -> tuple[dict[str, Any], int]:
    """Return a mapping's first members that fit into so many bytes of JSON, and how many bytes are left, or missing."""
    found = {}
    for name, value in values.items():
        room -= len(json.dumps(name)) + 4  # a colon, and a comma or the braces, with spaces
        if isinstance(value, dict):
            value, room = _first_members(value, room)  # noqa: PLW2901 (what is left of it)
        else:
            room -= len(json.dumps(value))
        if room < 0 and not (isinstance(value, dict) and value):
            break
        found[name] = value
    return found, room


def _leave_out_last(values: dict[str, Any]) -> None:
    """Leave out the last value of a mapping, or of the last mapping in it."""
    last = next(reversed(values.values()))
    if isinstance(last, dict) and len(last) > 1:
        _leave_out_last(last)
    else:
        values.popitem()


class Tally:
    """Adds up a run's results.

    Args:
        begin: How the run began, or None if that is not known.
    """

    def __init__(self, begin: Begin | None) -> None:
        self.summary = Summary()
        self._bests: dict[str, Best] = {}
        self._modes: dict[str, Mode] = {}
        if begin is not None:
            self.summary = Summary(
                id=begin.id,
                begun=_moment(begin.time),
                time=_moment(begin.time),
                epochs=min(begin.epoch + 1, _LARGEST),
                step=begin.step,
                config=begin.config,
                process=begin.process,
                git_commit=begin.git_commit,
                parent=_cut(begin.parent),
            )

    def plan(self, plan: Plan) -> None:
        """Take what is planned, and the directions that the model knows."""
        self.summary.planned_epochs = plan.epochs
        self._modes = {name: mode for name, mode in plan.directions.items() if mode in ("min", "max")}

    def add(self, logs: Mapping[str, float], *, epoch: int, step: int, time: float, ends_epoch: bool = False) -> None:
        """Add results: an epoch's, or those of an evaluation within it, with its prefix."""
        summary = self.summary
        summary.advance(step, time)
        if ends_epoch:
            summary.epochs = min(epoch + 1, _LARGEST)
        summary.last.update(logs)
        for name, value in logs.items():
            if (mode := self._mode(name)) is not None and self._best(name, mode).update(value):
                summary.best[name] = BestValue(value, epoch, step, mode)

    def add_batches(self, block: Block) -> None:
        """Add the values of batches, of a log that has no others."""
        self._add_columns(block, np.full(len(block), -1), np.isfinite)

    def add_epochs(self, epochs: Sequence[Rows]) -> None:
        """Add the results of epochs with the same metrics, as `add` would one by one, but column by column."""
        together = attrs.evolve(epochs[0], data=b"".join(each.data for each in epochs))
        block = together.block()
        times = np.where((block.times >= 0.0) & (block.times <= LATEST), block.times, 0.0)
        self.summary.advance(int(block.steps.max()), float(times.max()))
        self.summary.epochs = min(epochs[-1].epoch + 1, _LARGEST)
        self._add_columns(block, np.array([each.epoch for each in epochs]), lambda values: ~np.isnan(values))

    def _add_columns(
        self, block: Block, epochs: NDArray[np.int64], may_be_best: Callable[[NDArray[np.float64]], NDArray[np.bool_]]
    ) -> None:
        for name, values in block.columns.items():
            mask = block.present[name]
            there = np.arange(len(values)) if mask is None else np.flatnonzero(mask)
            if not len(there):
                continue
            self.summary.last[name] = float(values[there[-1]])
            among = there[may_be_best(values[there])]
            if (mode := self._mode(name)) is None or not len(among):
                continue
            at = among[values[among].argmin() if mode == "min" else values[among].argmax()]
            if self._best(name, mode).update(float(values[at])):
                self.summary.best[name] = BestValue(float(values[at]), int(epochs[at]), int(block.steps[at]), mode)

    def _mode(self, name: str) -> Mode | None:
        return self._modes.get(name) or DIRECTIONS.get(name.removeprefix("val_").lower())

    def _best(self, name: str, mode: Mode) -> Best:
        return self._bests.setdefault(name, Best(mode))


def summary_of(run: RunRecord) -> Summary:
    """Return the summary of a recorded run."""
    summary = tally_of(run).summary
    summary.status, summary.stop_reason = run.status, run.outcome().stop_reason
    if (raised := run.facts(Raised)) and run.status in ("failed", "interrupted"):  # else a run that continued
        summary.error = raised[-1].error
    if ends := run.facts(End):
        summary.advance(ends[-1].step, ends[-1].time)
    return summary


def tally_of(run: RunRecord) -> Tally:
    """Return the results of a recorded run, added up, to which more may be added."""
    tally = Tally(run.begin)
    tally.summary.begun = _moment(run.began)
    if plans := run.facts(Plan):
        tally.plan(plans[0])
    for rows in run.rows(Kind.BATCHES):
        tally.summary.advance(*rows.place())
    counted = (each for each in results(run) if each.kind is Kind.EPOCH or each.is_within)
    for (kind, _), group in itertools.groupby(counted, key=lambda each: (each.kind, id(each.rows.names))):
        part = [each.rows for each in group]
        if kind is Kind.EPOCH:
            tally.add_epochs(part)
            continue
        for each in part:
            step, time = each.place()
            tally.add(each.epoch_logs(), epoch=each.epoch, step=step, time=time)
    if run.log is not None:
        tally.summary.epochs = len({each.epoch for each in run.rows(Kind.EPOCH)})
        tally.summary.step = tally.summary.step if run.log.steps is None else run.log.steps
    if run.log is not None and not tally.summary.last:
        for rows in run.rows(Kind.BATCHES):
            tally.add_batches(rows.block())
    return tally


def main_metric(summary: Summary) -> tuple[str, BestValue] | None:
    """Return the metric by which a run is known, with its best value: the validation's loss, else another's."""
    for name in (*PREFERRED, *(each for each in summary.best if each.startswith("val_")), *summary.best):
        if name in summary.best:
            return name, summary.best[name]
    return None
