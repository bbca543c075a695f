"""How epochs and steps are numbered if several runs share a record, so that no two runs use the same numbers.

Contract. A run whose first epoch is 0 is numbered from after the last epoch, and one that counts its steps from 1 from
after the last step. A run that begins with a later epoch, such as a resumed run, keeps its numbers, whatever is
recorded; so do steps that are not counted from 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import attrs


@attrs.define
class Numbering:
    """The numbers of a run's epochs and steps, continued from those of the runs before.

    Attributes:
        last_epoch: The largest epoch that was recorded, -1 before the first.
        last_step: The largest step of the runs before, and of this one up to its last epoch.
    """

    last_epoch: int = -1
    last_step: int = 0
    _shift: tuple[int, int] | None = attrs.field(default=None, init=False)

    def begin(self) -> None:
        """Begin a run, whose first epoch is not known yet."""
        self._shift = None

    def settle(self, epoch: int, step: int) -> None:
        """Determine, from a run's first epoch, how its numbers are shifted; later calls do nothing.

        Args:
            epoch: The run's first epoch, 0-based.
            step: How many batches of the run have ended before it.
        """
        if self._shift is None:
            self._shift = (self.last_epoch + 1 if epoch == 0 else 0, self.last_step if step == 0 else 0)

    @property
    def is_settled(self) -> bool:
        """Whether the run's first epoch is known."""
        return self._shift is not None

    @property
    def shift(self) -> tuple[int, int] | None:
        """What is added to the run's epochs and steps, None before its first epoch."""
        return self._shift

    @shift.setter
    def shift(self, shift: Sequence[int] | None) -> None:
        self._shift = None if shift is None else (int(shift[0]), int(shift[1]))

    def epoch(self, epoch: int) -> int:
        """Return the number of an epoch of the run."""
        return epoch + (self._shift or (0, 0))[0]

    def step(self, step: int) -> int:
        """Return the number of a step of the run; before its first epoch, the last one of the runs before."""
        return self.last_step if self._shift is None else step + self._shift[1]

    def record(self, step: int, epoch: int | None = None) -> None:
        """Note how many batches of the run have ended, and that an epoch of it was recorded."""
        if self._shift is not None:
            self.last_step = max(self.last_step, self.step(step))
        if epoch is not None:
            self.last_epoch = max(self.last_epoch, self.epoch(epoch))

    def rewind(self, epoch: int, step: int) -> tuple[int, int]:
        """Go back to the point where this epoch is the run's next, and this many of its batches have ended.

        Returns:
            The number that the next epoch gets, and that of the last remaining step.
        """
        if self._shift is None and epoch > 0:  # the run continues one of an earlier process, whose numbers it has
            self._shift = (0, 0)
        next_epoch = self.last_epoch + 1 if self._shift is None else self.epoch(epoch)
        last_step = self.step(step)
        self.last_epoch, self.last_step = min(self.last_epoch, next_epoch - 1), min(self.last_step, last_step)
        return next_epoch, last_step

    def state_dict(self) -> dict[str, Any]:
        """Return how this run's numbers are shifted, and the largest ones."""
        shift = self._shift
        return {"shift": None if shift is None else list(shift), "last": [self.last_epoch, self.last_step]}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Continue from what `state_dict` returned."""
        numbers = cls(*map(int, state["last"]))
        numbers.shift = state["shift"]
        return numbers
