"""The bus: events in order, failures isolated, sinks added and removed, state."""

import gc
import itertools
import logging
import threading
import traceback
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor_core import Bus, History, OrderError, SetupError, Sink, on
from monitor_core.values.means import Means
from recorders import BlockRecorder, Handle, Raiser, Recorder, train


def names(events):
    """Return the events' names alone."""
    return [event[0] for event in events]


# --- events --------------------------------------------------------------------------------------------------------


def test_every_event_arrives_with_its_arguments_in_order():
    """A sink with all hooks hears a whole run as it happened, blocks before what closes them."""
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
        ("batch_begin", 2),
        ("batch_end", 2, {"loss": 3}),
        ("block", (0, [(2, {"loss": 3.0})])),
        ("epoch_end", 0, {"loss": 2.0, "val_loss": 2.0}),
        ("train_end", {"loss": 2.0, "val_loss": 2.0}),
    ]


def test_evaluation_and_prediction_outside_of_a_run():
    """They are legal at any time and never advance the step."""
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


def test_exception_is_told_after_the_block_and_before_the_end():
    """An error goes on to the sinks only after the values before it."""
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
    """An error fails a run; who ends it by hand interrupts it."""
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
    """A run completes unless a sink asked for its end; sinks see the status at train end."""
    seen = []
    bus = Bus(on("train_end", lambda run, logs: seen.append(run.status)))
    bus.train_begin()
    assert bus.run.status == "running"
    request_stop(bus.run)
    bus.train_end()
    assert seen == [bus.run.status] == [status]


def test_train_end_takes_logs_of_its_own():
    """The results of the whole run take the place of the last epoch's, as floats."""
    bus = Bus(recorder := Recorder("on_train_end"))
    bus.train_begin()
    bus.epoch_begin(0)
    bus.epoch_end(0, {"loss": 1})
    bus.train_end({"loss": np.float32(0.5), "note": None})
    assert recorder.events == [("train_end", {"loss": 0.5})]


def test_rewind_hands_over_what_is_pending_first():
    """A rewind sets the run back, and epochs go on from there."""
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
    """An epoch that was broken off hands over its block and ends without a record."""
    bus = Bus(recorder := Recorder("on_block", "on_epoch_begin", "on_epoch_end"))
    bus.train_begin()
    bus.epoch_begin(0)
    bus.batch_end(1, {"loss": 1.0})
    bus.epoch_abandon()
    bus.epoch_begin(1)
    assert recorder.events == [("epoch_begin", 0), ("block", (0, [(1, {"loss": 1.0})])), ("epoch_begin", 1)]


def test_sinks_are_called_in_the_order_given():
    """Each event goes to the sinks as they were given; those that save the others' state come last."""
    events = []
    saver = Recorder("on_epoch_end", name="saver", events=events)
    saver.saves = True
    first, second = (Recorder("on_epoch_end", name=name, events=events) for name in ("first", "second"))
    bus = Bus(saver, first, second)
    assert bus.sinks == (first, second, saver)
    train(bus, [])
    assert names(events) == ["first", "second", "saver"]


def test_only_overridden_hooks_are_called():
    """The bus hears only what some sink overrides, and keeps no values that nobody wants."""
    bus = Bus(Recorder("on_epoch_end"))
    assert [bus.has_listeners(hook) for hook in ("on_epoch_end", "on_batch_end", "on_block")] == [True, False, False]
    assert bus.has_listeners("on_batch_end", "on_epoch_end")
    assert {name for name, calls in bus._dispatch.calls.items() if calls} == {"on_epoch_end"}
    bus.train_begin()
    bus.epoch_begin(0)
    bus.batch_end(7, {"loss": object()})
    assert (bus.run.step, bus._delivery.buffer) == (7, None)


def test_unheard_batch_end_never_touches_its_values():
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


# --- logs ----------------------------------------------------------------------------------------------------------


class Writer(Sink):
    """Write into all logs."""

    def on_batch_end(self, run, step, logs):
        logs["written"] = 1

    def on_epoch_end(self, run, epoch, logs):
        logs.clear()

    def on_evaluation_end(self, run, logs):
        logs["written"] = 1


class Reader(Recorder):
    """Promise not to write into the logs, and keep the very objects."""

    read_only = True


def test_writing_into_logs_is_seen_by_nobody_else():
    """A user's sink gets a copy, so that neither the next sink nor the caller sees what it writes."""
    bus = Bus(before := Recorder(), Writer(), after := Reader())
    logs = {"loss": 1.0}
    bus.train_begin()
    bus.epoch_begin(0)
    bus.batch_end(1, logs)
    bus.evaluation_end({"loss": 2.0})
    bus.epoch_end(0, logs)
    bus.train_end()
    heard = [("batch_end", 1, {"loss": 1.0}), ("evaluation_end", {"loss": 2.0}), ("epoch_end", 0, {"loss": 1.0})]
    for recorder in (before, after):
        assert [event for event in recorder.events if event[0] in {name for name, *_ in heard}] == heard
        assert recorder.events[-1] == ("train_end", {"loss": 1.0})
    assert logs == {"loss": 1.0}


