"""A finding: what is wrong with a training, in a sentence, with the numbers that show it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import attrs

Severity = Literal["problem", "warning", "note"]
"""``"problem"``: the training does not do what it should. ``"warning"``: it may not. ``"note"``: worth knowing."""

SEVERITIES: tuple[Severity, ...] = ("problem", "warning", "note")
"""From the most severe on."""


def _as_dict(evidence: Mapping[str, Any]) -> dict[str, Any]:
    return dict(evidence)


@attrs.frozen(kw_only=True)
class Finding:
    """What is wrong with a training. Two findings with the same values are equal.

    Attributes:
        symptom: Its name, one of those that `docs/diagnosis.md` lists, such as ``"dead_units"``.
        severity: ``"problem"``, ``"warning"`` or ``"note"``.
        message: What is seen, in one or two sentences, the numbers first.
        advice: What to try.
        evidence: The numbers that show it, and the thresholds that they crossed, by name: JSON values.
        source: Where the rule comes from.
        epoch: The epoch in which it was found, 0-based; -1 before the first.
        step: The step at which it was found; 0 before the first.
        layer: The layer that it is about, or None.
    """

    symptom: str
    severity: Severity = attrs.field(validator=attrs.validators.in_(SEVERITIES))
    message: str
    advice: str = ""
    evidence: dict[str, Any] = attrs.field(factory=dict, converter=_as_dict, hash=False)
    source: str = ""
    epoch: int = -1
    step: int = 0
    layer: str | None = None

    @property
    def severity_rank(self) -> int:
        """The place of its severity among `SEVERITIES`, 0 for a problem."""
        return SEVERITIES.index(self.severity)

    def __str__(self) -> str:
        when = "Before the first epoch" if self.epoch < 0 else f"Epoch {self.epoch + 1}"
        return f"{when}: {self.message}{f' {self.advice}' if self.advice else ''}"
