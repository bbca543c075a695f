"""Real processes that PyTorch connects: one run over them, whatever happens to one of them."""

import json
import os
import signal
import time

import pytest
from ranks_support import outputs, run_ranks, start, torchrun

pytest.importorskip("torch")


def reports(output):
    """Return what a rank has printed as JSON."""
    return [json.loads(line) for line in output.splitlines() if line.startswith(("{", "["))]


EARLY_STOP = """
import json, math
import numpy as np

random = np.random.default_rng(0)
history = History()
errors = []
with Loop(history, CSVLogger("run.csv"), Progress(bars=False), EarlyStopping("val_loss", patience=200),
          ranks=Ranks(every=10)) as loop:
    for epoch in loop.epochs(300):
        shards = [[random.normal(3, 1, random.integers(1, 9)) for _ in range(random.integers(1, 30))] for _ in (0, 1)]
        for batch in loop.batches(shards[rank]):
            loop.log(loss=batch.mean(), weight=len(batch))
        with loop.evaluation() as results:
            for batch in loop.batches(shards[rank][:3]):
                loop.log(loss=batch.mean() + epoch, weight=len(batch))
        held_out = np.concatenate(shards[0][:3] + shards[1][:3])
        errors.append(results["loss"] / (held_out.mean() + epoch) - 1)
        errors.append(np.concatenate(shards[0] + shards[1]).mean())
losses = list(history["loss"])
for epoch, loss in enumerate(losses):
    errors[2 * epoch + 1] = loss / errors[2 * epoch + 1] - 1
worst = max(map(abs, errors))
print("\\n" + json.dumps([rank, loop.run.status, loop.run.stop_reason, len(losses), bool(worst < 1e-12), losses]))
"""


def test_a_run_under_torchrun_has_exact_means_and_stops_on_both_ranks(tmp_path):
    """Random uneven splits; early stopping; the second rank writes and draws nothing, and raises no error."""
    status, written = torchrun(EARLY_STOP, tmp_path)
    assert status == 0, written
    found = sorted(reports(written))
    reason = found[0][2]
    assert [each[:5] for each in found] == [[rank, "stopped", reason, 201, True] for rank in (0, 1)], written
    assert reason.startswith("val_loss did not improve for 200 epochs")
    assert found[0][5] == found[1][5]  # to the last bit
    assert len((tmp_path / "run.csv").read_text().splitlines()) == 202
    assert written.count("epoch 201/300") == 1


AGREED = """
import json

def report(*values):
    print("\\n" + json.dumps(values), flush=True)

def attempt(name, train):
    try:
        train(name)
    except Exception as error:
        report(name, type(error).__name__, str(error))
    dist.barrier()

def count(name):
    with Loop(EarlyStopping("loss", patience=9), ranks=Ranks(every=10)) as loop:
        agreement = loop.bus._shared.agreement
        begun = agreement.collectives
        for epoch in loop.epochs(3):
            for i in loop.batches(range(25)):
                loop.log(loss=1.0)
            with loop.evaluation():
                loop.log(loss=1.0)
    report(name, begun, agreement.collectives)

def nan(name):
    seen = []
    watch = on("batch_end", lambda run, step, logs: seen.append(logs["loss"]))
    with Loop(TerminateOnNaN(), watch, ranks=Ranks(every=10)) as loop:
        for epoch in loop.epochs(3):
            for i in loop.batches(range(25)):
                loop.log(loss=float("nan") if (epoch, i, rank) == (1, 13, 1) else float(rank))
    assert not (rank == 0 and float("nan") in seen)  # a rank's batches are its own
    report(name, loop.run.status, loop.run.step, loop.run.stop_reason)

def stop(name):
    with Loop(ranks=Ranks(every=10)) as loop:
        for epoch in loop.epochs(3):
            for i in loop.batches(range(25 + 10 * rank)):
                loop.log(loss=1.0)
            if (rank, epoch) == (0, 1):
                loop.run.stop("enough")
    report(name, loop.run.status, loop.run.epoch, loop.run.step, loop.run.stop_reason)

def decision(name):
    sinks = [on("epoch_end", lambda run, epoch, logs: run.stop("only here"))] if rank else []
    with Loop(*sinks) as loop:
        for epoch in loop.epochs(3):
            loop.log(loss=1.0)
    report(name, loop.run.status, loop.run.epoch, loop.run.stop_reason)

def rate(name):
    module = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5)
    rates = []
    with Loop(model=module, optimizer=optimizer, ranks=Ranks(every=10)) as loop:
        for epoch in loop.epochs(1):
            for i in loop.batches(range(25)):
                loop.log(loss=1.0)
                if (rank, i) == (1, 12):
                    loop.run.learning_rate = 0.25
                rates.append(loop.run.learning_rate)
    report(name, rates.index(0.25), set(rates) == {0.5, 0.25})

def one_rank(name):
    with Loop(history := History()) as loop:
        for epoch in loop.epochs(2):
            for i in loop.batches(range(5)):
                loop.log(loss=1.0, **{f"only{rank}": 1.0})
            if rank == 0:
                with loop.evaluation():
                    loop.log(loss=7.0)
        if rank == 0:
            with loop.evaluation(name="test"):
                loop.log(acc=1.0)
    report(name, sorted(history), list(history["val_loss"]))

def epochs(name):
    with Loop() as loop:
        for epoch in loop.epochs(2 + rank):
            for i in loop.batches(range(150)):
                loop.log(loss=1.0)

def options(name):
    with Loop(ranks=Ranks(every=10 + rank)):
        pass

def setup(name):
    with Loop(CSVLogger("/proc/none/run.csv")) as loop:
        pass

def leaves(name):
    with Loop(ranks=Ranks(every=10)) as loop:
        for epoch in loop.epochs(2):
            for i in loop.batches(range(25)):
                loop.log(loss=1.0)
                if (rank, i) == (1, 13):
                    raise KeyError("a batch")

def apart(name):
    with Loop(ranks=Ranks(together=False)) as loop:
        for epoch in loop.epochs(1):
            for i in loop.batches(range(150 * rank)):
                loop.log(loss=1.0)
            if rank:
                loop.run.stop("at once")
                assert loop.run.stopped
    report(name, loop.run.status)

for train in (count, nan, stop, decision, rate, one_rank, epochs, options, setup, leaves, apart):
    attempt(train.__name__, train)
"""

