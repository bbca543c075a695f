"""Check the order of a run's train, epoch and batch events.

Train and epoch order is always checked; batch order only with ``strict=True``, because the check costs as much as
calling a hook.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from monitor_core.bus.run import Run
from monitor_core.errors import OrderError


class Order:
    """Tracks which epoch and which batch are open.

    Attributes:
        epoch: The open epoch, 0-based, or None.
        batch: The open batch, from 1, or None; known only where batch order is checked.
    """

    def __init__(self) -> None:
        self.epoch: int | None = None
        self.batch: int | None = None

    def require_run(self, event: str, run: Run) -> None:
        """Raise an OrderError unless the run is open."""
        if run.status != "running":
            raise OrderError(f"{event} without train_begin(): the run is {run.status}; call train_begin() first")

    def require_next_epoch(self, epoch: int, run: Run) -> None:
        """Check that an epoch may begin.

        Raises:
            OrderError: No run is open, another epoch is open, or the number is not higher than the last.
        """
        event = f"epoch_begin({epoch})"
        self.require_run(event, run)
        if self.epoch is not None:
            raise OrderError(f"{event} while epoch {self.epoch} is open: end it first")
        if epoch <= run.epoch:
            raise OrderError(
                f"{event} after epoch {run.epoch}: epochs must ascend within a run; the next is {run.epoch + 1} or more"
            )

    def require_epoch(self, epoch: int) -> None:
        """Raise an OrderError unless this epoch is open."""
        if epoch != self.epoch:
            raise OrderError(f"epoch_end({epoch}) while {_named(self.epoch)} is open")

    def require_no_epoch(self) -> None:
        """Raise an OrderError while an epoch is open."""
        if self.epoch is not None:
            raise OrderError(f"train_end() while epoch {self.epoch} is open: end it first")

    def close(self) -> None:
        """Close whatever is open."""
        self.epoch = self.batch = None

    def checked_begin(self, begin: Callable[[int], None], step_of: Callable[[], int]) -> Callable[[int], None]:
        """Return a batch's begin that checks the order first."""

        def checked(step: int) -> None:
            if self.epoch is None:
                raise OrderError(f"batch_begin({step}) outside of an epoch: call epoch_begin() first")
            if self.batch is not None:
                raise OrderError(f"batch_begin({step}) while batch {self.batch} is open: end it first")
            if step != step_of() + 1:
                raise OrderError(f"batch_begin({step}) after step {step_of()}: the next is {step_of() + 1}")
            self.batch = step
            begin(step)

        return checked

    def checked_end(self, end: Callable[..., None]) -> Callable[..., None]:
        """Return a batch's end that checks the order first."""

        def checked(step: int, logs: Mapping[str, Any] | None = None, *more: Any) -> None:
            if self.batch is None or step < self.batch:
                raise OrderError(f"batch_end({step}) while {_named(self.batch, 'batch')} is open")
            self.batch = None
            end(step, logs, *more)

        return checked


def _named(number: int | None, what: str = "epoch") -> str:
    return f"no {what}" if number is None else f"{what} {number}"
