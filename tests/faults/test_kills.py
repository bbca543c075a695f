"""Kills at random moments: what has been recorded is there, and every file can be read."""

import os
import random
import signal
import time

import pytest

from faults.children import answer_of, start
from faults.support import csv_steps, read_board, read_csv
from monitor_core.journal.recorded import open_run
from monitor_core.values.blocks import BLOCK_SECONDS, BLOCK_STEPS

MOMENTS = 10
EPOCH_SECONDS = (0.7, 60.0)
"""For every second process: blocks are delivered at the epoch's end, or only because of their age."""
BUSY_SECONDS = 1.0
"""By how much a thread may be late on a machine that is at work."""

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills are those of POSIX")


def killed(folder, part, rate, kill, count=MOMENTS):
    """Kill recording processes, each at its moment; return for each its folder, its exit status and its reports."""
    folders = [folder / str(number) for number in range(count)]
    children = [start(part, each, rate, EPOCH_SECONDS[number % 2]) for number, each in enumerate(folders)]
    try:
        begun = [answer_of(child) and time.monotonic() for child in children]
        due = {begin + random.uniform(0.3, 3.0): child for begin, child in zip(begun, children, strict=True)}
        for moment in sorted(due):
            time.sleep(max(0.0, moment - time.monotonic()))
            due[moment].send_signal(kill)
        reports = [list(iter(lambda child=child: answer_of(child), None)) for child in children]
        return list(zip(folders, [child.wait(60) for child in children], reports, strict=True))
    finally:
        for child in children:
            child.kill()
            child.communicate()


def recorded(folder):
    """Return the steps and epochs that each file has; other readers than ours read what is not the journal."""
    board = read_board(folder / "board")["train"]
    run = open_run(folder / "journal")
    assert all(each.unfinished for each in run.damage)
    steps = {
        "csv": csv_steps(folder),
        "board": [step for step, tag, _ in board if tag == "batch_loss"],
        "journal": run.batches.steps.tolist(),
    }
    epochs = {
        "csv": [int(row[0]) for row in read_csv(folder / "epochs.csv")[1:]],
        "board": [step for step, tag, _ in board if tag == "epoch_loss"],
        "journal": run.history.epoch,
    }
    return run.status, steps, epochs


@pytest.mark.parametrize("rate", [5, 100])
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM])
def test_a_kill_costs_no_epoch_and_at_most_the_last_second(tmp_path, rate, kill):
    """Every epoch that has ended is in every file, and every batch but those of the last second or block."""
    for folder, status, reports in killed(tmp_path, "record", rate, kill):
        assert status == -kill
        ended = {step: when for what, step, when in (each for each in reports if each[0] == "batch")}
        epochs_ended = [each[1] for each in reports if each[0] == "epoch"]
        run_status, steps, epochs = recorded(folder)
        assert run_status == "killed"
        for file, found in epochs.items():  # one may have ended without a report
            assert found in (epochs_ended, [*epochs_ended, len(epochs_ended)]), file
        for file, found in steps.items():
            assert found == list(range(1, len(found) + 1)), file
            lost = [when for step, when in ended.items() if step > len(found)]
            assert len(lost) <= BLOCK_STEPS, file
            assert not lost or max(lost) - min(lost) <= BLOCK_SECONDS + BUSY_SECONDS, file


@pytest.mark.parametrize("rate", [5, 100])
def test_a_signal_that_raises_costs_nothing(tmp_path, rate):
    """Where SIGTERM raises SystemExit, as a handler may, every batch that has ended is in every file."""
    for folder, status, reports in killed(tmp_path, "record_until_told", rate, signal.SIGTERM, count=5):
        assert status == 7
        ended = [each[1] for each in reports if each[0] == "batch"]
        epochs_ended = [each[1] for each in reports if each[0] == "epoch"]
        run_status, steps, epochs = recorded(folder)
        assert run_status == "interrupted"
        for file, found in steps.items():  # one may have ended without a report
            assert found in (ended, [*ended, len(ended) + 1]), file
        assert list(epochs.values()) == [epochs_ended] * 3
