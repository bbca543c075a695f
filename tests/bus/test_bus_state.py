"""The bus: events in order, failures isolated, sinks added and removed, state: blocks delivered, state, threads."""

import gc
import threading
import traceback
import weakref

import numpy as np
import pytest

from monitor_core import Bus, History, OrderError, Sink, on
from monitor_core.values.means import Means
from recorders import BlockRecorder, Raiser, Recorder, train


def test_stop_request_arrives_with_the_block_intact():
    """A stop in the middle of an epoch loses no batch."""
    bus = Bus(blocks := BlockRecorder(), on("batch_end", lambda run, step, logs: run.stop("enough")))
    train(bus, [{"loss": 1.0}, {"loss": 2.0}])
    assert blocks.rows == [(0, 1, {"loss": 1.0}), (0, 2, {"loss": 2.0})]
    assert bus.run.status == "stopped"


def test_every_sink_gets_the_same_block():
    """A block is built once and shared."""
    bus = Bus(one := BlockRecorder(), two := BlockRecorder())
    train(bus, [{"loss": 1.0}])
    assert one.blocks[0] is two.blocks[0]


def test_batches_between_epochs_are_not_of_the_next_epoch():
    """A block lies within one epoch: batches that ended before an epoch began are not labelled with it."""
    bus = Bus(blocks := BlockRecorder())
    bus.train_begin()
    bus.batch_end(1, {"loss": 1.0})
    bus.epoch_begin(0)
    bus.batch_end(2, {"loss": 2.0})
    bus.epoch_end(0)
    bus.train_end()
    assert blocks.rows == [(-1, 1, {"loss": 1.0}), (0, 2, {"loss": 2.0})]


def test_means_get_the_blocks_before_the_sinks():
    """Means include each block before a sink gets it, and no block after they were removed."""
    means, seen = Means(), []
    bus = Bus(on("block", lambda run, block: seen.append(means.take())))
    assert bus.gather_means(means) is None
    bus.batch_end(1, {"loss": 1.0})
    bus.batch_end(2, {"loss": 3.0})
    bus.flush()
    assert bus.gather_means(None) is means
    bus.batch_end(3, {"loss": 5.0})
    bus.flush()
    assert seen == [{"loss": 2.0}, {}]


class Counter(Sink):
    """Count epochs, across restarts too."""

    def __init__(self):
        self.count = 0

    def on_epoch_end(self, run, epoch, logs):
        self.count += 1

    def state_dict(self):
        return {"count": self.count, "array": np.arange(self.count)}

    def load_state_dict(self, state):
        self.count = state["count"]


def test_state_continues_in_another_bus():
    """A bus with the same sinks continues where the state was saved."""
    bus, other = Bus(Counter(), Counter(), Recorder()), Bus(one := Counter(), two := Counter(), Recorder())
    bus.sinks[1].count = 10
    train(bus, [{}, {}], [{}])
    other.load_state_dict(bus.state_dict())
    other.train_begin()
    assert (one.count, two.count, other.run.epoch, other.run.step) == (2, 12, 1, 3)
    other.epoch_begin(2)


def test_state_dict_holds_the_run_and_those_sinks_that_have_a_state():
    """The state is nested dicts of JSON values and arrays, with what each belongs to."""
    bus = Bus(Counter(), Counter(), Recorder(), on("epoch_end", lambda run, epoch, logs: None))
    state = bus.state_dict()
    assert [(each["sink"], each["identity"], each["options"]) for each in state["sinks"]] == [("Counter", {}, {})] * 2
    numbers = {"id": bus.run.id, "index": 0, "epoch": -1, "step": 0, "stop_reason": None, "rate_set": False}
    assert (state["format"], state["run"]) == (2, numbers)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.update(format=1), r"state must be of format 2 \(got 1\)"),
        (lambda state: state.pop("format"), r"state must be of format 2 \(got None\)"),
        (lambda state: state["sinks"][0].update(sink="Other"), r"state holds a sink Other\(\), .*; it has Counter\(\)"),
    ],
)
def test_state_that_does_not_fit(change, message):
    """A state of another format or of other sinks is refused, and nothing is restored."""
    bus, other = Bus(Counter()), Bus(Counter())
    train(bus, [{}])
    change(state := bus.state_dict())
    with pytest.raises(ValueError, match=message):
        other.load_state_dict(state)
    assert (other.run.step, other.sinks[0].count) == (0, 0)


def test_state_is_loaded_before_train_begin():
    """No state can be loaded into a run that has begun."""
    bus = Bus()
    state = bus.state_dict()
    bus.train_begin()
    with pytest.raises(
        OrderError, match=r"load_state_dict\(\) must be called before train_begin\(\): the run is running"
    ):
        bus.load_state_dict(state)


