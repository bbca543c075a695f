"""What every framework's connection does: one run over real processes, whatever happens to one of them."""

import os
import signal
import time

import pytest
from ranks_support import outputs, reports, run_ranks, start


@pytest.fixture(params=["torch", "jax"])
def engine(request):
    """Return the framework that connects the processes."""
    pytest.importorskip(request.param)
    return request.param


AGREED = """
import json

def report(*values):
    print("\\n" + json.dumps(values), flush=True)

def attempt(name, train):
    try:
        train(name)
    except Exception as error:
        report(name, type(error).__name__, str(error))
    barrier()

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
    class Rated:
        learning_rates = [0.5]

    rates = []
    with Loop(model=Rated(), ranks=Ranks(every=10)) as loop:
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

def fork(name):
    with Loop(History(), ranks=Ranks(every=10)) as loop:
        for epoch in loop.epochs(1):
            for i in loop.batches(range(25)):
                loop.log(loss=1.0)
                if i == 5:
                    child = os.fork()
                    if not child:
                        loop.run.stop("in the child")
                        os._exit(7 if loop.run.stopped else 8)
    report(name, loop.run.status, loop.run.step, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

for train in (count, nan, stop, decision, rate, one_rank, epochs, options, setup, leaves, apart, fork):
    attempt(train.__name__, train)
"""

WHERE = "rank 0 at the end of the run, after epoch 2, rank 1 at step 100 of epoch 3"


def test_ranks_agree(engine, tmp_path):
    """On stops, rates and results; a mismatch is an error on each of them."""
    zero, one = (
        {name: rest for name, *rest in reports(output)} for output in run_ranks(AGREED, tmp_path, engine=engine)
    )
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
    assert zero["fork"] == one["fork"] == ["completed", 25, 7]  # the child is not a rank: its stop is its own


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
def test_a_lost_rank_is_named_by_the_others_which_end(engine, tmp_path, how, couple):
    """Whether they wait for it in the training or in an exchange; what rank 0 wrote is whole."""
    if engine == "jax" and how == signal.SIGKILL:
        pytest.skip("JAX notices the broken connection, and then waits for 100 s before it lets the process end")
    processes = start(LOST.replace("ON_LOST", "exit").replace("COUPLE", couple), tmp_path, 3, engine)
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
    assert statuses <= {75, 1, -signal.SIGABRT}  # 1 where the training noticed that its connection broke; JAX aborts
    assert time.monotonic() - began < 60
    header, *rows = (tmp_path / "run.csv").read_text().splitlines()
    assert rows
    assert all(row.count(",") == header.count(",") for row in rows)
