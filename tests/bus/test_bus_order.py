"""The bus: events in order, failures isolated, sinks added and removed, state: order."""

import pytest

from monitor_core import Bus, OrderError
from recorders import Handle, Recorder, train


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
    """An epoch's number must be higher than the previous one's."""
    bus = Bus()
    bus.train_begin()
    bus.epoch_begin(3)
    bus.epoch_end(3)
    with pytest.raises(OrderError, match=rf"epoch_begin\({epoch}\) after epoch 3: epochs must ascend within a run"):
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
    """Without ``strict`` a batch may end at any step, even without a begin."""
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


def test_strict_bus_lets_a_batch_count_for_several():
    """If several steps are executed as one, a batch ends with the last step's number."""
    bus = strict_bus()
    for first, last in ((1, 4), (5, 8)):
        bus.batch_begin(first)
        bus.batch_end(last)
    assert bus.run.step == 8


def test_strict_bus_continues_after_an_epoch_was_abandoned_in_a_batch():
    """The open batch of an abandoned epoch is no longer open."""
    bus = strict_bus()
    bus.batch_begin(1)
    bus.epoch_abandon()
    bus.epoch_begin(1)
    bus.batch_begin(1)
    bus.batch_end(1)
    assert bus.run.step == 1


def test_train_begin_closes_a_run_that_is_open():
    """A run that was never ended is closed as interrupted, with its values, before the next begins."""
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
    """Each run has its own index, starts afresh and keeps the model and validation data."""
    handle, data = Handle(), ("x", "y")
    bus = Bus(model=handle, validation_data=data)
    for index in range(3):
        train(bus, [{}, {}])
        run = bus.run
        assert (run.index, run.step, run.model, run.validation_data) == (index, 2, handle, data)


def test_train_begin_sets_the_plan():
    """The run has the planned numbers of epochs and steps."""
    bus = Bus()
    bus.train_begin(epochs=5, steps_per_epoch=10)
    assert (bus.run.epochs, bus.run.steps_per_epoch) == (5, 10)


def test_interrupt_ends_a_run_that_is_open_and_no_other():
    """Interrupting is idempotent, and harmless without a run."""
    bus = Bus(recorder := Recorder("on_train_end"))
    bus.interrupt()
    bus.train_begin()
    bus.interrupt()
    bus.interrupt()
    assert (recorder.events, bus.run.status) == ([("train_end", {})], "interrupted")
