"""What the tests of model checkpoint share."""

import os
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import strategies as st

from monitor_core import Bus
from monitor_core.files import replacing

BACKEND = keras.backend.backend()


LONG = 50 if os.environ.get("MONITOR_CORE_LONG") else 1


EXECUTIONS = [1] if BACKEND == "torch" else [1, 3]  # Keras's torch backend has no steps_per_execution


class Model:
    """A handle of one array, which saves itself in pieces; on request, a save fails."""

    def __init__(self, *values, size=3):
        self.values = np.array(values or [0.0] * size)
        self.error = None
        self.saves = 0

    def save(self, path, *, weights_only=False):
        self.saves += 1
        with Path(path).open("wb") as file:
            np.save(file, self.values)
            if self.error is not None:
                raise self.error

    def load(self, path):
        self.values = np.load(path, allow_pickle=False)


def names(folder):
    """Return the names of the checkpoints in a folder, sorted."""
    return sorted(
        each.relative_to(folder).as_posix()
        for each in Path(folder).rglob("*")
        if each.is_file() and not any(part in each.name for part in (".latest.", ".state-", "-lock-"))
    )


def drive(bus, epochs, first=0, *, end=True):
    """Drive a bus through epochs, each given by its logs; the model's value is the epoch's number from 1."""
    bus.train_begin()
    for epoch, logs in enumerate(epochs, start=first):
        bus.epoch_begin(epoch)
        bus.batch_begin(bus.run.step + 1)
        bus.batch_end(bus.run.step + 1, {})
        bus.run.model.values = np.full(3, epoch + 1.0)
        bus.epoch_end(epoch, logs)
        if bus.run.stopped:
            break
    if end:
        bus.train_end()
    return bus


def losses(*values):
    return [{"val_loss": value} for value in values]


def run(checkpoint, *values):
    """Run epochs with these validation losses, strictly; return the names of the files that are there."""
    drive(Bus(checkpoint, model=Model(), strict=True), losses(*values))
    return names(checkpoint.index_path.parent)


@pytest.fixture(scope="module")
def unflushed():
    """Skip flushing to disk, which no decision depends on, for thousands of tiny files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replacing, "sync", lambda path: None)
        yield


NUMBERS = st.one_of(
    st.floats(allow_nan=False),
    st.integers(-3, 3).map(float),
    st.sampled_from([0.0, -0.0, 1e308, 5e-324, -5e-324, 1.0, 1.0 + 2**-52, float("inf"), float("-inf")]),
)


NO_NUMBERS = st.sampled_from([float("nan"), None, "a text", [1.0, 2.0], "missing"])


RNG = np.random.default_rng(0)


X = RNG.normal(size=(40, 6)).astype("float32")


Y = (X.sum(axis=1, keepdims=True) > 0).astype("float32")


@pytest.fixture(scope="module")
def compiled():
    models = {}
    for execution in EXECUTIONS:
        keras.utils.set_random_seed(7)
        model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, "tanh"), keras.layers.Dense(1, "sigmoid")])
        model.compile("sgd", "binary_crossentropy", metrics=["accuracy"], steps_per_execution=execution)
        models[execution] = model
    return models, models[1].get_weights()


def fit(model, callbacks, epochs=4, **options):
    """Fit 4 batches an epoch, without shuffling, which uses different random generators on each backend."""
    return model.fit(
        X[:32],
        Y[:32],
        validation_data=(X[32:], Y[32:]),
        epochs=epochs,
        callbacks=callbacks,
        **{"batch_size": 8, "verbose": 0, "shuffle": False, **options},
    )
