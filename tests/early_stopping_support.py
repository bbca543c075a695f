"""What the tests of early stopping share."""

import math
import os

import numpy as np
from hypothesis import strategies as st

from monitor_core import Bus, Loop
from monitor_core.sinks.early_stopping import EarlyStopping

EXAMPLES = 5_000 if os.environ.get("MONITOR_CORE_LONG") else 100


MISSING = "missing"


METRIC = "metric"


class Stub:
    """A model for Keras's callback and a handle for ours: its one weight is the number of the last epoch."""

    def __init__(self):
        self.stop_training = False
        self.weight = -1
        self.fetched = []

    def get_weights(self):
        self.fetched.append(self.weight)
        return [np.array([float(self.weight)])]

    def set_weights(self, weights):
        self.weight = int(weights[0][0])


def logs_of(value):
    return {"loss": 1.0} if value is MISSING else {"loss": 1.0, METRIC: value}


def drive(bus, values, first_epoch=0, *, end=True):
    """Drive a bus through epochs until it stops; return the epoch in which it did."""
    for epoch, value in enumerate(values, first_epoch):
        if bus.run.stopped:
            break
        bus.epoch_begin(epoch)
        bus.run.model.weight = epoch
        bus.epoch_end(epoch, logs_of(value))
    if end:
        bus.train_end()
    return bus.run.epoch if bus.run.stopped else None


def our_run(values, options, first_epoch=0):
    """Return what ours decides on these values, as `outcome` returns it."""
    sink, model = EarlyStopping(METRIC, **options), Stub()
    bus = Bus(sink, model=model, strict=True)
    bus.train_begin()
    return outcome(sink, drive(bus, values, first_epoch), model)


def outcome(callback, stopped, model):
    return {
        "stopped": stopped,
        "stopped_epoch": callback.stopped_epoch,
        "best": callback.best,
        "best_epoch": callback.best_epoch,
        "wait": callback.wait,
        "best_weights": callback.best_weights and int(callback.best_weights[0][0]),
        "weight": model.weight,
    }


def options(numbers):
    return st.fixed_dictionaries(
        {
            "min_delta": numbers,
            "patience": st.integers(0, 4),
            "mode": st.sampled_from(["min", "max"]),
            "baseline": st.none() | numbers,
            "restore_best_weights": st.booleans(),
            "start_from_epoch": st.integers(0, 4),
        }
    )


# A walk over few values with steps of about min_delta makes equal ones and differences of exactly min_delta likely.
WALK = st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.1 + 0.2, 0.5, 1.0, 5e-324, 1e308, -1e308, 1e-310, -0.0])


DELTA = st.sampled_from([0, 0.1, -0.1, 0.2, 5e-324, 1e-300, 1e308]) | st.floats(-2, 2)


VALUE = WALK | st.floats(allow_nan=False)


ODD = st.sampled_from([math.nan, math.inf, -math.inf, None, MISSING])


SEQUENCE = st.lists(VALUE | ODD, max_size=14)


def reason(values, **options):
    """Return why, when and with what status ours stops on these values of the metric."""
    with Loop(EarlyStopping(METRIC, **{"mode": "min", **options}), model=Stub()) as loop:
        for epoch in loop.epochs(len(values)):
            loop.log({METRIC: values[epoch]})
    return loop.run.stop_reason, loop.run.epoch, loop.run.status
