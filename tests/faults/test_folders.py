"""Folders that cannot be written, or vanish, and a limit on open files: at a run's begin, and later in it."""

import contextlib
import tempfile
from pathlib import Path

import pytest

from faults.children import FAULTS, played
from faults.support import csv_steps, read_board, read_csv
from monitor_core.journal.recorded import open_run

SINKS = ["epochs", "batches", "board", "journal", "checkpoint", "dump"]
REPLACED = ["ActivationDump", "ModelCheckpoint"]
"""The sinks whose files are replaced whole: what cannot be written is missing, and counted."""


@contextlib.contextmanager
def open_folder():
    """Make a folder that every user may look into; pytest's own are closed to the user that root becomes."""
    with tempfile.TemporaryDirectory() as home:
        Path(home).chmod(0o755)
        (Path(home) / "run").mkdir()
        yield Path(home) / "run"


@pytest.fixture
def folder():
    """Return a folder that every user may look into."""
    with open_folder() as made:
        yield made


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("read-only", "Permission denied"),
        ("blocked", "File exists|Not a directory"),
        ("crowded", "Too many open files"),
    ],
)
def test_what_cannot_be_written_at_train_begin_is_a_setup_error(folder, fault, reason):
    """Every sink that writes files raises the one exception at once, which names the file and the reason."""
    told = played("begin", folder, fault)
    assert [(name, kind, is_soon) for name, kind, _, is_soon in told] == [(name, "SetupError", True) for name in SINKS]
    for _, _, message, _ in told:
        assert str(folder) in message
        assert any(each in message for each in reason.split("|"))


def test_a_folder_that_vanished_before_a_train_begin_is_created_again(folder):
    """What is not there yet is no fault."""
    told = played("begin", folder, "vanished")
    assert [(name, kind) for name, kind, *_ in told] == [(name, "nothing") for name in SINKS]


@pytest.fixture(scope="module", params=FAULTS)
def suffered(request):
    """Return the fault that came and went in the middle of a run, its folder, and what the run reported."""
    with open_folder() as folder:
        yield request.param, folder, *played("suffer", folder, request.param)


LOST = {"read-only": 0, "crowded": 0, "vanished": 1, "blocked": 1}
"""How many of the four epochs are lost: those in a folder that is removed."""


def test_a_fault_that_comes_and_goes_ends_no_training(suffered):
    """Each file is warned of once at most; sinks whose files are replaced are counted, and write again afterwards."""
    fault, folder, (status, *_), warned, failures = suffered
    assert status == "completed"
    failing = [] if fault == "vanished" else [[name, "on_epoch_end", step] for step in (20, 30) for name in REPLACED]
    assert failures == failing
    subjects = [message.split(" cannot ")[0].split(" raised ")[0].split(" failed ")[0] for message in warned]
    assert len(set(subjects)) == len(subjects)
    assert {f"{name}.on_epoch_end" for name in REPLACED} & set(subjects) == {
        f"{each[0]}.on_epoch_end" for each in failing
    }
    assert (folder / "4.npz").exists()
    assert (folder / "activations" / "4.npz").exists()


def test_what_is_recorded_under_a_fault_is_written_afterwards(suffered):
    """Every row, scalar and record of the run is there, except those in a removed folder."""
    fault, folder, *_ = suffered
    epochs, steps = list(range(LOST[fault], 4)), list(range(10 * LOST[fault] + 1, 41))
    assert [int(row[0]) for row in read_csv(folder / "epochs.csv")[1:]] == epochs
    assert csv_steps(folder) == steps
    board = read_board(folder / "board")["train"]
    assert [step for step, tag, _ in board if tag == "epoch_loss"] == epochs
    assert [step for step, tag, _ in board if tag == "batch_loss"] == steps
    run = open_run(folder / "journal")
    assert (run.status, run.history.epoch, run.batches.steps.tolist()) == ("completed", epochs, steps)
    assert len(run.damage) == LOST[fault]
