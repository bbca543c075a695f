"""Turns and times: the order of variants, and how long each takes."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import attrs


def turns(names: Sequence[str], rounds: int) -> Iterator[str]:
    """Yield the order of turns: each round has every name once, from a different start and in the other direction."""
    for number in range(rounds):
        first = number % len(names)
        order = [*names[first:], *names[:first]]
        yield from order if number % 2 == 0 else reversed(order)


@contextmanager
def collector(*, on: bool) -> Iterator[None]:
    """Let the garbage collector see only new objects, or disable it."""
    gc.collect()
    gc.freeze()  # existing objects would make each collection long, at the cost of the current variant
    if not on:
        gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


@attrs.define
class Times:
    """The times of a variant, in seconds, with an item for each of its turns.

    Attributes:
        wall: From begin to end.
        processor: The processor's time of all threads. It scatters less on a machine with other load, and
            does not include waits.
        hooks: The part of ``wall`` that the training's thread spent in the variant's hooks, if known.
        typical: The part of a batch with median time in hooks: the work of every batch, without
            occasional work, such as the delivery of blocks, and without other load on the machine.
    """

    wall: list[float] = attrs.Factory(list)
    processor: list[float] = attrs.Factory(list)
    hooks: list[float] = attrs.Factory(list)
    typical: list[float] = attrs.Factory(list)

    def after(self, rounds: int) -> Times:
        """Return the times without the first rounds."""
        return Times(*(recorded[rounds:] for recorded in attrs.astuple(self, recurse=False)))


class Stopwatch:
    """Runs from its creation until it is read."""

    def __init__(self) -> None:
        self._processor, self._wall = time.process_time(), time.perf_counter()

    def read(self) -> tuple[float, float]:
        """Return the elapsed seconds, and those of the processor."""
        return time.perf_counter() - self._wall, time.process_time() - self._processor
