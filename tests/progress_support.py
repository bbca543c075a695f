"""What the tests of progress share."""

import os
import struct
import threading

import pytest

from monitor_core.sinks import progress_bars as bars


class Clock:
    """A clock that moves on by itself at every look, by the same step, and otherwise on request."""

    def __init__(self, step=0.0):
        self.now = 100.0
        self.step = step

    def __call__(self):
        self.now += self.step
        return self.now


@pytest.fixture
def clock(monkeypatch):
    """Stand in for the clock, so that durations are exact."""
    stopped = Clock()
    monkeypatch.setattr(bars, "now", stopped)
    return stopped


class Terminal:
    """A pseudo-terminal of a given size: `stream` is written to, `read` returns what arrived and closes it."""

    def __init__(self, columns=120, rows=24):
        fcntl, termios = pytest.importorskip("fcntl"), pytest.importorskip("termios")
        self._master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.stream = os.fdopen(slave, "w", encoding="utf-8")
        self._chunks = []
        self._reader = threading.Thread(target=self._drain)  # a pseudo-terminal blocks its writer when it is full
        self._reader.start()

    def _drain(self):
        while True:
            try:
                chunk = os.read(self._master, 65536)
            except OSError:  # EIO: the other end is closed
                return
            if not chunk:
                return
            self._chunks.append(chunk)

    def read(self):
        self.stream.close()
        self._reader.join()
        os.close(self._master)
        return b"".join(self._chunks).decode()


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of 120 columns, whatever the tests run in."""
    monkeypatch.setenv("TERM", "xterm")
    opened = Terminal()
    yield opened
    if not opened.stream.closed:
        opened.read()


def train(loop, epochs=3, batches=2, clock=None, evaluate=True):
    """Run epochs of 0.2 seconds a batch, with losses 1.0, 0.5, ..., 1 / batch."""
    for epoch in loop.epochs(epochs):
        for batch in loop.batches(range(batches)):
            if clock is not None:
                clock.now += 0.2
            loop.log(loss=1 / (batch + 1))
        if evaluate:
            loop.log(val_loss=2.5601 + epoch)


def abort(loop, error, batches=1):
    """Run an epoch in which the last batch raises."""
    with loop:
        for _ in loop.epochs(2):
            for batch in loop.batches(range(batches)):
                loop.log(loss=1)
                if batch == batches - 1:
                    raise error


def open_bars():
    """Return the bars that tqdm still knows of."""
    from tqdm import tqdm

    return list(tqdm._instances)
