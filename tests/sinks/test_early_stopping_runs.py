"""Early stopping: weights, runs and state."""

import json
import math

import pytest
from hypothesis import given, settings

from early_stopping_support import DELTA, EXAMPLES, METRIC, SEQUENCE, Stub, drive, options, our_run, outcome
from monitor_core import Bus, Loop, SetupError, Sink
from monitor_core.sinks.early_stopping import EarlyStopping


def test_weights_are_fetched_once_per_improvement():
    """An epoch that is not better costs no copy of the weights."""
    model = Stub()
    bus = Bus(EarlyStopping(METRIC, mode="min", patience=9, restore_best_weights=True), model=model)
    bus.train_begin()
    drive(bus, [3.0, 3.0, 2.0, 2.5, 1.0, math.nan])
    assert (model.fetched, model.weight) == ([0, 2, 4], 4)


def test_no_weights_are_needed_unless_they_are_restored():
    """Without a model early stopping works; asked to restore, it fails at train begin and says why."""
    Bus(EarlyStopping("loss")).train_begin()
    with pytest.raises(SetupError, match="EarlyStopping needs 'get_weights' of the model, and no model was given"):
        Bus(EarlyStopping("loss", restore_best_weights=True)).train_begin()


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, SystemExit])
def test_weights_are_restored_if_a_loop_is_aborted(error):
    """Ctrl-C, an error or an exit in a loop leaves the best weights in the model."""
    model = Stub()
    with pytest.raises(error), Loop(EarlyStopping("loss", patience=9, restore_best_weights=True), model=model) as loop:
        for epoch in loop.epochs(5):
            model.weight = epoch
            if epoch == 3:
                raise error
            loop.log(loss=[2.0, 1.0, 3.0][epoch])
    assert (loop.run.status, model.weight) == ("failed" if error is RuntimeError else "interrupted", 1)


def test_weights_are_left_alone_where_the_next_run_has_begun(warned):
    """The next run closes one that was left open, and trains from the weights that the model has."""
    model = Stub()
    bus = Bus(EarlyStopping(METRIC, mode="min", patience=9, restore_best_weights=True), model=model)
    bus.train_begin()
    drive(bus, [1.0, 2.0], end=False)
    bus.train_begin()
    assert model.weight == 1
    assert warned()[0].startswith(
        "EarlyStopping did not restore the weights of epoch 1: an exception left the run open "
    )
    drive(bus, [5.0, 6.0])
    assert (bus.run.status, model.weight) == ("completed", 0)


def test_weights_are_left_alone_where_a_run_cannot_begin():
    """A state was loaded, and another sink refuses to begin: the model stays as it is."""

    class Refuser(Sink):
        def on_train_begin(self, run):
            raise SetupError("no")

    first = Bus(EarlyStopping(METRIC, mode="min", restore_best_weights=True), model=Stub())
    first.train_begin()
    drive(first, [1.0], end=False)
    bus = Bus(EarlyStopping(METRIC, mode="min", restore_best_weights=True), Refuser(), model=Stub())
    bus.load_state_dict(first.state_dict())
    with pytest.raises(SetupError, match="no"):
        bus.train_begin()
    assert bus.run.model.weight == -1


def test_each_run_is_judged_from_scratch():
    """A second run on the same bus forgets the first one's best, count and weights."""
    bus = Bus(sink := EarlyStopping(METRIC, mode="min", patience=2, restore_best_weights=True), model=Stub())
    found = []
    for values in ([1.0, 2.0, 3.0], [7.0, 6.0, 6.5]):
        bus.train_begin()
        drive(bus, values)
        found.append(outcome(sink, sink.stopped_epoch, bus.run.model))
    expected = [
        our_run(values, {"mode": "min", "patience": 2, "restore_best_weights": True})
        for values in ([1.0, 2.0, 3.0], [7.0, 6.0, 6.5])
    ]
    for each in found + expected:
        del each["stopped"]
    assert found == expected


def through_json(state):
    """Return a bus's state after its way through a file, strict JSON but for the weights."""
    weights = state["sinks"][0]["state"].pop("best_weights")
    copy = json.loads(json.dumps(state, allow_nan=False))
    copy["sinks"][0]["state"]["best_weights"] = None if weights is None else [array.copy() for array in weights]
    return copy