def test_read_only_sinks_get_the_caller_s_own_logs():
    """A sink that promises not to write gets no copy of a batch's logs."""
    bus, logs = Bus(reader := Reader("on_batch_end")), {"loss": 1.0}
    bus.batch_end(1, logs)
    assert reader.events[0][2] is logs


def test_epoch_logs_are_floats_converted_once():
    """Epoch and evaluation logs arrive as plain floats in their order; what is no number is left out."""
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


def test_unusable_metric_is_told_once(warned):
    """A value that is no number is skipped with one warning that names the metric, and ends nothing."""
    bus = Bus(blocks := BlockRecorder())
    train(bus, *[[{"loss": 1.0, "note": "text", "big": 10**400, "vector": np.ones(2)}] * 3] * 2)
    assert blocks.column("loss") == [1.0] * 6
    assert blocks.column("note") == [None] * 6
    assert sorted(warned()) == [
        "metric 'big' is skipped: it is an integer of 1329 bits, too large for a float64",
        "metric 'note' is skipped: it is 'text', and a metric is a number",
        "metric 'vector' is skipped: it has the shape (2,), and a metric has one element",
    ]


# --- learning rate --------------------------------------------------------------------------------------------------


def epoch_logs(bus, events):
    """Return the logs of the epochs that were heard."""
    return [event[2] for event in events if event[0] == "epoch_end"]


def test_learning_rate_is_logged_once_it_was_set():
    """As soon as a sink sets the rate it is among the epoch's logs: the one in force in that epoch."""

    def lower(run, epoch, logs):
        run.learning_rate /= 2

    bus = Bus(on("epoch_end", lower), recorder := Recorder(), model=Handle(1.0))
    train(bus, [], [], [])
    assert epoch_logs(bus, recorder.events) == [{}, {"learning_rate": 0.5}, {"learning_rate": 0.25}]


def test_learning_rate_is_logged_from_the_first_epoch_where_a_sink_may_set_it():
    """A sink that says that it sets the rate makes it a column from the start."""
    recorder = Recorder()
    recorder.sets_learning_rate = True
    train(Bus(recorder, model=Handle(0.1)), [])
    assert epoch_logs(None, recorder.events) == [{"learning_rate": 0.1}]


def test_learning_rate_in_the_logs_wins():
    """A rate that the training logs itself stays."""
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


# --- order ----------------------------------------------------------------------------------------------------------


def test_epoch_outside_of_a_run():
    """An epoch needs a run."""
    with pytest.raises(OrderError, match=r"epoch_begin\(0\) without train_begin\(\): the run is pending"):
        Bus().epoch_begin(0)


def test_epoch_within_an_epoch():
    """One epoch is open at a time."""
    bus = Bus()
    bus.train_begin()
    bus.epoch_begin(0)
    with pytest.raises(OrderError, match=r"epoch_begin\(1\) while epoch 0 is open: end it first"):
        bus.epoch_begin(1)


@pytest.mark.parametrize("epoch", [3, 2, 0, -1])
def test_epochs_ascend(epoch):
    """An epoch's number is above that of the one before."""
    bus = Bus()
    bus.train_begin()
    bus.epoch_begin(3)
    bus.epoch_end(3)
    with pytest.raises(OrderError, match=rf"epoch_begin\({epoch}\) after epoch 3: epochs ascend within a run"):
        bus.epoch_begin(epoch)


def test_end_of_an_epoch_that_is_not_open():
    """Only the open epoch can end."""
    bus = Bus()
    bus.train_begin()
    with pytest.raises(OrderError, match=r"epoch_end\(0\) while no epoch is open"):
        bus.epoch_end(0)
    bus.epoch_begin(0)
    with pytest.raises(OrderError, match=r"epoch_end\(1\) while epoch 0 is open"):
        bus.epoch_end(1)


def test_train_end_within_an_epoch():
    """A run cannot end within an epoch."""
    bus = Bus()
    bus.train_begin()
    bus.epoch_begin(0)
    with pytest.raises(OrderError, match=r"train_end\(\) while epoch 0 is open: end it first"):
        bus.train_end()


@pytest.mark.parametrize("end", [lambda bus: bus.train_end(), lambda bus: bus.exception(ValueError())])
def test_end_without_a_run(end):
    """What has not begun, or has ended, cannot end."""
    bus = Bus()
    with pytest.raises(OrderError, match=r"without train_begin\(\): the run is pending"):
        end(bus)
    bus.train_begin()
    bus.train_end()
    with pytest.raises(OrderError, match=r"without train_begin\(\): the run is completed"):
        end(bus)


def test_batch_order_is_not_checked_otherwise():
    """Without ``strict`` a batch may end at any step, also without a begin."""
    bus = Bus()
    bus.batch_end(17)
    bus.batch_begin(3)
    assert bus.run.step == 17


