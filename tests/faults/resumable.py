"""Trainings that may be killed anywhere and started again; one server process forks one child for each start.

The server imports the frameworks once and computes nothing, so that a child is a process of its own for all that
matters, and starts at once. It reads ``kind delay folder`` from its input, kills the child that many seconds after its
training has begun (``inf`` for never), and answers with the exit code and how many seconds the training took.
"""

import json
import math
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

import numpy as np

from monitor_core import (
    CSVLogger,
    EarlyStopping,
    History,
    Journal,
    Loop,
    ReduceLROnPlateau,
    Sink,
    TensorBoard,
)
from monitor_core.loop import resume as resuming

EPOCHS = 14
BATCHES = 8
PAUSE = 0.002  # seconds a batch takes at least, so that kills hit all of them


class Begun(Sink):
    """Says when the training begins, and makes batches last."""

    pipe = None

    def on_train_begin(self, run):
        os.write(self.pipe, b"begun")

    def on_batch_end(self, run, step, logs):
        time.sleep(PAUSE)


class Weights:
    """A model of three numbers."""

    def __init__(self):
        self.values = np.zeros(3)
        self.learning_rates = [0.5]

    def save(self, path, *, weights_only=False):
        with Path(path).open("wb") as file:
            np.save(file, self.values)

    def load(self, path):
        self.values = np.load(path)

    def get_weights(self):
        return [self.values.copy()]

    def set_weights(self, weights):
        (self.values,) = weights


def sinks(folder, monitor="val_loss"):
    """Return one of each kind: what records, in memory and on disk, and what decides."""
    return [
        History(per_batch=True),
        ReduceLROnPlateau("loss", factor=0.5, patience=0, min_delta=0.01),
        EarlyStopping(monitor, patience=6, start_from_epoch=4, restore_best_weights=True),
        CSVLogger(folder / "epochs.csv"),
        CSVLogger(folder / "batches.csv", per_batch=True),
        TensorBoard(folder / "board", update_freq="batch", write_steps_per_second=False),
        Journal(folder),
        Begun(),
    ]


def manual(folder):
    """A loop that draws its data from NumPy's and Python's generators."""
    np.random.seed(3)  # noqa: NPY002
    random.seed(4)
    model, parts = Weights(), sinks(folder)
    with Loop(*parts, model=model, resume=folder) as loop:
        for _ in loop.epochs(EPOCHS):
            for _ in loop.batches(range(BATCHES)):
                x = np.random.normal(random.random(), 1.0, 3)  # noqa: NPY002
                model.values += 0.1 * loop.run.learning_rate * (x - model.values)
                loop.log(loss=float(np.square(x - model.values).mean()))
            with loop.evaluation():
                loop.log(loss=float(np.abs(model.values).sum()))
    return parts[0], loop.run, model.get_weights()


def made_data():
    generator = np.random.default_rng(5)
    x = generator.normal(size=(8 * BATCHES, 6, 4)).astype("float32")
    return x, x.sum(axis=(1, 2))[:, None].astype("float32")


def keras_fit(folder):
    """One fit of a model with dropout; the samples are shuffled where Keras draws the order from NumPy or PyTorch."""
    import keras

    from monitor_core.adapters.keras import KerasAdapter

    keras.utils.set_random_seed(6)
    layers = [keras.layers.Flatten(), keras.layers.Dropout(0.3), keras.layers.Dense(5, "relu"), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((6, 4)), *layers])
    model.compile("adam", "mse", metrics=["mae"])
    parts = sinks(folder)
    adapter = KerasAdapter(*parts, model=model, resume=folder)
    x, y = made_data()
    shuffle = keras.backend.backend() != "tensorflow"
    model.fit(x, y, epochs=EPOCHS, batch_size=8, validation_data=(x[:16], y[:16]), shuffle=shuffle, callbacks=adapter)
    return parts[0], adapter.bus.run, model.get_weights()


