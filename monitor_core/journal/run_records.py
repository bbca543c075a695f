"""The runs in a journal's files: each run's records in order, joined from all processes that continued it.

Contract. A run may have been recorded by several processes, each of which continued from a checkpoint of the one
before, and may have gone back within a process. Records after the point it went back to are left out, except failures,
so that the records are those of one uninterrupted run. No content of a file raises.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal, TypeVar

import attrs

from monitor_core.journal import provenance
from monitor_core.journal.arrays import Arrays
from monitor_core.journal.facts import (
    Begin,
    Checkpoint,
    Decision,
    End,
    Fact,
    Found,
    Interval,
    MidepochEvaluation,
    Partial,
    Plan,
    Raised,
    Rewind,
    SinkFailure,
    Stop,
)
from monitor_core.journal.files import Damage, JournalContent, Kind, Record
from monitor_core.journal.rows import Rows
from monitor_core.metrics.outcome import Outcome, Watched

RecordedStatus = Literal["running", "completed", "stopped", "failed", "interrupted", "killed", "unknown"]
F = TypeVar("F", bound=Fact)

_ENDS: dict[str, RecordedStatus] = {
    "completed": "completed",
    "stopped": "stopped",
    "failed": "failed",
    "interrupted": "interrupted",
}
_OF_ALIVE: dict[bool | None, RecordedStatus] = {True: "running", False: "killed", None: "unknown"}


@attrs.frozen
class Log:
    """A log that is not a journal, from which a run was read.

    Attributes:
        kind: ``"CSV log"``, ``"history"`` or ``"event files"``.
        began: The time of its first value, seconds since 1970; 0.0 if it has no times.
        texts: Its columns without numbers, which are left out.
        steps: How many batches it knows of, 0 for none; None: those that it has rows of.
    """

    kind: str
    began: float = 0.0
    texts: tuple[str, ...] = ()
    steps: int | None = None


@attrs.define(eq=False)
class RunRecord:
    """One run.

    Attributes:
        begin: How it began, or was last continued; None if that record is lost.
        records: What was recorded, in order.
        status: How it ended. If it has not, ``"running"`` if its process was alive when the record was read,
            ``"killed"`` if it was not, unless a stop had been requested, ``"unknown"`` if that cannot be determined.
        first_begin: How it began before it was continued; None if it was not continued.
        log: The log that it was read from; None if that is a journal.
    """

    begin: Begin | None = None
    records: list[Record] = attrs.field(factory=list, repr=False)
    status: RecordedStatus = "unknown"
    first_begin: Begin | None = None
    log: Log | None = None

    @property
    def began(self) -> float:
        """When it began, by its first process, seconds since 1970; 0.0 if that is not on record."""
        if self.log is not None:
            return self.log.began
        first = self.first_begin or self.begin
        return 0.0 if first is None else first.time

    def facts(self, kind: type[F]) -> list[F]:
        """Return the facts of a kind, in order."""
        return [record.content for record in self.records if isinstance(record.content, kind)]

    @property
    def decisions(self) -> list[Decision]:
        """The decisions, in order."""
        return [record.content for record in self.records if isinstance(record.content, Decision)]

    @property
    def partial_epochs(self) -> list[int]:
        """The epochs that were left by ``break`` before their end, 0-based."""
        return [fact.epoch for fact in self.facts(Partial)]

    def arrays(self, what: str) -> list[Arrays]:
        """Return the arrays of a kind, such as ``"layers"``, in order."""
        contents = (record.content for record in self.records)
        return [content for content in contents if isinstance(content, Arrays) and content.what == what]

    def rows(self, kind: Kind) -> list[Rows]:
        """Return the rows of a kind, in order."""
        return [record.content for record in self.records if record.kind is kind and isinstance(record.content, Rows)]

    def state(self) -> dict[str, Any]:
        """Return the state, in the form of `Run.state_dict`, that a continued run needs, after the last whole epoch."""
        epochs, stops = self.rows(Kind.EPOCH), self.facts(Stop)
        if epochs:
            epoch, step = epochs[-1].epoch, int(epochs[-1].steps()[-1])
        else:
            epoch, step = (-1, 0) if self.begin is None else (self.begin.epoch, self.begin.step)
        return {
            "id": None if self.begin is None else self.begin.id,
            "index": 0 if self.begin is None else self.begin.index,
            "epoch": epoch,
            "step": step,
            "stop_reason": stops[-1].reason if stops and self.status in ("stopped", "failed") else None,
            "rate_set": bool(epochs) and "learning_rate" in epochs[-1].names,
        }

    def outcome(self) -> Outcome:
        """Return the metrics that decided about the run and how it ended; malformed parts of the plan are left out."""
        plans, ends, stops = self.facts(Plan), self.facts(End), self.facts(Stop)
        best = ends[-1].best_epochs if ends else {}
        status = ends[-1].status if ends else None
        steps = ends[-1].best_steps if ends else {}
        watched = [
            _watched(sink, how, best.get(sink), steps.get(sink))
            for plan in plans[-1:]
            for sink, how in plan.watched.items()
        ]
        outcome = Outcome([each for each in watched if each is not None], status=status)
        if stops:
            outcome.stop_reason, outcome.stop_epoch = stops[0].reason, stops[0].epoch
        return outcome

    def go_back(self, epoch: int, step: int) -> None:
        """Leave out what was recorded after ``step`` batches had ended and ``epoch`` was the next.

        If that point lies within the epoch, which then begins again or continues, what it had until there is kept.
        """
        ends = [int(rows.steps()[-1]) for rows in self.rows(Kind.EPOCH) if rows.epoch < epoch]
        is_within = step > max(ends, default=0)
        kept = (_before(record, epoch, step, is_within=is_within) for record in self.records)
        self.records = [record for record in kept if record is not None]


def _watched(sink: str, how: Any, best_epoch: Any, best_step: Any) -> Watched | None:
    """Return the metric that a sink decides by, as recorded, None if the record is malformed."""
    if not isinstance(how, dict) or not isinstance(how.get("metric"), str) or how.get("mode") not in ("min", "max"):
        return None
    best, step = (each if type(each) is int else None for each in (best_epoch, best_step))
    return Watched(sink, how["metric"], how["mode"], how.get("restores") is True, best, step)


def _before(record: Record, epoch: int, step: int, *, is_within: bool) -> Record | None:
    """Return the part of a record from before that point, None if there is none."""
    content = record.content
    if isinstance(content, (Plan, SinkFailure, Raised)):
        return record
    if isinstance(content, Rows):
        if record.kind is Kind.BATCHES:  # of an aborted epoch that begins again, some batches may count
            content = content.up_to(step)
            return record._replace(content=content) if len(content) else None
        last = epoch if is_within and record.kind is not Kind.EPOCH else epoch - 1
        return record if content.epoch <= last and len(content.up_to(step)) else None
    if isinstance(content, (Decision, Partial, MidepochEvaluation, Interval, Found, Checkpoint, Arrays)):
        return record if content.epoch < epoch + is_within and content.step <= step else None
    return None


def join_runs(files: Iterable[JournalContent]) -> tuple[list[RunRecord], list[Damage]]:
    """Return the runs of a journal's files, in the order in which they were begun or last continued, and damage."""
    joiner = _Joiner()
    for content in files:
        parts = list(_parts(content))
        joiner.damage += _lasting(content.damage, parts)
        for part in parts:
            joiner.add(part)
    return joiner.runs, joiner.damage


