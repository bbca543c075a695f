"""Ranks without notes: they do not watch each other, and an exchange begins as soon as this rank comes to it.

It has what `monitor_core.ranks.watch.Watch` has for the training's thread.
"""

from __future__ import annotations

from monitor_core.ranks.watch import Arrival


class Unwatched:
    """Lets each exchange begin, and knows of no rank that has left or is lost.

    Attributes:
        exchanges: How many exchanges this rank has come to.
        epoch: Its epoch, 0-based; for the training's thread to set.
        begun: How many batches of it have begun; the same.
        left: No rank.
        gone: No rank.
    """

    period = 1.0

    def __init__(self) -> None:
        self.exchanges, self.epoch, self.begun = 0, -1, 0
        self.left: dict[int, str] = {}
        self.gone: dict[int, str] = {}

    def arrive(self) -> Arrival:
        """Come to the next exchange, which begins."""
        self.exchanges += 1
        arrival = Arrival(self.exchanges)
        arrival.over.set()
        return arrival

    def late(self) -> list[int]:
        """Return nothing."""
        return []

    def ahead(self, *, in_epoch: bool) -> list[int]:
        """Return nothing."""
        return []

    def are_all_alive_after(self, moment: float) -> bool:
        """Return True, as nothing else is known."""
        return True

    def report(self) -> None:
        """Report nothing."""

    def leave(self, why: str) -> None:
        """Leave; the others learn it from the framework."""

    def stop(self) -> None:
        """Do nothing."""
