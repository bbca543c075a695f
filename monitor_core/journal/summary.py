"""The summary of a run: how it ended, its last and best values and its configuration, in at most 8 KB.

Contract. A `Tally` takes a run's results one by one, live or from a record, and gives the same summary for both. The
file ``summary.json`` in a run's folder is the last run's; what it has is in the journal too, so it may be removed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from monitor_core.files.replacing import replacing
from monitor_core.files.state import finite_or_name
from monitor_core.journal.evaluations import results
from monitor_core.journal.facts import Begin, End, Plan, Raised
from monitor_core.journal.files import Kind
from monitor_core.journal.rows import Rows
from monitor_core.journal.run_records import RunRecord
from monitor_core.metrics.decisions import Best, Mode
from monitor_core.metrics.monitor import DIRECTIONS

SUMMARY_NAME = "summary.json"
LIMIT = 8 * 1024
"""How many bytes a summary has at most."""
_FORMAT = 1
_TEXT = 200
_METRICS = 40


@attrs.frozen
class BestValue:
    """The best value of a metric.

    Attributes:
        value: The value.
        epoch: Its epoch, 0-based.
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
        epochs: How many epochs have ended.
        planned_epochs: How many are planned, None if unknown.
        step: How many batches have ended.
        last: The last value of each metric.
        best: The best value of each metric whose direction is known.
        config: The configuration; long values are cut.
        stop_reason: Why a sink asked to stop, or None.
        error: What the training raised, or None.
        process: Which process recorded it, see `monitor_core.journal.provenance.this_process`.
        git_commit: The commit of the working directory, or None.
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

    def advance(self, step: int, time: float) -> None:
        """Take how far the run has come."""
        self.step, self.time = max(self.step, step), max(self.time, time)

    @property
    def seconds(self) -> float:
        """How long it has trained, by the records' times."""
        return max(0.0, self.time - self.begun)

    def to_json(self) -> bytes:
        """Return the summary as JSON, of at most `LIMIT` bytes: values that do not fit are left out, the last first."""
        data = {"format": _FORMAT, **attrs.asdict(self, filter=lambda field, _: field.name not in _SHORTENED)}
        data["config"] = {_cut(name): _cut(value) for name, value in self.config.items()}
        data["stop_reason"], data["error"] = _cut(self.stop_reason), _cut(self.error)
        data["last"] = {name: finite_or_name(value) for name, value in list(self.last.items())[:_METRICS]}
        data["best"] = {
            name: {**attrs.asdict(best), "value": finite_or_name(best.value)}
            for name, best in list(self.best.items())[:_METRICS]
        }
        while len(text := json.dumps(data, allow_nan=False).encode("ascii")) > LIMIT:
            longest = max(("config", "last", "best"), key=lambda name: len(json.dumps(data[name])))
            data[longest].popitem()
        return text

    @classmethod
    def from_json(cls, text: bytes) -> Summary:
        """Return what `to_json` wrote.

        Raises:
            ValueError: It is not a summary of this format.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"it is not a run's summary ({type(error).__name__}: {error})") from None
        return cls.from_data(data)

    @classmethod
    def from_data(cls, data: Any) -> Summary:
        """Return what `to_json` wrote, parsed already.

        Raises:
            ValueError: It is not a summary of this format.
        """
        try:
            data = _of_this_format({**data})
            data["last"] = {str(name): float(value) for name, value in data["last"].items()}
            data["best"] = {
                str(name): BestValue(**{**best, "value": float(best["value"])}) for name, best in data["best"].items()
            }
            known = attrs.fields_dict(cls)
            return _checked(cls(**{name: value for name, value in data.items() if name in known}))
        except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
            raise ValueError(f"it is not a run's summary ({type(error).__name__}: {error})") from None

    def write(self, folder: Path) -> None:
        """Replace the folder's summary.

        Raises:
            OSError: It cannot be written; the old one is unchanged.
        """
        with replacing(folder / SUMMARY_NAME) as temporary:
            temporary.write_bytes(self.to_json())


def _checked(summary: Summary) -> Summary:
    numbers = (summary.begun, summary.time, *(best.value for best in summary.best.values()))
    counts = (
        summary.epochs,
        summary.step,
        *(number for best in summary.best.values() for number in (best.epoch, best.step)),
    )
    texts = (summary.id, summary.status)
    if (
        not all(isinstance(each, (int, float)) for each in numbers)
        or not all(type(each) is int for each in counts)
        or not all(isinstance(each, str) for each in texts)
        or not all(isinstance(each, dict) for each in (summary.config, summary.process))
        or not (math.isfinite(summary.begun) and math.isfinite(summary.time))
    ):
        raise TypeError("a member is of another type")
    return summary


def _of_this_format(data: dict[str, Any]) -> dict[str, Any]:
    if data.pop("format") != _FORMAT:
        raise ValueError("it is of another format")
    return data


_SHORTENED = {"config", "last", "best", "stop_reason", "error"}


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= _TEXT else value[: _TEXT - 1] + "…"
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return finite_or_name(value)
    return _cut(json.dumps(value))


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
                begun=begin.time,
                time=begin.time,
                epochs=begin.epoch + 1,
                step=begin.step,
                config=begin.config,
                process=begin.process,
                git_commit=begin.git_commit,
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
            summary.epochs = epoch + 1
        summary.last.update(logs)
        for name, value in logs.items():
            if (mode := self._mode(name)) is not None and self._best(name, mode).update(value):
                summary.best[name] = BestValue(value, epoch, step, mode)

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
    tally.summary.begun = run.began
    if plans := run.facts(Plan):
        tally.plan(plans[0])
    for rows in run.rows(Kind.BATCHES):
        tally.summary.advance(int(rows.steps()[-1]), float(rows.matrix()[-1, 1]))
    for result in results(run):
        if result.kind is Kind.EPOCH or result.is_within:
            _add(tally, result.rows, ends_epoch=result.kind is Kind.EPOCH)
    return tally


def _add(tally: Tally, rows: Rows, *, ends_epoch: bool) -> None:
    step, time = int(rows.steps()[-1]), float(rows.matrix()[-1, 1])
    tally.add(rows.epoch_logs(), epoch=rows.epoch, step=step, time=time, ends_epoch=ends_epoch)


def main_metric(summary: Summary) -> tuple[str, BestValue] | None:
    """Return the metric by which a run is known, with its best value: the validation's loss, else another's."""
    preferred = ("val_loss", "loss")
    for name in (*preferred, *(each for each in summary.best if each.startswith("val_")), *summary.best):
        if name in summary.best:
            return name, summary.best[name]
    return None
