"""The background thread on its own: what it does once stopped, and the order of notifications at exit."""

import subprocess
import sys
import textwrap
import threading

from monitor_core.background.worker import DeliveryThread


class Worker:
    """Count the calls; each returns when released."""

    def __init__(self):
        self.calls = 0
        self.entered, self.leave = threading.Event(), threading.Event()
        self.threads = []

    def work(self):
        """Do one piece of work, and request no more calls."""
        self.calls += 1
        self.threads.append(threading.current_thread())
        self.entered.set()
        self.leave.wait(20)


def test_stopped_thread_makes_no_more_calls():
    """A stopped thread ends after its current call, even if signals are pending."""
    worker = Worker()
    thread = DeliveryThread(worker.work, name="worker")
    assert thread.wake()
    assert worker.entered.wait(20)
    thread.wake()
    thread.stop()
    worker.leave.set()
    worker.threads[0].join(20)
    assert not worker.threads[0].is_alive()
    assert (worker.calls, worker.threads[0].name) == (1, "worker")


def test_next_signal_starts_a_stopped_thread():
    """After a stop, a signal starts another thread."""
    worker = Worker()
    worker.leave.set()
    thread = DeliveryThread(worker.work)
    thread.wake()
    assert worker.entered.wait(20)
    thread.stop()
    worker.threads[0].join(20)
    worker.entered.clear()
    thread.notice()
    assert worker.entered.wait(20)
    assert worker.threads[-1] is not worker.threads[0]
    thread.stop()


def test_a_thread_that_lingers_needs_no_signal():
    """It checks once more after the given time; meanwhile a notice is free."""
    worker = Worker()
    worker.leave.set()
    thread = DeliveryThread(worker.work, linger=1.0)
    thread.notice()
    assert worker.entered.wait(20)
    worker.entered.clear()
    thread.notice()
    assert thread._signals.empty()
    assert worker.entered.wait(20)
    assert len(set(worker.threads)) == 1
    thread.stop()
    worker.threads[0].join(20)
    assert not worker.threads[0].is_alive()


def test_receivers_are_notified_of_the_exit_last():
    """At exit the order follows ``exits_last``, not the order of registration."""
    code = """
        from monitor_core.background.watch import watch
        class Owner:
            def __init__(self, name, last):
                self.name = name
                watch(self, exits_last=last)
            def at_exit(self):
                print(self.name, end=" ")
        owners = [Owner(name, name == "last") for name in ("last", "first", "last", "first")]
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "first first last last "