def strict_bus():
    """Return a strict bus in its first epoch."""
    bus = Bus(strict=True)
    bus.train_begin()
    bus.epoch_begin(0)
    return bus


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([("batch_begin", 1), ("batch_begin", 2)], r"batch_begin\(2\) while batch 1 is open: end it first"),
        ([("batch_begin", 2)], r"batch_begin\(2\) after step 0: the next is 1"),
        ([("batch_begin", 1), ("batch_end", 1), ("batch_begin", 1)], r"batch_begin\(1\) after step 1: the next is 2"),
        ([("batch_end", 1)], r"batch_end\(1\) while no batch is open"),
        ([("batch_begin", 1), ("batch_end", 0)], r"batch_end\(0\) while batch 1 is open"),
        ([("epoch_end", 0), ("batch_begin", 1)], r"batch_begin\(1\) outside of an epoch"),
    ],
)
def test_strict_bus_checks_the_order_of_batches(events, message):
    """With ``strict=True`` a batch out of order is an error."""
    bus = strict_bus()
    with pytest.raises(OrderError, match=message):
        for event, number in events:
            getattr(bus, event)(number)


def test_strict_bus_lets_a_batch_stand_for_several():
    """Where several steps are executed as one, a batch ends with the last one's number."""
    bus = strict_bus()
    for first, last in ((1, 4), (5, 8)):
        bus.batch_begin(first)
        bus.batch_end(last)
    assert bus.run.step == 8


def test_strict_bus_goes_on_after_an_epoch_was_abandoned_in_a_batch():
    """The batch that was under way in an abandoned epoch is no longer open."""
    bus = strict_bus()
    bus.batch_begin(1)
    bus.epoch_abandon()
    bus.epoch_begin(1)
    bus.batch_begin(1)
    bus.batch_end(1)
    assert bus.run.step == 1


def test_train_begin_closes_a_run_that_is_open():
    """A run whose end never came is closed as interrupted, with its values, before the next begins."""
    bus = Bus(recorder := Recorder("on_train_begin", "on_block", "on_train_end"))
    bus.train_begin()
    first = bus.run
    bus.epoch_begin(0)
    bus.batch_end(1, {"loss": 1.0})
    bus.train_begin()
    assert recorder.events == [
        ("train_begin",),
        ("block", (0, [(1, {"loss": 1.0})])),
        ("train_end", {}),
        ("train_begin",),
    ]
    assert (first.status, first.index) == ("interrupted", 0)
    assert (bus.run.status, bus.run.index, bus.run.epoch, bus.run.step) == ("running", 1, -1, 0)


def test_runs_follow_each_other():
    """Each run has an index of its own, begins anew and keeps what was lent."""
    handle, data = Handle(), ("x", "y")
    bus = Bus(model=handle, validation_data=data)
    for index in range(3):
        train(bus, [{}, {}])
        run = bus.run
        assert (run.index, run.step, run.model, run.validation_data) == (index, 2, handle, data)


def test_train_begin_tells_the_plan():
    """What is known of the plan stands in the run."""
    bus = Bus()
    bus.train_begin(epochs=5, steps_per_epoch=10)
    assert (bus.run.epochs, bus.run.steps_per_epoch) == (5, 10)


def test_interrupt_ends_a_run_that_is_open_and_no_other():
    """Interrupting is idempotent, and harmless where nothing runs."""
    bus = Bus(recorder := Recorder("on_train_end"))
    bus.interrupt()
    bus.train_begin()
    bus.interrupt()
    bus.interrupt()
    assert (recorder.events, bus.run.status) == ([("train_end", {})], "interrupted")


# --- failures -------------------------------------------------------------------------------------------------------


def test_failing_hook_is_isolated():
    """A hook that raises ends nothing: sinks behind it are served, and so is it at the next event."""
    events = []
    raiser = Raiser("on_epoch_end", ValueError("boom"), events=events)
    train(Bus(raiser, Recorder("on_epoch_end", events=events)), [], [])
    assert events == [
        ("Raiser", "epoch_end", 0, {}),
        ("Recorder", "epoch_end", 0, {}),
        ("Raiser", "epoch_end", 1, {}),
        ("Recorder", "epoch_end", 1, {}),
    ]


def test_sinks_behind_a_failing_batch_hook_are_served_once():
    """On the fast path too, every other sink hears every batch exactly once."""
    raiser = Raiser("on_batch_end", ValueError(), None, ValueError(), name="b")
    before, after = Recorder("on_batch_end", name="a"), Recorder("on_batch_end", name="c")
    bus = Bus(before, raiser, after)
    train(bus, [{}] * 4)
    heard = [("batch_end", step, {}) for step in range(1, 5)]
    assert before.events == raiser.events == after.events == heard


def test_failure_is_warned_about_once_with_its_traceback(caplog):
    """The warning names sink, hook and step and shows the traceback; the next failure of that hook is quiet."""
    train(Bus(Raiser("on_batch_end", ValueError("boom"), None, ValueError("again"))), [{}] * 3)
    first = caplog.records[0]
    assert first.getMessage() == "Raiser.on_batch_end raised at step 1; training continues"
    shown = logging.Formatter().format(first)
    assert "in record" in shown
    assert "ValueError: boom" in shown
    assert [record.getMessage() for record in caplog.records[1:]] == ["Raiser failed 2 times; see failures"]


def test_each_hook_of_each_sink_is_warned_about(warned):
    """Another hook, and another sink of the same name, have warnings of their own."""
    bus = Bus(Raiser("on_epoch_begin", ValueError()), Raiser("on_epoch_begin", ValueError()))
    bus.add(Raiser("on_epoch_end", ValueError()))
    train(bus, [])
    assert warned()[:3] == [
        "Raiser.on_epoch_begin raised at step 0; training continues",
        "Raiser#2.on_epoch_begin raised at step 0; training continues",
        "Raiser#3.on_epoch_end raised at step 0; training continues",
    ]


