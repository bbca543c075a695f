"""How epochs and steps are numbered in TensorBoard, so that no run overwrites the numbers of an earlier one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from monitor_core.bus.run import Run

_OVER_EPOCHS = re.compile(
    r"(epoch_|hparams/|confusion_matrix|pr_curve).*"
    r"|.*/(histogram|image|activations|gradient)(/not_finite)?(_[0-9a-f]{8})?",  # the end of a cleaned tag
    re.DOTALL,
)


def counts_epochs(tag: str) -> bool:
    """Return whether a tag's values are over epochs, judging by its name; all others are over steps."""
    return _OVER_EPOCHS.fullmatch(tag) is not None


@attrs.define
class Numbering:
    """The numbers of a run's epochs and steps, continued from those of earlier runs.

    If a run's first epoch is 0, its epochs are numbered after the last one; if its steps count from 1, they are
    numbered after the last step. A run that begins with a later epoch keeps its numbers.

    Attributes:
        last_epoch: The largest epoch recorded; -1 before the first.
        last_step: The largest step of earlier runs, and of this one up to its last epoch.
    """

    last_epoch: int = -1
    last_step: int = 0
    _epoch_shift: int = 0
    _step_shift: int = 0
    _settled: bool = False

    def begin(self) -> None:
        """Begin a run; its first epoch is not known yet."""
        self._settled = False

    def settle(self, run: Run, epoch: int) -> None:
        """Decide, from the run's first epoch, how its numbers are shifted; later calls do nothing."""
        if not self._settled:
            self._settled = True
            self._epoch_shift = self.last_epoch + 1 if epoch == 0 else 0
            self._step_shift = self.last_step if run.step == 0 else 0

    @property
    def step_shift(self) -> int:
        """The number added to the run's steps."""
        return self._step_shift

    def epoch(self, epoch: int) -> int:
        """Return the number of an epoch of the run."""
        return epoch + self._epoch_shift

    def step(self, step: int) -> int:
        """Return the number of a step of the run; before its first epoch, the last one of earlier runs."""
        return step + self._step_shift if self._settled else self.last_step

    def present(self, run: Run | None, tag: str) -> int:
        """Return the current step for a tag: the epoch, or how many batches have ended."""
        if run is None or not self._settled:
            return max(0, self.last_epoch) if counts_epochs(tag) else self.last_step
        return max(0, self.epoch(run.epoch)) if counts_epochs(tag) else self.step(run.step)

    def record(self, run: Run, epoch: int | None = None) -> None:
        """Record the run's progress, and that one of its epochs was recorded."""
        if self._settled:
            self.last_step = max(self.last_step, self.step(run.step))
        if epoch is not None:
            self.last_epoch = max(self.last_epoch, self.epoch(epoch))

    def rewind(self, epoch: int, step: int) -> Callable[[int, str], bool]:
        """Go back to before an epoch of the run; return a function that says, by step and tag, what to keep."""
        if not self._settled and epoch > 0:  # the run continues one of an earlier process and has its numbers
            self._settled, self._epoch_shift, self._step_shift = True, 0, 0
        next_epoch = self.epoch(epoch) if self._settled else self.last_epoch + 1
        last_step = self.step(step)
        self.last_epoch, self.last_step = min(self.last_epoch, next_epoch - 1), min(self.last_step, last_step)
        return lambda number, tag: number < next_epoch if counts_epochs(tag) else number <= last_step

    def state_dict(self) -> dict[str, Any]:
        """Return how this run's numbers are shifted, and the largest numbers."""
        return {
            "shift": [self._epoch_shift, self._step_shift] if self._settled else None,
            "last": [self.last_epoch, self.last_step],
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Numbering:
        """Continue from what `state_dict` returned."""
        shift = state["shift"]
        last_epoch, last_step = map(int, state["last"])
        epoch_shift, step_shift = map(int, shift or (0, 0))
        return cls(last_epoch, last_step, epoch_shift, step_shift, shift is not None)
