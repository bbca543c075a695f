"""Blocks on the bus's own thread: when they are delivered, to which sinks, and what happens if that fails."""

import gc
import os
import subprocess
import sys
import threading
import time
import weakref

import pytest

from monitor_core import Bus, History, Loop, Sink
from monitor_core.bus.delivery import BACKLOG
from recorders import BlockRecorder, Raiser, train


class BackgroundRecorder(BlockRecorder):
    """Record blocks and the threads they were delivered on."""

    background = True

    def __init__(self):
        super().__init__()
        self.threads = []

    def on_block(self, run, block):
        self.threads.append(threading.current_thread())
        super().on_block(run, block)


class BackgroundRaiser(Raiser):
    background = True


def begun(*sinks, **options):
    """Return a bus with an open run and epoch."""
    bus = Bus(*sinks, **options)
    bus.train_begin()
    bus.epoch_begin(0)
    return bus


def wait_until(condition, seconds=20):
    """Wait until a condition holds; fail after a long time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not become true"
        time.sleep(0.01)


def fill(bus, first=1, last=256):
    """End several batches."""
    for step in range(first, last + 1):
        bus.batch_end(step, {"loss": float(step)})


def test_full_block_is_delivered_in_the_background():
    """A block of 256 steps is delivered on the bus's own thread, without any further event."""
    bus = begun(sink := BackgroundRecorder())
    fill(bus)
    wait_until(lambda: sink.blocks)
    assert sink.steps == [list(range(1, 257))]
    assert sink.threads[0] is not threading.current_thread()


def test_value_that_is_a_second_old_comes_although_nothing_happens():
    """A batch that takes minutes does not delay the values of the batches before it."""
    bus = begun(sink := BackgroundRecorder())
    begin = time.monotonic()
    fill(bus, last=3)
    wait_until(lambda: sink.blocks)
    assert sink.steps == [[1, 2, 3]]
    assert time.monotonic() - begin > 0.9
    fill(bus, 4, 5)
    wait_until(lambda: len(sink.blocks) == 2)
    assert sink.steps[1] == [4, 5]


def test_other_sinks_get_blocks_on_the_training_thread():
    """A block is fetched in the background and delivered between two batches."""

    class Foreground(BackgroundRecorder):
        background = False

    bus = begun(first := Foreground(), second := BackgroundRecorder())
    fill(bus)
    wait_until(lambda: second.blocks)
    assert first.blocks == []
    wait_until(lambda: bus._delivery._left)
    fill(bus, 257, 257)
    assert first.threads == [threading.current_thread()]
    assert first.steps == second.steps


def test_sink_with_batch_hooks_gets_blocks_between_batches():
    """No two hooks of one sink run at the same time, even if it is ``background``."""

    class Both(BackgroundRecorder):
        def on_batch_end(self, run, step, logs):
            pass

    bus = begun(sink := Both())
    fill(bus, last=600)
    bus.epoch_end(0, {})
    assert set(sink.threads) == {threading.current_thread()}
    assert [step for block in sink.steps for step in block] == list(range(1, 601))


def test_epoch_end_comes_after_its_blocks_and_waits_for_one_under_way():
    """No sink sees the end of an epoch before the block that another thread is delivering."""
    order, entered, leave = [], threading.Event(), threading.Event()

    class Slow(Sink):
        background = True

        def on_block(self, run, block):
            entered.set()
            leave.wait(20)
            order.append(block.steps[-1])

        def on_epoch_end(self, run, epoch, logs):
            order.append("end")

    bus = begun(Slow())
    fill(bus)
    assert entered.wait(20)
    fill(bus, 257, 260)
    threading.Timer(0.05, leave.set).start()
    bus.epoch_end(0, {})
    assert order == [256, 260, "end"]


def test_training_waits_for_a_sink_that_does_not_keep_up():
    """The queue is bounded: a training waits for a sink that is too slow, and nothing is lost."""

    class Slow(BackgroundRecorder):
        def on_block(self, run, block):
            time.sleep(0.002)
            super().on_block(run, block)

    longest = 0
    bus = begun(sink := Slow())
    for step in range(1, 20_001):
        bus.batch_end(step, {"loss": 1.0})
        longest = max(longest, len(bus._delivery.buffer))
    bus.epoch_end(0, {})
    assert [step for block in sink.steps for step in block] == list(range(1, 20_001))
    assert longest <= BACKLOG * 256


