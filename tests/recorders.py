"""Sinks that record what they receive, or misbehave on request; the tests use these instead of mocks."""

import math

from monitor_core import Sink
from monitor_core.testing import Recorder
from monitor_core.testing.recorder import plain

__all__ = ["BlockRecorder", "Handle", "Raiser", "Recorder", "close_to", "exact", "plain", "train"]


def exact(logs):
    """Return logs with their floats as strings, so that NaN equals NaN and -0.0 differs from 0.0."""
    return {name: float(value).hex() for name, value in logs.items()}


class Raiser(Recorder):
    """Record, and then raise the errors given, one a call; None means a success.

    Args:
        hook: The hook that raises.
        *errors: What to raise in turn.
        forever: What to raise after these.
        critical: As in `Sink`.
        **options: As in `Recorder`.
    """

    def __init__(self, hook, *errors, forever=None, critical=False, **options):
        super().__init__(hook, **{"name": "Raiser", **options})
        self.errors = list(errors)
        self.forever = forever
        self.critical = critical

    def record(self, run, hook, *args):
        """Record an event and raise what is due."""
        super().record(run, hook, *args)
        error = self.errors.pop(0) if self.errors else self.forever
        if error is not None:
            raise error


class BlockRecorder(Sink):
    """Keep the blocks."""

    def __init__(self):
        self.blocks = []

    def on_block(self, run, block):
        """Keep a block."""
        self.blocks.append(block)

    @property
    def rows(self):
        """Every step so far as its epoch, number and metrics."""
        return [(block.epoch, step, row) for block in self.blocks for step, row in block.rows()]

    @property
    def steps(self):
        """Every step's number, block by block."""
        return [block.steps.tolist() for block in self.blocks]

    def column(self, name):
        """Return one metric's values over all blocks, None where missing."""
        return [row.get(name) for _, _, row in self.rows]


class Handle:
    """A model handle with two learning rates."""

    def __init__(self, *rates):
        self.learning_rates = list(rates or (0.1, 0.01))


def train(bus, *epochs):
    """Drive a bus through a run of these epochs, each a list of its batches' logs; the epoch's logs are the last's."""
    bus.train_begin()
    for epoch, batches in enumerate(epochs):
        bus.epoch_begin(epoch)
        for logs in batches:
            bus.batch_begin(bus.run.step + 1)
            bus.batch_end(bus.run.step + 1, logs)
        bus.epoch_end(epoch, batches[-1] if batches else {})
    bus.train_end()


def close_to(value, expected):
    """Return whether two floats are equal up to rounding; NaN equals NaN."""
    return value == expected or (math.isnan(value) and math.isnan(expected)) or math.isclose(value, expected)
