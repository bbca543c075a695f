"""The examination of one run: asks the rules at the right moments, and reports each problem once.

Contract. What is found depends on what was observed alone, not on how the values arrived: batches are judged in
stretches of `STRETCH` steps. A finding is reported when its rule first finds it; again only once it was over, or when
it has become more severe. A symptom that another one explains is not reported. A rule that raises is a failure of that
rule alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from monitor_core._log import logger
from monitor_core.bus.finding import Finding
from monitor_core.diagnosis.rule import MISSING, Moment, Rule
from monitor_core.diagnosis.rules.all import RULES
from monitor_core.diagnosis.seen import Batches, Seen
from monitor_core.diagnosis.symptoms import EXPLAINS
from monitor_core.model.probe import Probe
from monitor_core.values.blocks import Block

STRETCH = 256
"""How many steps are judged together: those up to the next multiple of it, or to the epoch's end."""
DENSE = 100
"""Up to how many epochs each one is judged; then only one in each stretch of a twentieth of the epochs so far."""
LAST_PROBES = 8
"""How many of the last probes are kept."""
QUIET = 3
"""After how many checks without it a finding is over."""


@attrs.frozen
class NotLookedAt:
    """A rule that was not asked.

    Attributes:
        rule: The rule's name.
        symptom: What it would find.
        reason: Why, and what would help.
    """

    rule: str
    symptom: str
    reason: str

    def __str__(self) -> str:
        return f"{self.symptom} ({self.rule}): {self.reason}"


@attrs.define
class _Active:
    """A finding that is not over."""

    finding: Finding
    rule: str
    quiet: int = 0


