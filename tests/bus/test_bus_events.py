"""The bus: events in order, failures isolated, sinks added and removed, state: events, logs, learning rate."""

import numpy as np
import pytest

from bus_support import names
from monitor_core import Bus, Sink, on
from recorders import BlockRecorder, Handle, Recorder, train


def test_every_event_arrives_with_its_arguments_in_order():
    """A sink with all hooks gets a whole run in order, with blocks before the event that closes them."""
    bus = Bus(recorder := Recorder())
    bus.train_begin()
    bus.epoch_begin(0)
    bus.batch_begin(1)
    bus.batch_end(1, {"loss": 1})
    bus.evaluation_begin()
    bus.evaluation_batch_begin(0)
    bus.evaluation_batch_end(0, {"loss": 2})
    bus.evaluation_end({"loss": 2})
    bus.batch_begin(2)
    bus.batch_end(2, {"loss": 3})
    bus.epoch_end(0, {"loss": np.float32(2), "val_loss": 2})
    bus.train_end()
    assert recorder.events == [
        ("train_begin",),
        ("epoch_begin", 0),
        ("batch_begin", 1),
        ("batch_end", 1, {"loss": 1}),
        ("block", (0, [(1, {"loss": 1.0})])),
        ("evaluation_begin",),
        ("evaluation_batch_begin", 0),
        ("evaluation_batch_end", 0, {"loss": 2}),
        ("evaluation_block", (0, [(0, {"loss": 2.0})])),
        ("evaluation_end", {"loss": 2.0}),
        ("midepoch_evaluation", {"val_loss": 2.0}),
        ("batch_begin", 2),
        ("batch_end", 2, {"loss": 3}),
        ("block", (0, [(2, {"loss": 3.0})])),
        ("epoch_end", 0, {"loss": 2.0, "val_loss": 2.0}),
        ("train_end", {"loss": 2.0, "val_loss": 2.0}),
    ]


def test_evaluation_and_prediction_outside_of_a_run():
    """Evaluations and predictions are legal at any time and never advance the step."""
    bus = Bus(recorder := Recorder())
    bus.evaluation_begin()
    bus.evaluation_end()
    bus.prediction_begin()
    bus.prediction_batch_begin(0)
    bus.prediction_batch_end(0, {"outputs": [1, 2]})
    bus.prediction_end({"outputs": None})
    assert recorder.events == [
        ("evaluation_begin",),
        ("evaluation_end", {}),
        ("prediction_begin",),
        ("prediction_batch_begin", 0),
        ("prediction_batch_end", 0, {"outputs": [1, 2]}),
        ("prediction_end", {"outputs": None}),
    ]
    assert (bus.run.status, bus.run.step) == ("pending", 0)


def test_exception_comes_after_the_block_and_before_the_end():
    """An error reaches the sinks only after the values before it."""
    bus, error = Bus(recorder := Recorder("on_block", "on_exception", "on_train_end")), ValueError("boom")
    bus.train_begin()
    bus.epoch_begin(0)
    bus.batch_end(1, {"loss": 1.0})
    bus.exception(error)
    assert recorder.events == [("block", (0, [(1, {"loss": 1.0})])), ("exception", error), ("train_end", {})]
    assert bus.run.status == "failed"


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError(), "failed"), (KeyboardInterrupt(), "interrupted"), (SystemExit(), "interrupted")],
)
def test_status_after_an_exception(error, status):
    """An error ends a run as failed; Ctrl-C or an exit ends it as interrupted."""
    bus = Bus()
    bus.train_begin()
    bus.exception(error)
    assert bus.run.status == status


@pytest.mark.parametrize(
    ("request_stop", "status"),
    [
        (lambda run: None, "completed"),
        (lambda run: run.stop("enough"), "stopped"),
        (lambda run: run.stop("NaN", failed=True), "failed"),
    ],
)
def test_status_after_train_end(request_stop, status):
    """A run completes unless a sink requested a stop; sinks see the status at train end."""
    seen = []
    bus = Bus(on("train_end", lambda run, logs: seen.append(run.status)))
    bus.train_begin()
    assert bus.run.status == "running"
    request_stop(bus.run)
    bus.train_end()
    assert seen == [bus.run.status] == [status]


