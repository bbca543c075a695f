"""Deferred signals; `faults/test_interrupts.py` tests what happens to the records."""

import os
import signal
import threading
import weakref

import pytest

from monitor_core import Bus, SetupError
from monitor_core.background.interrupts import deferred_interrupts
from recorders import Raiser, Recorder


@pytest.fixture(autouse=True)
def _no_other_runs(monkeypatch):
    """Uninstall the handlers of runs that other tests left open."""
    monkeypatch.setattr(deferred_interrupts, "_owners", weakref.WeakSet())
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def received():
    """Record signals in a list, by a handler installed before the run's."""
    numbers = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: numbers.append(number))
    yield numbers
    signal.signal(signal.SIGTERM, before)


def send():
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
def _installed(received):
    owner = Recorder()
    deferred_interrupts.install(owner)
    yield
    deferred_interrupts.uninstall(owner)


@pytest.mark.usefixtures("_installed")
def test_a_signal_waits_for_the_end_of_the_outermost_block(received):
    """A signal waits for the end of a block; outside one it is forwarded at once."""
    send()
    assert len(received) == 1
    with deferred_interrupts:
        with deferred_interrupts:
            send()
        assert len(received) == 1
    assert len(received) == 2


@pytest.mark.usefixtures("_installed")
def test_a_second_signal_is_forwarded_at_once(received):
    """A second signal inside a block is forwarded at once, together with the first."""
    with deferred_interrupts:
        send()
        send()
        assert len(received) == 1
    assert len(received) == 1


@pytest.mark.usefixtures("_installed")
def test_signals_pass_within_a_wait(received):
    """A wait inside a block lets signals through, earlier ones too; after it they are deferred again."""
    with deferred_interrupts:
        send()
        with deferred_interrupts.passing():
            assert len(received) == 1
            send()
            assert len(received) == 2
        send()
        assert len(received) == 2
    assert len(received) == 3


@pytest.mark.usefixtures("_installed")
def test_other_threads_defer_nothing(received):
    """Another thread does not defer signals, which the main thread handles."""

    def hold():
        deferred_interrupts.__enter__()
        with deferred_interrupts.passing():
            pass

    thread = threading.Thread(target=hold)
    thread.start()
    thread.join()
    send()
    assert len(received) == 1


def test_handlers_are_restored_after_the_last_run():
    """The handlers stay until the last of nested runs ends."""
    before = signal.getsignal(signal.SIGINT)
    outer, inner = Bus(Recorder()), Bus(Recorder())
    outer.train_begin()
    during = signal.getsignal(signal.SIGINT)
    inner.train_begin()
    inner.train_end()
    assert signal.getsignal(signal.SIGINT) == during != before
    outer.train_end()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_run_that_cannot_begin_leaves_the_handlers():
    """A run that cannot begin restores the handlers."""
    bus = Bus(Raiser("on_train_begin", SetupError("no")))
    with pytest.raises(SetupError):
        bus.train_begin()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("received")
def test_a_handler_that_is_set_in_a_run_is_kept():
    """A handler that the user installed later is kept."""
    bus = Bus(Recorder())
    bus.train_begin()
    signal.signal(signal.SIGTERM, own := lambda number, frame: None)
    bus.train_end()
    assert signal.getsignal(signal.SIGTERM) is own


def test_a_run_on_another_thread_leaves_signals_alone():
    """Off the main thread, no handler is installed."""
    before, found = signal.getsignal(signal.SIGINT), []

    def train():
        bus = Bus(Recorder())
        bus.train_begin()
        found.append(signal.getsignal(signal.SIGINT))
        bus.train_end()

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert found == [before]
    assert signal.getsignal(signal.SIGINT) is before
