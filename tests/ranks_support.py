"""Ranks for the tests: as threads over a collective in memory, or as processes that a framework connects."""

import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np

from monitor_core.ranks.agreement import Agreement
from monitor_core.ranks.options import Ranks
from monitor_core.ranks.requests import Requests
from monitor_core.ranks.watch import Watch
from web_server import free_port


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

TORCH = """
import json, logging, os, signal, sys, time
import torch, torch.distributed as dist
from monitor_core import *
logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stdout)
if "RANK" in os.environ:
    dist.init_process_group("gloo")
else:
    rank, ranks, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=ranks)
rank = dist.get_rank()
barrier = dist.barrier
couple = lambda: dist.all_reduce(torch.ones(1))
"""

JAX = """
import json, logging, os, signal, sys, time
import jax
from jax.experimental.multihost_utils import process_allgather, sync_global_devices
from monitor_core import *
jax.config.update("jax_cpu_collectives_implementation", "gloo")
rank, ranks, port = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[4])
jax.distributed.initialize(f"127.0.0.1:{port}", ranks, rank)
logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stdout)
logging.getLogger("absl").setLevel(logging.WARNING)  # of Orbax, which would fill the pipe that is read last
barrier = lambda: sync_global_devices("barrier")
couple = lambda: process_allgather(jax.numpy.ones(1))
"""

ENGINES = {"torch": TORCH, "jax": JAX}

CONTINUED = """
train("whole", 6)
train("cut", 3)
train("cut", 6)
train("back", 3, sharded=False)
train("back", 6)
"""
"""Whole, cut and continued, and continued from what was not sharded, where ``train(folder, epochs)`` is defined."""


UNEVEN = """
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


def reports(output):
    """Return what a rank has printed as JSON, each on a line of its own; frameworks print other lines."""
    found = []
    for line in output.splitlines():
        if line.startswith(("{", "[")):
            with suppress(ValueError):
                found.append(json.loads(line))
    return found


def start(code, folder, ranks=2, engine="torch"):
    """Start a program as plain processes, which a framework connects; return them."""
    program = Path(folder, "program.py")
    program.write_text(ENGINES[engine] + code, encoding="utf-8")
    Path(folder, "store").unlink(missing_ok=True)  # of ranks that were started there before
    port = free_port()
    return [launch(program, folder, rank, ranks, folder, port) for rank in range(ranks)]


def launch(program, folder, *arguments):
    """Start a program as a process in a folder; what it writes can be read."""
    return subprocess.Popen(
        [sys.executable, str(program), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env=environment(),
    )


def environment():
    """Return the environment of the ranks, which import the package from here."""
    without = {name: value for name, value in os.environ.items() if name not in {"RANK", "WORLD_SIZE"}}
    return {**without, "PYTHONPATH": ROOT, "OMP_NUM_THREADS": "1"}


def outputs(processes, seconds=150):
    """Return what each process has written, and end those that hang."""
    try:
        return [process.communicate(timeout=seconds)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()


def run_ranks(code, folder, ranks=2, engine="torch"):
    """Run a program on several ranks; return what each has written."""
    return outputs(start(code, folder, ranks, engine))


def torchrun(code, folder, ranks=2):
    """Run a program under torchrun; return its exit status and all that was written."""
    program = Path(folder, "program.py")
    program.write_text(TORCH + code, encoding="utf-8")
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


def require_exact_means(found, written, folder):
    """Require that both ranks had exact means of what `UNEVEN` logged, stopped together, and that one of them wrote."""
    found = sorted(each for each in found if isinstance(each, list))
    reason = found[0][2]
    assert [each[:5] for each in found] == [[rank, "stopped", reason, 201, True] for rank in (0, 1)], written
    assert reason.startswith("val_loss did not improve for 200 epochs")
    assert found[0][5] == found[1][5]  # to the last bit
    assert len((folder / "run.csv").read_text().splitlines()) == 202
    assert written.count("epoch 201/300") == 1
