"""Ranks for the tests: as threads of this process, over a collective in its memory, or as processes over PyTorch's."""

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np

from monitor_core.ranks.agreement import Agreement
from monitor_core.ranks.options import Ranks
from monitor_core.ranks.requests import Requests
from monitor_core.ranks.watch import Watch


class Memory:
    """The notes of ranks that are threads."""

    def __init__(self, notes=None, lock=None, prefix=""):
        self.notes = {} if notes is None else notes
        self.lock = threading.Lock() if lock is None else lock
        self.prefix = prefix
        self.is_stuck = threading.Event()  # as if the process that keeps the notes were stopped

    def part(self, name):
        """Return the notes under a name."""
        return Memory(self.notes, self.lock, f"{self.prefix}{name}/")

    def set(self, key, text):
        """Write a note."""
        self._wait()
        self.notes[self.prefix + key] = text

    def get(self, key):
        """Return a note."""
        self._wait()
        return self.notes.get(self.prefix + key)

    def add(self, key, amount):
        """Add to a counter."""
        self._wait()
        with self.lock:
            self.notes[self.prefix + key] = value = self.notes.get(self.prefix + key, 0) + amount
        return value

    def set_once(self, key, text):
        """Write a note unless there is one."""
        self._wait()
        return self.notes.setdefault(self.prefix + key, text)

    def delete(self, key):
        """Remove a note."""
        self._wait()
        self.notes.pop(self.prefix + key, None)

    def _wait(self):
        while self.is_stuck.is_set():
            threading.Event().wait(0.01)


class Threads:
    """The collective of one rank among threads.

    Args:
        rank: Its number.
        shared: What all of them share: their number, a barrier, their rows, and the memory.
    """

    patience = 60.0
    is_open = True

    def __init__(self, rank, shared):
        self.rank = rank
        self.ranks, self.barrier, self.rows, memory = shared
        self.board = memory.part("job")

    def open(self):
        """Connect nothing."""

    def gather(self, numbers):
        """Gather by way of a list."""
        self.rows[self.rank] = numbers
        self.barrier.wait(30)
        gathered = np.array(self.rows)
        self.barrier.wait(30)
        return gathered

    def is_broken(self, error):
        """Return whether a barrier was broken."""
        return isinstance(error, threading.BrokenBarrierError)

    def close(self):
        """Break the barrier for those that still wait."""
        self.barrier.abort()


def in_threads(ranks, function):
    """Call a function with each rank's collective, all at a time; return what each returns or raises."""
    shared = ranks, threading.Barrier(ranks), [None] * ranks, Memory()
    found = [None] * ranks
    collectives = [Threads(rank, shared) for rank in range(ranks)]

    def run(rank):
        try:
            found[rank] = function(collectives[rank])
        except Exception as error:
            found[rank] = error

    threads = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a rank hangs"
    for each in collectives:
        each.watch.stop()
    return found


class Member:
    """A rank with its agreement, its requests, and what was agreed on.

    Args:
        collective: The collective.
        **options: Those of `Ranks`.
    """

    def __init__(self, collective, **options):
        self.options = Ranks(**{"lost_after": 20.0, **options})
        self.rank = collective.rank
        self.agreed = []
        self.requests = Requests()
        notes = collective.board.part("run")
        self.watch = collective.watch = Watch(
            notes,
            collective.rank,
            collective.ranks,
            self.options.lost_after,
            on_gone=lambda gone: self.agreed.append(("gone", *gone)),
            on_overdue=lambda: None,
        )
        self.watch.announce()
        collective.barrier.wait(30)
        self.watch.start()
        self.agreement = Agreement(
            collective,
            self.watch,
            self.options,
            self.requests,
            on_stop=lambda reason, failed: self.agreed.append(("stop", reason, failed)),
            on_rate=lambda rate: self.agreed.append(("rate", rate)),
        )
        self.exchange = self.agreement.exchange


ROOT = str(Path(__file__).parents[1])

PREAMBLE = """
import logging, os, signal, sys, time
import torch, torch.distributed as dist
from monitor_core import *
logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stdout)
if "RANK" in os.environ:
    dist.init_process_group("gloo")
else:
    rank, ranks, store = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=ranks)
rank = dist.get_rank()
couple = lambda: dist.all_reduce(torch.ones(1))
"""


def start(code, folder, ranks=2):
    """Start a program as plain processes that meet by a file; return them."""
    program = Path(folder, "program.py")
    program.write_text(PREAMBLE + code, encoding="utf-8")
    return [
        subprocess.Popen(
            [sys.executable, str(program), str(rank), str(ranks), f"file://{folder}/store"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder,
            env=environment(),
        )
        for rank in range(ranks)
    ]


def environment():
    """Return the environment of the ranks, which import the package from here."""
    import os

    without = {name: value for name, value in os.environ.items() if name not in {"RANK", "WORLD_SIZE"}}
    return {**without, "PYTHONPATH": ROOT, "OMP_NUM_THREADS": "1"}


def outputs(processes, seconds=150):
    """Return what each process has written, and end those that hang."""
    try:
        return [process.communicate(timeout=seconds)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()


def run_ranks(code, folder, ranks=2):
    """Run a program on several ranks; return what each has written."""
    return outputs(start(code, folder, ranks))


def torchrun(code, folder, ranks=2):
    """Run a program under torchrun; return its exit status and all that was written."""
    program = Path(folder, "program.py")
    program.write_text(PREAMBLE + code, encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(ranks)]
    done = subprocess.run(
        [*command, str(program)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env=environment(),
        timeout=150,
        check=False,
    )
    return done.returncode, done.stdout
