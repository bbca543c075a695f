"""A fit that begins with a later epoch than the one passed to Keras."""

from __future__ import annotations

from typing import Any


class LateBegin:
    """Makes Keras begin with a later epoch; Keras keeps that over fits, so it is undone when this fit ends."""

    def __init__(self) -> None:
        self._before: tuple[Any, Any] | None = None

    def set(self, model: Any, epoch: int) -> None:
        """Make the next fit start with an epoch, 0-based."""
        self._before = (model, model._initial_epoch)
        model._initial_epoch = epoch

    def undo(self) -> None:
        """Restore the model's earlier setting."""
        if self._before is not None:
            model, initial_epoch = self._before
            model._initial_epoch = initial_epoch
            self._before = None