def _parts(content: JournalContent) -> Iterator[RunRecord]:
    """Yield what one process recorded of each run."""
    parts: dict[int, RunRecord] = {}
    for record in content.records:
        part = parts.setdefault(record.run, RunRecord())
        if isinstance(record.content, Begin):
            part.begin = part.begin or record.content
        else:
            part.records.append(record)
    for part in parts.values():
        part.status = _status(part)
        yield part


def _status(run: RunRecord) -> RecordedStatus:
    ends = run.facts(End)
    if ends:
        return _ENDS.get(ends[-1].status, "unknown")
    if run.begin is None:
        return "unknown"
    status, stops = _OF_ALIVE[provenance.is_alive(run.begin.process)], run.facts(Stop)
    if status == "killed" and stops:  # as Ray kills the process of a trial that it has stopped
        return "failed" if stops[-1].failed else "stopped"
    return status


def _lasting(damage: list[Damage], parts: list[RunRecord]) -> list[Damage]:
    """Return the damage, except a record that is being written."""
    if parts and parts[-1].status == "running":
        return [each for each in damage if not each.unfinished]
    return damage


class _Joiner:
    """Joins parts of runs."""

    def __init__(self) -> None:
        self.runs: list[RunRecord] = []
        self.damage: list[Damage] = []
        self._by_id: dict[str, RunRecord] = {}

    def add(self, part: RunRecord) -> None:
        """Add a part; those that it continues have been added before."""
        records, part.records = part.records, []
        begin = part.begin
        if begin is not None:
            earlier = self._by_id.get(begin.continues or begin.id)
            self._by_id[begin.id] = part
            if earlier is not None or begin.continues is not None:
                self._continue(part, earlier, begin.epoch + 1, begin.step)
        for record in records:
            if isinstance(record.content, Rewind):
                part.go_back(record.content.epoch, record.content.step)
            else:
                part.records.append(record)
        self.runs.append(part)

    def _continue(self, part: RunRecord, earlier: RunRecord | None, epoch: int, step: int) -> None:
        if earlier is None:
            self.damage.append(Damage("", 0, 0, "the run that a later one continues is missing"))
            return
        part.records = list(earlier.records)
        part.first_begin = earlier.first_begin or earlier.begin
        part.go_back(epoch, step)
        self.runs = [run for run in self.runs if run is not earlier]
