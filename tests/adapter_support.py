"""What the tests of adapter share."""

import keras
import numpy as np
import pytest

from monitor_core import (
    Sink,
)

BACKEND = keras.backend.backend()


RNG = np.random.default_rng(0)


X = RNG.normal(size=(40, 6)).astype("float32")


Y = (X.sum(axis=1, keepdims=True) > 0).astype("float32")


TRAIN, VALIDATION = (X[:32], Y[:32]), (X[32:], Y[32:])


EXECUTIONS = [1] if BACKEND == "torch" else [1, 3]  # Keras's torch backend has no steps_per_execution


HOOKS = ["train_begin", "train_end", "test_begin", "test_end", "predict_begin", "predict_end"]


NUMBERED_HOOKS = ["epoch_begin", "epoch_end"] + [
    f"{mode}_batch_{edge}" for mode in ("train", "test", "predict") for edge in ("begin", "end")
]


def build(steps_per_execution=1):
    keras.utils.set_random_seed(7)
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, "tanh"), keras.layers.Dense(1, "sigmoid")])
    model.compile("sgd", "binary_crossentropy", metrics=["accuracy"], steps_per_execution=steps_per_execution)
    return model


@pytest.fixture(scope="module")
def compiled():
    models = {number: build(number) for number in EXECUTIONS}
    start = models[1].get_weights()
    return models, start


@pytest.fixture
def model(compiled):
    return fresh(compiled)


def fresh(compiled, steps_per_execution=1):
    """Return the compiled model as it was new, random generators included."""
    models, start = compiled
    keras.utils.set_random_seed(7)
    models[steps_per_execution].set_weights(start)
    return models[steps_per_execution]


def fit(model, callbacks, **options):
    """Fit without shuffling, which uses different random generators on each backend."""
    settings = {"epochs": 2, "batch_size": 8, "verbose": 0, "shuffle": False, "callbacks": callbacks, **options}
    return model.fit(*TRAIN, **settings)


class Recorder(keras.callbacks.Callback):
    """A Keras callback that records each hook, its number and its logs, and stops the training at ``stop_at``."""

    def __init__(self, stop_at=None):
        super().__init__()
        self.events = []
        self._stop_at = stop_at

    def record(self, *event):
        self.events.append(event)
        if self._stop_at is not None and event[:2] == self._stop_at:
            self.model.stop_training = True


for hook in HOOKS:
    setattr(Recorder, f"on_{hook}", lambda self, logs=None, hook=hook: self.record(hook, None, logs))


for hook in NUMBERED_HOOKS:
    setattr(
        Recorder, f"on_{hook}", lambda self, number, logs=None, hook=hook: self.record(hook, number, comparable(logs))
    )


def comparable(logs):
    """Return logs without predictions, which are arrays."""
    return {name: value for name, value in logs.items() if name != "outputs"}


class Listener(Sink):
    """A sink that records each event, with the logs as floats."""

    def __init__(self):
        self.events = []

    def on_train_begin(self, run):
        self.events.append(("train_begin", run.epochs))

    def on_train_end(self, run, logs):
        self.events.append(("train_end", run.status))

    def on_epoch_begin(self, run, epoch):
        self.events.append(("epoch_begin", epoch))

    def on_epoch_end(self, run, epoch, logs):
        self.events.append(("epoch_end", epoch, sorted(logs)))

    def on_batch_begin(self, run, step):
        self.events.append(("batch_begin", step))

    def on_batch_end(self, run, step, logs):
        self.events.append(("batch_end", step, sorted(logs)))

    def on_evaluation_begin(self, run):
        self.events.append(("evaluation_begin",))

    def on_evaluation_end(self, run, logs):
        self.events.append(("evaluation_end", sorted(logs)))


def batches(rows):
    """Return a generator of batches, whose number Keras cannot know."""
    for first in range(0, rows, 8):
        yield X[first : first + 8], Y[first : first + 8]


def ask_to_stop(run, epoch, logs):
    run.stop("enough")
