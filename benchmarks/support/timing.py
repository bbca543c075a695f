"""Turns and times: whose turn it is, and what it takes."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import attrs


def turns(names: Sequence[str], rounds: int) -> Iterator[str]:
    """Yield whose turn it is: in each round every name once, beginning with another one and in the other direction."""
    for number in range(rounds):
        first = number % len(names)
        order = [*names[first:], *names[:first]]
        yield from order if number % 2 == 0 else reversed(order)


@contextmanager
def collector(*, on: bool) -> Iterator[None]:
    """Let the garbage collector look at what comes from now on, or at nothing at all."""
    gc.collect()
    gc.freeze()  # what is there already would make each of its rounds long, at the cost of whose turn it is
    if not on:
        gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


@attrs.define
class Times:
    """What a variant took, in seconds, with an item for each of its turns.

    Attributes:
        wall: From begin to end.
        processor: The processor's time of all threads. It scatters less on a machine that does other work too, and is
            blind for waits.
        hooks: What of ``wall`` the training's thread spent in the variant's hooks, where that is known.
        typical: What of it a batch in the middle took, by the time in its hooks: all that comes with every batch, and
            neither what comes with some, such as the handing over of blocks, nor what the machine did meanwhile.
    """

    wall: list[float] = attrs.Factory(list)
    processor: list[float] = attrs.Factory(list)
    hooks: list[float] = attrs.Factory(list)
    typical: list[float] = attrs.Factory(list)

    def after(self, rounds: int) -> Times:
        """Return what comes after the first rounds."""
        return Times(*(recorded[rounds:] for recorded in attrs.astuple(self, recurse=False)))


class Stopwatch:
    """Runs from when it is made until it is read."""

    def __init__(self) -> None:
        self._processor, self._wall = time.process_time(), time.perf_counter()

    def read(self) -> tuple[float, float]:
        """Return the seconds that went by, and those of the processor."""
        return time.perf_counter() - self._wall, time.process_time() - self._processor