WHERE = "rank 0 at the end of the run, after epoch 2, rank 1 at step 100 of epoch 3"


def test_ranks_agree(tmp_path):
    """On stops, rates and results; a mismatch is an error on each of them."""
    zero, one = ({name: rest for name, *rest in reports(output)} for output in run_ranks(AGREED, tmp_path))
    both = {
        "nan": ["failed", 45, one["nan"][2]],
        "decision": ["stopped", 0, "only here (rank 1)"],
        "one_rank": [["loss", "only0", "only1", "val_loss"], [7.0, 7.0]],
    }
    assert {name: zero[name] for name in both} == both
    assert {name: one[name] for name in both} == both
    assert one["nan"][2].endswith("(rank 1)")
    in_epoch = 2 + 1 + 1 + 1  # steps 10 and 20, the evaluation, the end, and what sinks decide there
    new_names = 2 * 3  # of the evaluation and of the epoch: two for their exchange, and the one that found them
    assert zero["count"] == one["count"] == [1, 1 + 3 * in_epoch + 1 + new_names]
    assert zero["stop"] == ["stopped", 1, 50, "enough (rank 0)"]
    assert one["stop"] == ["stopped", 1, 65, "enough (rank 0)"]
    assert (one["rate"], zero["rate"]) == ([12, True], [20, True])  # the next agreed step
    for found in (zero, one):
        assert found["epochs"][0] == "RankError"
        assert WHERE in found["epochs"][1]
        assert found["options"][0] == "RankError"
        assert "the ranks differ at the begin of the run" in found["options"][1]
    assert zero["setup"][0] == "SetupError"
    assert one["setup"][0] == "RankError"
    assert "without rank 0 (rank 0: its run could not begin: /proc/none/run.csv cannot be" in one["setup"][1]
    assert one["leaves"] == ["KeyError", "'a batch'"]
    assert zero["leaves"][0] == "RankError"
    assert "without rank 1 (rank 1: KeyError: 'a batch')" in zero["leaves"][1]
    assert (zero["apart"], one["apart"]) == (["completed"], ["stopped"])


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


LOST = """
with Loop(CSVLogger("run.csv", per_batch=True), ranks=Ranks(every=10, lost_after=8, on_lost_rank="ON_LOST")) as loop:
    for epoch in loop.epochs(1000):
        for i in loop.batches(range(25)):
            loop.log(loss=1.0)
            COUPLE
            time.sleep(0.002)
            if (epoch, i) == (1, 3):
                print("trains", flush=True)
"""


@pytest.mark.parametrize(
    ("how", "couple"), [(signal.SIGKILL, "couple()"), (signal.SIGKILL, "pass"), (signal.SIGSTOP, "couple()")]
)
def test_a_lost_rank_is_named_by_the_others_which_end(tmp_path, how, couple):
    """Whether they wait for it in the training or in an exchange; what rank 0 wrote is whole."""
    processes = start(LOST.replace("ON_LOST", "exit").replace("COUPLE", couple), tmp_path, 3)
    while processes[1].stdout.readline() != "trains\n":
        assert processes[1].poll() is None
    os.kill(processes[1].pid, how)
    began = time.monotonic()
    found = outputs([processes[0], processes[2]], seconds=60)
    processes[1].kill()
    processes[1].communicate()
    for output in found:
        assert "ERROR rank 1 is gone: no sign of life for 8 s" in output
    statuses = {process.wait() for process in (processes[0], processes[2])}
    assert statuses <= {75, 1}  # 1 where the training itself noticed that its connection broke
    assert time.monotonic() - began < 60
    header, *rows = (tmp_path / "run.csv").read_text().splitlines()
    assert rows
    assert all(row.count(",") == header.count(",") for row in rows)
