"""One run as the page shows it: its curves by step or epoch, and what happened on the way.

Contract. Everything comes from the run's record; nothing of it is trusted, and names are text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

import attrs
import numpy as np
from numpy.typing import NDArray

from monitor_core.bus.finding import Finding
from monitor_core.diagnosis.offline import diagnose, recorded_findings
from monitor_core.journal.evaluations import epochs_and_evaluations
from monitor_core.journal.facts import Asked, Checkpoint, Raised, RateChange, SinkFailure, Stop
from monitor_core.journal.files import Kind
from monitor_core.journal.imported import EVENTS
from monitor_core.journal.recorded import RecordedRun
from monitor_core.journal.rows import Rows, present_values
from monitor_core.journal.run_records import Log, RunRecord
from monitor_core.journal.summary import Summary, summary_of
from monitor_core.page.charts import MarkKind, Unit
from monitor_core.page.words import joined, number
from monitor_core.values.text import counted, format_value


@attrs.frozen(eq=False)
class Points:
    """A metric's values.

    Attributes:
        epochs: Each value's epoch, 0-based, ``(n,) int64``.
        steps: Each value's step, ``(n,) int64``, ascending.
        times: When each was recorded, seconds since 1970, ``(n,) float64``.
        values: ``(n,) float64``.
        has_epochs: Whether the epochs are on record; some logs have steps alone.
    """

    epochs: NDArray[np.int64]
    steps: NDArray[np.int64]
    times: NDArray[np.float64]
    values: NDArray[np.float64]
    has_epochs: bool = True

    def has(self, unit: Unit) -> bool:
        """Return whether an axis can place the values: some logs have no steps, no epochs or no times."""
        if unit == "epoch":
            return self.has_epochs
        return bool((self.steps if unit == "step" else self.times).max(initial=0) > 0)

    def numbers(self, unit: Unit) -> NDArray[np.int64]:
        """Return where each value is on the axis: its step, or its epoch from 1."""
        return self.steps if unit == "step" else self.epochs + 1


@attrs.frozen
class Event:
    """Something that happened in a run.

    Attributes:
        epoch: In which epoch, 0-based.
        step: At which step.
        kind: What.
        label: A few words.
        text: A sentence.
    """

    epoch: int
    step: int
    kind: MarkKind
    label: str
    text: str

    def at(self, unit: Unit) -> int:
        """Return where it is on the axis."""
        return self.step if unit == "step" else self.epoch + 1


@attrs.frozen(eq=False)
class PageRun:
    """A run.

    Attributes:
        name: What it is called: its folder.
        recorded: What `open_run` returned.
        record: Its record.
        summary: Its summary.
        batches: Each metric's values of every batch.
        results: Each metric's values of every epoch, and of the evaluations within them.
        unit: What the axis of its curves counts.
        results_unit: What that of its results counts: epochs, where a log has the steps of batches alone.
        prefixes: The prefixes of evaluations, such as ``val_``.
    """

    name: str
    recorded: RecordedRun
    record: RunRecord
    summary: Summary
    batches: Mapping[str, Points]
    results: Mapping[str, Points]
    unit: Unit
    results_unit: Unit
    prefixes: tuple[str, ...]

    @classmethod
    def of(cls, recorded: RecordedRun) -> PageRun:
        """Return the last run of a record."""
        record = recorded.last
        rows = list(epochs_and_evaluations(record))
        batches = _points(record.rows(Kind.BATCHES), has_epochs=record.log is None or record.log.kind != EVENTS)
        results = _points([_prefixed(each) for _, each in rows])
        by_step = bool(batches) or any(kind is Kind.EVALUATION for kind, _ in rows)
        has_steps = _any_has(results, "step")
        unit: Unit = "step" if by_step and (has_steps or _any_has(batches, "step")) else "epoch"
        prefixes = {each.evaluation.prefix for each in record.rows(Kind.EVALUATION) if each.evaluation is not None}
        return cls(
            name=recorded.path.resolve().name or str(recorded.path),
            recorded=recorded,
            record=record,
            summary=summary_of(record),
            batches=batches,
            results=results,
            unit=unit,
            results_unit=unit if has_steps or not results else "epoch",
            prefixes=("val_", *sorted(prefixes - {"val_", ""})),
        )

    @cached_property
    def findings(self) -> list[Finding]:
        """What is wrong with it, the worst first: what `Diagnosis` found live, or else what its record shows."""
        return sorted(diagnose(self.recorded), key=lambda finding: finding.severity_rank)

    @property
    def is_diagnosed(self) -> bool:
        """Whether a `Diagnosis` looked at it live."""
        return recorded_findings(self.record) is not None

    @cached_property
    def watched(self) -> list[str]:
        """The metrics that decided about it."""
        return [each.metric for each in self.record.outcome().watched]

    @property
    def log(self) -> Log | None:
        """The log that it was read from; None if it recorded itself."""
        return self.record.log

    def has(self, unit: Unit) -> bool:
        """Return whether an axis can place some of its values."""
        return _any_has(self.results, unit) or _any_has(self.batches, unit)

    def metrics(self) -> list[str]:
        """Return the names of all metrics, in the order of their appearance."""
        return list(dict.fromkeys([*self.results, *self.batches]))

    def base(self, name: str) -> str:
        """Return a metric's name without the prefix of an evaluation, if the training has that metric."""
        for prefix in self.prefixes:
            if name.startswith(prefix) and (bare := name.removeprefix(prefix)):
                return bare
        return name

    @cached_property
    def events(self) -> list[Event]:
        """What was decided and what failed, in order."""
        found = [*self._resumed(), *self._decided(), *self._saved(), *self._failed(), *self._raised()]
        return sorted(found, key=lambda event: (event.step, event.epoch))

    def _resumed(self) -> Iterator[Event]:
        begin = self.record.begin
        if begin is not None and begin.continues is not None:
            text = f"The run was resumed after {counted(begin.epoch + 1, 'epoch')}, at step {number(begin.step)}."
            yield Event(begin.epoch, begin.step, "resume", "resumed", text)

    def _decided(self) -> Iterator[Event]:
        """Yield decisions; a request that led to one is told with it."""
        asked = self.record.facts(Asked)
        told: list[Asked] = []
        for fact in self.record.decisions:
            if isinstance(fact, Stop):
                told += [each for each in asked if _was_done(each, "stop") and fact.reason.startswith(each.who)]
                yield Event(fact.epoch, fact.step, "stop", "stopped", fact.reason)
            elif isinstance(fact, RateChange):
                before, after = ([format_value(each) for each in rates] for rates in (fact.before, fact.after))
                by = [each for each in asked if _was_done(each, "rate") and each.epoch == fact.epoch]
                told += by
                text = "; ".join([f"{fact.reason} (from {joined(before)})", *(each.reason for each in by)])
                yield Event(fact.epoch, fact.step, "rate", f"rate {joined(after)}", text)
        for each in asked:
            if each not in told:
                label = "note" if each.verb == "note" else f"{each.verb} asked"
                yield Event(each.epoch, each.step, "asked", label, each.reason)

    def _failed(self) -> Iterator[Event]:
        failures: dict[tuple[str, str], list[SinkFailure]] = {}
        for fact in self.record.facts(SinkFailure):
            failures.setdefault((fact.sink, fact.hook), []).append(fact)
        for (sink, hook), facts in failures.items():
            first = facts[0]
            times = "once" if len(facts) == 1 else f"{number(len(facts))} times"
            text = f"{sink} failed {times} in {hook}, first: {first.error}"
            yield Event(self._epoch_at(first.step), first.step, "failed", f"{sink} failed", text)
            for last in [fact for fact in facts if fact.disables]:
                text = f"{sink} was disabled: {hook} failed too often in a row, last: {last.error}"
                yield Event(self._epoch_at(last.step), last.step, "disabled", f"{sink} disabled", text)

    def _saved(self) -> Iterator[Event]:
        for fact in self.record.facts(Checkpoint):
            why = "" if fact.value is None else f", with {format_value(fact.value)}"
            yield Event(fact.epoch, fact.step, "checkpoint", "checkpoint", f"The model was saved as {fact.file}{why}.")

    def _raised(self) -> Iterator[Event]:
        for fact in self.record.facts(Raised):
            yield Event(fact.epoch, fact.step, "stop", "raised", fact.error)

    def _epoch_at(self, step: int) -> int:
        for points in (*self.batches.values(), *self.results.values()):
            place = int(np.searchsorted(points.steps, step))
            return int(points.epochs[min(place, len(points.epochs) - 1)])
        return 0


def _was_done(fact: Asked, verb: str) -> bool:
    return fact.verb == verb and ": refused: " not in fact.reason


def _any_has(points: Mapping[str, Points], unit: Unit) -> bool:
    return any(each.has(unit) for each in points.values())


def _points(parts: list[Rows], *, has_epochs: bool = True) -> dict[str, Points]:
    found = {}
    for name, (epochs, steps, times, values) in present_values(parts).items():
        found[name] = Points(epochs, steps, times, values, has_epochs)
        if (np.diff(steps) < 0).any():  # a damaged record
            order = np.argsort(steps, kind="stable")
            found[name] = Points(epochs[order], steps[order], times[order], values[order], has_epochs)
    return found


def _prefixed(rows: Rows) -> Rows:
    if rows.evaluation is None:
        return rows
    return attrs.evolve(rows, names=tuple(rows.evaluation.prefixed(name) for name in rows.names))
