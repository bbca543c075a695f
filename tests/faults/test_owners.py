"""Two processes on one folder: a file of its own for each, or an error that names the owner; nothing is lost."""

import os
import re
import signal

import pytest

from faults.children import answer_of, played, playing, proceed
from faults.support import csv_steps, read_board, read_csv
from monitor_core.journal.recorded import open_run

OWNED = r"process {} on \S+ is writing it"
EXCLUSIVE = ["epochs", "batches", "checkpoint", "dump"]
SHARED = ["board", "journal"]


@pytest.mark.parametrize("sink", EXCLUSIVE)
def test_the_second_process_gets_an_error_that_names_the_first(tmp_path, sink):
    """Where the file's name is given, the error names its owner, whose files are as without the second process."""
    with playing("own", tmp_path, sink) as first:
        _, owner = answer_of(first)
        ((verdict, message),) = played("own", tmp_path, sink)
        assert verdict == "refused"
        assert re.search(OWNED.format(owner), message)
        proceed(first)
        assert answer_of(first) == ["ended", 0]
    if sink == "epochs":
        assert [row[0] for row in read_csv(tmp_path / "epochs.csv")] == ["epoch", "0", "1"]
    if sink == "batches":
        assert csv_steps(tmp_path) == list(range(1, 201))


def test_two_processes_have_journals_and_event_files_of_their_own(tmp_path):
    """Both record everything, side by side."""
    with playing("own", tmp_path, *SHARED) as first, playing("own", tmp_path, *SHARED) as second:
        for child in (first, second):
            assert answer_of(child)[0] == "recorded"
            proceed(child)
        assert [answer_of(child) for child in (first, second)] == [["ended", 0]] * 2
    runs = open_run(tmp_path / "journal").runs
    assert [run.status for run in runs] == ["completed"] * 2
    assert [open_run(tmp_path / "journal", run=run).batches.steps.tolist() for run in (0, 1)] == [
        list(range(1, 201))
    ] * 2
    steps = [step for step, tag, _ in read_board(tmp_path / "board")["train"] if tag == "batch_loss"]
    assert steps == sorted(2 * list(range(1, 201)))


def test_what_is_owned_is_free_when_its_owner_has_ended(tmp_path):
    """The next process begins, and nothing of the first is left in the folder except its files."""
    for _ in range(2):
        with playing("own", tmp_path, "epochs", "batches") as child:
            assert answer_of(child)[0] == "recorded"
            proceed(child)
            assert answer_of(child) == ["ended", 0]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["batches.csv", "epochs.csv"]


def test_what_is_owned_is_free_when_its_owner_was_killed(tmp_path):
    """Also while a worker that the owner had forked off lives on, as those of data loaders may."""
    with playing("own_and_fork", tmp_path) as owner:
        _, worker = answer_of(owner)
        try:
            owner.kill()
            owner.wait(60)
            assert records_a_run(tmp_path)
            os.kill(worker, 0)
        finally:
            os.kill(worker, signal.SIGKILL)


def records_a_run(folder):
    """Return whether a process can record in a folder."""
    with playing("own", folder, "epochs", "batches") as child:
        return answer_of(child)[0] == "recorded"
