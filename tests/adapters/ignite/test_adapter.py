"""What the adapter of Ignite does beyond the contract of adapters."""

import pytest

pytest.importorskip("ignite")
pytest.importorskip("torch")

import torch
from ignite.engine import Engine, Events
from ignite.metrics import RunningAverage

from ignite_support import Engines
from monitor_core import History
from monitor_core.adapters.ignite import IgniteAdapter
from monitor_core.errors import SetupError
from monitor_core.testing import Plan, Recorder
from monitor_core.testing.trainings import Boom, Stopper, Watcher
from torch_training_support import batches


def attached(engines, *sinks, **options):
    """Return an adapter of engines."""
    options = {"model": engines.module, "optimizer": engines.optimizer} | options
    return IgniteAdapter(*sinks, **options).attach(engines.trainer, evaluator=engines.evaluator)


def outputs(function, *sinks, **options):
    """Train with outputs of any kind; return the adapter."""
    trainer = Engine(lambda engine, batch: function(batch))
    adapter = IgniteAdapter(*sinks, **options).attach(trainer)
    trainer.run([1.0, 2.0], max_epochs=1)
    return adapter


def test_a_mapping_is_taken_as_it_is():
    """Without what is not a number."""
    watcher = Watcher()
    outputs(lambda x: {"loss": x, "outputs": torch.zeros(3)}, watcher)
    assert watcher.rows == [(1, {"loss": 1.0}), (2, {"loss": 2.0})]


def test_other_outputs_are_transformed():
    """Without a function that does, one warning says so."""
    watcher = Watcher()
    outputs(lambda x: (x, "a string"), watcher, output_transform=lambda output: {"value": output[0]})
    assert watcher.rows == [(1, {"value": 1.0}), (2, {"value": 2.0})]


def test_an_output_without_metrics_is_warned_of(caplog):
    """Once."""
    outputs(lambda x: (x, x))
    (record,) = caplog.records
    assert record.getMessage() == (
        "the trainer's output is a tuple, so no metric of its steps is recorded: pass output_transform, which makes a "
        "dict of it"
    )


def test_the_trainers_own_metrics_are_the_epochs():
    """As they are at its end."""
    engines, watcher = Engines(Plan(epochs=1, evaluates=False)), Watcher("on_epoch_end")
    RunningAverage(output_transform=float).attach(engines.trainer, "average")
    attached(engines, watcher)
    engines.run()
    logs = watcher.events[0][-1]
    assert set(logs) == {"loss", "average"}
    assert logs["average"] == pytest.approx(engines.trainer.state.metrics["average"])


def test_an_epoch_ends_after_handlers_that_were_added_later():
    """Their evaluations belong to it."""
    engines, history = Engines(Plan(epochs=2, evaluates=False)), History()
    attached(engines, history)
    engines.trainer.add_event_handler(Events.EPOCH_COMPLETED, engines.evaluate_now)
    engines.run()
    assert list(history["val_loss"]) == pytest.approx(engines.evaluations)


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
def test_evaluations_within_an_epoch_are_events(late):
    """At the step whose handler evaluates, whether that handler was added before the adapter's or after."""
    engines, recorder = Engines(Plan(epochs=1, evaluates=False)), Recorder("on_midepoch_evaluation", "on_epoch_end")
    steps = []

    def evaluate(engine):
        engines.evaluate_now(engine)
        steps.append(adapter.run.step)

    every = Events.ITERATION_COMPLETED(every=4)
    if late:
        adapter = attached(engines, recorder)
    engines.trainer.add_event_handler(every, evaluate)
    if not late:
        adapter = attached(engines, recorder)
    engines.run()
    assert steps == [4, 8]
    assert [event[0] for event in recorder.events] == ["midepoch_evaluation", "epoch_end"]
    assert [event[-1]["val_loss"] for event in recorder.events] == pytest.approx(engines.evaluations)


def test_several_evaluators_have_names():
    """Their metrics begin with them."""
    engines, history = Engines(Plan(epochs=1)), History()
    adapter = IgniteAdapter(history)
    adapter.attach(engines.trainer, evaluator={"test": engines.evaluator})
    engines.run()
    assert set(history) == {"loss", "test_loss"}


def test_the_last_group_of_an_epoch_without_a_step_is_dropped():
    """Iterations that Ignite accumulates into the next epoch belong to no step of this one."""
    engines, watcher = Engines(Plan(epochs=1, batches=6, accumulation=4, evaluates=False)), Watcher()
    attached(engines, watcher, gradient_accumulation_steps=4)
    engines.run()
    assert [row["loss"] for _, row in watcher.rows] == [pytest.approx(sum(engines.losses[:4]) / 4)]


