"""Real workers of XGBoost, connected by its tracker: one run over them."""

import json
import signal
import time
from contextlib import suppress

import numpy as np
import pytest
from ranks_support import launch, outputs, reports

xgboost = pytest.importorskip("xgboost")

WORKER = """
import json, logging, os, signal, sys
import numpy as np
import xgboost
from monitor_core import *
from monitor_core.adapters.xgboost import XGBoostAdapter

logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stdout)
parameters = {"objective": "reg:squarederror", "eval_metric": "rmse", "nthread": 1}

def data(rank, rows):
    random = np.random.default_rng(rank)
    x = random.normal(size=(rows, 4))
    return xgboost.DMatrix(x, x[:, 0] + random.normal(size=rows))

def train(*sinks, rounds=50, ranks=None):
    with Loop(*sinks, ranks=ranks) as loop:
        seen, sets = {}, [(training, "train"), (validation, "valid")]
        xgboost.train(parameters, training, rounds, evals=sets, evals_result=seen, verbose_eval=False,
                      callbacks=[XGBoostAdapter(loop)])
    return loop.run, seen

with xgboost.collective.CommunicatorContext(**json.loads(sys.argv[1])):
    rank = xgboost.collective.get_rank()
    training, validation = data(rank, 60 + 40 * rank), data(7 + rank, 30)
"""


@pytest.fixture
def workers(tmp_path):
    """Return a function that starts two workers, which run code, and returns their processes."""
    from xgboost.tracker import RabitTracker

    tracker = RabitTracker(n_workers=2, host_ip="127.0.0.1", timeout=60)
    tracker.start()

    def start(code, timeout=60):
        program = tmp_path / "program.py"
        body = "".join(f"    {line}\n" for line in code.strip().splitlines())
        program.write_text(WORKER + body, encoding="utf-8")
        arguments = {**tracker.worker_args(), "dmlc_timeout": timeout, "dmlc_retry": 1}
        workers = [json.dumps({**arguments, "dmlc_task_id": str(worker)}) for worker in range(2)]
        return [launch(program, tmp_path, worker) for worker in workers]

    yield start
    with suppress(xgboost.core.XGBoostError):  # a worker was lost
        tracker.free()


TRAININGS = """
sums = Ranks(reductions={"rmse": "sum", "valid_rmse": "sum"})
sinks = [history := History(), CSVLogger("run.csv"), Progress(bars=False)]
run, seen = train(*sinks, EarlyStopping("valid_rmse", mode="min", patience=5), ranks=sums)
print("\\n" + json.dumps(["early", run.rank, run.ranks, run.status, run.epoch, run.stop_reason]))
same = [history[name].tolist() == seen[set_]["rmse"] for name, set_ in (("rmse", "train"), ("valid_rmse", "valid"))]
print(json.dumps(["same", *same, history["rmse"].tolist()]))
asking = [on("epoch_end", lambda run, epoch, logs: run.stop("enough") if epoch == 3 else None)] if rank else []
run, seen = train(*asking)
print(json.dumps(["asked", run.status, run.epoch, run.stop_reason]), flush=True)
try:
    with XGBoostAdapter(resume="run") as adapter:
        xgboost.train(parameters, training, 3, verbose_eval=False, callbacks=[adapter])
except Exception as error:
    print(json.dumps(["resumed", type(error).__name__, str(error)]), flush=True)
"""


def test_results_are_xgboosts_own_and_all_workers_stop_together(workers, tmp_path):
    """It has reduced them already; one worker writes and prints."""
    written = outputs(workers(TRAININGS))
    found = [{name: rest for name, *rest in reports(each)} for each in written]
    zero, one = sorted(found, key=lambda each: each["early"][0])
    _, ranks, status, epoch, reason = zero["early"]
    assert (ranks, status) == (2, "stopped")
    assert one["early"] == [1, 2, "stopped", epoch, reason]
    assert zero["same"] == one["same"] == [True, True, zero["same"][2]]
    assert len((tmp_path / "run.csv").read_text().splitlines()) == epoch + 2
    assert "".join(written).count(f"epoch {epoch + 1} ·") == 1
    assert zero["asked"] == one["asked"] == ["stopped", 3, "enough (rank 1)"]
    assert zero["resumed"][0] == "SetupError"
    assert "XGBoost cannot save a booster of several workers before its first round" in zero["resumed"][1]
    assert one["resumed"][0] == "RankError"  # XGBoost's connection to it broke


LOST = """
end = on("epoch_end", lambda run, epoch, logs: os.kill(os.getpid(), HOW) if (rank, epoch) == (1, 7) else None)
try:
    train(end, CSVLogger("run.csv"))
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_lost_worker_ends_the_others(workers, tmp_path, how):
    """In an exchange, as in the training, by XGBoost's own error; the file has whole rows."""
    processes = workers(LOST.replace("HOW", str(int(how))), timeout=5)
    try:
        written = _first_to_end(processes).communicate(timeout=60)[0]
    finally:
        for each in processes:
            each.kill()
            each.communicate()
    assert "RankError the ranks lost their connection at the end of epoch 8" in written
    assert "Stack trace" not in written
    assert len((tmp_path / "run.csv").read_text().splitlines()) in {8, 9}


def _first_to_end(processes):
    """Return the process that ends by itself."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        for each in processes:
            if each.poll() is not None and each.returncode >= 0:
                return each
        time.sleep(0.1)
    pytest.fail("no worker has ended")


def test_what_is_gathered_is_unchanged_to_the_last_bit(workers):
    """Whatever the numbers mean: as bits, that are not added."""
    code = """
from monitor_core.ranks.xgboost import connected
own = np.frombuffer(bytes(range(64 + rank, 128 + rank)))
print("\\n" + json.dumps([connected().gather(own).tobytes().hex()]))
"""
    rows = [np.frombuffer(bytes(range(64 + rank, 128 + rank))).tobytes().hex() for rank in (0, 1)]
    for output in outputs(workers(code)):
        assert reports(output)[-1] == ["".join(rows)]