def test_hook_that_raises_in_the_background_is_isolated(warned):
    """A failure on the bus's own thread is logged and kept like any other; the sinks after it are called."""
    bus = begun(BackgroundRaiser("on_block", ValueError("no")), sink := BackgroundRecorder())
    fill(bus)
    wait_until(lambda: sink.blocks)
    bus.epoch_end(0, {})
    bus.train_end()
    assert [(failure.sink, failure.hook) for failure in bus.failures] == [("Raiser", "on_block")]
    assert len([message for message in warned() if "Raiser.on_block raised" in message]) == 1


@pytest.mark.parametrize("error", [KeyError, SystemExit])
def test_what_must_propagate_is_raised_with_the_next_event(error):
    """An exception of a block hook that ends the training is raised on the training's own thread."""
    bus = begun(BackgroundRaiser("on_block", error(), critical=True), sink := BackgroundRecorder())
    fill(bus)
    wait_until(lambda: bus._delivery._fatal is not None)
    with pytest.raises(error):
        bus.batch_end(257, {"loss": 1.0})
    bus.epoch_end(0, {})
    assert [step for block in sink.steps for step in block] == list(range(1, 258))


def test_flush_within_a_block_hook_delivers_nothing():
    """A sink that flushes from its block hook gets no other block in between."""
    bus = Bus()

    class Flushes(BackgroundRecorder):
        def on_block(self, run, block):
            super().on_block(run, block)
            bus.flush()

    bus.add(sink := Flushes())
    train(bus, [{"loss": 1.0}] * 700)
    assert [step for block in sink.steps for step in block] == list(range(1, 701))


def test_thread_ends_with_the_run():
    """No thread outlives its run, or a bus that was freed."""

    def threads():
        return [each for each in threading.enumerate() if each.name == "monitor_core delivery"]

    gc.collect()  # the buses of earlier tests
    wait_until(lambda: not threads())
    bus = begun(BackgroundRecorder())
    fill(bus, last=1)
    assert len(threads()) == 1
    bus.epoch_end(0, {})
    bus.train_end()
    wait_until(lambda: not threads())
    bus.train_begin()
    fill(bus, 2, 2)
    reference = weakref.ref(bus)
    del bus
    gc.collect()
    assert reference() is None
    wait_until(lambda: not threads())


def test_no_thread_is_started_without_block_hooks():
    """A bus whose sinks have epoch hooks only starts no thread."""
    before = threading.active_count()
    bus = begun(History())
    fill(bus, last=1000)
    assert threading.active_count() == before
    bus.epoch_end(0, {})


def test_training_continues_if_no_thread_can_be_started(monkeypatch):
    """If no thread can be started, blocks are delivered on the training's thread."""

    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    bus = begun(sink := BackgroundRecorder())
    fill(bus, last=300)
    assert sink.steps == [list(range(1, 257))]
    bus.epoch_end(0, {})
    assert sink.steps[1] == list(range(257, 301))


def test_means_of_a_loop_hold_all_batches_however_they_were_delivered():
    """The thread adds blocks, with their weights, to the means that the training's thread reads at the epoch's end."""
    with Loop(sink := BackgroundRecorder()) as loop:
        for _ in loop.epochs(1):
            for value in loop.batches(range(5000)):
                loop.log(loss=value, weight=value % 3)
            expected = sum(value * (value % 3) for value in range(5000)) / sum(value % 3 for value in range(5000))
        assert sink.threads
    assert loop.bus._last_logs["loss"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork exists on POSIX only")
def test_forked_child_begins_without_what_waited_and_never_hangs():
    """A child forked during a delivery gets none of the parent's blocks and can train itself."""
    code = """
import os, sys
from monitor_core import Bus, History
bus = Bus(history := History(per_batch=True))
bus.train_begin(); bus.epoch_begin(0)
for step in range(1, 5001):
    bus.batch_end(step, {"loss": 1.0})
    if step % 500 == 0 and not os.fork():
        before = len(history.batches)
        bus.batch_end(step + 1, {"loss": 2.0})
        bus.epoch_end(0, {})
        os._exit(0 if len(history.batches) == before + 1 else 1)
bus.epoch_end(0, {})
codes = [os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(10)]
sys.exit(codes != [0] * 10 or len(history.batches) != 5000)
"""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code]
    assert subprocess.run(command, timeout=120, check=False).returncode == 0


def test_pending_values_are_delivered_at_interpreter_exit():
    """A script that exits without ending its run loses no values."""
    code = """
from monitor_core import Bus, Sink
class Show(Sink):
    background = True
    def on_block(self, run, block):
        print(block.steps.tolist(), flush=True)
bus = Bus(Show())
bus.train_begin(); bus.epoch_begin(0)
bus.batch_end(1, {"loss": 1.0}); bus.batch_end(2, {"loss": 1.0})
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "[1, 2]\n", "")
