"""The base class of network sinks: a server that is slow, hangs or is down does not affect a training."""

import math
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

from monitor_core import Bus, Loop
from monitor_core.network import retries as attempts
from monitor_core.network.sink import NetworkSink
from receivers import Server
from recorders import train


class Line(NetworkSink):
    """Send an event for each hook; the server accepts it, or fails as configured.

    Args:
        *errors: What to raise in turn.
        forever: What to raise after these.
        gate: What to wait for at each message.
        **options: Options of the sink.
    """

    def __init__(self, *errors, forever=None, gate=None, **options):
        self.server = Server(*errors, forever=forever, gate=gate)
        self.taken = self.server.taken
        vars(self).update(options)

    def on_train_begin(self, run):
        self.send("begin")

    def on_batch_end(self, run, step, logs):
        self.send(("batch", step, logs))

    def on_epoch_end(self, run, epoch, logs):
        self.send({"epoch": epoch, **logs})

    def on_exception(self, run, error):
        self.send(type(error).__name__)

    def on_train_end(self, run, logs):
        self.send(run.status)
        super().on_train_end(run, logs)

    def deliver(self, message):
        self.server(message)


@pytest.fixture
def gate():
    """Return an event that the server waits for; it is set at the end."""
    event = threading.Event()
    yield event
    event.set()


def run(script):
    """Run a script in its own process; return its exit code, stdout and stderr."""
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def test_what_hooks_send_is_there_when_the_run_has_ended():
    """The messages of a run arrive in order, the last of them before `on_train_end` returns."""
    bus = Bus(sink := Line())
    train(bus, [{"loss": 2.0}], [{"loss": 1.0}])
    epochs = [
        ["batch", 1, {"loss": 2.0}],
        {"epoch": 0, "loss": 2.0},
        ["batch", 2, {"loss": 1.0}],
        {"epoch": 1, "loss": 1.0},
    ]
    assert sink.taken == ["begin", *epochs, "completed"]
    assert (sink.delivered, sink.failed, sink.dropped, sink.waiting) == (6, 0, 0, 0)


def test_sink_continues_over_runs_and_after_a_close():
    """A sink works over several runs, whether it was closed between them or not."""
    bus = Bus(sink := Line())
    train(bus)
    train(bus)
    assert sink.close()
    train(bus)
    assert sink.taken == ["begin", "completed"] * 3
    assert sink.flush()


def test_no_hook_waits_for_a_delivery_that_is_under_way(gate, warned):
    """A whole run completes while the first message is still being delivered: no step waits for it."""
    bus = Bus(sink := Line(gate=gate, flush_seconds=0))
    train(bus, [{"loss": 1.0}] * 300)
    assert (sink.taken, sink.waiting) == ([], 303)
    assert warned() == [
        "Line: by the end of the run 0 messages were dropped, 0 failed (0 values); 303 wait and are retried"
    ]
    gate.set()
    assert sink.flush(20)
    assert len(sink.taken) == 303
    sink.close()


def test_run_ends_in_time_where_a_delivery_hangs(gate):
    """The first run's end waits its five seconds; once the server is known to hang, no end waits for it.

    On a loaded machine a delivery may begin only with the second run.
    """
    bus = Bus(sink := Line(gate=gate))
    begin = time.monotonic()
    for _ in range(4):
        train(bus, [{"loss": 1.0}])
    assert time.monotonic() - begin < 11  # four ends that wait take 20
    assert sink.waiting == 16
    sink.close(0)


