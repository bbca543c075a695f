"""The findings of a run, each with its evidence and the chart of the curve that it speaks of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import attrs

from monitor_core.bus.finding import Finding
from monitor_core.page.charts import Chart, Mark
from monitor_core.page.curves import chart_of
from monitor_core.page.run import PageRun
from monitor_core.page.words import number
from monitor_core.values.text import format_value

MOST = 40


@attrs.frozen(eq=False)
class ShownFinding:
    """A finding as the page shows it.

    Attributes:
        found: The finding.
        when: When, human-readable.
        evidence: Its numbers, as pairs of a name and a value.
        chart: The curve that it speaks of; None if it speaks of none.
    """

    found: Finding
    when: str
    evidence: list[tuple[str, str]]
    chart: Chart | None


def findings_of(run: PageRun) -> list[ShownFinding]:
    """Return a run's findings, the worst first."""
    return [
        ShownFinding(each, _when(each), list(_evidence(each)), _chart(run, each, f"finding-{place}"))
        for place, each in enumerate(run.findings[:MOST])
    ]


def _when(found: Finding) -> str:
    if found.epoch < 0:
        return "before the first epoch"
    return f"epoch {number(found.epoch + 1)}, step {number(found.step)}"


def _evidence(found: Finding) -> Iterator[tuple[str, str]]:
    for name, value in found.evidence.items():
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


def _chart(run: PageRun, found: Finding, key: str) -> Chart | None:
    name = _metric(run, found)
    if name is None or found.epoch < 0:
        return None
    x = found.step if run.unit == "step" else found.epoch + 1
    return chart_of(run, key, name, [Mark(x, "finding", found.symptom.replace("_", " "))])


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
