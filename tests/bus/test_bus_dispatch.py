"""The bus: events in order, failures isolated, sinks added and removed, state: failures."""

import gc
import itertools
import logging
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus_support import names
from monitor_core import Bus, SetupError, on
from recorders import BlockRecorder, Raiser, Recorder, train


def test_failing_hook_is_isolated():
    """A hook that raises ends nothing: sinks after it are called, and so is its own at the next event."""
    events = []
    raiser = Raiser("on_epoch_end", ValueError("boom"), events=events)
    train(Bus(raiser, Recorder("on_epoch_end", events=events)), [], [])
    assert events == [
        ("Raiser", "epoch_end", 0, {}),
        ("Recorder", "epoch_end", 0, {}),
        ("Raiser", "epoch_end", 1, {}),
        ("Recorder", "epoch_end", 1, {}),
    ]


def test_sinks_after_a_failing_batch_hook_are_called_once():
    """On the fast path too, every other sink gets every batch exactly once."""
    raiser = Raiser("on_batch_end", ValueError(), None, ValueError(), name="b")
    before, after = Recorder("on_batch_end", name="a"), Recorder("on_batch_end", name="c")
    bus = Bus(before, raiser, after)
    train(bus, [{}] * 4)
    expected = [("batch_end", step, {}) for step in range(1, 5)]
    assert before.events == raiser.events == after.events == expected


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
    """A sink that is added after another of its name failed and was removed has its own warning."""
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
    """Only the first thousand failures are kept; the summary counts all."""
    bus = Bus(Raiser("on_batch_end", forever=OSError()))
    train(bus, [{}] * 1100)
    assert len(bus.failures) == 1000


class Frame:
    """An object that a traceback's frame would keep alive."""


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
    """The exceptions in ``failures``, and their causes, keep no frames alive, so none of the training's objects."""
    caplog.set_level(logging.CRITICAL, "monitor_core")  # log records keep tracebacks alive too
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


def test_three_failures_in_a_row_disable_a_sink(warned):
    """The third failure of a hook in a row disables the whole sink, except for train end."""
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
    """Failures that are not in a row do not disable a sink."""
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
    """Two failures each of two hooks do not disable a sink."""
    raiser = Raiser("on_batch_begin", *[ValueError()] * 4)
    raiser.hooks = ("on_batch_begin", "on_batch_end")
    train(Bus(raiser), [{}] * 4)
    assert names(raiser.events) == ["batch_begin", "batch_end"] * 4


def test_oserror_never_disables():
    """A disk that is full for a while does not end the recording."""
    raiser = Raiser("on_batch_end", *[OSError("disk full")] * 9)
    train(Bus(raiser), [{}] * 10)
    assert len(raiser.events) == 10


@given(st.lists(st.sampled_from([None, ValueError, OSError]), max_size=30))
def test_disabling_against_the_rule(outcomes):
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
    """An exception of a critical sink ends the training once every other sink got the event."""
    error = ValueError("boom")
    bus = Bus(Raiser("on_epoch_begin", error, critical=True), recorder := Recorder("on_epoch_begin"))
    bus.train_begin()
    with pytest.raises(ValueError, match="boom") as caught:
        bus.epoch_begin(0)
    assert caught.value is error
    assert recorder.events == [("epoch_begin", 0)]


def test_critical_batch_hook_propagates_after_the_block():
    """On the fast path too, and pending values are delivered before the error propagates."""
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
    """A run whose last block fails critically still ends: sinks get their train end, and no run stays open."""
    raiser = Raiser("on_block", ValueError("boom"), critical=True)
    bus = Bus(raiser, recorder := Recorder("on_train_end"))
    bus.train_begin()
    bus.batch_end(1, {"loss": 1.0})
    with pytest.raises(ValueError, match="boom"):
        bus.train_end()
    assert (recorder.events, bus.run.status) == ([("train_end", {})], "failed")


def test_exception_is_delivered_though_the_last_block_fails_critically():
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
    """Ctrl-C and an exit propagate at once, after pending values were delivered, and do not count as failures."""
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
    """The interrupt propagates, even if delivering the pending values fails on a strict bus."""
    bus = Bus(Raiser("on_block", ValueError("boom")), Raiser("on_batch_end", error()), strict=True)
    bus.train_begin()
    bus.epoch_begin(0)
    bus.batch_begin(1)
    with pytest.raises(error):
        bus.batch_end(1, {"loss": 1.0})


def test_interrupt_in_a_block_hook_keeps_the_block_for_the_others():
    """A block during which one sink raised Ctrl-C still reaches the sinks after it."""
    bus = Bus(Raiser("on_block", KeyboardInterrupt()), blocks := BlockRecorder())
    bus.train_begin()
    bus.epoch_begin(0)
    bus.batch_end(1, {"loss": 1.0})
    with pytest.raises(KeyboardInterrupt):
        bus.flush()
    bus.exception(KeyboardInterrupt())
    assert blocks.rows == [(0, 1, {"loss": 1.0})]


def test_setup_error_at_train_begin_propagates_and_closes_those_begun():
    """A run that cannot begin ends only for the sinks that had begun; the next run can begin."""
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
    """A sink whose train begin raises anything else does not prevent the run from beginning."""
    bus = Bus(Raiser("on_train_begin", ValueError("boom")), recorder := Recorder("on_train_begin"))
    bus.train_begin()
    assert (recorder.events, bus.run.status) == ([("train_begin",)], "running")


def test_failures_are_summarised_at_train_end(warned):
    """At the end of each run the sinks that failed in it are listed with their counts."""
    bus = Bus(Raiser("on_epoch_begin", *[OSError()] * 4, name="a"), Raiser("on_epoch_begin", OSError(), name="b"))
    train(bus, [], [], [])
    assert warned()[-2:] == ["a failed 3 times; see failures", "b failed 1 times; see failures"]
    train(bus, [])
    assert warned()[-1] == "a failed 1 times; see failures"


def test_same_function_given_twice_is_called_twice():
    """Each sink made of one function gets each event once, even if it fails."""
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
