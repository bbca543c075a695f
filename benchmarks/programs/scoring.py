"""How well a diagnosis does on recorded programs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from monitor_core.bus.finding import Finding
from monitor_core.diagnosis.data import DataSummary
from monitor_core.metrics.names import find_metric
from programs.spec import Program
from programs.tape import load, replay

HURT = 0.9
"""A result is hurt if it has less than this share of what healthy programs reach on the same data."""
_SAME_DATA = {"cars": "cars_standardized"}


@attrs.frozen(eq=False)
class Recording:
    """What was observed in one run of a program.

    Attributes:
        program: The program.
        seed: Its seed.
        content: What was saved.
    """

    program: Program
    seed: int
    content: Mapping[str, Any]

    @classmethod
    def read(cls, program: Program, seed: int, path: Path) -> Recording:
        """Read the file of a recording."""
        return cls(program, seed, load(path))

    @property
    def events(self) -> list[Any]:
        """What was observed, in order."""
        events: list[Any] = self.content["events"]
        return events

    @property
    def seconds(self) -> float:
        """How long the steps took, with what came between them."""
        blocks = [event for event in self.events if event[0] == "block"]
        return 0.0 if not blocks else blocks[-1][3] + blocks[-1][4][-1] - blocks[0][3]

    @property
    def skill(self) -> float | None:
        """How good the model is at the end: 0 for a constant answer, 1 for a perfect one; None if that is not known.

        By the accuracy if there is one, else by the loss, of the validation data if there are any. What is not finite
        is worth nothing.
        """
        logs = next((event[4] for event in reversed(self.events) if event[0] == "epoch"), None)
        known = next((event[1] for event in self.events if event[0] == "begin"), None)
        if known is None or known["data"] is None:
            return None
        data = DataSummary.from_json(known["data"])
        if logs is None:
            return 0.0 if self.content["error"] else None
        for name in ("accuracy", "categorical_accuracy", "sparse_categorical_accuracy", "binary_accuracy"):
            if (found := find_metric(name, logs)) is not None and data.largest_share is not None:
                value = logs.get(f"val_{found}", logs[found])
                return (value - data.largest_share) / (1 - data.largest_share) if math.isfinite(value) else 0.0
        constant = None if known["model"] is None else data.constant_loss(known["model"]["loss"] or "")
        value = logs.get("val_loss", logs.get("loss"))
        if not constant or value is None:
            return None
        return 1 - value / constant if math.isfinite(value) else 0.0


def hurt(recordings: Iterable[Recording]) -> dict[str, bool]:
    """Return for each faulty program whether its result is really hurt; those where that is not known are left out.

    Some mistakes leave a result as it would be without them: softmax twice, or a rate that is a little low.
    """
    skills: dict[str, list[float]] = {}
    every = [(each, each.skill) for each in recordings]
    for each, skill in every:
        if each.program.kind == "healthy" and skill is not None:
            skills.setdefault(each.program.data, []).append(skill)
    usual = {data: statistics.median(values) for data, values in skills.items()}
    return {
        each.program.id: skill < HURT * usual[data]
        for each, skill in every
        if each.program.kind == "fault"
        and skill is not None
        and (data := _SAME_DATA.get(each.program.data, each.program.data)) in usual
    }


@attrs.frozen
class Score:
    """What was found in one run.

    Attributes:
        program: The program.
        seed: Its seed.
        findings: All findings.
        steps: How many steps the run had.
    """

    program: Program
    seed: int
    findings: list[Finding]
    steps: int

    @property
    def severe(self) -> list[Finding]:
        """The problems and warnings."""
        return [finding for finding in self.findings if finding.severity != "note"]

    @property
    def right(self) -> Finding | None:
        """The first finding of a symptom that is right."""
        return next((finding for finding in self.severe if finding.symptom in self.program.expect), None)

    @property
    def false_problems(self) -> list[Finding]:
        """The problems that are neither expected nor allowed."""
        return [finding for finding in self._false if finding.severity == "problem"]

    @property
    def false_warnings(self) -> list[Finding]:
        """The warnings and problems that are neither expected nor allowed."""
        return self._false

    @property
    def _false(self) -> list[Finding]:
        right = {*self.program.expect, *self.program.allow}
        return [finding for finding in self.severe if finding.symptom not in right]

    @property
    def when(self) -> float | None:
        """The step of the first right finding as a share of the run; None without one."""
        right = self.right
        return None if right is None else right.step / max(1, self.steps)


def score(recording: Recording, rules: Any = None) -> Score:
    """Return what rules find in a recording, by default all of the package."""
    examination = replay(recording.events) if rules is None else replay(recording.events, rules)
    return Score(recording.program, recording.seed, examination.findings, examination.seen.step)


def by_program(scores: Iterable[Score], failed: Any) -> dict[str, float]:
    """Return for each program the share of its seeds for which something holds."""
    found: dict[str, list[bool]] = {}
    for each in scores:
        found.setdefault(each.program.id, []).append(bool(failed(each)))
    return {name: sum(values) / len(values) for name, values in found.items()}


def interval(shares: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean of programs' shares, and Wilson's interval of 95% for as many programs."""
    n = len(shares)
    if not n:
        return math.nan, math.nan, math.nan
    p, z = sum(shares) / n, 1.96
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return p, max(0.0, middle - half), min(1.0, middle + half)


def shown(shares: Sequence[float]) -> str:
    """Return a share with its interval and the number of programs."""
    p, low, high = interval(shares)
    return "-" if math.isnan(p) else f"{100 * p:.0f}% ({100 * low:.0f} to {100 * high:.0f}; {len(shares)} programs)"
