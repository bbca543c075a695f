"""The thread beside the training by itself: what it does once it was stopped, and who hears of an exit first."""

import subprocess
import sys
import textwrap
import threading

from monitor_core.background.worker import DeliveryThread


class Worker:
    """Count the calls; each ends when it is let go."""

    def __init__(self):
        self.calls = 0
        self.entered, self.leave = threading.Event(), threading.Event()
        self.threads = []

    def work(self):
        """Do one piece of work, and ask for no more."""
        self.calls += 1
        self.threads.append(threading.current_thread())
        self.entered.set()
        self.leave.wait(20)


def test_thread_that_was_stopped_calls_no_more():
    """After the call under way a stopped thread ends, whatever signals were still to be heard."""
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


def test_thread_that_was_stopped_comes_back_with_the_next_signal():
    """Stopping is no end: another thread takes over."""
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


def test_those_that_may_still_be_handed_something_are_told_of_the_exit_last():
    """At the exit the order is by what was asked for, not by who came first."""
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
