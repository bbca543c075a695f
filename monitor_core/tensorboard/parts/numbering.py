"""How epochs and steps are numbered in TensorBoard, so that no run writes over the numbers of the one before."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from monitor_core.bus.run import Run

_OVER_EPOCHS = re.compile(
    r"(epoch_|hparams/|confusion_matrix|pr_curve).*"
    r"|.*/(histogram|image|activations|gradient)(/not_finite)?(_[0-9a-f]{8})?",  # the end of a tag that was cleaned
    re.DOTALL,
)


def counts_epochs(tag: str) -> bool:
    """Answer, by its name, whether a tag's values stand over the epochs; all others stand over the steps."""
    return _OVER_EPOCHS.fullmatch(tag) is not None


@attrs.define
class Numbering:
    """The numbers of a run's epochs and steps, continued from those of the runs before.

    A run whose first epoch is 0 is numbered from behind the last epoch, and one that counts its steps from 1 from
    behind the last step. A run that begins with a later epoch keeps its numbers, whatever is there.

    Attributes:
        last_epoch: The largest epoch that was recorded, -1 before the first.
        last_step: The largest step of the runs before, and of this one up to its last epoch.
    """

    last_epoch: int = -1
    last_step: int = 0
    _epoch_shift: int = 0
    _step_shift: int = 0
    _settled: bool = False

    def begin(self) -> None:
        """Begin a run, whose first epoch is not known yet."""
        self._settled = False

    def settle(self, run: Run, epoch: int) -> None:
        """Settle, with the run's first epoch, how its numbers are shifted; later calls do nothing."""
        if not self._settled:
            self._settled = True
            self._epoch_shift = self.last_epoch + 1 if epoch == 0 else 0
            self._step_shift = self.last_step if run.step == 0 else 0

    @property
    def step_shift(self) -> int:
        """What is added to the run's steps."""
        return self._step_shift

    def epoch(self, epoch: int) -> int:
        """Return the number of an epoch of the run."""
        return epoch + self._epoch_shift

    def step(self, step: int) -> int:
        """Return the number of a step of the run; before its first epoch, the last one of the runs before."""
        return step + self._step_shift if self._settled else self.last_step

    def present(self, run: Run | None, tag: str) -> int:
        """Return the step of what is written now under a tag: the epoch, or how many batches have ended."""
        if run is None or not self._settled:
            return max(0, self.last_epoch) if counts_epochs(tag) else self.last_step
        return max(0, self.epoch(run.epoch)) if counts_epochs(tag) else self.step(run.step)

    def record(self, run: Run, epoch: int | None = None) -> None:
        """Note how far the run has come, and that an epoch of it was recorded."""
        if self._settled:
            self.last_step = max(self.last_step, self.step(run.step))
        if epoch is not None:
            self.last_epoch = max(self.last_epoch, self.epoch(epoch))

    def rewind(self, epoch: int, step: int) -> Callable[[int, str], bool]:
        """Go back to where an epoch of the run is the next; return what tells, by step and tag, what is before it."""
        if not self._settled and epoch > 0:  # the run goes on with one of an earlier process, whose numbers it has
            self._settled, self._epoch_shift, self._step_shift = True, 0, 0
        next_epoch = self.epoch(epoch) if self._settled else self.last_epoch + 1
        last_step = self.step(step)
        self.last_epoch, self.last_step = min(self.last_epoch, next_epoch - 1), min(self.last_step, last_step)
        return lambda number, tag: number < next_epoch if counts_epochs(tag) else number <= last_step

    def state_dict(self) -> dict[str, Any]:
        """Return how this run's numbers are shifted, and the largest ones."""
        return {
            "shift": [self._epoch_shift, self._step_shift] if self._settled else None,
            "last": [self.last_epoch, self.last_step],
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Numbering:
        """Go on from what `state_dict` returned."""
        shift = state["shift"]
        last_epoch, last_step = map(int, state["last"])
        epoch_shift, step_shift = map(int, shift or (0, 0))
        return cls(last_epoch, last_step, epoch_shift, step_shift, shift is not None)