def many_fits(folder):
    """The stateful network: a loop of fits of one epoch each."""
    import keras

    from monitor_core.adapters.keras import KerasAdapter, KerasModel, reset_states

    keras.utils.set_random_seed(7)
    model = keras.Sequential([keras.layers.SimpleRNN(4, stateful=True), keras.layers.Dense(1)])
    model.build((8, 6, 4))
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "mse")
    parts = sinks(folder, monitor="loss")
    x, y = made_data()
    with Loop(*parts, model=KerasModel(model), resume=folder) as loop:
        for epoch in loop.epochs(EPOCHS):
            model.fit(x, y, epochs=1, batch_size=8, shuffle=False, verbose=0, callbacks=KerasAdapter(loop))
            if epoch % 2:  # every other epoch goes on with the states of the one before
                reset_states(model)
    return parts[0], loop.run, model.get_weights()


def torch_loop(folder):
    """A raw PyTorch loop over a data loader that shuffles."""
    import torch

    from monitor_core.adapters.torch import TorchModel

    torch.manual_seed(8)
    torch.set_num_threads(1)
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.2), torch.nn.Linear(24, 1))
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    dataset = torch.utils.data.TensorDataset(*map(torch.from_numpy, made_data()))
    loader = torch.utils.data.DataLoader(dataset, batch_size=8, shuffle=True)
    parts = sinks(folder, monitor="loss")
    with Loop(*parts, model=TorchModel(module, optimizer), resume=folder) as loop:
        for _ in loop.epochs(EPOCHS):
            for x, y in loop.batches(loader):
                optimizer.zero_grad()
                loss = torch.nn.functional.mse_loss(module(x), y)
                loss.backward()
                optimizer.step()
                loop.log(loss=loss)
    return parts[0], loop.run, [tensor.detach().numpy() for tensor in module.parameters()]


KINDS = {each.__name__: each for each in (manual, keras_fit, many_fits, torch_loop)}


def train(kind, folder):
    """Train to the end, and write down what came of it."""
    history, run, weights = KINDS[kind](folder)
    batches = history.batches
    result = {
        "run": [run.status, run.stop_reason, run.epoch, run.step],
        "epochs": {"epoch": history.epoch, "run": history.run.tolist(), **history.history},
        "batches": {"step": batches.steps.tolist(), "epoch": batches.epochs.tolist(), "run": batches.runs.tolist()}
        | {f"logs/{name}": batches[name].tolist() for name in batches},
        "weights": [array.tolist() for array in weights],
    }
    (folder / "result.json").write_text(json.dumps(result))


def main(kinds):
    """Serve: import what the kinds need, then fork a child for each line of the input."""
    resuming.SHARE = 0.5  # an epoch here is shorter than a save
    import tensorboard.compat.tensorflow_stub  # noqa: F401 - for the types of the model's graph

    backend = os.environ.get("KERAS_BACKEND")
    if {"keras_fit", "many_fits"} & set(kinds) and backend != "jax":  # which cannot be forked
        import keras

        import monitor_core.adapters.keras

        keras.utils.set_random_seed(0)  # imports TensorFlow, on any backend
    if "torch_loop" in kinds or backend == "torch":
        import torch._dynamo  # noqa: F401 - for an optimizer's first step

        import monitor_core.adapters.torch  # noqa: F401
    for line in sys.stdin:
        kind, delay, folder = line.split(maxsplit=2)
        code, seconds = started(kind, float(delay), Path(folder.strip()))
        sys.stdout.write(f"{code} {seconds}\n")
        sys.stdout.flush()


def started(kind, delay, folder):
    """Fork a child that trains, kill it after a delay, and return its exit code and how long it has trained."""
    begun, Begun.pipe = os.pipe()
    child = os.fork()
    if not child:
        code = 1
        try:
            train(kind, folder)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(Begun.pipe)
    os.read(begun, 5)
    os.close(begun)
    began = time.monotonic()
    if delay < math.inf:
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)  # ended or not, its number is its own until it is waited for
    status = os.waitpid(child, 0)[1]
    return os.waitstatus_to_exitcode(status), time.monotonic() - began


if __name__ == "__main__":
    main(sys.argv[1:])
