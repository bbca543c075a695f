"""Variants that take turns inside one Keras `fit`, an epoch at a time.

Contract. `Switch` is passed as a whole ``CallbackList``, so nothing else listens. Each variant gets the
training's begin and end, and its own epochs; their batches pass through the same two calls for every
variant. An epoch's time is that of the variant's hook for its begin, and from the first batch until the device has
nothing left to do and the variant's hook for the epoch's end has returned: deferred work counts for the variant
that deferred it.
"""

from __future__ import annotations

import csv
import importlib.util
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from harness import CONTROL, rows
from monitor_core import History
from monitor_core.adapters.keras import KerasAdapter
from support.stack import FULL, alone, check, sinks
from support.steps import Size
from support.timing import Stopwatch, Times, collector, turns
from support.waits import Counted, Waits

FLOOR = "hooks that do nothing"
LIST_FLOOR = "a callback with the same hooks"
LIST_CONTROL = "the same again"
IN_LIST = "list: "


def new_model(size: Size) -> keras.Model:
    """Return a new model with two metrics, loss and accuracy."""
    keras.utils.set_random_seed(0)
    hidden = [keras.layers.Dense(size.width, "relu") for _ in range(size.layers)]
    model = keras.Sequential([keras.Input((size.inputs,)), *hidden, keras.layers.Dense(1, "sigmoid")])
    model.compile(keras.optimizers.SGD(1e-3), "binary_crossentropy", metrics=["accuracy"])
    return model


# --- the variants --------------------------------------------------------------------------------------------------


class Nothing(keras.callbacks.Callback):
    """Has batch hooks that do nothing."""

    def on_train_batch_begin(self, batch, logs=None):
        pass

    def on_train_batch_end(self, batch, logs=None):
        pass


class Floats(Nothing):
    """Converts every value of every batch immediately, which waits for it, and keeps it."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, list[float]] = {}

    def on_train_batch_end(self, batch, logs=None):
        for name, value in logs.items():
            self.kept.setdefault(name, []).append(float(value))


class Rows(Nothing):
    """Does for every batch what Keras's ``CSVLogger`` does for every epoch."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.file = path.open("w", newline="")
        self.writer = csv.writer(self.file)

    def on_train_batch_end(self, batch, logs=None):
        self.writer.writerow([batch, *logs.values()])
        self.file.flush()

    def on_train_end(self, logs=None):
        self.file.close()


def passed_directly(model: keras.Model, epochs: int, folder: Path) -> dict[str, Any]:
    """Return the variants that get the raw values of batches."""
    variants = {FLOOR: Nothing(), CONTROL: Nothing()}
    for name, stack in alone(folder).items():
        variants[name] = KerasAdapter(*stack, model=model, epochs=epochs)
    return {**variants, "float of each value, to a list": Floats()}


def in_a_list(model: keras.Model, batches: int, epochs: int, folder: Path, *, board: bool) -> dict[str, Any]:
    """Return the variants in lists as Keras makes them from ``callbacks=[...]``, including its own History.

    Keras's TensorBoard, if requested, needs TensorFlow on any backend.
    """
    folder.mkdir()
    stacks = {
        LIST_FLOOR: [Nothing()],
        LIST_CONTROL: [Nothing()],
        "adapter, History every batch": [KerasAdapter(History(per_batch=True))],
        f"adapter, {FULL}": [KerasAdapter(*sinks(folder).values())],
        "Keras: History alone": [],
        "Keras: a row of a CSV file every batch": [Rows(folder / "rows.csv")],
    }
    if board and importlib.util.find_spec("tensorflow") is not None:
        tensorboard = keras.callbacks.TensorBoard(folder / "board", update_freq="batch", write_graph=False)
        stacks["Keras: TensorBoard, every batch"] = [tensorboard]
    options = {"add_history": True, "model": model, "verbose": 0, "epochs": epochs, "steps": batches}
    return {IN_LIST + name: keras.callbacks.CallbackList(stack, **options) for name, stack in stacks.items()}


# --- taking turns --------------------------------------------------------------------------------------------------


