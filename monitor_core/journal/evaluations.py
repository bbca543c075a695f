"""The evaluations of a recorded run: their final steps, and which of them were within an epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator

import attrs

from monitor_core.journal.facts import MidepochEvaluation
from monitor_core.journal.files import Kind
from monitor_core.journal.rows import Rows
from monitor_core.journal.run_records import RunRecord


@attrs.define(eq=False)
class Result:
    """The results of an epoch or an evaluation.

    Attributes:
        kind: `Kind.EPOCH` or `Kind.EVALUATION`.
        rows: The results, at their final step.
        is_within: Whether a record says that more batches followed this evaluation in its epoch.
    """

    kind: Kind
    rows: Rows
    is_within: bool = False


def results(run: RunRecord) -> list[Result]:
    """Return a run's epochs and evaluations, in order, each evaluation at its final step.

    Some adapters know an epoch's number of steps only at its end. An evaluation that belongs to the epoch's end, since
    no record says that more batches followed it, is at the epoch's step.
    """
    found: list[Result] = []
    pending: list[Result] = []
    for record in run.records:
        content = record.content
        if isinstance(content, MidepochEvaluation):
            within = next((each for each in pending if _is_of(content, each.rows)), None)
            if within is not None:
                within.is_within = True
                pending.remove(within)
        elif isinstance(content, Rows) and record.kind in (Kind.EPOCH, Kind.EVALUATION):
            found.append(Result(record.kind, content))
            if record.kind is Kind.EPOCH:
                for each in pending:
                    if each.rows.epoch == content.epoch:
                        each.rows = each.rows.at(int(content.steps()[-1]))
                pending = []
            elif content.evaluation is not None:  # else of format 1, which does not say what followed
                pending.append(found[-1])
    return found


def _is_of(fact: MidepochEvaluation, rows: Rows) -> bool:
    """Return whether a fact is about these results: others may have been of no epoch."""
    label = rows.evaluation
    return label is not None and (rows.epoch, int(rows.steps()[-1]), label.name) == (fact.epoch, fact.step, fact.name)


def evaluations(run: RunRecord) -> list[Rows]:
    """Return a run's evaluations, in order, each at its final step."""
    return [each.rows for each in results(run) if each.kind is Kind.EVALUATION]


def epochs_and_evaluations(run: RunRecord) -> Iterator[tuple[Kind, Rows]]:
    """Yield a run's epochs and its evaluations within epochs, in order."""
    ends = {rows.epoch: int(rows.steps()[-1]) for rows in run.rows(Kind.EPOCH)}
    for each in results(run):
        rows = each.rows
        if each.kind is Kind.EPOCH or (rows.epoch >= 0 and rows.steps()[-1] < ends.get(rows.epoch, math.inf)):
            yield each.kind, rows
