"""What the tests of csv logger share."""

import csv
import math
import os
import subprocess
import sys
import textwrap

import keras
import pytest
from hypothesis import settings
from hypothesis import strategies as st

from monitor_core import Bus

EXAMPLES = settings(max_examples=5000 if os.environ.get("MONITOR_CORE_LONG") else 100)


def record(sink, *epochs, first=0, end=True, bus=None):
    """Drive a sink through a run of these epochs' logs and return the bus."""
    bus = bus or Bus(sink)
    bus.train_begin()
    for epoch, logs in enumerate(epochs, start=first):
        bus.epoch_begin(epoch)
        bus.epoch_end(epoch, logs)
    if end:
        bus.train_end()
    return bus


def rows(path, separator=","):
    """Return the file's header and rows as lists of fields."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file, delimiter=separator))


def run(script, *args, expect=0):
    """Run a script in a process of its own, within a minute, and return what it wrote to both streams."""
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, args)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == expect, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder for many examples, whose files need not survive a power cut."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield tmp_path_factory.mktemp("examples")


VALUES = st.floats() | st.sampled_from([0.1, -0.0, 1e16, 1e-5, 5e-324, 1.7976931348623157e308, math.nan, math.inf])


NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(
    ["loss", "acc", "Loss", "train/loss", "a,b", "a;b", 'say "x"', "two\nlines", "cr\r", " lead", "", "é", "=1+1", "#"]
)


SEPARATORS = st.sampled_from([",", ";", "\t", "|", " ", ".", "e", "→", "0"])


@st.composite
def logs_of_epochs(draw, *, validation):
    """Draw the logs of some epochs, all with the same names, in any order."""
    names = draw(st.lists(NAMES.filter(lambda name: name != "epoch"), min_size=1, max_size=4, unique=True))
    names = [name for name in names if not name.startswith("val_")] or ["loss"]
    if validation:
        names += [f"val_{name}" for name in names]
    return [{name: draw(VALUES) for name in draw(st.permutations(names))} for _ in range(draw(st.integers(1, 4)))]


def keras_bytes(path, epochs, separator):
    """Return what Keras's logger writes for these epochs."""
    callback = keras.callbacks.CSVLogger(str(path), separator=separator)
    callback.on_train_begin()
    for epoch, logs in enumerate(epochs):
        callback.on_epoch_end(epoch, logs)
    callback.on_train_end()
    return path.read_bytes()
