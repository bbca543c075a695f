"""The index of a run's checkpoints: the files, which of them are best, and which are kept."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from monitor_core import checks
from monitor_core.metrics.decisions import Mode, state_of

STATES = 2
"""How many states are kept: the newest, and the one before it in case a file of the newest is damaged."""


@attrs.frozen(kw_only=True)
class Keep:
    """Which checkpoints of a run stay on disk: the best and the last ones. A file that is both counts as both.

    Args:
        best: How many of the files with the best values to keep; of two equal ones, the older. A file without a value,
            or with NaN, is never among them.
        last: How many of the most recently saved files to keep.

    Raises:
        TypeError: A number is not an integer.
        ValueError: A number is below 0, or both are 0.
    """

    best: int = attrs.field(default=0, validator=checks.count())
    last: int = attrs.field(default=0, validator=checks.count())

    def __attrs_post_init__(self) -> None:
        if not self.best and not self.last:
            raise ValueError("best or last must be >= 1 (got 0 for both)")


@attrs.frozen
class Saved:
    """A saved file.

    Attributes:
        file: Its path within the folder.
        epoch: The epoch in which, or at whose end, it was saved, 0-based.
        step: How many batches had been trained.
        value: The metric's value, or None.
        checksum: The checksum of its content; None if it is not known.
        state: The name of the file with the state to resume from, or None.
    """

    file: str
    epoch: int
    step: int
    value: float | None
    checksum: str | None = None
    state: str | None = None

    def to_state(self) -> dict[str, Any]:
        """Return the entry as JSON values."""
        names = ("epoch", "step", "value", "checksum", "state")
        return {"file": self.file, **state_of(self, *names)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Saved:
        """Return the entry that `to_state` returned.

        Raises:
            ValueError: A file is outside the folder.
        """
        for name in (state["file"], state.get("state") or "x"):
            if Path(name).is_absolute() or ".." in Path(name).parts:  # files that are no longer kept are removed
                raise ValueError(f"a checkpoint must be in the folder of its index (got {name!r})")
        value = None if state["value"] is None else float(state["value"])
        return cls(state["file"], state["epoch"], state["step"], value, state.get("checksum"), state.get("state"))


@attrs.frozen
class Index:
    """The content of an index: the latest and the best file, and those that a run can resume from, the newest last."""

    latest: Saved | None = None
    best: Saved | None = None
    resumable: tuple[Saved, ...] = ()

    def to_state(self) -> dict[str, Any]:
        """Return the index as JSON values."""
        return {
            "latest": self.latest and self.latest.to_state(),
            "best": self.best and self.best.to_state(),
            "resumable": [each.to_state() for each in self.resumable],
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Index:
        """Return the index that `to_state` returned; for other data, the exception is not specified."""
        latest, best = (state[name] and Saved.from_state(state[name]) for name in ("latest", "best"))
        return cls(latest, best, tuple(Saved.from_state(each) for each in state["resumable"]))

    def without(self, file: str) -> Index:
        """Return an index that keeps a file's entry, but without its checksum and state."""
        latest, best = (
            Saved(each.file, each.epoch, each.step, each.value) if each is not None and each.file == file else each
            for each in (self.latest, self.best)
        )
        return Index(latest, best, tuple(each for each in self.resumable if each.file != file))


def ranked(files: Iterable[Saved], mode: Mode) -> list[Saved]:
    """Return the files that have a value, the best first; of equal ones, the older first."""
    sign = 1.0 if mode == "min" else -1.0
    valued = [(sign * each.value, each) for each in files if each.value is not None and not math.isnan(each.value)]
    return [each for _, each in sorted(valued, key=operator.itemgetter(0))]


def kept(files: list[Saved], keep: Keep | None, mode: Mode) -> list[Saved]:
    """Return the files to keep, in the order of saving; if all are kept, those to remember.

    The newest file that a run can resume from always stays, and at most `STATES` files keep their states.
    """
    rule = keep or Keep(best=1, last=1)
    resumable = [each for each in files if each.state is not None]
    chosen = [
        *ranked(files, mode)[: rule.best],
        *files[max(0, len(files) - rule.last) :],
        *resumable[-1 if keep else -STATES :],
    ]
    outdated = {each.file for each in resumable[:-STATES]}
    return [attrs.evolve(each, state=None) if each.file in outdated else each for each in files if each in chosen]
