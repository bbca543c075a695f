"""Deferred signals; `faults/test_interrupts.py` tests what happens to the records."""

import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from monitor_core import Bus, SetupError
from monitor_core.background.interrupts import deferred_interrupts
from recorders import Raiser, Recorder


@pytest.fixture(autouse=True)
def _no_other_runs(monkeypatch):
    """Forget the runs that other tests have left open."""
    monkeypatch.setattr(deferred_interrupts, "_owners", {})
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


DROPPED = """
    import gc, signal, threading
    from monitor_core import Bus, History
    def drop(bus):
        bus.train_begin()
        bus.epoch_begin(0)
        return bus
    buses = [drop(Bus(History())), drop(Bus(History()))]
    assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
"""


def ends_as_it_began(script):
    """Run the script above and this one in a process of its own, and return what it prints."""
    code = textwrap.dedent(DROPPED) + textwrap.dedent(script)
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_handlers_are_restored_once_the_last_open_run_is_collected():
    """A run that is dropped without an end keeps no handler; another open run does."""
    script = """
        buses.pop(); gc.collect()
        print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
        buses.pop(); gc.collect()
        print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
        print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
    """
    assert ends_as_it_began(script) == "False\nTrue\nTrue"


def test_a_run_that_is_collected_on_another_thread_is_noticed_with_the_next_signal():
    """Handlers can be set on the main thread alone; the signal itself is not lost."""
    script = """
        thread = threading.Thread(target=lambda: (buses.clear(), gc.collect()))
        thread.start(); thread.join()
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            print("interrupted")
        print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
    """
    assert ends_as_it_began(script) == "interrupted\nTrue"


def test_a_run_may_take_the_first_ctrl_c():
    """At once, also inside a block; a second one is raised at once, and so are those of a run that takes none."""
    owner, other, asked = Recorder(), Recorder(), []
    deferred_interrupts.install(owner, lambda: asked.append(None) or len(asked) == 1)
    deferred_interrupts.install(other)
    with deferred_interrupts:
        os.kill(os.getpid(), signal.SIGINT)
        assert len(asked) == 1
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    deferred_interrupts.uninstall(owner)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    deferred_interrupts.uninstall(other)
    assert len(asked) == 2


def test_a_handler_of_the_user_comes_before_the_run():
    """The run takes no Ctrl-C that Python itself would not raise."""
    owner, numbers = Recorder(), []
    signal.signal(signal.SIGINT, lambda number, frame: numbers.append(number))
    deferred_interrupts.install(owner, lambda: True)
    os.kill(os.getpid(), signal.SIGINT)
    deferred_interrupts.uninstall(owner)
    assert numbers == [signal.SIGINT]
