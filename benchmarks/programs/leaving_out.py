"""Thresholds chosen again without one collection, to see how well the rules do on programs from elsewhere.

Contract. The rules themselves stay; each of `THRESHOLDS`, one after the other, gets the factor of `FACTORS` with which
the rules do best on the programs that are left. False alarms count more than what is missed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from monitor_core.diagnosis.rules.all import RULES
from programs.scoring import Recording, score

COLLECTIONS = ("at", "tdc", "own")
FACTORS = (0.5, 2.0)
THRESHOLDS = (
    ("DeadUnits", "share"),
    ("VanishingGradient", "decades"),
    ("Movement", "most"),
    ("Oscillation", "share"),
    ("Rising", "ratio"),
    ("NotLearning", "share"),
    ("Undertrained", "left"),
    ("Overfitting", "rise"),
)
"""The thresholds of dynamic symptoms that decide most, by rule."""

Rules = Sequence[Any]


def chosen_without(collection: str, recordings: Sequence[Recording]) -> Rules:
    """Return the rules with thresholds that were chosen without a collection.

    Args:
        collection: The collection, one of `COLLECTIONS`.
        recordings: Runs of the part ``tune``.
    """
    left = [
        each
        for each in recordings
        if each.program.kind == "healthy"
        or not (each.program.is_static or each.program.collection == collection)  # these thresholds see no static ones
    ]
    rules: Rules = RULES
    best = _worth(rules, left)
    for name, threshold in THRESHOLDS:
        for factor in FACTORS:
            others = _with(rules, name, threshold, factor)
            worth = _worth(others, left)
            if worth > best:
                rules, best = others, worth
    return rules


def _with(rules: Rules, name: str, threshold: str, factor: float) -> Rules:
    """Return the rules, one of them with another threshold; a share stays below 1."""

    def changed(rule: Any) -> Any:
        if rule.name != name:
            return rule
        value = getattr(rule, threshold)
        return attrs.evolve(rule, **{threshold: min(0.98, factor * value) if value < 1 else factor * value})

    return tuple(map(changed, rules))


def _worth(rules: Rules, recordings: Sequence[Recording]) -> float:
    """Return how well rules do: a right symptom counts 1, a false warning -2, a false problem 3 less."""
    worth = 0.0
    for recording in recordings:
        found = score(recording, rules)
        if recording.program.kind == "fault":
            worth += found.right is not None
        worth -= 2 * bool(found.false_warnings) + 3 * bool(found.false_problems)
    return worth