def test_runs_in_threads_do_not_disturb_each_other():
    """Concurrent runs, failing and stopping, each see only their own events."""
    barrier, results, errors = threading.Barrier(4), {}, []

    def work(number):
        try:
            blocks, raiser = BlockRecorder(), Raiser("on_batch_end", *[ValueError(number), None] * 150)
            bus = Bus(blocks, raiser)
            barrier.wait()
            train(bus, *[[{"loss": number + step} for step in range(100)] for _ in range(3)])
            results[number] = (blocks.column("loss"), {str(each.error) for each in bus.failures}, bus.run.step)
        except BaseException:
            errors.append(traceback.format_exc())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert results == {
        number: ([float(number + step) for step in range(100)] * 3, {str(number)}, 300) for number in range(4)
    }


def test_disabled_sink_is_reported_in_later_runs(warned):
    """A sink that was disabled in one run is not called in the next, and a warning says so at each run's end."""

    class Broken(Sink):
        def on_batch_end(self, run, step, logs):
            raise RuntimeError("no")

    bus = Bus(Broken())
    train(bus, [{}, {}, {}])
    train(bus, [{}])
    assert warned()[-1].startswith("Broken was not called in this run: it was disabled in an earlier run after")


def test_failures_that_propagate_are_kept_too():
    """What a strict bus raises is also in its failures."""

    class Broken(Sink):
        def on_epoch_begin(self, run, epoch):
            raise RuntimeError("no")

    bus = Bus(Broken(), strict=True)
    bus.train_begin()
    with pytest.raises(RuntimeError, match="no"):
        bus.epoch_begin(0)
    assert [(failure.sink, failure.hook) for failure in bus.failures] == [("Broken", "on_epoch_begin")]


def test_bus_and_model_are_freed_at_once():
    """No part of a bus refers back to it, so that its model is freed without the garbage collector."""

    class Model:
        learning_rates = (0.1,)

    gc.disable()
    try:
        model, history = Model(), History(per_batch=True)
        bus = Bus(history, Recorder(), model=model)
        train(bus, [{"loss": 1.0}, {"loss": "no number"}])
        kept = [weakref.ref(each) for each in (bus, model, history)]
        del bus, model, history
        assert [each() for each in kept] == [None, None, None]
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "hook", ["on_epoch_begin", "on_epoch_end", "on_batch_begin", "on_batch_end", "on_evaluation_end"]
)
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_interrupt_in_a_hook_waits_until_all_sinks_are_served(hook, error):
    """If a hook raises an interrupt or exit, later sinks still get the event; then it is raised."""
    raiser, later = Raiser(hook, error()), Recorder(hook)
    bus = Bus(raiser, later)
    bus.train_begin()
    with pytest.raises(error):
        train_one(bus)
    assert len(later.events) == 1


def train_one(bus):
    """Emit an epoch of one batch and one evaluation, in a run that has begun."""
    bus.epoch_begin(0)
    bus.batch_begin(1)
    bus.batch_end(1, {"loss": 1.0})
    bus.evaluation_begin()
    bus.evaluation_end({"loss": 1.0})
    bus.epoch_end(0, {"loss": 1.0})


def test_hook_may_wait_for_a_thread_that_flushes():
    """A flush on another thread does not wait for a running hook; its values are delivered after the hook."""
    at_join = []

    @on("epoch_begin")
    def wait(run, epoch):
        bus.batch_end(1, {"loss": 1.0})
        thread = threading.Thread(target=bus.flush)
        thread.start()
        thread.join(20)
        at_join.append((thread.is_alive(), list(recorder.blocks)))

    bus = Bus(wait, recorder := BlockRecorder())
    bus.train_begin()
    bus.epoch_begin(0)
    assert at_join == [(False, [])]
    assert [list(block.rows()) for block in recorder.blocks] == [[(1, {"loss": 1.0})]]


def test_sink_of_another_open_bus_is_refused():
    """A sink of another open run is refused, since rows would be mixed; once that run has ended it may be added."""
    history = History()
    first, second = Bus(history), Bus(history)
    first.train_begin()
    with pytest.raises(
        ValueError, match="History is on another bus whose run is open: give each bus a sink of its own"
    ):
        second.train_begin()
    with pytest.raises(ValueError, match="History is on another bus whose run is open"):
        Bus(history)
    first.train_end()
    second.train_begin()
    assert second.run.status == "running"


def test_open_bus_that_is_dropped_is_freed_at_once():
    """An open run does not keep its bus alive, so its sinks can be used again."""
    bus = Bus(history := History())
    bus.train_begin()
    reference = weakref.ref(bus)
    gc.disable()
    try:
        del bus
        assert reference() is None
    finally:
        gc.enable()
    Bus(history).train_begin()