class Switch(keras.callbacks.CallbackList):
    """Let variants take turns in a `fit`, an epoch each, and measure their times.

    Args:
        variants: Callbacks or lists of them by name.
        rounds: How many epochs each has.
        waits: Counts waits, if they are to be counted.

    Attributes:
        epochs: How many epochs the fit must have.
        times: The time of each epoch, by variant.
        counted: How often the last epoch waited, by variant.
    """

    def __init__(self, variants: Mapping[str, Any], rounds: int, waits: Waits | None = None) -> None:
        super().__init__()
        self._variants = variants
        self._turns = turns(list(variants), rounds)
        self._waits = waits or Waits()
        self.epochs = rounds * len(variants)
        self.times = {name: Times() for name in variants}
        self.counted: dict[str, Counted] = {}

    def on_train_begin(self, logs=None):
        for variant in self._variants.values():
            variant.on_train_begin(logs)

    def on_epoch_begin(self, epoch, logs=None):
        self._name = next(self._turns)
        self._active = active = self._variants[self._name]
        self._waited = self._waits.read()
        watch = Stopwatch()
        active.on_epoch_begin(epoch, logs)
        self._began = watch.read()
        self._in_hooks: list[float] = []
        self._batch_begin, self._batch_end = active.on_train_batch_begin, active.on_train_batch_end

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 0:  # before it, tensorflow takes 30 ms and more for the epoch's iterator
            self._watch = Stopwatch()
        begin = time.perf_counter()
        self._batch_begin(batch, logs)
        self._in_begin = time.perf_counter() - begin

    def on_train_batch_end(self, batch, logs=None):
        begin = time.perf_counter()
        self._batch_end(batch, logs)
        self._in_hooks.append(self._in_begin + time.perf_counter() - begin)

    def on_epoch_end(self, epoch, logs=None):
        in_batches = self._waits.read() - self._waited
        with self._waits.paused():
            settle(logs)
        begin = time.perf_counter()
        self._active.on_epoch_end(epoch, logs)
        in_end = time.perf_counter() - begin
        wall, processor = self._watch.read()
        times = self.times[self._name]
        times.wall.append(self._began[0] + wall)
        times.processor.append(self._began[1] + processor)
        times.hooks.append(self._began[0] + sum(self._in_hooks) + in_end)
        times.typical.append(statistics.median(self._in_hooks))
        here, elsewhere = (self._waits.read() - self._waited).tolist()
        batches, in_batches = len(self._in_hooks), int(in_batches[0])
        self.counted[self._name] = Counted(in_batches / batches, elsewhere / batches, here - in_batches)

    def on_train_end(self, logs=None):
        for variant in self._variants.values():
            variant.on_train_end(logs)


def settle(logs: Mapping[str, Any]) -> None:
    """Wait until the device has nothing left to do; the other backends wait for each step on the CPU."""
    if keras.backend.backend() == "jax":
        import jax

        jax.block_until_ready(dict(logs))
    elif keras.backend.backend() == "torch":
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()


def take_turns(
    size: Size, batches: int, rounds: int, folder: Path, waits: Waits | None = None, *, board: bool = True
) -> Switch:
    """Let all variants take turns in one fit, ``rounds`` times for a number of batches; return their times."""
    model = new_model(size)
    epochs = 100 * rounds  # roughly the final number, for callbacks that show it
    whole = passed_directly(model, epochs, folder / "whole")
    listed = in_a_list(model, batches, epochs, folder / "list", board=board)
    switch = Switch({**whole, **listed}, rounds, waits)
    x, y = size.data(batches)
    with collector(on=True):
        model.fit(x, y, batch_size=size.samples, epochs=switch.epochs, shuffle=False, callbacks=switch)
    callbacks = [*whole.values(), *(callback for each in listed.values() for callback in each.callbacks)]
    for adapter in callbacks:
        if isinstance(adapter, KerasAdapter):
            check(adapter.bus)
    return switch


def tables(title: str, times: Mapping[str, Times], batches: int) -> dict[str, list[dict]]:
    """Return the table of all variants, and that of variants in lists against the list that does nothing."""
    control = times[IN_LIST + LIST_CONTROL]
    shown = {name: own for name, own in times.items() if own is not control}
    listed = {name.removeprefix(IN_LIST): own for name, own in shown.items() if name.startswith(IN_LIST)}
    whole = rows(shown, FLOOR, batches)
    title = f"{title}, {whole[0]['ns'] / 1e6:.2f} ms a step"
    return {title: whole, f"{title}, callbacks=[...]": rows({**listed, CONTROL: control}, LIST_FLOOR, batches)}