def test_server_that_is_down_ends_and_blocks_no_training(monkeypatch, warned):
    """If no message can be delivered, that is logged once, the pending ones at each run's end; training continues."""
    monkeypatch.setattr(attempts, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(attempts, "LONGEST_PAUSE", 0.01)
    with Loop(sink := Line(forever=ConnectionRefusedError("refused"), limit=50)) as loop:
        for _ in loop.epochs(2):
            for _ in loop.batches(range(100)):
                loop.log(loss=1.0)
    assert loop.run.status == "completed"
    assert loop.bus.failures == []
    begin = time.monotonic()
    for _ in range(100):
        train(loop.bus)
    assert time.monotonic() - begin < 60  # five seconds for each would be 500
    assert not sink.close(0)
    assert sink.dropped + sink.failed == 200 + 4 + 200
    assert len([text for text in warned() if text.startswith("Line cannot deliver")]) == 1


def test_losses_are_reported_at_the_end_of_their_run(warned):
    """The end of each run logs once how many messages it lost, and no line if it lost none."""
    bus = Bus(sink := Line(TypeError("bad"), TypeError("bad")))
    train(bus)
    train(bus)
    assert (sink.failed, sink.taken) == (2, ["begin", "completed"])
    assert warned() == [
        "Line dropped a message (TypeError: bad); further drops for this reason are only counted",
        "Line: by the end of the run 0 messages were dropped, 2 failed (2 values); 0 wait and are retried",
    ]
    assert not sink.flush()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_what_was_sent_before_an_exception_arrives(error):
    """An exception or Ctrl-C propagates after the messages have been delivered, including its own message."""
    with pytest.raises(error), Loop(sink := Line()) as loop:
        for _ in loop.epochs(1):
            for _ in loop.batches(range(3)):
                loop.log(loss=1.0)
                raise error
    status = "failed" if error is ValueError else "interrupted"
    assert sink.taken == ["begin", ["batch", 1, {"loss": 1.0}], error.__name__, status]


def test_an_interrupt_ends_the_wait_at_the_runs_end(gate):
    """Ctrl-C during the wait for messages is raised immediately, though signals are deferred while sinks are called."""
    bus = Bus(sink := Line(gate=gate, flush_seconds=30))
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        train(bus)
    assert bus.run.status == "completed"
    sink.close(0)


def test_message_is_copied_as_plain_values():
    """A message holds the values at the time of `send`, without references to a framework's objects."""
    sink = Line()
    inner = [1, {"a": np.float32(0.5)}]
    message = {
        "list": inner,
        "array": np.arange(3),
        "one": np.int64(4),
        "nan": np.float64("nan"),
        "none": None,
        "set": {1},
    }
    sink.send(message)
    inner.append("later")
    message["array"][:] = 9
    assert sink.close()
    (taken,) = sink.taken
    assert math.isnan(taken.pop("nan"))
    assert taken == {"list": [1, {"a": 0.5}], "array": [0, 1, 2], "one": 4, "none": None, "set": [1]}
    assert {type(value) for value in taken["array"]} == {int}


def test_block_is_sent_as_columns():
    """A block becomes lists, with None where a metric is missing."""

    class Blocks(Line):
        on_batch_end = NetworkSink.on_batch_end

        def on_block(self, run, block):
            self.send(block)

    sink = Blocks()
    train(Bus(sink), [{"loss": 1.0}, {"loss": 2.0, "acc": math.inf}])
    block = sink.taken[1]
    assert len(block.pop("times")) == 2
    assert block == {"epoch": 0, "steps": [1, 2], "columns": {"loss": [1.0, 2.0], "acc": [None, math.inf]}}


def test_what_is_no_plain_value_is_refused():
    """A message that cannot be converted is an error in the hook that sends it."""
    with pytest.raises(TypeError, match=r"a message must hold plain values \(got object: it is <object"):
        Line().send({"model": object()})


def test_sink_without_deliver_is_an_error_that_names_it(warned):
    """A subclass without `deliver` gets an error that says so, without retries."""

    class Mute(NetworkSink):
        pass

    sink = Mute()
    sink.send("a")
    assert not sink.close()
    cause = "NotImplementedError: Mute must override deliver(message)"
    assert warned() == [f"Mute dropped a message ({cause}); further drops for this reason are only counted"]


def test_no_thread_outlives_a_run():
    """When a run has ended and all is delivered, its thread ends too."""
    before = set(threading.enumerate())
    train(Bus(Line()), [{"loss": 1.0}])
    for thread in set(threading.enumerate()) - before:
        thread.join(20)
    assert set(threading.enumerate()) <= before


def test_blocks_that_wait_at_the_interpreters_exit_are_delivered():
    """At exit, a bus flushes its values before the sinks are closed, in whichever order they were created."""
    code = """
        import os
        from monitor_core import Bus
        from monitor_core.network.sink import NetworkSink
        class Show(NetworkSink):
            background = True
            def on_block(self, run, block):
                self.send(block)
            def deliver(self, message):
                os.write(1, b"%d " % len(message["steps"]))
        early, sink = Bus(), Show()
        late = Bus(other := Show())
        early.add(sink)
        for bus in (early, late):
            bus.train_begin(); bus.epoch_begin(0)
            bus.batch_end(1, {"loss": 1.0}); bus.batch_end(2, {"loss": 1.0})
    """
    assert run(code) == (0, "2 2 ", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks are those of POSIX")
def test_forked_child_sends_nothing_of_the_parents():
    """A child forked in mid-run, such as a data loader's worker, ends without a message; the parent loses none."""
    code = """
        import os, time
        from monitor_core import Loop
        from monitor_core.network.sink import NetworkSink
        class Show(NetworkSink):
            def on_batch_end(self, run, step, logs):
                self.send(step)
            def deliver(self, message):
                time.sleep(0.001)
                os.write(1, b"%d:%d " % (message, os.getpid() == parent))
        parent, children = os.getpid(), []
        with Loop(sink := Show()) as loop:
            for _ in loop.epochs(1):
                for number in loop.batches(range(200)):
                    loop.log(loss=1.0)
                    if number % 50 == 49:
                        child = os.fork()
                        if not child:
                            os._exit(sink.waiting or sink.delivered or not sink.close())
                        children.append(child)
        for child in children:
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    """
    code, out, err = run("import warnings; warnings.simplefilter('ignore')\n" + textwrap.dedent(code))
    assert (code, err) == (0, "")
    assert out.split() == [f"{step}:1" for step in range(1, 201)]
