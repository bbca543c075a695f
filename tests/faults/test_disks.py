"""A disk that is full for a while: training goes on with a warning for each file, and so does writing."""

import re

import pytest

from disks import small_disk
from faults.children import METRICS, played
from faults.support import csv_steps, event_records, read_board, read_csv
from monitor_core.files.state import load_state, read_arrays
from monitor_core.journal.recorded import open_run

Event = pytest.importorskip("tensorboard.compat.proto.event_pb2").Event

EPOCHS, BATCHES = 9, 400
"""What is trained: the epochs 3 to 5 without room."""


@pytest.fixture(scope="module", params=["disk", "limit"])
def filled(request, tmp_path_factory):
    """Return the folder of a training whose disk was full for a while, and what the training reported."""
    folder = tmp_path_factory.mktemp("filled")
    if request.param == "limit":
        yield folder, *played("fill", folder, "limit")
    else:
        with small_disk(folder / "disk", "600k") as disk:
            yield disk, *played("fill", disk, "disk")


def models(*epochs):
    """Return the names of the checkpoints and activations of some epochs."""
    return [f"{folder}{epoch}.npz" for folder in ("", "activations/") for epoch in epochs]


def test_training_continues_and_so_does_writing(filled):
    """While the disk is full nothing that is there is harmed; with room again rows come before the run has ended."""
    _, before, full, after, end, ended, *_ = filled
    assert [each[2] for each in (before, full)] == [models(1, 2, 3)] * 2
    assert [each[2] for each in (after, end)] == [models(7, 8, 9)] * 2
    assert before[0] == [1 + 3, 1 + 3 * BATCHES]
    assert full[0][1] < 1 + 6 * BATCHES
    assert after[0] == [1 + EPOCHS, 1 + EPOCHS * BATCHES]
    assert ended == ["completed", [0, 0, 0]]


def test_each_file_is_warned_of_once(filled):
    """Once for each file that is appended to; each kind of file that is replaced once, and counted at the run's end."""
    *_, warned, failures = filled
    once = ["batches.csv cannot be written", "tfevents.* cannot be written", "journal-0000.mcj cannot be written"]
    for name in ("ModelCheckpoint", "ActivationDump"):
        once += [f"{name}.on_epoch_end raised", f"{name} failed 3 times"]
    said = [sum(bool(re.search(text, message)) for message in warned) for text in once]
    assert said == [1] * len(once)
    rest = [message for message in warned if not any(re.search(text, message) for text in once)]
    assert len(rest) <= 1  # the file of epochs may still have room in its last page
    assert all("epochs.csv cannot be written" in message for message in rest)
    steps = [step * BATCHES for step in (4, 5, 6)]
    assert sorted(failures) == sorted(
        [name, "OSError", step] for name in ("ModelCheckpoint", "ActivationDump") for step in steps
    )


def test_every_file_can_be_read(filled):
    """Rows, scalars, the journal, models and activations: all is there but the models that there was no room for."""
    folder, steps = filled[0], list(range(1, EPOCHS * BATCHES + 1))
    assert csv_steps(folder) == steps
    assert [int(row[0]) for row in read_csv(folder / "epochs.csv")[1:]] == list(range(EPOCHS))
    board = read_board(folder / "board")["train"]
    assert [step for step, tag, _ in board if tag == "batch_loss"] == steps
    assert [step for step, tag, _ in board if tag == "epoch_loss"] == list(range(EPOCHS))
    run = open_run(folder / "journal")
    assert (run.status, run.damage, len(run.history)) == ("completed", (), EPOCHS)
    assert run.batches.steps.tolist() == steps
    assert [len(read_arrays(folder / f"{epoch}.npz")) for epoch in (7, 8, 9)] == [2] * 3
    assert load_state(folder / "epoch.npz.latest.json")["latest"]["file"] == "9.npz"


def test_what_is_dropped_is_counted(tmp_path):
    """Where more is recorded than may wait the newest goes; what is there and what is counted make up the whole."""
    batches = 30_000
    dropped, warned = played("overfill", tmp_path, batches)
    by_name = dict(zip(("epochs", "csv", "tfevents", "mcj"), dropped, strict=True))
    assert by_name.pop("epochs") == 0
    lacks = r"(csv|mcj|tfevents).* lacks (\d+) values, in (\d+) records, that could not be written"
    found = [match for each in warned if (match := re.search(lacks, each))]
    assert {each[1]: int(each[2]) for each in found} == by_name
    records = {each[1]: int(each[3]) for each in found}
    recorded = open_run(tmp_path / "journal")
    assert [each.reason for each in recorded.damage] == [f"{records['mcj']} records are missing before this"]
    assert (by_name["csv"], records["csv"]) == (METRICS * (lost := batches - len(csv_steps(tmp_path))), lost)
    assert by_name["mcj"] == METRICS * (batches - len(recorded.batches))
    (board,) = (tmp_path / "board" / "train").iterdir()
    events, is_damaged = event_records(board)
    assert not is_damaged
    written = [value.tag for each in events for value in Event.FromString(each).summary.value]
    assert by_name["tfevents"] == METRICS * batches - sum(tag.startswith("batch_") for tag in written)
