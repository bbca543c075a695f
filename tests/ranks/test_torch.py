"""Real processes that PyTorch connects: one run over them, whatever happens to one of them."""

import signal

import pytest
from ranks_support import UNEVEN, outputs, reports, require_exact_means, run_ranks, start, torchrun

from monitor_core import open_run

pytest.importorskip("torch")


def test_a_run_under_torchrun_has_exact_means_and_stops_on_both_ranks(tmp_path):
    """Random uneven splits; early stopping; the second rank writes and draws nothing, and raises no error."""
    status, written = torchrun(UNEVEN, tmp_path)
    assert status == 0, written
    require_exact_means(reports(written), written, tmp_path)


ELSEWHERE = """
def train():
    with Loop(ranks=Ranks(every=10, lost_after=8)) as loop:
        for epoch in loop.epochs(2):
            for i in loop.batches(range(25)):
                loop.log(loss=1.0)
                couple()
                if rank == 0 and i == 12:
                    with loop.evaluation():
                        loop.log(loss=1.0)

try:
    train()
except RuntimeError as error:
    print(type(error).__name__, error)
"""


def test_an_evaluation_among_batches_of_one_rank_alone_is_an_error_not_a_hang(tmp_path):
    """Though the other rank waits for a gradient of the first one, which waits for its results."""
    zero, one = run_ranks(ELSEWHERE, tmp_path)
    message = "rank 0 is at an evaluation after step 13 of epoch 1, which rank 1 trained past"
    assert f"RankError {message}" in zero
    assert f"rank 0 is gone: {message}" in one


ALONE = """
if rank == 0:
    with Loop(ranks=Ranks(lost_after=0.5)) as loop:
        for epoch in loop.epochs(2):
            loop.log(loss=1.0)
        dist.barrier()
    print(loop.run.status)
    with Loop() as loop:
        pass
    print(loop.run.status)
else:
    dist.barrier()
dist.barrier()
with Loop(ranks=Ranks(together=False)) as loop:
    pass
dist.destroy_process_group()
print("destroyed")
"""


def test_a_loop_on_one_rank_alone_continues_without_the_others(tmp_path):
    """With a warning that says what to do, and without a second wait."""
    zero, _ = run_ranks(ALONE, tmp_path)
    assert zero.count("completed\n") == 2
    assert "WARNING rank 0 continues alone: rank 1 did not begin this run within 0.5 s" in zero
    assert zero.endswith("destroyed\n")


TORN_DOWN = """
with Loop(CSVLogger("run.csv")) as loop:
    for epoch in loop.epochs(2):
        loop.log(loss=1.0)
    dist.destroy_process_group()
print(loop.run.status)
"""


def test_a_process_group_that_is_destroyed_in_the_loop(tmp_path):
    """The run has ended by then; a warning says to leave the loop first."""
    for output in run_ranks(TORN_DOWN, tmp_path):
        assert "its process group was destroyed before the run ended. Leave the loop first" in output
        assert output.endswith("completed\n")


INTERRUPTED_AND_TORN_DOWN = """
import os, signal

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it in what it runs in the background
try:
    with Loop(ranks=Ranks(every=10)) as loop:
        for epoch in loop.epochs(1):
            for i in loop.batches(range(12)):
                loop.log(loss=1.0)
        if rank == 1:
            os.kill(os.getpid(), signal.SIGINT)
        dist.destroy_process_group()
except KeyboardInterrupt as error:
    print(error)
print(loop.run.status)
"""


def test_a_ctrl_c_before_the_process_group_is_destroyed_is_raised(tmp_path):
    """On its rank, whose run ends as interrupted; no exchange is left that would agree on it."""
    zero, one = run_ranks(INTERRUPTED_AND_TORN_DOWN, tmp_path)
    assert zero.endswith("completed\n")
    assert one.endswith("Ctrl-C on rank 1\ninterrupted\n")


INTERRUPTED = """
import signal
from pathlib import Path
from monitor_core.bus import shared_run

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it in what it runs in the background
shared_run._UNDER_TORCHRUN = 1.0

def train():
    with Loop(Journal("journal"), ranks=Ranks(every=10)) as loop:
        for epoch in loop.epochs(1000):
            for i in loop.batches(range(25)):
                loop.log(loss=1.0)
                if rank == 1 and epoch == 1 and i == 3:
                    print("trains", flush=True)
                if not Path("waits").exists():
                    couple()
                elif (rank, epoch, i) == (0, 1, 3):
                    time.sleep(4)
                time.sleep(0.002)

try:
    train()
except BaseException as error:
    run = error.__traceback__.tb_next.tb_frame.f_locals["loop"].run
    print("\\n" + json.dumps([run.status, run.step, f"{type(error).__name__}: {error}"]))
"""


def interrupted(folder, times):
    """Start two ranks, interrupt the second one so many times, and return what each has written."""
    processes = start(INTERRUPTED, folder)
    for line in iter(processes[1].stdout.readline, "trains\n"):
        assert line, "the rank has ended"
    processes[1].send_signal(signal.SIGINT)
    for _ in range(times - 1):
        for line in iter(processes[1].stdout.readline, ""):
            if "press it again" in line:
                break
        processes[1].send_signal(signal.SIGINT)
    return outputs(processes)


def test_ctrl_c_on_one_rank_ends_all_at_the_same_step(tmp_path):
    """As interrupted, with everything recorded, and without an error about a rank that is gone."""
    written = interrupted(tmp_path, times=1)
    (zero,), (one,) = map(reports, written)
    assert zero == one == ["interrupted", zero[1], "KeyboardInterrupt: Ctrl-C on rank 1"]
    assert "is gone" not in "".join(written)
    recorded = open_run(tmp_path / "journal")
    assert (recorded.status, recorded.batches.steps[-1]) == ("interrupted", zero[1])


@pytest.mark.parametrize("times", [1, 2])
def test_a_second_ctrl_c_ends_its_rank_at_once(monkeypatch, tmp_path, times):
    """The others learn why. Under torchrun, which kills the ranks soon, it comes by itself."""
    (tmp_path / "waits").touch()
    if times == 1:
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "a job")
    (zero,), (one,) = map(reports, interrupted(tmp_path, times))
    assert one[::2] == ["interrupted", "KeyboardInterrupt: "]
    assert zero[0] == "failed"
    where = "the run cannot continue at step 10 of epoch 2"
    assert zero[2].startswith(f"RankError: {where} without rank 1 (rank 1: KeyboardInterrupt")