def test_sink_in_place_of_one_that_failed_is_warned_about(warned):
    """A sink that is added after another of its name failed and was removed is told of by itself."""
    bus = Bus(first := Raiser("on_epoch_begin", ValueError("first")))
    bus.train_begin()
    bus.epoch_begin(0)
    bus.remove(first)
    bus.add(Raiser("on_epoch_begin", ValueError("second")))
    bus.epoch_abandon()
    bus.epoch_begin(1)
    assert warned() == ["Raiser.on_epoch_begin raised at step 0; training continues"] * 2


def test_failures_are_kept():
    """The bus keeps what was raised, by whom and when, in order."""
    bus = Bus(Raiser("on_batch_end", one := ValueError("one"), None, two := OSError("two")))
    train(bus, [{}] * 3)
    assert [(each.sink, each.hook, each.error, each.step) for each in bus.failures] == [
        ("Raiser", "on_batch_end", one, 1),
        ("Raiser", "on_batch_end", two, 3),
    ]
    assert bus.failures[0].traceback.startswith("Traceback (most recent call last):")
    assert bus.failures[0].traceback.endswith("ValueError: one\n")


def test_failures_kept_are_bounded():
    """Of endless failures only the first thousand are kept; the summary counts all."""
    bus = Bus(Raiser("on_batch_end", forever=OSError()))
    train(bus, [{}] * 1100)
    assert len(bus.failures) == 1000


class Frame:
    """Something that a traceback's frame would keep alive."""


def failing_in_frame(raise_error):
    """Return a sink that fails in a frame with a `Frame` in it, and references to such objects."""
    alive = []

    def hook(run, epoch):
        frame = Frame()
        alive.append(weakref.ref(frame))
        raise_error()

    return on("epoch_begin", hook), alive


def raise_chain():
    """Raise one exception from another."""
    try:
        raise KeyError("inner")
    except KeyError as inner:
        raise ValueError("outer") from inner


def raise_group():
    """Raise a group of one exception that was raised before."""
    errors = []
    try:
        raise_chain()
    except ValueError as error:
        errors.append(error)
    raise ExceptionGroup("all", errors)


@pytest.mark.parametrize("raise_error", [raise_chain, raise_group])
def test_kept_failures_keep_no_frames_alive(raise_error, caplog):
    """The exceptions in ``failures``, and what they came from, hold no frames and so none of the training's objects."""
    caplog.set_level(logging.CRITICAL, "monitor_core")  # the records of a log hold tracebacks too
    sink, alive = failing_in_frame(raise_error)
    bus = Bus(sink)
    bus.train_begin()
    bus.epoch_begin(0)
    gc.collect()
    assert [reference() for reference in alive] == [None]
    error = bus.failures[0].error
    chain = [error, *getattr(error, "exceptions", ())]
    chain += [each.__cause__ for each in chain if each.__cause__]
    assert [each.__traceback__ for each in chain] == [None] * len(chain)
    assert len(chain) >= 2


def test_three_failures_in_a_row_cut_a_sink_off(warned):
    """The third failure of a hook in a row ends the calls of the whole sink, all but train end."""
    raiser = Raiser("on_batch_end", *[ValueError("boom")] * 3)
    raiser.hooks = ("on_batch_end", "on_epoch_end", "on_train_end")
    bus = Bus(raiser, other := Recorder("on_batch_end"))
    train(bus, [{}] * 5)
    assert names(raiser.events) == ["batch_end"] * 3 + ["train_end"]
    assert [event[1] for event in other.events] == [1, 2, 3, 4, 5]
    assert warned() == [
        "Raiser.on_batch_end raised at step 1; training continues",
        "Raiser is disabled at step 3: on_batch_end failed 3 times in a row",
        "Raiser failed 3 times and was disabled at step 3; see failures",
    ]


def test_success_in_between_resets_the_count():
    """Failures that are not in a row cut nothing off."""
    raiser = Raiser("on_batch_end", *[ValueError(), ValueError(), None] * 4)
    train(Bus(raiser), [{}] * 12)
    assert len(raiser.events) == 12


def test_success_of_another_hook_resets_nothing():
    """Three in a row are three of one hook, whatever the sink's other hooks do in between."""
    raiser = Raiser("on_batch_begin", ValueError(), None, ValueError(), None, ValueError())
    raiser.hooks = ("on_batch_begin", "on_batch_end")
    train(Bus(raiser), [{}] * 4)
    assert names(raiser.events) == ["batch_begin", "batch_end", "batch_begin", "batch_end", "batch_begin"]


def test_failure_of_another_hook_adds_nothing():
    """Two failures each of two hooks cut nothing off."""
    raiser = Raiser("on_batch_begin", *[ValueError()] * 4)
    raiser.hooks = ("on_batch_begin", "on_batch_end")
    train(Bus(raiser), [{}] * 4)
    assert names(raiser.events) == ["batch_begin", "batch_end"] * 4


def test_oserror_never_cuts_off():
    """A disk that is full for a while does not end the recording."""
    raiser = Raiser("on_batch_end", *[OSError("disk full")] * 9)
    train(Bus(raiser), [{}] * 10)
    assert len(raiser.events) == 10


