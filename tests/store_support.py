"""What tests of stores share: machines, runs that record to a store, and what they have recorded."""

import numpy as np

from monitor_core import Journal, Loop, open_run
from monitor_core.store import mirror
from monitor_core.store.addresses import located
from monitor_core.store.spool import Spool


def become_machine(folder, monkeypatch):
    """Let this process be on another machine: with other spools and copies; return the folder of both."""
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    mirror._mirrors.clear()
    return folder


def train(address, epochs=2, batches=300, *sinks, **options):
    """Record a run of so many epochs; return the loop."""
    with Loop(*sinks, Journal(address), **options) as loop:
        for epoch in loop.epochs(loop.next_epoch + epochs):
            for batch in loop.batches(range(batches)):
                loop.log(loss=1.0 / (1 + epoch * batches + batch))
    return loop


def spool_of(address):
    """Return the folder that runs at an address are recorded in here."""
    return Spool(located(address)).folder


def losses(source):
    """Return every batch's loss."""
    batches = open_run(source).batches
    return batches["loss"].tolist() if len(batches) else []


def expected(epochs, batches=300):
    """Return what `train` has recorded."""
    return (1.0 / (1 + np.arange(epochs * batches))).tolist()
