"""The charts of a run's metrics: training and validation together, with what was decided marked on them."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence

import attrs
import numpy as np

from monitor_core.metrics.monitor import DIRECTIONS
from monitor_core.page.charts import TRAINING, VALIDATION, Chart, Line, Mark, Unit
from monitor_core.page.run import Event, PageRun, Points
from monitor_core.page.words import number
from monitor_core.values.text import format_value

MOST_CHARTS = 120
"""How many metrics are drawn; of the others the last and best values are listed."""
_MOST_MARKS = 12
_BASELINE, _MEANS = 3, 5


@attrs.frozen(eq=False)
class Curves:
    """The charts of a run.

    Attributes:
        charts: The charts, the loss first.
        omitted: The metrics that are not drawn.
    """

    charts: list[Chart]
    omitted: list[str]


def curves_of(run: PageRun, baseline: PageRun | None = None) -> Curves:
    """Return the charts of a run's metrics, with the baseline's lines in them if one is given."""
    groups: dict[str, list[str]] = {}
    for name in run.metrics():
        groups.setdefault(run.base(name), []).append(name)
    bases = sorted(groups, key=lambda base: (base != "loss", _is_aside(base), len(groups[base]) == 1))
    charts = []
    events = {unit: event_marks(run.events, unit) for unit in (run.unit, run.results_unit)}
    for place, base in enumerate(bases[:MOST_CHARTS]):
        names = groups[base]
        title = base if base in names else names[0]
        for unit, marks in events.items():
            lines = list(_lines(run, names, unit))
            if lines:
                best = [mark for name in names if (mark := best_mark(run, name, unit)) is not None]
                lines += _baseline_lines(baseline, names, unit)
                key = f"metric-{place}" if unit == run.unit else f"metric-{place}-{unit}"
                charts.append(Chart(key, title, unit, lines, [*best[-1:], *marks]))
    return Curves(charts, [name for base in bases[MOST_CHARTS:] for name in groups[base]])


def chart_of(run: PageRun, key: str, name: str, unit: Unit, marks: Sequence[Mark] = ()) -> Chart:
    """Return the chart of one metric, with that of the training or of the validation that belongs to it."""
    base = run.base(name)
    names = [each for each in run.metrics() if run.base(each) == base]
    return Chart(key, name, unit, list(_lines(run, names, unit)), marks)


def event_marks(events: Sequence[Event], unit: Unit) -> list[Mark]:
    """Return the marks of events; changes of the rate and checkpoints that come too often are left to the table."""
    counts = Counter(event.kind for event in events)
    return [Mark(event.at(unit), event.kind, event.label) for event in events if counts[event.kind] <= _MOST_MARKS]


def _is_aside(base: str) -> bool:
    return "learning_rate" in base or base in {"lr", "time"} or base.startswith("system/")


def _baseline_lines(baseline: PageRun | None, names: list[str], unit: Unit) -> list[Line]:
    if baseline is None:
        return []
    known = set(baseline.metrics())
    lines = [line for line in _lines(baseline, [name for name in names if name in known], unit) if not line.hidden]
    return [
        attrs.evolve(line, name=f"baseline: {line.name}", style=_BASELINE + place % 2)
        for place, line in enumerate(lines)
    ]


def _lines(run: PageRun, names: list[str], unit: Unit) -> Iterator[Line]:
    """Yield the lines of one metric, the training's first; where every batch is there, an epoch's mean waits.

    What the axis cannot place is left out; over epochs, so are batches, unless there is nothing else.
    """
    others = itertools.count(VALIDATION + 1)
    for name in sorted(names, key=lambda each: each != run.base(each)):
        is_own = name == run.base(name)
        style = TRAINING if is_own else VALIDATION if name.startswith("val_") else next(others)
        batches, results = (_placed(points.get(name), unit) for points in (run.batches, run.results))
        if unit == "epoch" and results is not None:
            batches = None
        if batches is not None:
            yield Line(name, batches.numbers(unit), batches.values, style)
        if results is not None and batches is not None:
            yield Line(f"{name}, mean of each epoch", results.numbers(unit), results.values, _MEANS, hidden=True)
        elif results is not None:
            yield Line(name, results.numbers(unit), results.values, style)


def _placed(points: Points | None, unit: Unit) -> Points | None:
    return points if points is not None and points.has(unit) else None


def best_mark(run: PageRun, name: str, unit: Unit) -> Mark | None:
    """Return the mark of a metric's best value, if the metric decided, or is one of validation."""
    points = _placed(run.results.get(name), unit)
    if points is None or len(points.values) < 3 or not (name in run.watched or name.startswith("val_")):
        return None
    best = run.summary.best.get(name)
    mode = best.mode if best is not None else DIRECTIONS.get(run.base(name).lower())
    finite = np.isfinite(points.values)
    if mode is None or not finite.any():
        return None
    filled = np.where(finite, points.values, np.inf if mode == "min" else -np.inf)
    place = int(filled.argmin() if mode == "min" else filled.argmax())
    word = "lowest" if mode == "min" else "highest"
    label = f"{word} {name} {format_value(points.values[place])}, epoch {number(points.epochs[place] + 1)}"
    return Mark(int(points.numbers(unit)[place]), "best", label)
