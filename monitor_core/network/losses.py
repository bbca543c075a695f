"""The messages that an outbox has lost, and its warnings: one for each cause.

Contract. The outbox calls everything here while it holds its lock, except `Remarks.log`: logging may take long, or put
a message.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import NamedTuple

import attrs

from monitor_core._log import logger

CAUSES = 20
"""How many causes are logged at most, since their wording may vary without limit."""


class Loss(NamedTuple):
    """How many messages were dropped, how many failed, and how many values were in all of them."""

    dropped: int = 0
    failed: int = 0
    values: int = 0


NOTHING = Loss()


@attrs.define
class Losses:
    """Counts lost messages.

    Attributes:
        total: All losses.
        first: The number of the first lost message, or None.
    """

    total: Loss = NOTHING
    first: int | None = None
    _taken: Loss = NOTHING

    def add(self, number: int, loss: Loss) -> None:
        """Count the message with this number."""
        self.total = Loss(*(before + more for before, more in zip(self.total, loss, strict=True)))
        self.first = min(number, self.first or number)

    def any_up_to(self, number: int) -> bool:
        """Return whether one of the messages up to this number was lost."""
        return self.first is not None and self.first <= number

    def take(self) -> Loss:
        """Return the losses since the last call."""
        before, self._taken = self._taken, self.total
        return Loss(*(now - then for now, then in zip(self.total, before, strict=True)))


class Remarks:
    """Warnings that wait until they can be logged."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._waiting: deque[tuple[object, ...]] = deque()

    def __bool__(self) -> bool:
        """Return whether any wait."""
        return bool(self._waiting)

    def add(self, text: str, *args: object) -> None:
        """Add a warning."""
        self._waiting.append((text, *args))

    def know(self, cause: str) -> None:
        """Mark a cause as known, so that `add_once` skips it."""
        self._known.add(cause)

    def add_once(self, cause: str, text: str, *args: object) -> None:
        """Add a warning, unless this cause is known or `CAUSES` others are."""
        if cause not in self._known and len(self._known) < CAUSES:
            self.know(cause)
            self.add(text, *args)

    def drop(self) -> None:
        """Drop the waiting warnings, as in a forked process; the causes stay known."""
        self._waiting = deque()

    def log(self) -> None:
        """Log the waiting warnings; several threads may call this."""
        with suppress(IndexError):
            while True:
                text, *args = self._waiting.popleft()
                logger.warning(text, *args)
