"""What a run did not record, and which argument records it."""

from __future__ import annotations

from collections.abc import Iterator

from monitor_core.journal.probes import WHAT as PROBE
from monitor_core.page.cost import ShownCost
from monitor_core.page.run import PageRun
from monitor_core.page.words import joined


def missing_from(run: PageRun, cost: ShownCost | None) -> list[str]:
    """Return a sentence for each part of the page that this run has nothing for."""
    return list(_of_run(run, cost) if run.log is None else _of_log(run))


def _of_log(run: PageRun) -> Iterator[str]:
    yield (
        "This log holds metrics alone. Decisions, configuration, code and versions, costs, the model and what it looks "
        'like inside are on record where a training records itself: Loop(..., record="runs/a") or '
        'KerasAdapter(..., record="runs/a").'
    )
    lacks = [
        *([] if run.batches else ["values of each batch"]),
        *([] if any(name.startswith(run.prefixes) for name in run.metrics()) else ["results of validation"]),
        *([] if run.has("epoch") else ["epochs"]),
        *([] if run.has("step") else ["steps"]),
        *([] if run.has("second") else ["times"]),
    ]
    if lacks:
        yield f"It has {joined([f'no {each}' for each in lacks])}."


def _of_run(run: PageRun, cost: ShownCost | None) -> Iterator[str]:
    if not run.batches:
        yield "The values of each batch: Journal(per_batch=True) records them, where the loop logs them."
    if not any(name.startswith(run.prefixes) for name in run.metrics()):
        yield "Results of validation: evaluate within the run, by validation_data=... or loop.evaluation()."
    if not run.is_diagnosed:
        yield (
            "What shows only while it trains, such as dead units: add Diagnosis() to the sinks. The findings here are "
            "from the curves."
        )
    if not run.record.arrays(PROBE):
        yield f"What the model looks like inside, its layers and distributions: {_inside(run)}."
    snapshot = run.recorded.snapshot
    if snapshot is None:
        yield "The model's graph, its confusion matrix and mistakes, and an embedding: add Snapshots() to the sinks."
    else:
        yield from (f"Snapshots could not make {reason}." for reason in snapshot.skipped)
        if snapshot.confusion is None:
            yield "The confusion matrix and mistakes, of a classifier: validation_data=..., or Snapshots(data=(x, y))."
        if snapshot.embedding is None:
            yield "An embedding: validation_data=..., or Snapshots(data=(x, y))."
    if cost is None:
        yield "What it cost: a run records that when it ends."
    begin = run.record.begin
    if begin is None or not begin.config:
        yield (
            "The configuration, such as hyperparameters and the seed: a Journal(folder, config={...}) among the sinks "
            "records it, also next to record=folder."
        )


def _inside(run: PageRun) -> str:
    if run.is_diagnosed:
        return "Diagnosis() looks into a model that it can reach, as by Loop(model=...) or KerasAdapter"
    return "add Diagnosis() or Inside(every=1)"