@given(st.lists(st.sampled_from([None, ValueError, OSError]), max_size=30))
def test_cut_off_against_the_rule(outcomes):
    """For every sequence of outcomes, a hook is called until three errors, OSErrors apart, have no success between."""
    raiser = Raiser("on_batch_end", *[outcome and outcome() for outcome in outcomes])
    train(Bus(raiser), [{}] * len(outcomes))
    in_a_row, calls = 0, 0
    for outcome in outcomes:
        if in_a_row == 3:
            break
        calls += 1
        in_a_row = 0 if outcome is None else in_a_row + (outcome is ValueError)
    assert len(raiser.events) == calls


def test_critical_sink_propagates_after_the_others_were_served():
    """An exception of a critical sink ends the training once every other sink has heard the event."""
    error = ValueError("boom")
    bus = Bus(Raiser("on_epoch_begin", error, critical=True), recorder := Recorder("on_epoch_begin"))
    bus.train_begin()
    with pytest.raises(ValueError, match="boom") as caught:
        bus.epoch_begin(0)
    assert caught.value is error
    assert recorder.events == [("epoch_begin", 0)]


def test_critical_batch_hook_propagates_after_the_block():
    """On the fast path too, and pending values are handed over before the error goes on."""
    bus = Bus(
        Raiser("on_batch_end", ValueError("boom"), critical=True), recorder := Recorder("on_batch_end", "on_block")
    )
    bus.train_begin()
    bus.epoch_begin(0)
    with pytest.raises(ValueError, match="boom"):
        bus.batch_end(1, {"loss": 1.0})
    assert recorder.events == [("batch_end", 1, {"loss": 1.0}), ("block", (0, [(1, {"loss": 1.0})]))]


def test_strict_bus_propagates_after_the_others_were_served():
    """With ``strict=True`` every sink is critical."""
    bus = Bus(Raiser("on_epoch_begin", ValueError("boom")), recorder := Recorder("on_epoch_begin"), strict=True)
    bus.train_begin()
    with pytest.raises(ValueError, match="boom"):
        bus.epoch_begin(0)
    assert recorder.events == [("epoch_begin", 0)]


def test_critical_failure_in_the_last_block_still_closes_the_run():
    """A run whose last block fails critically ends all the same: sinks are told, and no run stays open."""
    raiser = Raiser("on_block", ValueError("boom"), critical=True)
    bus = Bus(raiser, recorder := Recorder("on_train_end"))
    bus.train_begin()
    bus.batch_end(1, {"loss": 1.0})
    with pytest.raises(ValueError, match="boom"):
        bus.train_end()
    assert (recorder.events, bus.run.status) == ([("train_end", {})], "failed")


def test_exception_is_told_though_the_last_block_fails_critically():
    """The error that ended the training reaches the sinks whatever the last block raises."""
    bus = Bus(
        Raiser("on_block", ValueError("boom"), critical=True), recorder := Recorder("on_exception", "on_train_end")
    )
    bus.train_begin()
    bus.batch_end(1, {"loss": 1.0})
    with pytest.raises(ValueError, match="boom"):
        bus.exception(error := RuntimeError("the training's"))
    assert recorder.events == [("exception", error), ("train_end", {})]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("hook", ["on_batch_end", "on_epoch_end", "on_evaluation_end"])
def test_interrupt_in_a_hook_propagates_after_a_flush(error, hook):
    """Ctrl-C and an exit go on at once, after pending values were handed over, and are no failures."""
    bus = Bus(blocks := BlockRecorder(), Raiser(hook, error()))
    with pytest.raises(error):
        bus.train_begin()
        bus.epoch_begin(0)
        bus.batch_end(1, {"loss": 1.0})
        bus.evaluation_end()
        bus.epoch_end(0)
    assert blocks.rows == [(0, 1, {"loss": 1.0})]
    assert bus.failures == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_interrupt_wins_over_a_failing_block(error):
    """What goes on is the interrupt, even where handing over the pending values fails on a strict bus."""
    bus = Bus(Raiser("on_block", ValueError("boom")), Raiser("on_batch_end", error()), strict=True)
    bus.train_begin()
    bus.epoch_begin(0)
    bus.batch_begin(1)
    with pytest.raises(error):
        bus.batch_end(1, {"loss": 1.0})


def test_interrupt_in_a_block_hook_keeps_the_block_for_the_others():
    """A block that one sink broke off with Ctrl-C still reaches the sinks behind it."""
    bus = Bus(Raiser("on_block", KeyboardInterrupt()), blocks := BlockRecorder())
    bus.train_begin()
    bus.epoch_begin(0)
    bus.batch_end(1, {"loss": 1.0})
    with pytest.raises(KeyboardInterrupt):
        bus.flush()
    bus.exception(KeyboardInterrupt())
    assert blocks.rows == [(0, 1, {"loss": 1.0})]