def test_train_end_takes_logs_of_its_own():
    """Results given for the whole run replace the last epoch's, as floats."""
    bus = Bus(recorder := Recorder("on_train_end"))
    bus.train_begin()
    bus.epoch_begin(0)
    bus.epoch_end(0, {"loss": 1})
    bus.train_end({"loss": np.float32(0.5), "note": None})
    assert recorder.events == [("train_end", {"loss": 0.5})]


def test_rewind_delivers_pending_values_first():
    """A rewind sets the run back, and epochs continue from there."""
    bus = Bus(recorder := Recorder("on_block", "on_rewind", "on_epoch_begin"))
    bus.train_begin()
    bus.epoch_begin(4)
    bus.batch_end(41, {"loss": 1.0})
    bus.rewind(2, 20)
    assert (bus.run.epoch, bus.run.step) == (1, 20)
    bus.epoch_begin(2)
    assert recorder.events == [
        ("epoch_begin", 4),
        ("block", (4, [(41, {"loss": 1.0})])),
        ("rewind", 2, 20),
        ("epoch_begin", 2),
    ]


def test_abandoned_epoch_is_not_recorded_but_its_batches_are():
    """An aborted epoch delivers its block and ends without a record."""
    bus = Bus(recorder := Recorder("on_block", "on_epoch_begin", "on_epoch_end"))
    bus.train_begin()
    bus.epoch_begin(0)
    bus.batch_end(1, {"loss": 1.0})
    bus.epoch_abandon()
    bus.epoch_begin(1)
    assert recorder.events == [("epoch_begin", 0), ("block", (0, [(1, {"loss": 1.0})])), ("epoch_begin", 1)]


def test_sinks_are_called_in_the_order_given():
    """Each event goes to the sinks in the order given; those that save the state of others come last."""
    events = []
    saver = Recorder("on_epoch_end", name="saver", events=events)
    saver.saves = True
    first, second = (Recorder("on_epoch_end", name=name, events=events) for name in ("first", "second"))
    bus = Bus(saver, first, second)
    assert bus.sinks == (first, second, saver)
    train(bus, [])
    assert names(events) == ["first", "second", "saver"]


def test_only_overridden_hooks_are_called():
    """The bus listens only for hooks that some sink overrides, and keeps no values that no sink wants."""
    bus = Bus(Recorder("on_epoch_end"))
    assert [bus.has_listeners(hook) for hook in ("on_epoch_end", "on_batch_end", "on_block")] == [True, False, False]
    assert bus.has_listeners("on_batch_end", "on_epoch_end")
    assert {name for name, calls in bus._dispatch.calls.items() if calls} == {"on_epoch_end"}
    bus.train_begin()
    bus.epoch_begin(0)
    bus.batch_end(7, {"loss": object()})
    assert (bus.run.step, bus._delivery.buffer) == (7, None)


def test_batch_end_without_listeners_never_touches_its_values():
    """With no sink for batches or blocks, the logs are neither read nor kept."""

    class Untouchable(dict):
        def __iter__(self):
            raise AssertionError

        keys = items = values = __getitem__ = __len__ = __iter__

    train(Bus(Recorder("on_epoch_begin")), [])
    bus = Bus(Recorder("on_epoch_begin", "on_batch_begin"))
    bus.train_begin()
    bus.batch_end(1, Untouchable())
    assert bus.run.step == 1


def test_logs_may_be_left_out():
    """Events without logs arrive with an empty mapping."""
    bus = Bus(recorder := Recorder("on_batch_end", "on_epoch_end", "on_train_end", "on_evaluation_end"))
    bus.train_begin()
    bus.epoch_begin(0)
    bus.batch_end(1)
    bus.evaluation_end()
    bus.epoch_end(0)
    bus.train_end()
    assert recorder.events == [("batch_end", 1, {}), ("evaluation_end", {}), ("epoch_end", 0, {}), ("train_end", {})]


class Writer(Sink):
    """Modify all logs."""

    def on_batch_end(self, run, step, logs):
        logs["written"] = 1

    def on_epoch_end(self, run, epoch, logs):
        logs.clear()

    def on_evaluation_end(self, run, logs):
        logs["written"] = 1


class Reader(Recorder):
    """Promise not to modify the logs, and keep the objects themselves."""

    read_only = True


