"""`Bus.call_soon`: from any thread, once, on the training's thread, before the next batch."""

import threading

from monitor_core import Bus, Loop, Sink
from recorders import train


class Events(Sink):
    """Notes what happens."""

    def __init__(self):
        self.seen = []

    def on_batch_begin(self, run, step):
        self.seen.append(f"begin {step}")

    def on_midepoch_evaluation(self, run, logs):
        self.seen.append("evaluation")

    def on_epoch_end(self, run, epoch, logs):
        self.seen.append("end")


def from_another_thread(function, *args):
    thread = threading.Thread(target=function, args=args)
    thread.start()
    thread.join()


def test_it_is_called_once_before_the_next_batch():
    """On the training's thread; without sinks that listen too."""
    for sinks in ([], [Events()]):
        threads = []
        with Loop(*sinks) as loop:
            for _ in loop.epochs(1):
                for batch in loop.batches(range(4)):
                    if batch == 1:
                        from_another_thread(loop.bus.call_soon, lambda: threads.append(threading.get_ident()))  # noqa: B023
                        assert threads == []
                    if batch == 2:
                        assert threads == [threading.get_ident()]
        assert len(threads) == 1


def test_without_another_batch_it_is_called_at_the_epoch_s_end():
    """Before the sinks get the end."""
    bus = Bus(events := Events())
    bus.train_begin()
    bus.epoch_begin(0)
    bus.call_soon(lambda: events.seen.append("called"))
    bus.epoch_end(0, {})
    bus.train_end()
    assert events.seen == ["called", "end"]


def test_evaluations_that_wait_for_the_next_batch_still_get_it():
    """Both happen before it."""
    bus = Bus(events := Events())
    bus.train_begin()
    bus.epoch_begin(0)
    bus.batch_begin(1)
    bus.batch_end(1, {})
    bus.call_soon(lambda: events.seen.append("called"))
    bus.evaluation_begin()
    bus.evaluation_end({"loss": 1.0})
    bus.batch_begin(2)
    assert events.seen == ["begin 1", "evaluation", "called", "begin 2"]
    bus.evaluation_begin()
    bus.evaluation_end({"loss": 1.0})
    bus.call_soon(lambda: events.seen.append("called"))
    bus.batch_end(2, {})
    bus.batch_begin(3)
    assert events.seen[4:] == ["evaluation", "called", "begin 3"]


def test_the_same_function_waits_only_once():
    """A sink may ask again until it is called."""
    bus, calls = Bus(), []
    call = lambda: calls.append(1)  # noqa: E731
    bus.train_begin()
    bus.epoch_begin(0)
    for _ in range(3):
        bus.run.call_soon(call)
    bus.batch_begin(1)
    bus.batch_end(1, {})
    bus.batch_begin(2)
    assert calls == [1]


def test_what_waits_at_the_run_s_end_is_dropped():
    """It belongs to that run."""
    bus, calls = Bus(), []
    bus.train_begin()
    bus.call_soon(lambda: calls.append(1))
    bus.train_end()
    assert bus.run.call_soon is None
    train(bus, [{"loss": 1.0}])
    assert calls == []
