"""How well a diagnosis does on recorded programs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from monitor_core.bus.finding import Finding
from programs.spec import Program
from programs.tape import load, replay


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


def score(program: Program, seed: int, path: Any, rules: Any = None) -> Score:
    """Return what rules find in a recording."""
    found = load(path)
    examination = replay(found["events"]) if rules is None else replay(found["events"], rules)
    return Score(program, seed, examination.findings, examination.seen.step)


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
