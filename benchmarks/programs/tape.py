"""Recordings of what a `Diagnosis` observed in a run, small enough to keep, and their replay.

Contract. A replay passes the same observations in the same order to any rules, and finds what they would have found in
the run itself. Numbers are kept to six digits.
"""

from __future__ import annotations

import json
import lzma
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from monitor_core import Diagnosis
from monitor_core.bus.finding import Finding
from monitor_core.diagnosis.data import DataSummary
from monitor_core.diagnosis.examination import Examination
from monitor_core.diagnosis.observer import Observer
from monitor_core.diagnosis.rules.all import RULES
from monitor_core.diagnosis.seen import Seen
from monitor_core.model.probe import Probe
from monitor_core.model.summary import ModelSummary
from monitor_core.values.blocks import Block


@attrs.define(eq=False)
class TapedExamination(Examination):
    """An examination that records what it gets.

    Attributes:
        events: What it got, in order: a name and JSON values.
    """

    events: list[list[Any]] = attrs.field(factory=list, init=False)

    def begin(self) -> list[Finding]:
        """Record what is known of model and data."""
        seen = self.seen
        self.events.append(
            [
                "begin",
                {
                    "model": None if seen.model is None else seen.model.to_json(),
                    "data": None if seen.data is None else seen.data.to_json(),
                    "validation": None if seen.validation is None else seen.validation.to_json(),
                    "has_raw_batches": seen.has_raw_batches,
                    "fit_shuffles": seen.fit_shuffles,
                    "epochs_planned": seen.epochs_planned,
                    "steps_per_epoch": seen.steps_per_epoch,
                },
            ]
        )
        return super().begin()

    def add_block(self, block: Block) -> list[Finding]:
        """Record the batches."""
        columns = {
            name: [None if not there else float(value) for value, there in zip(values, _mask(block, name), strict=True)]
            for name, values in block.columns.items()
        }
        times = (block.times - block.times[0]) if len(block) else block.times
        start = float(block.times[0]) if len(block) else 0.0
        self.events.append(["block", block.epoch, int(block.steps[0]), start, times.tolist(), columns])
        return super().add_block(block)

    def add_probe(self, probe: Probe) -> list[Finding]:
        """Record a probe."""
        self.events.append(["probe", probe.to_json()])
        return super().add_probe(probe)

    def end_epoch(self, epoch: int, step: int, logs: Mapping[str, float]) -> list[Finding]:
        """Record an epoch."""
        values = {name: float(value) for name, value in logs.items()}
        self.events.append(["epoch", epoch, step, self.seen.rate, values, self.seen.epochs_planned])
        return super().end_epoch(epoch, step, logs)

    def end(self) -> list[Finding]:
        """Record the end."""
        self.events.append(["end"])
        return super().end()


def _mask(block: Block, name: str) -> Any:
    mask = block.present[name]
    return np.ones(len(block), bool) if mask is None else mask


@attrs.define(eq=False)
class TapedDiagnosis(Diagnosis):
    """A `Diagnosis` whose observations can be saved."""

    def _start_examination(self) -> None:
        super()._start_examination()
        self._examination = TapedExamination(rules=self.rules)
        self._observer = Observer(self._examination.seen)

    @property
    def events(self) -> list[list[Any]]:
        """What was observed in the last run."""
        return self._examination.events  # type: ignore[attr-defined,no-any-return]


# --- files ---------------------------------------------------------------------------------------------------------


def save(path: Path, events: list[list[Any]], **about: Any) -> None:
    """Write a recording."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**about, "events": _rounded(events)}, separators=(",", ":"))
    path.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))


def load(path: Path) -> dict[str, Any]:
    """Return what `save` wrote."""
    found: dict[str, Any] = json.loads(lzma.decompress(path.read_bytes()))
    return found


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) and abs(value) < 1e9 else value
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, (list, tuple)) else value


# --- replay --------------------------------------------------------------------------------------------------------


def replay(events: Iterable[list[Any]], rules: Any = RULES) -> Examination:
    """Return an examination that got recorded observations."""
    examination = Examination(rules=rules)
    for name, *values in events:
        _REPLAYED[name](examination, *values)
    return examination


def _begin(examination: Examination, known: dict[str, Any]) -> None:
    seen: Seen = examination.seen
    kinds: dict[str, Any] = {"model": ModelSummary, "data": DataSummary, "validation": DataSummary}
    if known["model"] is not None and "framework" in known["model"]:  # recorded by an earlier version
        is_torch = known["model"].pop("framework") == "torch"
        known["model"] |= {"channels_first": is_torch, "loss_broadcasts": is_torch}
    for name, value in known.items():
        setattr(seen, name, kinds[name].from_json(value) if name in kinds and value is not None else value)
    examination.begin()


def _block(  # noqa: PLR0917 (an event)
    examination: Examination, epoch: int, step: int, start: float, times: list[float], columns: dict[str, list[Any]]
) -> None:
    arrays, present = {}, {}
    for name, values in columns.items():
        there = np.array([value is not None for value in values])
        arrays[name] = np.array([math.nan if value is None else value for value in values], np.float64)
        present[name] = None if there.all() else there
    steps = np.arange(step, step + len(times))
    examination.add_block(Block(epoch, steps, start + np.array(times), arrays, present))


def _probe(examination: Examination, probe: dict[str, Any]) -> None:
    examination.add_probe(Probe.from_json(probe))


def _epoch(  # noqa: PLR0917 (the same)
    examination: Examination,
    epoch: int,
    step: int,
    rate: float | None,
    logs: dict[str, float],
    planned: int | None = None,
) -> None:
    examination.seen.rate = rate
    if planned is not None:
        examination.seen.epochs_planned = planned
    examination.end_epoch(epoch, step, logs)


_REPLAYED: dict[str, Any] = {
    "begin": _begin,
    "block": _block,
    "probe": _probe,
    "epoch": _epoch,
    "end": lambda examination: examination.end(),
}
