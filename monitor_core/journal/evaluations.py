"""What a journal's rows of evaluations say of the evaluation, and which of them are within an epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator

from monitor_core.bus.run import Evaluation
from monitor_core.journal.files import Kind
from monitor_core.journal.rows import Rows
from monitor_core.journal.run_records import RunRecord


def evaluation_of(rows: Rows) -> Evaluation:
    """Return which evaluation a row is of; format 1 has neither its name nor its prefix."""
    known: Evaluation | None = getattr(rows, "evaluation", None)
    return known or Evaluation(None, "val_", int(rows.steps()[-1]))


def epochs_and_evaluations(run: RunRecord) -> Iterator[tuple[Rows, Evaluation | None]]:
    """Yield a run's epochs and its evaluations within epochs, in order; an epoch has None."""
    ends = {rows.epoch: int(rows.steps()[-1]) for rows in run.rows(Kind.EPOCH)}
    for record in run.records:
        rows = record.content
        if not isinstance(rows, Rows):
            continue
        if record.kind is Kind.EPOCH:
            yield rows, None
        elif record.kind is Kind.EVALUATION and rows.epoch >= 0:
            evaluation = evaluation_of(rows)
            if evaluation.step < ends.get(rows.epoch, math.inf):
                yield rows, evaluation
