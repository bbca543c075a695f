"""How many batches of an epoch have ended, from the numbers that Keras passes.

Contract. If one call runs several batches (``steps_per_execution``), Keras numbers the last call of an epoch as if it
were full. Only if the epoch's length is unknown, or exceeded, is the optimizer's count read, which waits for the
device.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

from monitor_core.values.scalars import scalar


class BatchCounter:
    """Counts the batches of a fit's epochs.

    Attributes:
        base: The run's step when the epoch began.
        one_per_call: Whether each call of a batch hook is one batch.
        numbers: Keras's numbers of batches that no sink listened to; Keras may add them on many threads, out of order.
        lags: Whether it does: a batch may then have ended whose number is not here yet.
    """

    def __init__(self) -> None:
        self.base = 0
        self.one_per_call = True
        self.numbers: deque[int] = deque(maxlen=1024)
        self.lags = False
        self._thread = 0
        self._model: Any = None
        self._steps: int | None = None
        self._last_epoch: int | None = None
        self._updates = 0

    def begin_fit(self, model: Any, steps: int | None) -> None:
        """Begin a fit of epochs of ``steps`` batches, None if unknown."""
        self._model, self._steps, self._last_epoch = model, steps, None

    def begin_epoch(self, base: int) -> None:
        """Begin an epoch at the run's step ``base``."""
        self.base = base
        self.one_per_call = self._model.steps_per_execution == 1
        self.numbers.clear()
        self.lags, self._thread = False, threading.get_ident()
        if not self.one_per_call:
            self._updates = self._optimizer_updates()

    def count(self, batch: int) -> None:
        """Take Keras's number of a batch that has ended."""
        if threading.get_ident() != self._thread:
            self.lags = True
        self.numbers.append(batch)

    @property
    def is_exact(self) -> bool:
        """Whether batches were counted, each as it ended, so that the steps of evaluations are right."""
        return bool(self.numbers) and not self.lags

    def end_epoch(self, step: int) -> int:
        """End the epoch at the run's step, or, if no sink listened to batches, at the last number received.

        Returns:
            The run's step.
        """
        if self.numbers:
            step = self.step(max(self.numbers))
        self._last_epoch = step - self.base
        return step

    def end_fit(self) -> None:
        """Release the model."""
        self._model = None

    def step(self, batch: int) -> int:
        """Return the run's step after a call that ended with Keras's number ``batch``, 0-based within the epoch."""
        return self.base + (batch + 1 if self.one_per_call else self._done(batch + 1))

    def _done(self, done: int) -> int:
        steps = self._steps or self._last_epoch
        if steps is not None and (done <= steps or self._steps):
            return min(done, int(steps))
        return min(done, self._optimizer_updates() - self._updates) or done

    def _optimizer_updates(self) -> int:
        optimizer = getattr(self._model, "optimizer", None)
        if optimizer is None:
            return 0
        if getattr(self._model, "_jax_state", None) and not self._model._jax_state_synced:
            updates = self._model._jax_state["optimizer_variables"][0]  # without a sync, which costs the whole state
        else:
            updates = optimizer.variables[0].value
        return int(scalar(updates))
