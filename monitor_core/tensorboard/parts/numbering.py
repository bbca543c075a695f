"""How epochs and steps are numbered in TensorBoard, so that no run writes over the numbers of the one before."""

from __future__ import annotations

import re
from collections.abc import Callable

import attrs

from monitor_core.bus.run import Run
from monitor_core.records.numbering import Numbering

_OVER_EPOCHS = re.compile(
    r"(epoch_|hparams/|confusion_matrix|pr_curve).*"
    r"|.*/(histogram|image|activations|gradient)(/not_finite)?(_[0-9a-f]{8})?",  # the end of a tag that was cleaned
    re.DOTALL,
)


def counts_epochs(tag: str) -> bool:
    """Answer, by its name, whether a tag's values stand over the epochs; all others stand over the steps."""
    return _OVER_EPOCHS.fullmatch(tag) is not None


@attrs.define
class BoardNumbering(Numbering):
    """The numbers of a run's epochs and steps in TensorBoard, over which each tag's values stand."""

    def present(self, run: Run | None, tag: str) -> int:
        """Return the step of what is written now under a tag: the epoch, or how many batches have ended."""
        if run is None or not self.is_settled:
            return max(0, self.last_epoch) if counts_epochs(tag) else self.last_step
        return max(0, self.epoch(run.epoch)) if counts_epochs(tag) else self.step(run.step)

    def keep_before(self, epoch: int, step: int) -> Callable[[int, str], bool]:
        """Go back to where an epoch of the run is the next; return what tells, by step and tag, what is before it."""
        next_epoch, last_step = self.rewind(epoch, step)
        return lambda number, tag: number < next_epoch if counts_epochs(tag) else number <= last_step
