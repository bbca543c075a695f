"""The evaluations of a recorded run: their final steps, and which of them were within an epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator

from monitor_core.journal.facts import MidepochEvaluation
from monitor_core.journal.files import Kind
from monitor_core.journal.rows import Rows
from monitor_core.journal.run_records import RunRecord


def results(run: RunRecord) -> list[tuple[Kind, Rows]]:
    """Return a run's epochs and evaluations, in order, each evaluation at its final step.

    Some adapters know an epoch's number of steps only at its end. An evaluation that belongs to the epoch's end, since
    no record says that more batches followed it, is at the epoch's step.
    """
    found: list[tuple[Kind, Rows]] = []
    pending: list[int] = []
    for record in run.records:
        content = record.content
        if isinstance(content, MidepochEvaluation):
            within = next((place for place in pending if is_of(content, found[place][1])), None)
            if within is not None:
                pending.remove(within)
        elif isinstance(content, Rows) and record.kind is Kind.EVALUATION:
            if content.evaluation is not None:  # else of format 1, which does not say what followed
                pending.append(len(found))
            found.append((record.kind, content))
        elif isinstance(content, Rows) and record.kind is Kind.EPOCH:
            step = int(content.steps()[-1])
            for place in pending:
                kind, rows = found[place]
                found[place] = (kind, rows.at(step) if rows.epoch == content.epoch else rows)
            pending = []
            found.append((record.kind, content))
    return found


def is_of(fact: MidepochEvaluation, rows: Rows) -> bool:
    """Return whether a fact is about these results: others may have been of no epoch."""
    label = rows.evaluation
    return label is not None and (rows.epoch, int(rows.steps()[-1]), label.name) == (fact.epoch, fact.step, fact.name)


def evaluations(run: RunRecord) -> list[Rows]:
    """Return a run's evaluations, in order, each at its final step."""
    return [rows for kind, rows in results(run) if kind is Kind.EVALUATION]


def epochs_and_evaluations(run: RunRecord) -> Iterator[tuple[Kind, Rows]]:
    """Yield a run's epochs and its evaluations within epochs, in order."""
    ends = {rows.epoch: int(rows.steps()[-1]) for rows in run.rows(Kind.EPOCH)}
    for kind, rows in results(run):
        if kind is Kind.EPOCH or (rows.epoch >= 0 and rows.steps()[-1] < ends.get(rows.epoch, math.inf)):
            yield kind, rows
