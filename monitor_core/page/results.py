"""The last and best value of each metric, and how they differ from a baseline's."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from monitor_core.page.origin import differing_config, same_config
from monitor_core.page.run import PageRun
from monitor_core.page.words import number
from monitor_core.values.text import format_value

MOST_METRICS = 400
NOT_SET = "not set"


@attrs.frozen
class Result:
    """A metric's values.

    Attributes:
        name: Its name.
        last: The last value.
        best: The best value, "" if its direction is not known.
        where: In which epoch that was, or at which step if epochs are not on record.
    """

    name: str
    last: str
    best: str = ""
    where: str = ""


def results_of(run: PageRun) -> list[Result]:
    """Return each metric's last and best value."""
    return [_result(run, name) for name in list(run.metrics())[:MOST_METRICS]]


def _result(run: PageRun, name: str) -> Result:
    points = run.results.get(name) or run.batches[name]
    last = run.summary.last.get(name, float(points.values[-1]))
    best = run.summary.best.get(name)
    if best is None:
        return Result(name, format_value(last))
    where = number(best.epoch + 1) if best.epoch >= 0 else f"step {number(best.step)}"
    return Result(name, format_value(last), format_value(best.value), where)


@attrs.frozen
class Comparison:
    """A run against a baseline.

    Attributes:
        name: The baseline's name.
        results: Metric, this run's best or last value, the baseline's, and the difference.
        config: What differs in configuration: name, this run's value, the baseline's.
        same: What is said if nothing does.
        undrawn: Why its curves are not in the charts, as a sentence; the empty string if they are.
    """

    name: str
    results: Sequence[tuple[str, str, str, str]]
    config: Sequence[tuple[str, ...]]
    same: str
    undrawn: str


def compared(run: PageRun, baseline: PageRun) -> Comparison:
    """Return how a run differs from a baseline."""
    rows = []
    for name in run.metrics()[:MOST_METRICS]:
        here, there = value_of(run, name), value_of(baseline, name)
        if here is None or there is None:
            continue
        difference = f"{here[1] - there[1]:+.4g}"
        rows.append((f"{name}, {here[0]}", format_value(here[1]), format_value(there[1]), difference))
    undrawn = ""
    if not any(map(baseline.has, (run.unit, run.results_unit))):
        undrawn = f"The curves of {baseline.name} are not in the charts: it has no {run.unit}s."
    both = [run, baseline]
    return Comparison(baseline.name, rows, differing_config(both, NOT_SET), same_config(both), undrawn)


def value_of(run: PageRun, name: str) -> tuple[str, float] | None:
    """Return the value by which a run is compared, and which it is, ``"best"`` or ``"last"``; None if it has none."""
    if (best := run.summary.best.get(name)) is not None:
        return "best", best.value
    if name in run.summary.last:
        return "last", run.summary.last[name]
    points = run.batches.get(name)
    return None if points is None or not len(points.values) else ("last", float(points.values[-1]))
