"""What the ranks exchange numbers and notes with: interfaces that each framework fills in its own module."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Board(Protocol):
    """A store of notes by key that all ranks read and write, while any of them may be stopped or dead.

    Any method may block or raise if the process that keeps the notes does not answer.
    """

    def part(self, name: str) -> Board:
        """Return the notes whose keys begin with a name, under what follows it."""
        ...

    def set(self, key: str, text: str) -> None:
        """Write a note."""
        ...

    def get(self, key: str) -> str | None:
        """Return a note, None if there is none."""
        ...

    def add(self, key: str, amount: int) -> int:
        """Add to a counter, 0 at first, and return its new value."""
        ...

    def set_once(self, key: str, text: str) -> str:
        """Write a note unless there is one; return the one that is there."""
        ...

    def delete(self, key: str) -> None:
        """Remove a note or a counter, if it is there."""
        ...


class Collective(Protocol):
    """Gathers numbers from all ranks, which all have come to the same `gather`, each with as many numbers.

    Attributes:
        rank: The number of this process, from 0.
        ranks: How many there are.
        board: Their notes; None if the framework has no store, so that they cannot watch each other.
        patience: How many seconds the ranks wait for each other at most, as the framework does.
    """

    rank: int
    ranks: int
    board: Board | None
    patience: float

    def open(self) -> None:
        """Connect the ranks; each has called this, or is about to."""
        ...

    @property
    def is_open(self) -> bool:
        """Whether the connection still exists, as far as this rank knows."""
        ...

    def gather(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return every rank's numbers, unchanged to the last bit: they may be anything, also text.

        Args:
            numbers: Those of this rank, ``(n,) float64``.

        Returns:
            ``(ranks, n) float64``.

        Raises:
            Exception: The connection broke.
        """
        ...

    def is_broken(self, error: BaseException) -> bool:
        """Return whether the training raised an exception because its connection to another rank broke."""
        ...

    def close(self) -> None:
        """Free the connection."""
        ...
