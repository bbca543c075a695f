"""Several runs in the same charts, by step, epoch or time, and what differs between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import attrs
import numpy as np
from numpy.typing import NDArray

from monitor_core.journal.summary import PREFERRED
from monitor_core.page.charts import Chart, Line, Unit
from monitor_core.page.columns import Columns
from monitor_core.page.origin import differing_config, same_config
from monitor_core.page.report import POINTS, as_json
from monitor_core.page.results import NOT_SET, value_of
from monitor_core.page.run import PageRun, Points
from monitor_core.page.words import joined
from monitor_core.values.text import format_value

AXES: Mapping[Unit, str] = MappingProxyType({"step": "step", "epoch": "epoch", "second": "time"})
"""What the curves of runs may be laid along, by its unit: a choice's name."""
_MOST_CHARTS = 40


@attrs.frozen(eq=False)
class Overlay:
    """Several runs.

    Attributes:
        charts: A chart for each metric, with a line for each run that has it.
        names: The runs' names.
        unplaced: The runs that the axis cannot place, in a sentence; the empty string if there is none.
        results: For each metric its name and each run's best or last value.
        config: What differs in configuration: the name and each run's value.
        same: What is said if nothing does.
        page_data: The charts for the page.
        columns: Their columns.
        points: To how many points lines are thinned, None if none is.
    """

    charts: list[Chart]
    names: list[str]
    unplaced: str
    results: list[list[str]]
    config: list[tuple[str, ...]]
    same: str
    page_data: str
    columns: list[str]
    points: int | None


def overlay_of(runs: Sequence[PageRun], by: Unit) -> Overlay:
    """Return runs in the same charts."""
    metrics = list(dict.fromkeys(name for run in runs for name in run.metrics()))
    order = sorted(metrics, key=lambda name: name not in PREFERRED)
    charts = [
        Chart(f"metric-{place}", name, by, [line for line in _lines(runs, name, by) if len(line.x)]).thinned(POINTS)
        for place, name in enumerate(order[:_MOST_CHARTS])
    ]
    columns = Columns()
    data = as_json({"charts": {chart.key: chart.as_json(columns) for chart in charts}})
    return Overlay(
        charts=charts,
        names=[run.name for run in runs],
        unplaced=_unplaced(runs, by),
        results=[[name, *(_shown(run, name) for run in runs)] for name in metrics],
        config=differing_config(runs, NOT_SET),
        same=same_config(runs),
        page_data=data,
        columns=columns.texts,
        points=POINTS if any(chart.is_thinned for chart in charts) else None,
    )


def _unplaced(runs: Sequence[PageRun], by: Unit) -> str:
    without = [run.name for run in runs if not run.has(by)]
    if not without:
        return ""
    what = "times" if by == "second" else f"{by}s"
    return f"{joined(without)} {'has' if len(without) == 1 else 'have'} no {what} on record: choose another axis."


def _lines(runs: Sequence[PageRun], name: str, by: Unit) -> list[Line]:
    found = []
    for place, run in enumerate(runs):
        known = [points[name] for points in (run.results, run.batches) if name in points]
        points = next((each for each in known if each.has(by)), None)
        if points is not None:
            found.append(Line(run.name, _numbers(run, points, by), points.values, place))
    return found


def _numbers(run: PageRun, points: Points, by: Unit) -> NDArray[np.int64]:
    if by != "second":
        return points.numbers(by)
    passed = np.nan_to_num(points.times - run.record.began)
    numbers: NDArray[np.int64] = np.maximum.accumulate(np.clip(passed, 0, 1e15).astype(np.int64))
    return numbers


def _shown(run: PageRun, name: str) -> str:
    found = value_of(run, name)
    return "" if found is None else format_value(found[1])