@settings(max_examples=EXAMPLES)
@given(values=SEQUENCE, options=options(DELTA))
def test_a_run_interrupted_at_any_epoch_continues_as_if_it_was_not(values, options):
    """At every cut, a new bus with the state decides as the run that was not cut, weights included."""
    whole = our_run(values, options)
    last = len(values) if whole["stopped"] is None else whole["stopped"]
    for cut in range(last + 1):
        first = Bus(EarlyStopping(METRIC, **options), model=Stub())
        first.train_begin()
        drive(first, values[:cut], end=False)
        sink, model = EarlyStopping(METRIC, **options), Stub()
        model.weight = first.run.model.weight
        second = Bus(sink, model=model)
        second.load_state_dict(through_json(first.state_dict()))
        second.train_begin()
        assert outcome(sink, drive(second, values[cut:], cut), model) == whole


def resumed(sink, *values, **options):
    """Stop a run by these values with a sink of these options; return the bus on which another sink continues it."""
    first = Bus(EarlyStopping(METRIC, mode="min", **options), model=Stub())
    first.train_begin()
    drive(first, values, end=False)
    bus = Bus(sink, model=Stub())
    bus.load_state_dict(through_json(first.state_dict()))
    bus.train_begin()
    return bus


def test_a_stopped_run_that_continues_is_stopped_by_the_same_arguments(warned):
    """Before its next epoch, for the same reason; one line says which argument to change."""
    bus = resumed(sink := EarlyStopping(METRIC, mode="min", patience=2), 1.0, 2.0, 3.0, patience=2)
    reason = "metric did not improve for 2 epochs; its best was 1 in epoch 1"
    assert (bus.run.stop_reason, sink.stopped_epoch) == (reason, 2)
    assert warned() == [f"EarlyStopping ends the run before its next epoch: {reason}; change patience=2 to continue"]


def test_a_stopped_run_trains_on_with_more_patience():
    """The epochs that were waited count."""
    bus = resumed(sink := EarlyStopping(METRIC, mode="min", patience=4), 1.0, 2.0, 3.0, patience=2)
    assert (bus.run.stopped, sink.wait) == (False, 2)
    assert drive(bus, [3.0, 3.0, 3.0], 3) == 4


def test_a_run_that_is_good_enough_is_stopped_by_its_threshold(warned):
    """The line names it, and a better threshold lets the run continue."""
    bus = resumed(EarlyStopping(METRIC, mode="min", stopping_threshold=0.5), 1.0, 0.4, stopping_threshold=0.5)
    assert bus.run.stop_reason == "metric is 0.4 and has reached 0.5"
    assert warned()[0].endswith("change stopping_threshold=0.5 to continue")
    better = EarlyStopping(METRIC, mode="min", stopping_threshold=0.1, patience=9)
    assert not resumed(better, 1.0, 0.4, stopping_threshold=0.5).run.stopped


def test_epochs_that_are_not_looked_at_any_more_do_not_stop_a_run():
    """A later ``start_from_epoch`` passes the last value over."""
    sink = EarlyStopping(METRIC, mode="min", patience=2, start_from_epoch=5)
    assert not resumed(sink, 1.0, 2.0, 3.0, patience=2).run.stopped


@pytest.mark.parametrize("option", [{"divergence_threshold": 2.0}, {"check_finite": True}])
def test_a_run_that_failed_trains_on(option):
    """The cause may be fixed by then; the next value decides."""
    assert not resumed(EarlyStopping(METRIC, mode="min", patience=9, **option), 1.0, math.inf, **option).run.stopped


def test_a_loaded_state_serves_one_run():
    """The run after the continued one begins from scratch."""
    first = Bus(EarlyStopping(METRIC, mode="min"), model=Stub())
    first.train_begin()
    drive(first, [0.0], end=False)
    sink = EarlyStopping(METRIC, mode="min")
    bus = Bus(sink, model=Stub())
    bus.load_state_dict(first.state_dict())
    bus.train_begin()
    assert sink.best == 0.0
    bus.train_end()
    bus.train_begin()
    assert sink.best is None
