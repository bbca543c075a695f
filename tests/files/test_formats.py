"""Runs can be resumed from states of every format that was ever written: a sample of each is kept in ``data``.

A folder of ``data`` is named after the format of its states, and also has the index that names them.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest

from monitor_core import Bus, EarlyStopping, Loop
from monitor_core.files.state import load_state

DATA = Path(__file__).parent / "data"
SAMPLES = sorted(DATA.glob("state-*"))


class Line:
    """A handle of one number, with a training state."""

    slope, momentum = 0.0, 0.0

    def get_weights(self):
        return [np.array(self.slope)]

    def set_weights(self, weights):
        self.slope = float(weights[0])

    def save(self, path, *, weights_only=False):
        with Path(path).open("wb") as file:
            np.save(file, self.slope)

    def load(self, path):
        self.slope = float(np.load(path, allow_pickle=False))

    def training_state(self):
        return {"momentum": np.array([self.momentum])}

    def load_training_state(self, state):
        self.momentum = float(state["momentum"][0])


def run_in(folder, line):
    """Return the loop of the sample's run, and its sink."""
    stop = EarlyStopping("loss", patience=5, restore_best_weights=True)
    return Loop(stop, model=line, resume=folder), stop


def write_sample(folder):
    """Write a sample: three epochs, of which the second is the best. Called by hand when a format changes."""
    line = Line()
    loop, _ = run_in(folder, line)
    with loop:
        for epoch in loop.epochs(3):
            for loss in loop.batches([(2.0, 0.5, 1.0)[epoch]] * 2):
                line.slope, line.momentum = epoch + 1.0, epoch / 4
                loop.log(loss=loss)
    for each in folder.glob("journal-*"):  # it names the machine; `tests/journal/data` has one
        each.unlink()


@pytest.fixture(params=SAMPLES, ids=lambda folder: folder.name)
def sample(request, tmp_path):
    """Return a copy of a sample, which a test may write to."""
    return shutil.copytree(request.param, tmp_path / "sample")


def test_there_is_a_sample_of_the_present_format():
    """A change that raises the version adds a sample."""
    assert f"state-{Bus().state_dict()['format']}" in [folder.name for folder in SAMPLES]


def test_a_run_continues_from_a_sample(sample):
    """The run's numbers, the sink's state with its arrays, the model and its training state are restored."""
    line = Line()
    loop, stop = run_in(sample, line)
    with loop:
        assert (line.slope, line.momentum) == (3.0, 0.5)
        assert (loop.run.step, next(loop.epochs(4))) == (6, 3)
        assert (stop.best, stop.best_epoch, stop.wait) == (0.5, 1, 1)
    assert line.slope == 2.0  # the best weights, which were part of the state


def test_the_checkpoint_before_is_used_if_the_latest_is_damaged(sample, caplog):
    """The index of a sample names both, with their checksums."""
    latest = load_state(next((sample / "resume").glob("*.latest.json")))["latest"]["file"]
    (sample / "resume" / latest).write_bytes(b"damaged")
    line = Line()
    loop, _ = run_in(sample, line)
    with loop:
        assert loop.run.step < 6
    assert latest in caplog.text
