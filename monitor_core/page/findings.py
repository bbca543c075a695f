"""The findings of a run, each with its evidence and the chart of the curve that it speaks of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import attrs
import numpy as np

from monitor_core.bus.finding import Finding
from monitor_core.page.charts import Chart, Mark, Unit
from monitor_core.page.curves import chart_of
from monitor_core.page.run import PageRun, Points
from monitor_core.page.words import number
from monitor_core.values.text import format_value

MOST = 40
_AROUND, _LEAST_AROUND, _FEWEST_AROUND = 0.5, 0.04, 3
"""How much is shown on each side: of the stretch, at least so much of the whole curve, and so many steps or epochs."""
_MOST_OF_ALL = 0.8
"""A zoom to more of the curve than this is none."""
_STEP = re.compile(r"\bstep (\d[\d,]*)")
_EPOCH = re.compile(r"\bepoch (\d[\d,]*)")
_EPOCHS = re.compile(r"\b(\d[\d,]*) epochs?\b")
_LARGEST = 2**53
_TURN = "turn"


@attrs.frozen(eq=False)
class ShownFinding:
    """A finding as the page shows it.

    Attributes:
        found: The finding.
        when: When, human-readable.
        evidence: Its numbers, as pairs of a name and a value.
        chart: The curve that it speaks of, where it speaks of it; None if it speaks of none.
    """

    found: Finding
    when: str
    evidence: list[tuple[str, str]]
    chart: Chart | None

    def thinned(self, points: int | None) -> ShownFinding:
        """Return the finding with a chart of at most so many points a line, None for all."""
        return attrs.evolve(self, chart=None if self.chart is None else self.chart.thinned(points))


def findings_of(run: PageRun) -> list[ShownFinding]:
    """Return a run's findings, the worst first."""
    shown = []
    for place, each in enumerate(run.findings[:MOST]):
        spoken = _spoken_of(run, each)
        chart = None if spoken is None else spoken.chart(run, each, f"finding-{place}")
        shown.append(ShownFinding(each, _when(each, spoken), list(_evidence(each)), chart))
    return shown


def _when(found: Finding, spoken: _SpokenOf | None) -> str:
    if found.epoch < 0:
        return "before the first epoch"
    if spoken is not None and not spoken.points.has_epochs:
        return f"step {number(spoken.at(found))}"
    return f"epoch {number(found.epoch + 1)}" + (f", step {number(found.step)}" if found.step else "")


def _evidence(found: Finding) -> Iterator[tuple[str, str]]:
    for name, value in found.evidence.items():
        if name == _TURN and isinstance(value, int):
            yield "turning epoch", number(value + 1)  # as the sentence counts
        else:
            yield str(name).replace("_", " "), _shown(value)


def _shown(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, int):
        return number(value) if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        return format_value(value)
    if isinstance(value, list):
        listed = ", ".join(_shown(each) for each in value[:8])
        return f"{listed}, … ({len(value)})" if len(value) > 8 else listed
    return str(value)


@attrs.frozen(eq=False)
class _SpokenOf:
    """The curve that a finding speaks of.

    Attributes:
        name: The metric.
        points: Its values, by which epochs are placed on the axis.
        unit: What the axis counts.
    """

    name: str
    points: Points
    unit: Unit

    def chart(self, run: PageRun, found: Finding, key: str) -> Chart:
        """Return the chart, zoomed to where the finding speaks, with some of the curve around."""
        mark = Mark(self.at(found), "finding", found.symptom.replace("_", " "))
        whole = chart_of(run, key, self.name, self.unit, [mark])
        first, last = whole.extent
        low, high = (min(max(each, first), last) for each in self._span(found))
        room = max((high - low) * _AROUND, (last - first) * _LEAST_AROUND, _FEWEST_AROUND)
        focus = (float(round(max(low - room, first))), float(round(min(high + room, last))))
        is_most = focus[1] - focus[0] > _MOST_OF_ALL * (last - first)
        return attrs.evolve(whole, span=(low, high), focus=None if is_most else focus)

    def at(self, found: Finding) -> int:
        """Return where it was found."""
        return found.step if self.unit == "step" and found.step else self._end(found.epoch)

    def _span(self, found: Finding) -> tuple[float, float]:
        """Return from where to where it speaks: the steps or epochs that its message names, and where it was found.

        ``epoch 7`` is an epoch, ``3 epochs`` are the last ones up to where it was found.
        """
        places = [self.at(found)]
        steps = [_whole(each) for each in _STEP.findall(found.message)] if self.unit == "step" else []
        if steps:
            return float(min(places + steps)), float(max(places + steps))
        places += [self._end(_whole(each) - 1) for each in _EPOCH.findall(found.message)]
        counts = [_whole(each) for each in _EPOCHS.findall(found.message)]
        places += [self._begin(found.epoch - count + 1) for count in counts if 0 < count <= found.epoch + 1]
        return float(min(places)), float(max(places))

    def _end(self, epoch: int) -> int:
        """Return where an epoch ends on the axis."""
        if self.unit != "step":
            return epoch + 1
        place = int(np.searchsorted(self.points.epochs, epoch, side="right")) - 1 if self.points.has_epochs else epoch
        return int(self.points.steps[min(max(place, 0), len(self.points.steps) - 1)])

    def _begin(self, epoch: int) -> int:
        """Return where an epoch begins on the axis."""
        if self.unit != "step" or not self.points.has_epochs:
            return self._end(epoch)
        return int(self.points.steps[0]) if epoch <= self.points.epochs[0] else self._end(epoch - 1)


def _whole(digits: str) -> int:
    return min(int(digits.replace(",", "")), _LARGEST)


def _spoken_of(run: PageRun, found: Finding) -> _SpokenOf | None:
    name = _metric(run, found)
    if name is None or found.epoch < 0:
        return None
    results = run.results.get(name)
    if results is not None:
        return _SpokenOf(name, results, run.results_unit)
    return _SpokenOf(name, run.batches[name], run.unit)


def _metric(run: PageRun, found: Finding) -> str | None:
    """Return the metric that a finding speaks of: the one it names, else the loss."""
    metrics = run.metrics()
    named = [value for value in found.evidence.values() if isinstance(value, str) and value in metrics]
    if named:
        return named[0]
    words = set(re.findall(r"[\w/.]+", found.message))
    for name in sorted(metrics, key=len, reverse=True):
        if name in words:
            return name
    return next((name for name in ("loss", "val_loss", *metrics) if name in metrics), None)