def test_a_handler_may_swallow_an_exception():
    """As without the adapter: Ignite goes to the next epoch, and steps are those that were made."""
    plan = Plan(epochs=2, evaluates=False, error=Boom(), at=3)
    engines, watcher = Engines(plan), Watcher()
    engines.trainer.add_event_handler(Events.EXCEPTION_RAISED, lambda engine, error: None)
    adapter = attached(engines, watcher)
    engines.run()
    assert watcher.steps == [*range(1, 11)]
    assert engines.made == 10
    assert adapter.run.status == "completed"


def test_a_swallowed_exception_that_ends_the_training_interrupts_the_run():
    """Ignite returns, without its event of the end."""
    engines, watcher = Engines(Plan(evaluates=False)), Watcher()
    engines.trainer.add_event_handler(Events.EXCEPTION_RAISED, lambda engine, error: None)

    @engines.trainer.on(Events.EPOCH_COMPLETED)
    def fail(engine):
        raise Boom

    adapter = attached(engines, watcher)
    engines.run()
    assert adapter.run.status == "interrupted"


@pytest.mark.parametrize("skip", [False, True])
def test_a_trainer_that_is_terminated_stops_the_run(skip):
    """The run has a reason, also where Ignite leaves out its last event."""
    engines, watcher = Engines(Plan(evaluates=False)), Watcher()
    adapter = attached(engines, watcher)
    engines.trainer.add_event_handler(
        Events.ITERATION_COMPLETED(once=3), lambda engine: engine.terminate(skip_completed=skip)
    )
    engines.run()
    assert (adapter.run.status, adapter.run.stop_reason) == ("stopped", "trainer.terminate() was called")
    assert watcher.steps == [1, 2, 3]


def test_all_iterations_make_a_complete_run():
    """With ``max_iters`` Ignite terminates at the last one."""
    engines, watcher = Engines(Plan(evaluates=False)), Watcher()
    adapter = attached(engines, watcher)
    engines.trainer.run(batches(8), max_iters=11)
    assert adapter.run.status == "completed"
    assert watcher.steps == [*range(1, 12)]


def test_a_stop_within_an_evaluation_is_obeyed():
    """By the trainer."""
    engines, watcher = Engines(Plan(epochs=3)), Watcher()
    attached(engines, Stopper("on_evaluation_end"), watcher)
    engines.run()
    assert engines.made == 8


def test_a_second_training_is_a_run_of_its_own():
    """Its steps begin again."""
    engines, history = Engines(Plan(epochs=1, evaluates=False)), History()
    adapter = attached(engines, history)
    for _ in range(2):
        engines.run()
    assert list(history.run) == [0, 1]
    assert adapter.run.step == 8


def test_a_trainer_that_is_resumed_without_our_state_sets_the_step(caplog):
    """By its own number of iterations; one warning says so."""
    engines, watcher = Engines(Plan(epochs=3, evaluates=False)), Watcher()
    attached(engines, watcher)
    engines.trainer.load_state_dict({"epoch": 1, "max_epochs": 3, "epoch_length": 8})
    engines.run()
    assert watcher.steps == [*range(9, 25)]
    assert [record.getMessage() for record in caplog.records] == [
        "no state of the adapter was loaded: the sinks begin with step 9"
    ]


def test_an_interrupted_trainer_continues_the_run():
    """Ignite's interrupt returns, and the next call of run continues where it was."""
    engines, watcher = Engines(Plan(epochs=1, evaluates=False)), Watcher()
    adapter = attached(engines, watcher)
    engines.trainer.add_event_handler(Events.ITERATION_COMPLETED(once=3), lambda engine: engine.interrupt())
    engines.run()
    assert (adapter.run.status, adapter.run.step) == ("running", 3)
    engines.run()
    assert adapter.run.status == "completed"
    assert watcher.steps == [*range(1, 9)]


def test_what_is_not_an_engine_is_refused():
    """And a second trainer."""
    adapter = IgniteAdapter()
    with pytest.raises(TypeError, match="trainer and evaluator must be engines of Ignite"):
        adapter.attach(lambda: None)
    adapter.attach(Engine(lambda engine, batch: None))
    with pytest.raises(ValueError, match="attached to a trainer already"):
        adapter.attach(Engine(lambda engine, batch: None))


def test_an_older_release_is_refused(monkeypatch):
    """With what to install."""
    monkeypatch.setattr("monitor_core.adapters.versions.version", lambda _: "0.4.13")
    with pytest.raises(SetupError, match=r"pytorch-ignite must be of version 0.5 or newer \(got 0.4.13\)"):
        IgniteAdapter()