@attrs.define(eq=False)
class Examination:
    """Ask rules about a run.

    Args:
        rules: The rules.

    Attributes:
        seen: What has been observed.
        findings: What was found, in order.
    """

    rules: Sequence[Rule] = RULES
    seen: Seen = attrs.field(factory=Seen)
    findings: list[Finding] = attrs.field(factory=list, init=False)
    _active: dict[tuple[str, str | None], _Active] = attrs.field(factory=dict, init=False)
    _failed: dict[str, str] = attrs.field(factory=dict, init=False)
    _blocks: list[Block] = attrs.field(factory=list, init=False)
    _next_epoch: int = attrs.field(default=0, init=False)
    _by_moments: dict[tuple[Moment, ...], list[Rule]] = attrs.field(factory=dict, init=False)

    # --- what happens in the run -----------------------------------------------------------------------------------

    def begin(self) -> list[Finding]:
        """Judge what is known before the first step."""
        return self._ask("begin")

    def add_block(self, block: Block) -> list[Finding]:
        """Add some steps of one epoch; those whose stretch is complete are judged."""
        found: list[Finding] = []
        rest: Block | None = block
        while rest is not None and len(rest):
            left = STRETCH - int(rest.steps[0] - 1) % STRETCH
            part, rest = _split(rest, int(np.searchsorted(rest.steps, rest.steps[0] + left)))
            self._blocks.append(part)
            if int(part.steps[-1]) % STRETCH == 0:
                found += self._judge_batches()
        return found

    def add_probe(self, probe: Probe) -> list[Finding]:
        """Judge what was seen inside the model."""
        self.seen.probes.append(attrs.evolve(probe, histograms={}))
        self.seen.probes = _thinned(self.seen.probes)
        return self._ask("probe")

    def end_epoch(self, epoch: int, step: int, logs: Mapping[str, float]) -> list[Finding]:
        """Judge an epoch's results."""
        found = self._judge_batches()
        self.seen.add_epoch(epoch, step, logs)
        if epoch >= self._next_epoch:
            self._next_epoch = epoch + max(1, (epoch + 1) // 20 if epoch + 1 > DENSE else 1)
            found += self._ask("epoch")
        return found

    def end(self) -> list[Finding]:
        """Judge the run as a whole: it has ended as planned."""
        found = self._judge_batches()
        self.seen.has_ended = True
        return found + self._ask("epoch", "end")

    def go_back(self, epoch: int, step: int) -> None:
        """Drop what was observed from this epoch on."""
        self._blocks.clear()
        self.seen.drop_from(epoch, step)
        self._next_epoch = 0

    def remember(self, findings: Sequence[Finding]) -> None:
        """Continue with what was found before, in place of what was found again: it is not reported twice."""
        self.findings = list(findings)
        rules = {rule.symptom: rule.name for rule in self.rules}
        for finding in findings:
            key = finding.symptom, finding.layer
            self._active.setdefault(key, _Active(finding, rules.get(finding.symptom, "")))

    # --- asking ----------------------------------------------------------------------------------------------------

    def not_looked_at(self) -> list[NotLookedAt]:
        """Return the rules that were not asked, with the reason: what they need was not observed, or they failed."""
        listed = []
        for rule in self.rules:
            missing = next((need for need in rule.needs if not self.seen.has(need)), None)
            reason = self._failed.get(rule.name)
            if missing is not None:
                reason = self.seen.why_missing.get(missing, MISSING[missing])
            if reason is not None:
                listed.append(NotLookedAt(rule.name, rule.symptom, reason))
        return listed

    def _judge_batches(self) -> list[Finding]:
        if not self._blocks:
            return []
        self.seen.batches = batches = _joined(self._blocks)
        self._blocks = []
        self.seen.step = int(batches.steps[-1])
        for name, (_, values) in batches.columns.items():
            self.seen.first.setdefault(name, float(values[0]))
        self.seen.timing.add(batches.epoch, batches.steps, batches.times)
        try:
            return self._ask("batches")
        finally:
            self.seen.batches = None

    def _ask(self, *moments: Moment) -> list[Finding]:
        asked = [rule for rule in self._rules_at(moments) if all(map(self.seen.has, rule.needs))]
        present = {rule.name: finding for rule in asked if (finding := self._check(rule)) is not None}
        self._settle(asked, present)
        new = self._new(present)
        self.findings += new
        return new

    def _rules_at(self, moments: tuple[Moment, ...]) -> list[Rule]:
        if moments not in self._by_moments:
            self._by_moments[moments] = [rule for rule in self.rules if set(moments) & set(rule.moments)]
        return self._by_moments[moments]

    def _check(self, rule: Rule) -> Finding | None:
        try:
            return rule.check(self.seen)
        except Exception as error:
            if rule.name not in self._failed:
                self._failed[rule.name] = f"the rule failed: {type(error).__name__}: {error}"
                logger.warning("the diagnosis's rule %s failed; the others continue", rule.name, exc_info=error)
            return None

    def _new(self, present: Mapping[str, Finding]) -> list[Finding]:
        """Return what is to be reported, causes first, without what they explain."""
        found: list[Finding] = []
        for name, finding in sorted(present.items(), key=lambda item: _rank(item[1])):
            before = self._active.get((finding.symptom, finding.layer))
            if before is not None and before.finding.severity_rank <= finding.severity_rank:
                continue
            if not self._is_explained(finding, found):
                found.append(finding)
                self._active[finding.symptom, finding.layer] = _Active(finding, name)
        return found

    def _is_explained(self, finding: Finding, found: list[Finding]) -> bool:
        causes = [*found, *(active.finding for active in self._active.values())]
        return any(
            finding.symptom in EXPLAINS.get(cause.symptom, ()) and cause.severity != "note" for cause in causes
        ) or (any(cause.symptom == finding.symptom and cause.layer != finding.layer for cause in found))

    def _settle(self, asked: Iterable[Rule], present: Mapping[str, Finding]) -> None:
        """End what the rules that found it no longer find."""
        silent = {rule.name for rule in asked if not rule.lasts and "begin" not in rule.moments} - present.keys()
        for key, active in list(self._active.items()):
            if active.rule in present:
                active.quiet = 0
            elif active.rule in silent:
                active.quiet += 1
                if active.quiet >= QUIET:
                    del self._active[key]


def _thinned(probes: list[Probe]) -> list[Probe]:
    """Return the last probes and, of the others, the first within each doubling of the steps."""
    older = {probe.step.bit_length(): probe for probe in reversed(probes[:-LAST_PROBES])}
    return [*reversed(older.values()), *probes[-LAST_PROBES:]]


def _rank(finding: Finding) -> tuple[int, int]:
    """Return what sorts causes before what they explain, then by severity."""
    return -len(EXPLAINS.get(finding.symptom, ())), finding.severity_rank


# --- stretches of batches ------------------------------------------------------------------------------------------


def _split(block: Block, end: int) -> tuple[Block, Block | None]:
    if end == len(block):  # the usual case
        return block, None
    return _part(block, slice(None, end)), _part(block, slice(end, None))


def _part(block: Block, rows: slice) -> Block:
    return attrs.evolve(
        block,
        steps=block.steps[rows],
        times=block.times[rows],
        columns={name: column[rows] for name, column in block.columns.items()},
        present={name: None if mask is None else mask[rows] for name, mask in block.present.items()},
        weights={},
    )


def _joined(blocks: list[Block]) -> Batches:
    if len(blocks) == 1 and not any(mask is not None for mask in blocks[0].present.values()):  # a short epoch
        (block,) = blocks
        columns_of_one = {name: (block.steps, values) for name, values in block.columns.items()}
        return Batches(block.epoch, block.steps, block.times, columns_of_one)
    columns: dict[str, list[tuple[Any, Any]]] = {}
    for block in blocks:
        for name, values in block.columns.items():
            mask = block.present[name]
            if mask is None or mask.any():
                chosen = slice(None) if mask is None else mask
                columns.setdefault(name, []).append((block.steps[chosen], values[chosen]))
    return Batches(
        epoch=blocks[0].epoch,
        steps=np.concatenate([block.steps for block in blocks]),
        times=np.concatenate([block.times for block in blocks]),
        columns={
            name: (np.concatenate([each[0] for each in parts]), np.concatenate([each[1] for each in parts]))
            for name, parts in columns.items()
        },
    )
