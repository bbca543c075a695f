"""The command as a user runs it: in a process of its own, with its output and exit code."""

import os
import subprocess
import sys
import time
from contextlib import contextmanager

import attrs

from monitor_core import Journal, Loop

TRAINING = """
import sys, time
from monitor_core import Control, Loop
class Model:
    learning_rates = [0.1]
with Loop(Control(), record=sys.argv[1], model=Model()) as loop:
    for epoch in loop.epochs(1000):
        for _ in loop.batches(range(10)):
            loop.log(loss=1.0)
            time.sleep(0.01)
print(loop.run.stop_reason)
"""


@contextmanager
def training_process(folder, code=TRAINING, *, until="control/listening.json"):
    """Train in another process, which records its run in a folder; give the process once a file is there."""
    with subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + 60
            while not (folder / until).exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            yield process
        finally:
            process.kill()


@attrs.frozen
class Done:
    """What a command did."""

    code: int
    out: str
    err: str


def command(*args, cwd=None, **environment):
    """Run ``monitor-core`` with these arguments; return what it did."""
    done = subprocess.run(
        [sys.executable, "-m", "monitor_core", *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=cwd,
        env={**os.environ, **environment},
    )
    return Done(done.returncode, done.stdout, done.stderr)


def train(folder, losses, *sinks, name="val_loss", **options):
    """Record a run with these losses, each after two batches."""
    with Loop(*sinks, Journal(folder, **options)) as loop:
        for epoch in loop.epochs(len(losses)):
            for _ in loop.batches(range(2)):
                loop.log(loss=losses[epoch] / 2)
            loop.log({name: losses[epoch]})
    return folder
