"""What was wrong with a training, from its record: a journal, a CSV file, an event file, or curves by name."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from os import PathLike
from typing import Any

import attrs
import numpy as np

from monitor_core.bus.finding import SEVERITIES, Finding
from monitor_core.diagnosis.examination import Examination
from monitor_core.diagnosis.report import Findings
from monitor_core.journal.arrays import Arrays
from monitor_core.journal.facts import End, Found, Plan
from monitor_core.journal.files import Kind
from monitor_core.journal.probes import WHAT, probe_of
from monitor_core.journal.recorded import RecordedRun, open_run
from monitor_core.journal.rows import Rows, present_values
from monitor_core.journal.run_records import RunRecord

_LABELS = ("run", "epoch", "step", "time", "wall_time")
_KINDS = (
    "what open_run returned, a run's folder, the path of a CSV file or event file, or a mapping from metrics to values"
)


def diagnose(recorded: RecordedRun | Mapping[str, Any] | str | PathLike[str]) -> Findings:
    """Say what was wrong with a training, as `Diagnosis` would have said it live, as far as the record shows.

    Args:
        recorded: What `open_run` returned, or a path that it opens: a run's folder, a CSV file, a history as JSON, an
            event file; of several runs, the last one is judged. Or a mapping from metrics to one value for each epoch,
            or an object with such a mapping as ``history``.

    Returns:
        The findings. Of a run that a `Diagnosis` watched, those that it recorded.

    Raises:
        FileNotFoundError: There is no such file, or no journal in the folder.
        ImportError: The tensorboard package, which reads event files, is not installed.
        TypeError: It is of another kind.
        ValueError: The values are not numbers, or the file is not a training's log.

    Example:
        >>> findings = diagnose({"loss": [0.9, 0.5, 0.3, float("nan")]})
        >>> [finding.symptom for finding in findings]
        ['non_finite']
    """
    if isinstance(recorded, (str, PathLike)):
        recorded = open_run(recorded)
    if isinstance(recorded, RecordedRun):
        if recorded.last.begin is not None or len(recorded.history):
            return _of_record(recorded.last)
        recorded = _by_step(recorded)
    curves = recorded if isinstance(recorded, Mapping) else getattr(recorded, "history", None)
    if not isinstance(curves, Mapping):
        raise TypeError(f"recorded must be {_KINDS} (got a {type(recorded).__name__})")
    return _of_curves(curves)


def follow_record(examination: Examination, run: RunRecord) -> list[Finding]:
    """Pass what is recorded of a run to an examination, in its order; return what is found."""
    seen = examination.seen
    for plan in run.facts(Plan)[:1]:
        seen.epochs_planned, seen.steps_per_epoch = plan.epochs, plan.steps_per_epoch
    partial = set(run.partial_epochs)
    found: list[Finding] = []
    for record in run.records:
        if isinstance(record.content, Arrays) and record.content.what == WHAT:
            with suppress(ValueError):  # of another release
                found += examination.add_probe(probe_of(record.content))
        if not isinstance(record.content, Rows):
            continue
        if record.kind is Kind.BATCHES:
            found += examination.add_block(record.content.block())
        elif record.kind is Kind.EPOCH and record.content.epoch not in partial:
            rows = record.content
            found += examination.end_epoch(rows.epoch, int(rows.steps()[-1]), rows.logs())
    return found


def recorded_findings(run: RunRecord) -> list[Finding] | None:
    """Return what a `Diagnosis` found live, None if none watched the run."""
    recorded = run.facts(Found)
    is_diagnosed = bool(recorded) or any(plan.diagnosed for plan in run.facts(Plan))
    return [_finding(fact) for fact in recorded] if is_diagnosed else None


def _of_record(run: RunRecord) -> Findings:
    if (recorded := recorded_findings(run)) is not None:
        return Findings(recorded)
    examination = Examination()
    found = follow_record(examination, run)
    ends = run.facts(End)
    if (not ends and run.begin is None) or any(end.status == "completed" for end in ends[-1:]):
        found += examination.end()
    return Findings(found, examination.not_looked_at())


def _finding(fact: Found) -> Finding:
    values = attrs.asdict(fact, recurse=False)
    del values["time"]
    if values["severity"] not in SEVERITIES:  # of a later release
        values["severity"] = "note"
    return Finding(**values)


def _of_curves(curves: Mapping[str, Any]) -> Findings:
    columns = {str(name): _numbers(name, values) for name, values in curves.items() if name not in _LABELS}
    length = max(map(len, columns.values()), default=0)
    examination = Examination()
    for epoch in range(length):
        logs = {name: float(values[epoch]) for name, values in columns.items() if epoch < len(values)}
        examination.end_epoch(epoch, 0, logs)  # how many steps there were is not known
    examination.end()
    return Findings(examination.findings, examination.not_looked_at())


def _by_step(recorded: RecordedRun) -> dict[str, Any]:
    """Return the curves of an event file without epochs: their places are all that is known."""
    return {name: values for name, (*_, values) in present_values(recorded.last.rows(Kind.BATCHES)).items()}


def _numbers(name: object, values: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    try:
        found = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the values of {name!r} must be numbers: {error}") from error
    if found.ndim != 1:
        raise ValueError(f"the values of {name!r} must be one number for each epoch (got the shape {found.shape})")
    return found
