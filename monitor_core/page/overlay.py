"""Several runs in the same charts, by step, epoch or time, and what differs between them."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from monitor_core.journal.summary import PREFERRED
from monitor_core.page.charts import Chart, Line, Unit
from monitor_core.page.columns import Columns
from monitor_core.page.origin import differing_config
from monitor_core.page.report import as_json
from monitor_core.page.results import NOT_SET
from monitor_core.page.run import PageRun, Points
from monitor_core.values.text import format_value

AXES: tuple[Unit, ...] = ("step", "epoch", "second")
_MOST_CHARTS = 40


@attrs.frozen(eq=False)
class Overlay:
    """Several runs.

    Attributes:
        charts: A chart for each metric, with a line for each run that has it.
        names: The runs' names.
        results: For each metric its name and each run's best or last value.
        config: What differs in configuration: the name and each run's value.
        page_data: The charts for the page.
        columns: Their columns.
    """

    charts: list[Chart]
    names: list[str]
    results: list[list[str]]
    config: list[tuple[str, ...]]
    page_data: str
    columns: list[str]


def overlay_of(runs: Sequence[PageRun], by: Unit) -> Overlay:
    """Return runs in the same charts."""
    metrics = list(dict.fromkeys(name for run in runs for name in run.metrics()))
    order = sorted(metrics, key=lambda name: name not in PREFERRED)
    charts = [
        Chart(f"metric-{place}", name, by, [line for line in _lines(runs, name, by) if len(line.x)])
        for place, name in enumerate(order[:_MOST_CHARTS])
    ]
    columns = Columns()
    data = as_json({"charts": {chart.key: chart.as_json(columns) for chart in charts}})
    return Overlay(
        charts=charts,
        names=[run.name for run in runs],
        results=[[name, *(_value(run, name) for run in runs)] for name in metrics],
        config=differing_config(runs, NOT_SET),
        page_data=data,
        columns=columns.texts,
    )


def _lines(runs: Sequence[PageRun], name: str, by: Unit) -> list[Line]:
    found = []
    for place, run in enumerate(runs):
        points = run.results.get(name) or run.batches.get(name)
        if points is not None:
            found.append(Line(run.name, _numbers(run, points, by), points.values, place % 6))
    return found


def _numbers(run: PageRun, points: Points, by: Unit) -> NDArray[np.int64]:
    if by != "second":
        return points.numbers(by)
    passed = np.nan_to_num(points.times - run.record.began)
    numbers: NDArray[np.int64] = np.maximum.accumulate(np.clip(passed, 0, 1e15).astype(np.int64))
    return numbers


def _value(run: PageRun, name: str) -> str:
    if (best := run.summary.best.get(name)) is not None:
        return format_value(best.value)
    return format_value(run.summary.last[name]) if name in run.summary.last else ""