def test_writing_into_logs_is_not_seen_by_others():
    """A user's sink gets a copy, so that neither the next sink nor the caller sees its changes."""
    bus = Bus(before := Recorder(), Writer(), after := Reader())
    logs = {"loss": 1.0}
    bus.train_begin()
    bus.epoch_begin(0)
    bus.batch_end(1, logs)
    bus.evaluation_end({"loss": 2.0})
    bus.epoch_end(0, logs)
    bus.train_end()
    expected = [("batch_end", 1, {"loss": 1.0}), ("evaluation_end", {"loss": 2.0}), ("epoch_end", 0, {"loss": 1.0})]
    for recorder in (before, after):
        assert [event for event in recorder.events if event[0] in {name for name, *_ in expected}] == expected
        assert recorder.events[-1] == ("train_end", {"loss": 1.0})
    assert logs == {"loss": 1.0}


def test_read_only_sinks_get_the_caller_s_own_logs():
    """A sink that promises not to modify logs gets no copy of a batch's logs."""
    bus, logs = Bus(reader := Reader("on_batch_end")), {"loss": 1.0}
    bus.batch_end(1, logs)
    assert reader.events[0][2] is logs


def test_epoch_logs_are_floats_converted_once():
    """Epoch and evaluation logs arrive as plain floats in their order; a value that is not a number is skipped."""
    bus = Bus(recorder := Recorder("on_epoch_end", "on_evaluation_end"))
    bus.train_begin()
    bus.epoch_begin(0)
    logs = {"b": np.float32(0.5), "a": True, "c": np.array(3), "d": None, "e": "text", "f": {"g": 1}, 3: 1.0}
    bus.evaluation_end(logs)
    bus.epoch_end(0, logs)
    expected = {"b": 0.5, "a": 1.0, "c": 3.0, "g": 1.0}
    assert recorder.events == [("evaluation_end", expected), ("epoch_end", 0, expected)]
    assert all(type(value) is float for value in recorder.events[1][2].values())
    assert list(recorder.events[1][2]) == ["b", "a", "c", "g"]


def test_batch_logs_arrive_as_they_were_given():
    """The values of a batch reach a batch hook raw."""
    bus, value = Bus(recorder := Recorder("on_batch_end")), object()
    bus.batch_end(1, {"loss": value})
    assert recorder.events[0][2]["loss"] is value


def test_unusable_metric_is_logged_once(warned):
    """A value that is not a number is skipped with one warning that names the metric, and ends nothing."""
    bus = Bus(blocks := BlockRecorder())
    train(bus, *[[{"loss": 1.0, "note": "text", "big": 10**400, "vector": np.ones(2)}] * 3] * 2)
    assert blocks.column("loss") == [1.0] * 6
    assert blocks.column("note") == [None] * 6
    assert sorted(warned()) == [
        "metric 'big' is skipped: it is an integer of 1329 bits, too large for a float64",
        "metric 'note' is skipped: it is 'text', and a metric is a number",
        "metric 'vector' is skipped: it has the shape (2,), and a metric has one element",
    ]


def epoch_logs(bus, events):
    """Return the logs of the epochs received."""
    return [event[2] for event in events if event[0] == "epoch_end"]


def test_learning_rate_is_logged_once_it_was_set():
    """As soon as a sink sets the rate it is among the epoch's logs: the one in force in that epoch."""

    def lower(run, epoch, logs):
        run.learning_rate /= 2

    bus = Bus(on("epoch_end", lower), recorder := Recorder(), model=Handle(1.0))
    train(bus, [], [], [])
    assert epoch_logs(bus, recorder.events) == [{}, {"learning_rate": 0.5}, {"learning_rate": 0.25}]


def test_learning_rate_is_logged_from_the_first_epoch_where_a_sink_may_set_it():
    """If a sink declares that it sets the rate, it is logged from the first epoch."""
    recorder = Recorder()
    recorder.sets_learning_rate = True
    train(Bus(recorder, model=Handle(0.1)), [])
    assert epoch_logs(None, recorder.events) == [{"learning_rate": 0.1}]


def test_learning_rate_in_the_logs_wins():
    """A rate that the training logs itself is kept."""
    recorder = Recorder()
    recorder.sets_learning_rate = True
    train(Bus(recorder, model=Handle(0.1)), [{"learning_rate": 3.0}])
    assert epoch_logs(None, recorder.events) == [{"learning_rate": 3.0}]


def test_sink_that_may_set_the_rate_ends_no_training_without_one():
    """Where there is no rate, none is logged: an epoch's end never raises for it."""
    recorder = Recorder()
    recorder.sets_learning_rate = True
    train(Bus(recorder), [{"loss": 1.0}])
    assert epoch_logs(None, recorder.events) == [{"loss": 1.0}]
