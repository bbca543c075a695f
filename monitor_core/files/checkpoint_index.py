"""What is known of the checkpoints of a run: the files, which of them are the best, and which of them stay."""

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
"""How many states are kept: the newest, and the one before it, for when a file of the newest is damaged."""


@attrs.frozen(kw_only=True)
class Keep:
    """Which checkpoints of a run stay on disk: the best ones and the last ones; a file that is both counts for both.

    Args:
        best: How many of those with the best values; the older of two that are equal. A file without a value, or with
            NaN, is never among them.
        last: How many of those saved last.

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
    """A file that was saved.

    Attributes:
        file: Its path within the folder.
        epoch: The epoch at whose end, or within which, it was saved, 0-based.
        step: How many batches had been trained.
        value: The metric's value, None where there was none.
        checksum: That of its content; None where it is not known.
        state: The name of the file with the state to resume from; None where there is none.
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
        """Return the entry that `to_state` gave.

        Raises:
            ValueError: A file lies outside of the folder.
        """
        for name in (state["file"], state.get("state") or "x"):
            if Path(name).is_absolute() or ".." in Path(name).parts:  # files that are no longer kept are removed
                raise ValueError(f"a checkpoint must lie in the folder of its index (got {name!r})")
        value = None if state["value"] is None else float(state["value"])
        return cls(state["file"], state["epoch"], state["step"], value, state.get("checksum"), state.get("state"))


@attrs.frozen
class Index:
    """What an index says: the latest and the best file, and those that can be resumed from, the newest last."""

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
        """Return the index that `to_state` gave; what it raises otherwise, it raises as it stumbles on it."""
        latest, best = (state[name] and Saved.from_state(state[name]) for name in ("latest", "best"))
        return cls(latest, best, tuple(Saved.from_state(each) for each in state["resumable"]))

    def without(self, file: str) -> Index:
        """Return an index that says no more of a file than that it is there."""
        latest, best = (
            Saved(each.file, each.epoch, each.step, each.value) if each is not None and each.file == file else each
            for each in (self.latest, self.best)
        )
        return Index(latest, best, tuple(each for each in self.resumable if each.file != file))


def ranked(files: Iterable[Saved], mode: Mode) -> list[Saved]:
    """Return the files that have a value, the best first, and the older of equal ones."""
    sign = 1.0 if mode == "min" else -1.0
    valued = [(sign * each.value, each) for each in files if each.value is not None and not math.isnan(each.value)]
    return [each for _, each in sorted(valued, key=operator.itemgetter(0))]


def kept(files: list[Saved], keep: Keep | None, mode: Mode) -> list[Saved]:
    """Return the files to keep, in the order of saving; where all stay, those to remember.

    The newest that can be resumed from always stays, and at most `STATES` of them keep their states.
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
