"""The bus: events in order, failures isolated, sinks added and removed, state: needs, adding and removing."""

import gc
import logging
import weakref

import pytest

from monitor_core import Bus, History, SetupError, Sink, on
from recorders import BlockRecorder, Handle, Raiser, Recorder, train


class Needy(Sink):
    """Need two members of the model."""

    needs = ("learning_rates", "get_weights")

    def on_epoch_end(self, run, epoch, logs): ...


def test_needs_without_a_model():
    """A sink that needs a missing model is named in the error at train begin."""
    bus = Bus(recorder := Recorder("on_train_begin"), Needy())
    with pytest.raises(SetupError, match="Needy needs 'learning_rates' of the model, and no model was given"):
        bus.train_begin()
    assert (recorder.events, bus.run.status) == ([], "pending")


def test_needs_that_the_model_lacks():
    """The error names the member that the handle lacks, the sink and the handle."""
    with pytest.raises(
        SetupError,
        match="Needy needs 'get_weights' of the model, which its handle lacks: 'Handle' object has no attribute",
    ):
        Bus(Needy(), model=Handle()).train_begin()


def test_needs_that_are_met():
    """Any handle with the members is accepted, whatever its class, even if given later."""
    bus = Bus(Needy())
    bus.run.model = type("Model", (), {"learning_rates": [1.0], "get_weights": None})()
    bus.train_begin()
    assert bus.run.status == "running"


def test_needs_of_a_sink_added_in_a_run():
    """A sink whose needs are not met is not added."""
    bus = Bus()
    bus.train_begin()
    with pytest.raises(SetupError, match="Needy needs"):
        bus.add(Needy())
    assert bus.sinks == ()


def test_sink_added_in_a_run_gets_later_events():
    """A sink added during a run gets its train begin and the values of later batches only."""
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
    """A sink removed during a run gets its train end and no event after it."""
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
    with pytest.raises(ValueError, match="Recorder is already on this bus"):
        bus.add(recorder)
    with pytest.raises(ValueError, match="Recorder is already on this bus"):
        Bus(recorder, recorder)
    assert bus.sinks == (recorder,)


def test_removing_what_is_not_there():
    """Removing a sink that is not there raises an error that lists the bus's sinks."""
    with pytest.raises(ValueError, match=r"Recorder is not on this bus; it has \['History'\]"):
        Bus(History()).remove(Recorder())


@pytest.mark.parametrize("hook", ["on_batch_begin", "on_batch_end", "on_epoch_begin", "on_epoch_end", "on_block"])
def test_sink_that_removes_itself_in_a_hook(hook):
    """A sink that removes itself in a hook gets no other event; the sinks after it miss none."""
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


def test_sink_added_in_a_hook_gets_the_next_event():
    """A call in progress keeps the sinks it began with."""
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
    """A sink that another one adds at train begin is notified of the begin once."""
    bus, late = Bus(), Recorder("on_train_begin", "on_train_end")
    bus.add(on("train_begin", lambda run: bus.add(late)))
    train(bus)
    assert late.events == [("train_begin",), ("train_end", {})]


def test_sink_removed_before_it_began_gets_no_event():
    """A sink that another one removes at train begin is notified of neither begin nor end."""
    bus, late = Bus(), Recorder("on_train_begin", "on_train_end")
    bus.add(on("train_begin", lambda run: bus.remove(late)))
    bus.add(late)
    train(bus)
    assert late.events == []


def test_failure_at_train_begin_of_a_sink_added_in_a_run_has_its_name(warned):
    """A sink whose train begin fails when it is added is named in the warning."""
    bus = Bus()
    bus.train_begin()
    bus.add(Raiser("on_train_begin", ValueError("boom"), name="late"))
    assert warned() == ["late.on_train_begin raised at step 0; training continues"]
    assert [each.sink for each in bus.failures] == ["late"]


def test_critical_sink_added_in_a_run_propagates():
    """A critical sink whose train begin fails when it is added ends the training and is not added."""
    bus = Bus()
    bus.train_begin()
    with pytest.raises(ValueError, match="boom"):
        bus.add(Raiser("on_train_begin", ValueError("boom"), critical=True))
    assert bus.sinks == ()


def test_failure_of_a_sink_that_removed_itself_has_its_name(warned):
    """A hook that removes its sink and then raises is logged under the sink's name."""
    bus = Bus()

    def leave(run, epoch, logs):
        bus.remove(sink)
        raise ValueError("boom")

    sink = on("epoch_end", leave)
    bus.add(sink)
    train(bus, [])
    assert warned()[0] == "leave.on_epoch_end raised at step 0; training continues"


@pytest.mark.parametrize("failing", [False, True])
def test_a_thousand_sinks_are_freed(failing, caplog):
    """Sinks that were added and removed, even in a run and failing, are freed, and the bus is as large as before."""

    def sizes():
        return {name: len(value) for name, value in vars(bus).items() if hasattr(value, "__len__")}

    def sink():
        return Raiser("on_batch_end", ValueError()) if failing else Recorder()

    caplog.set_level(logging.CRITICAL, "monitor_core")  # log records keep tracebacks alive
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
