"""A fit that begins with a later epoch than Keras was asked for."""

from __future__ import annotations

from typing import Any


class LateBegin:
    """Lets Keras begin with a later epoch; Keras remembers that over fits, so it is undone when this one has ended."""

    def __init__(self) -> None:
        self._before: tuple[Any, Any] | None = None

    def set(self, model: Any, epoch: int) -> None:
        """Let the fit that begins start with an epoch, 0-based."""
        self._before = (model, model._initial_epoch)
        model._initial_epoch = epoch

    def undo(self) -> None:
        """Let the model be as before."""
        if self._before is not None:
            model, initial_epoch = self._before
            model._initial_epoch = initial_epoch
            self._before = None
