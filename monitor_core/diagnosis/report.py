"""Findings as people read them, in a terminal and in a notebook."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from monitor_core.bus.finding import Finding
from monitor_core.diagnosis.examination import NotLookedAt

_COLORS = {"problem": "#b3261e", "warning": "#9a6700", "note": "#57606a"}


class Findings(list[Finding]):
    """Findings, in the order in which they were found, and what was not looked at.

    Attributes:
        not_looked_at: The rules that were not asked, each with the reason and what would help.
    """

    def __init__(self, findings: Iterable[Finding] = (), not_looked_at: Sequence[NotLookedAt] = ()) -> None:
        super().__init__(findings)
        self.not_looked_at = list(not_looked_at)

    @property
    def problems(self) -> list[Finding]:
        """Those of severity ``"problem"``."""
        return [finding for finding in self if finding.severity == "problem"]

    def __str__(self) -> str:
        lines = [f"{finding.severity:<8} {finding.symptom}: {finding}" for finding in self] or ["Nothing was found."]
        if self.not_looked_at:
            lines.append(f"Not looked at ({len(self.not_looked_at)}):")
            lines += [f"  {reason}" for reason in _reasons(self.not_looked_at)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = "".join(_row(finding) for finding in self) or "<tr><td>Nothing was found.</td></tr>"
        missing = "".join(f"<li>{html.escape(reason)}</li>" for reason in _reasons(self.not_looked_at))
        details = f"<details><summary>Not looked at</summary><ul>{missing}</ul></details>" if missing else ""
        return f'<table style="text-align: left">{rows}</table>{details}'


def _row(finding: Finding) -> str:
    when = "before" if finding.epoch < 0 else f"epoch {finding.epoch + 1}"
    numbers = ", ".join(f"{name} = {value}" for name, value in finding.evidence.items())
    return (
        f'<tr><td style="color: {_COLORS[finding.severity]}; font-weight: 600; vertical-align: top">'
        f"{finding.severity}</td>"
        f'<td style="vertical-align: top; white-space: nowrap">{when}</td>'
        f'<td title="{html.escape(numbers)}" style="text-align: left">{html.escape(finding.message)}'
        f'<br><span style="opacity: 0.75">{html.escape(finding.advice)}</span></td></tr>'
    )


def _reasons(missing: Sequence[NotLookedAt]) -> list[str]:
    """Return each reason with the symptoms that could not be found for it."""
    symptoms: dict[str, list[str]] = {}
    for each in missing:
        symptoms.setdefault(each.reason, []).append(each.symptom)
    return [f"{', '.join(dict.fromkeys(names))}: {reason}" for reason, names in symptoms.items()]
