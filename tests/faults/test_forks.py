"""Processes that are forked off or spawned while a run is recorded: nothing hangs, is lost, or is written twice."""

import os

import pytest

from faults.support import csv_steps, read_board, read_run, script

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks are those of POSIX")

BEGIN = """
    import multiprocessing, os, signal, sys, threading
    from pathlib import Path
    from faults.support import Recording
    from monitor_core import Loop, Sink

    folder = Path(sys.argv[1])
    recording = Recording(folder)

    def content():
        return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def code_of(child):
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""


def assert_all_recorded(folder, steps, epochs):
    """Check that every record holds each step and epoch once, and that no file is there but the parent's."""
    expected = list(range(1, steps + 1))
    assert csv_steps(folder) == expected
    assert [step for step, tag, _ in read_board(folder / "board")["train"] if tag == "batch_loss"] == expected
    journal = read_run(folder / "journal")
    assert (journal["status"], journal["steps"][1]) == ("completed", expected)
    assert len(journal["epochs"]["loss"]) == epochs
    assert len(list((folder / "journal").iterdir())) == 1
    assert len(list((folder / "board").rglob("*tfevents*"))) == 1


FORKED = """
    class Held(Sink):
        background = True
        entered, leave, on = threading.Event(), threading.Event(), True

        def on_block(self, run, block):
            if self.on:
                self.entered.set()
                self.leave.wait(30)

    held = Held()
    parent = os.getpid()
    ends = ["_exit", "exit", "raise", "kill", "continue"]
    codes = []
    try:
        with Loop(*recording.sinks[:3], held, *recording.sinks[3:]) as loop:
            for epoch in loop.epochs(5):
                end = ends[epoch]
                for batch in loop.batches(range(300)):
                    loop.log(loss=batch)
                    if batch == 280 and os.getpid() == parent:
                        assert held.entered.wait(30)  # a block is being delivered on the other thread
                        before = content()
                        child = os.fork()
                        if not child:
                            held.on = False
                            loop.log(loss=-1.0)
                            if end == "_exit":
                                os._exit(3)
                            if end == "exit":
                                sys.exit(4)
                            if end == "raise":
                                raise ValueError("in the child")
                            if end == "kill":
                                os.kill(os.getpid(), signal.SIGKILL)
                            continue  # to train as if it were the parent
                        codes.append(code_of(child))
                        assert content() == before
                        held.leave.set()
                loop.log(loss=epoch)
                held.entered.clear()
                held.leave.clear()
    finally:
        if os.getpid() == parent:
            print(codes)
            print(len(recording.history.batches))
"""


def test_a_fork_within_a_block_harms_neither(tmp_path):
    """Whichever way the child ends, and even if it continues with its copy of the loop: it never hangs or writes."""
    output = script(BEGIN + FORKED, tmp_path)
    assert output == f"{[3, 4, 1, -9, 0]}\n1500\n"
    assert_all_recorded(tmp_path, 1500, 5)


BY_MULTIPROCESSING = """
    import math, time

    def use(loop, how):
        loop.log(loss=-1.0)
        loop.bus.flush()
        if how == "raise":
            raise ValueError("in the child")
        if how == "exit":
            sys.exit(4)

    def spawned():
        import monitor_core
        from monitor_core import Loop, History
        with Loop(history := History()) as loop:
            for _ in loop.epochs(1):
                loop.log(loss=1.0)
        sys.exit(len(history))

    if __name__ == "__main__":
        sys.stderr = open(os.devnull, "w")  # the children's tracebacks
        fork, spawn = (multiprocessing.get_context(how) for how in ("fork", "spawn"))
        codes, results = [], []
        with Loop(*recording.sinks) as loop, fork.Pool(2) as early:
            for epoch in loop.epochs(2):
                for batch in loop.batches(range(300)):
                    loop.log(loss=batch)
                    if batch % 60 == 30:
                        child = fork.Process(target=use, args=(loop, ["", "raise", "exit", "", ""][batch // 60]))
                        child.start()
                        child.join(30)
                        codes.append(child.exitcode)
                for context in (fork, spawn):
                    with context.Pool(2) as pool:
                        results.append(pool.map(math.sqrt, [4.0, 9.0]))
                results.append(early.map(math.sqrt, [16.0]))
                child = spawn.Process(target=spawned)
                child.start()
                child.join(60)
                codes.append(child.exitcode)
                loop.log(loss=epoch)
        print(codes, results, len(recording.history.batches))
"""


def test_processes_and_pools_of_both_kinds_harm_nothing(tmp_path):
    """They are used within a run, some made before it began, some that touch the loop: all end, and write nothing."""
    output = script(BEGIN + BY_MULTIPROCESSING, tmp_path / "run", path=tmp_path / "script.py", timeout=100)
    codes = [0, 1, 4, 0, 0, 1]
    results = [[2.0, 3.0], [2.0, 3.0], [4.0]]
    assert output == f"{codes * 2} {results * 2} 600\n"
    assert_all_recorded(tmp_path / "run", 600, 2)


LOADED = """
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    data = TensorDataset(torch.arange(600.0))
    with Loop(*recording.sinks) as loop:
        loaders = [
            DataLoader(data, batch_size=2, num_workers=2, persistent_workers=True, multiprocessing_context="fork"),
            DataLoader(data, batch_size=2, num_workers=2, multiprocessing_context="fork"),
        ]
        for epoch in loop.epochs(3):
            for loader in loaders:
                for (batch,) in loop.batches(loader):
                    loop.log(loss=batch.sum())
    print(recording.history.batches["loss"].tolist() == [4.0 * n + 1 for n in range(300)] * 6)
"""


def test_workers_of_a_data_loader_harm_nothing(tmp_path):
    """Persistent workers of PyTorch's own loader, and workers that are started again for each epoch."""
    pytest.importorskip("torch")
    assert script(BEGIN + LOADED, tmp_path, timeout=100) == "True\n"
    assert_all_recorded(tmp_path, 1800, 3)