def test_setup_error_at_train_begin_propagates_and_closes_those_begun():
    """A run that cannot begin ends for the sinks that had begun, and for no other; the next run can begin."""
    events = []
    before, after = (Recorder("on_train_begin", "on_train_end", name=name, events=events) for name in ("a", "c"))
    raiser = Raiser("on_train_begin", SetupError("no folder"), name="b", events=events)
    raiser.hooks = ("on_train_begin", "on_train_end")
    bus = Bus(before, raiser, after)
    with pytest.raises(SetupError, match="no folder"):
        bus.train_begin()
    assert events == [("a", "train_begin"), ("b", "train_begin"), ("a", "train_end", {})]
    assert (bus.run.status, bus.failures) == ("failed", [])
    bus.train_begin()
    assert (bus.run.status, bus.run.index) == ("running", 1)


def test_interrupt_at_train_begin_closes_those_begun():
    """Ctrl-C in a sink's train begin ends the run as interrupted for those that had begun."""
    bus = Bus(before := Recorder("on_train_end"), Raiser("on_train_begin", KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        bus.train_begin()
    assert (before.events, bus.run.status) == ([("train_end", {})], "interrupted")


def test_setup_error_elsewhere_is_a_failure_as_any_other():
    """After train begin a SetupError is isolated."""
    bus = Bus(Raiser("on_epoch_begin", SetupError("late")))
    train(bus, [])
    assert [each.hook for each in bus.failures] == ["on_epoch_begin"]


def test_other_error_at_train_begin_is_isolated():
    """A sink whose train begin raises anything else does not keep the run from beginning."""
    bus = Bus(Raiser("on_train_begin", ValueError("boom")), recorder := Recorder("on_train_begin"))
    bus.train_begin()
    assert (recorder.events, bus.run.status) == ([("train_begin",)], "running")


def test_failures_are_told_again_at_train_end(warned):
    """At the end of each run the sinks that failed in it are listed with their counts."""
    bus = Bus(Raiser("on_epoch_begin", *[OSError()] * 4, name="a"), Raiser("on_epoch_begin", OSError(), name="b"))
    train(bus, [], [], [])
    assert warned()[-2:] == ["a failed 3 times; see failures", "b failed 1 times; see failures"]
    train(bus, [])
    assert warned()[-1] == "a failed 1 times; see failures"


def test_same_function_given_twice_is_called_twice():
    """Each sink made of one function hears each event once, also where it fails."""
    calls = []

    def fail_on_second(run, step):
        calls.append(step)
        if len(calls) == 2:
            raise ValueError

    bus = Bus(on("batch_begin", fail_on_second), on("batch_begin", fail_on_second))
    bus.batch_begin(1)
    assert calls == [1, 1]
    assert [each.sink for each in bus.failures] == ["fail_on_second#2"]


def test_hook_may_fire_events_while_on_probation():
    """A hook that emits its own event from within is counted by its own outcome."""
    bus = Bus()
    depth = itertools.count()

    def nested(run):
        number = next(depth)
        if number == 0:
            raise ValueError
        if number == 1:
            bus.evaluation_begin()

    bus.add(on("evaluation_begin", nested))
    bus.evaluation_begin()
    bus.evaluation_begin()
    assert len(bus.failures) == 1


# --- needs ----------------------------------------------------------------------------------------------------------


class Needy(Sink):
    """Need two members of the model."""

    needs = ("learning_rates", "get_weights")

    def on_epoch_end(self, run, epoch, logs): ...


def test_needs_without_a_model():
    """A sink that needs the model says so at train begin, by name."""
    bus = Bus(recorder := Recorder("on_train_begin"), Needy())
    with pytest.raises(SetupError, match="Needy needs 'learning_rates' of the model, and no model was given"):
        bus.train_begin()
    assert (recorder.events, bus.run.status) == ([], "pending")


def test_needs_that_the_model_lacks():
    """What a handle cannot give is named with the sink and the handle."""
    with pytest.raises(
        SetupError, match="Needy needs 'get_weights' of the model, and there is none: 'Handle' object has no attribute"
    ):
        Bus(Needy(), model=Handle()).train_begin()


def test_needs_that_are_met():
    """A handle with the members will do, whatever its class; one lent later too."""
    bus = Bus(Needy())
    bus.run.model = type("Model", (), {"learning_rates": [1.0], "get_weights": None})()
    bus.train_begin()
    assert bus.run.status == "running"


def test_needs_of_a_sink_added_in_a_run():
    """A sink that cannot be served is not added."""
    bus = Bus()
    bus.train_begin()
    with pytest.raises(SetupError, match="Needy needs"):
        bus.add(Needy())
    assert bus.sinks == ()


# --- adding and removing --------------------------------------------------------------------------------------------


def test_sink_added_in_a_run_hears_what_comes_after():
    """It is told of the train's begin and gets the values of later batches only."""
    bus = Bus(BlockRecorder())
    bus.train_begin()
    bus.epoch_begin(0)
    bus.batch_end(1, {"loss": 1.0})
    bus.add(late := Recorder())
    bus.batch_end(2, {"loss": 2.0})
    bus.epoch_end(0)
    bus.train_end()
    assert late.events == [
        ("train_begin",),
        ("batch_end", 2, {"loss": 2.0}),
        ("block", (0, [(2, {"loss": 2.0})])),
        ("epoch_end", 0, {}),
        ("train_end", {}),
    ]


def test_sink_removed_in_a_run_is_given_what_is_pending():
    """It is told of the train's end and hears nothing after."""
    bus = Bus(recorder := Recorder("on_block", "on_train_end"))
    bus.train_begin()
    bus.epoch_begin(0)
    bus.batch_end(1, {"loss": 1.0})
    bus.remove(recorder)
    bus.batch_end(2, {"loss": 2.0})
    bus.epoch_end(0)
    bus.train_end()
    assert recorder.events == [("block", (0, [(1, {"loss": 1.0})])), ("train_end", {})]
    assert bus.sinks == ()


def test_sink_is_added_once():
    """The same object twice on a bus is an error; equal objects are two."""
    bus = Bus(recorder := Recorder())
    with pytest.raises(ValueError, match="Recorder is on this bus already"):
        bus.add(recorder)
    with pytest.raises(ValueError, match="Recorder is on this bus already"):
        Bus(recorder, recorder)
    assert bus.sinks == (recorder,)


def test_removing_what_is_not_there():
    """The error lists what is there."""
    with pytest.raises(ValueError, match=r"Recorder is not on this bus; it has \['History'\]"):
        Bus(History()).remove(Recorder())


@pytest.mark.parametrize("hook", ["on_batch_begin", "on_batch_end", "on_epoch_begin", "on_epoch_end", "on_block"])
def test_sink_that_removes_itself_in_a_hook(hook):
    """It hears that event and no other; the sinks behind it miss nothing."""
    bus = Bus()

    class Once(Recorder):
        def record(self, run, name, *args):
            super().record(run, name, *args)
            bus.remove(self)

    bus.add(once := Once(hook))
    bus.add(after := Recorder(hook))
    train(bus, [{"loss": 1.0}] * 2, [{"loss": 1.0}])
    assert len(once.events) == 1
    assert after.events[0] == once.events[0]
    assert len(after.events) == (3 if "batch" in hook else 2)


def test_sink_added_in_a_hook_hears_the_next_event():
    """A call under way keeps the sinks it began with."""
    bus, late = Bus(), Recorder("on_train_begin", "on_batch_end")
    bus.add(on("batch_end", lambda run, step, logs: bus.add(late) if step == 1 else None))
    train(bus, [{}] * 3)
    assert late.events == [("train_begin",), ("batch_end", 2, {}), ("batch_end", 3, {})]


def test_block_sink_added_in_a_batch_hook_gets_the_next_batch():
    """A recording sink that is added at step 1 has the steps from 2 on, exactly once."""
    bus, late = Bus(), BlockRecorder()
    bus.add(on("batch_end", lambda run, step, logs: bus.add(late) if step == 1 else None))
    train(bus, [{"loss": 1.0}] * 3)
    assert late.steps == [[2, 3]]


def test_sink_added_at_train_begin_begins_once():
    """A sink that another one adds at train begin is told of the begin once."""
    bus, late = Bus(), Recorder("on_train_begin", "on_train_end")
    bus.add(on("train_begin", lambda run: bus.add(late)))
    train(bus)
    assert late.events == [("train_begin",), ("train_end", {})]


def test_sink_removed_before_it_began_hears_nothing():
    """A sink that another one removes at train begin is told of neither begin nor end."""
    bus, late = Bus(), Recorder("on_train_begin", "on_train_end")
    bus.add(on("train_begin", lambda run: bus.remove(late)))
    bus.add(late)
    train(bus)
    assert late.events == []


def test_failure_at_train_begin_of_a_sink_added_in_a_run_bears_its_name(warned):
    """A sink whose train begin fails while it is added is warned about under its own name."""
    bus = Bus()
    bus.train_begin()
    bus.add(Raiser("on_train_begin", ValueError("boom"), name="late"))
    assert warned() == ["late.on_train_begin raised at step 0; training continues"]
    assert [each.sink for each in bus.failures] == ["late"]


def test_critical_sink_added_in_a_run_propagates():
    """A critical sink whose train begin fails while it is added ends the training, and is not added."""
    bus = Bus()
    bus.train_begin()
    with pytest.raises(ValueError, match="boom"):
        bus.add(Raiser("on_train_begin", ValueError("boom"), critical=True))
    assert bus.sinks == ()


def test_failure_of_a_sink_that_removed_itself_bears_its_name(warned):
    """A hook that removes its sink and then raises is warned about under the sink's name."""
    bus = Bus()

    def leave(run, epoch, logs):
        bus.remove(sink)
        raise ValueError("boom")

    sink = on("epoch_end", leave)
    bus.add(sink)
    train(bus, [])
    assert warned()[0] == "leave.on_epoch_end raised at step 0; training continues"


@pytest.mark.parametrize("failing", [False, True])
def test_a_thousand_sinks_leave_nothing_behind(failing, caplog):
    """Sinks that were added and removed, in a run and failing too, are freed, and the bus is as large as before."""

    def sizes():
        return {name: len(value) for name, value in vars(bus).items() if hasattr(value, "__len__")}

    def sink():
        return Raiser("on_batch_end", ValueError()) if failing else Recorder()

    caplog.set_level(logging.CRITICAL, "monitor_core")  # the records of a log hold tracebacks
    bus = Bus()
    bus.train_begin()
    bus.add(first := sink())
    bus.batch_end(1, {"loss": 1.0})
    bus.remove(first)
    failures, before, references = list(bus.failures), sizes(), []
    for step in range(2, 1002):
        bus.add(each := sink())
        bus.batch_end(step, {"loss": 1.0})
        references.append(weakref.ref(each))
        bus.remove(each)
    del each
    bus.failures[:] = failures
    gc.collect()
    assert [reference for reference in references if reference() is not None] == []
    assert (bus.sinks, sizes()) == ((), before)
    assert not any(bus._dispatch.calls.values())


def test_bus_is_freed_with_its_sinks():
    """Nothing global holds a bus, a run or a sink."""
    bus = Bus(recorder := Recorder())
    train(bus, [{"loss": 1.0}])
    references = [weakref.ref(bus), weakref.ref(recorder)]
    del bus, recorder
    gc.collect()
    assert [reference() for reference in references] == [None, None]


# --- blocks handed over ---------------------------------------------------------------------------------------------


def test_stop_request_arrives_with_the_block_intact():
    """A stop in mid-epoch loses no batch."""
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
    """Means have each block when a sink gets it, and none after they were taken away."""
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


# --- state ----------------------------------------------------------------------------------------------------------


class Counter(Sink):
    """Count epochs, over restarts too."""

    def __init__(self):
        self.count = 0

    def on_epoch_end(self, run, epoch, logs):
        self.count += 1

    def state_dict(self):
        return {"count": self.count, "array": np.arange(self.count)}

    def load_state_dict(self, state):
        self.count = state["count"]


def test_state_goes_on_in_another_bus():
    """A bus with the same sinks goes on where the state was taken."""
    bus, other = Bus(Counter(), Counter(), Recorder()), Bus(one := Counter(), two := Counter(), Recorder())
    bus.sinks[1].count = 10
    train(bus, [{}, {}], [{}])
    other.load_state_dict(bus.state_dict())
    assert (one.count, two.count, other.run.epoch, other.run.step) == (2, 12, 1, 3)
    other.train_begin()
    other.epoch_begin(2)


def test_state_dict_holds_the_run_and_those_sinks_that_have_a_state():
    """The state is nested dicts of JSON values and arrays, by the sinks' unique names."""
    bus = Bus(Counter(), Counter(), Recorder(), on("epoch_end", lambda run, epoch, logs: None))
    state = bus.state_dict()
    assert list(state["sinks"]) == ["Counter", "Counter#2"]
    numbers = {"index": 0, "epoch": -1, "step": 0, "stop_reason": None, "failed": False, "rate_set": False}
    assert (state["format"], state["run"]) == (1, numbers)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.update(format=2), r"state must be of format 1 \(got 2\)"),
        (lambda state: state.pop("format"), r"state must be of format 1 \(got None\)"),
        (lambda state: state["sinks"].update(Other={}), "state holds a sink 'Other'; this bus has Counter"),
    ],
)
def test_state_that_does_not_fit(change, message):
    """A state of another format or of other sinks is refused, and nothing is taken over."""
    bus, other = Bus(Counter()), Bus(Counter())
    train(bus, [{}])
    change(state := bus.state_dict())
    with pytest.raises(ValueError, match=message):
        other.load_state_dict(state)
    assert (other.run.step, other.sinks[0].count) == (0, 0)


