"""What a run cost: its sinks, waiting for data, and its steps a second."""

from __future__ import annotations

import math
from typing import Any

import attrs

from monitor_core.journal.facts import End
from monitor_core.page.run import PageRun
from monitor_core.page.words import number, seconds, share


@attrs.frozen
class ShownCost:
    """What a run cost.

    Attributes:
        summary: The same in sentences.
        rows: For each sink its name, its time, its share of the run, its calls, and its longest call.
    """

    summary: list[str]
    rows: list[list[str]]


def cost_of(run: PageRun) -> ShownCost | None:
    """Return what a run cost, None if it is not on record."""
    ends = run.record.facts(End)
    cost = ends[-1].cost if ends else {}
    try:
        return _shown(cost) if cost else None
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError):  # of another release, or damaged
        return None


def _shown(cost: dict[str, Any]) -> ShownCost:
    total, steps = _finite(cost["seconds"]), int(cost["steps"])
    sinks = {str(name): list(hooks.values()) for name, hooks in cost["sinks"].items()}
    times = {name: sum(_finite(hook["seconds"]) for hook in hooks) for name, hooks in sinks.items()}
    said = []
    if steps and total > 0:
        said.append(f"{number(steps)} steps in {seconds(total)}: {_rate(steps / total)} steps a second.")
    said.append(f"The sinks took {share(sum(times.values()) / (total or 1.0))} of it, in all threads.")
    if "waited" in cost:
        waited = _finite(cost["waited"])
        said.append(f"The loop waited {seconds(waited)} for data, {share(waited / (total or 1.0))}.")
    rows = [
        [
            name,
            seconds(time),
            share(time / (total or 1.0)),
            number(sum(int(hook["calls"]) for hook in sinks[name])),
            seconds(max((_finite(hook["longest"]) for hook in sinks[name]), default=0.0)),
        ]
        for name, time in sorted(times.items(), key=lambda pair: -pair[1])
    ]
    return ShownCost(said, rows)


def _finite(value: Any) -> float:
    if not math.isfinite(value):
        raise ValueError(f"a duration of {value}")
    return float(value)


def _rate(value: float) -> str:
    return number(value) if value >= 10 else f"{value:.3g}"
