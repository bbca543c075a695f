"""Where the ranks are when they exchange results, and whether that fits together.

Contract. Ranks exchange at the same points of the run, in the same order. One that has trained all batches of its epoch
waits for the others' steps, one at the epoch's end for their evaluations too, and one at the run's end for those after
the last epoch; it takes part in each of their exchanges, without results, until all have arrived. Any other difference
is an error on every rank.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from monitor_core.errors import RankError


class Kind(enum.IntEnum):
    """What a rank is doing when it exchanges results."""

    BEGIN = 0
    STEP = 1
    EVALUATION = 2
    """An evaluation among the batches of an epoch."""
    VALIDATION = 3
    """One after all of them."""
    TEST = 4
    """One outside of epochs."""
    EPOCH = 5
    DECISION = 6
    """After the hooks of an epoch's end, in which sinks decide."""
    END = 7
    SHARE = 8
    """Where each rank passes something to all, such as its part in a save."""


_WAITS_FOR = {
    Kind.VALIDATION: {Kind.STEP, Kind.EVALUATION},
    Kind.EPOCH: {Kind.STEP, Kind.EVALUATION, Kind.VALIDATION},
    Kind.END: {Kind.TEST},
}
"""What a rank takes part in while it waits at a point of some kind."""


@attrs.frozen
class Position:
    """A point of the run.

    Attributes:
        kind: What happens there.
        epoch: The epoch, 0-based; -1 before the first.
        step: How many batches of the epoch have ended, where the ranks must not differ in it; else 0.
        label: A number that differs if what happens there does, such as the evaluation's name.
    """

    kind: Kind
    epoch: int
    step: int = 0
    label: int = 0

    def to_list(self) -> list[float]:
        """Return it as numbers."""
        return [float(self.kind), float(self.epoch), float(self.step), float(self.label)]

    @classmethod
    def of(cls, numbers: NDArray[np.float64]) -> Position:
        """Return what `to_list` returned."""
        kind, epoch, step, label = (int(each) for each in numbers)
        return cls(Kind(kind), epoch, step, label)

    def waits_for(self, other: Position) -> bool:
        """Return whether a rank at this point takes part in the exchange of another one, and stays where it is."""
        return other.kind in _WAITS_FOR.get(self.kind, ()) and other.epoch == self.epoch

    def __str__(self) -> str:
        epoch = f"epoch {self.epoch + 1}"
        return {
            Kind.BEGIN: "the begin of the run",
            Kind.STEP: f"step {self.step} of {epoch}",
            Kind.EVALUATION: f"an evaluation after step {self.step} of {epoch}",
            Kind.VALIDATION: f"an evaluation after the batches of {epoch}",
            Kind.TEST: f"an evaluation after {epoch}" if self.epoch >= 0 else "an evaluation before the first epoch",
            Kind.EPOCH: f"the end of {epoch}",
            Kind.DECISION: f"the end of {epoch}, after its sinks",
            Kind.END: f"the end of the run, after {epoch}" if self.epoch >= 0 else "the end of the run",
            Kind.SHARE: f"a save or a resumption after step {self.step} of {epoch}"
            if self.epoch >= 0
            else "a save or a resumption before the first epoch",
        }[self.kind]


def completed(positions: Sequence[Position]) -> list[int]:
    """Return the ranks whose exchange is complete: all of them, or those that the others wait for.

    Args:
        positions: That of each rank.

    Raises:
        RankError: They do not fit together.
    """
    distinct = list(dict.fromkeys(positions))  # a few, of many ranks
    first = next((each for each in distinct if not any(map(each.waits_for, distinct))), positions[0])
    if any(each != first and not each.waits_for(first) for each in distinct):
        raise RankError(_differing(positions))
    return [rank for rank, each in enumerate(positions) if each == first]


def _differing(positions: Sequence[Position]) -> str:
    places: dict[str, list[int]] = {}
    for rank, each in enumerate(positions):
        places.setdefault(str(each), []).append(rank)
    advice = "run the same epochs and evaluations on every rank"
    if any(each.kind == Kind.SHARE for each in positions):
        advice = "give every rank the same `resume=` and, in the same order, the same sinks that save a sharded model"
    if len(places) == 1:
        differ = "give every rank the same `ranks=` and the evaluations the same names"
        return f"the ranks differ at {positions[0]}: {advice if positions[0].kind == Kind.SHARE else differ}"
    listed = ", ".join(f"{named(ranks)} at {place}" for place, ranks in places.items())
    return f"the ranks are at different points of the run, {listed}: {advice}"


def named(ranks: Sequence[int]) -> str:
    """Return ranks as a person would list them; of many, the first."""
    shown = ", ".join(map(str, ranks[:8])) + (f" and {len(ranks) - 8} more" if len(ranks) > 8 else "")
    return f"rank{'' if len(ranks) == 1 else 's'} {shown}"
