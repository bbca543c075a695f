"""What a run did not record, and which argument records it."""

from __future__ import annotations

from collections.abc import Iterator

from monitor_core.page.run import PageRun


def missing_from(run: PageRun) -> list[str]:
    """Return a sentence for each part of the page that this run has nothing for."""
    return list(_sentences(run))


def _sentences(run: PageRun) -> Iterator[str]:
    if not run.batches:
        yield "The values of each batch: Journal(per_batch=True) records them, where the loop logs them."
    if not any(name.startswith(run.prefixes) for name in run.metrics()):
        yield "Results of validation: evaluate within the run, by validation_data=... or loop.evaluation()."
    if not run.is_diagnosed:
        yield (
            "What shows only while it trains, such as dead units: add Diagnosis() to the sinks. The findings here are "
            "from the curves."
        )
    begin = run.record.begin
    if begin is None or not begin.config:
        yield "The configuration, such as hyperparameters and the seed: Journal(config={...}) records it."
