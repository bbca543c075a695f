"""The command as a user runs it: in a process of its own, with its output and exit code."""

import os
import subprocess
import sys

import attrs

from monitor_core import Journal, Loop


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