def test_state_is_loaded_before_train_begin():
    """A run that has begun takes over no state."""
    bus = Bus()
    state = bus.state_dict()
    bus.train_begin()
    with pytest.raises(OrderError, match=r"load_state_dict\(\) must come before train_begin\(\): the run is running"):
        bus.load_state_dict(state)


# --- threads --------------------------------------------------------------------------------------------------------


def test_runs_in_threads_do_not_disturb_each_other():
    """Several runs at once, failing and stopping, each see their own events only."""
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


def test_sink_that_was_cut_off_is_told_of_in_later_runs(warned):
    """A sink that was cut off in one run hears nothing of the next, and each run's end says so."""

    class Broken(Sink):
        def on_batch_end(self, run, step, logs):
            raise RuntimeError("no")

    bus = Bus(Broken())
    train(bus, [{}, {}, {}])
    train(bus, [{}])
    assert warned()[-1].startswith("Broken was not called in this run: it was disabled in an earlier run after")


def test_failures_that_propagate_are_kept_too():
    """What a strict bus lets propagate stands in its failures all the same."""

    class Broken(Sink):
        def on_epoch_begin(self, run, epoch):
            raise RuntimeError("no")

    bus = Bus(Broken(), strict=True)
    bus.train_begin()
    with pytest.raises(RuntimeError, match="no"):
        bus.epoch_begin(0)
    assert [(failure.sink, failure.hook) for failure in bus.failures] == [("Broken", "on_epoch_begin")]


def test_bus_and_model_are_freed_at_once():
    """Nothing of a bus refers back to it, so that a model it was lent is freed without the garbage collector."""

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
    """Later sinks get the event of which an earlier one raised an interrupt or exit; then it is raised."""
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
    """The flush of another thread does not wait for the hook; what it asked for comes when the hook has returned."""
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
    """Rows of two runs would be mixed; once the other run has ended, the sink may move."""
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
    """Nothing in an open run keeps its bus alive, so its sinks may be used again."""
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
