"""Ranks: which process of a job this is, and which sinks it calls."""

import subprocess
import sys

import pytest

from monitor_core import Bus, Loop, Sink
from monitor_core.errors import SetupError


class Calls(Sink):
    """Note the hooks that are called."""

    def __init__(self):
        self.calls = []

    def on_train_begin(self, run):
        self.calls.append(("train_begin", run.rank, run.ranks))

    def on_batch_end(self, run, step, logs):
        self.calls.append("batch_end")

    def on_train_end(self, run, logs):
        self.calls.append("train_end")


class Writer(Calls):
    """A sink that writes."""

    writes = True


class RankWriter(Writer):
    """A sink that writes on every rank."""

    per_rank = True


def train(*sinks):
    """Run one batch."""
    bus = Bus(*sinks)
    bus.train_begin()
    bus.epoch_begin(0)
    bus.batch_end(1, {})
    bus.epoch_end(0, {})
    bus.train_end()
    return bus


@pytest.mark.parametrize("rank", [0, 1])
def test_what_writes_is_called_on_rank_zero_only(monkeypatch, rank):
    """A sink that does not write, or says per_rank, is called on every rank."""
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", "2")
    sinks = Calls(), Writer(), RankWriter()
    train(*sinks)
    called = [("train_begin", rank, 2), "batch_end", "train_end"]
    assert [sink.calls for sink in sinks] == [called, called if rank == 0 else [], called]


def test_the_rank_may_change_between_runs(monkeypatch):
    """Which sinks are called is determined when a run begins."""
    writer = Writer()
    bus = Bus(writer)
    for rank in (1, 0):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "2")
        bus.train_begin()
        bus.train_end()
    assert writer.calls == [("train_begin", 0, 2), "train_end"]


@pytest.mark.parametrize(("rank", "ranks"), [("x", "2"), ("2", "2"), ("-1", "2"), ("0", "")])
def test_a_damaged_environment_is_one_process(monkeypatch, rank, ranks):
    """Variables that are no rank are ignored."""
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", ranks)
    bus = train()
    assert (bus.run.rank, bus.run.ranks) == (0, 1)


def test_the_model_needs_nothing_for_a_sink_that_is_not_called(monkeypatch):
    """What only rank 0 does, only rank 0 must be able to do."""

    class Needy(Writer):
        needs = ("save",)

    with pytest.raises(SetupError, match="save"):
        train(Needy())
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    train(Needy())


def test_a_run_of_ranks_that_are_not_connected_is_not_resumed(monkeypatch, tmp_path):
    """Two processes would save over each other; the message says what to do."""
    torch = pytest.importorskip("torch")
    from monitor_core.adapters.torch import TorchModel

    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with (
        pytest.raises(
            SetupError, match=r"rank 1 of 2 is not connected to the others: initialize torch.*or use record="
        ),
        Loop(model=TorchModel(torch.nn.Linear(1, 1)), resume=tmp_path),
    ):
        pass


RANK = """
import sys
import torch.distributed as dist
from monitor_core import CSVLogger, Loop
rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
with Loop(CSVLogger(f"{folder}/run.csv")) as loop:
    for epoch in loop.epochs(1):
        loop.log(loss=float(rank))
print(loop.run.rank, loop.run.ranks)
dist.destroy_process_group()
"""


def test_ranks_of_a_process_group(tmp_path):
    """With PyTorch's process group, two processes write one file between them."""
    pytest.importorskip("torch")
    command = [sys.executable, "-c", RANK]
    processes = [
        subprocess.Popen([*command, str(rank), str(tmp_path)], stdout=subprocess.PIPE, text=True) for rank in (0, 1)
    ]
    assert [process.communicate(timeout=120)[0].strip() for process in processes] == ["0 2", "1 2"]
    assert (tmp_path / "run.csv").read_text() == "epoch,loss\n0,0.5\n"
