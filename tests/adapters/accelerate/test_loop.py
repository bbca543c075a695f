"""What a loop with an accelerator does beyond the contract of adapters."""

import pytest

pytest.importorskip("accelerate")
pytest.importorskip("torch")

import torch

from accelerate_support import AcceleratedSession, accelerator_of, loader
from monitor_core import History
from monitor_core.adapters.accelerate import AccelerateLoop
from monitor_core.adapters.torch import TorchModel
from monitor_core.errors import SetupError
from monitor_core.testing import Plan, Recorder
from monitor_core.testing.trainings import Watcher
from torch_training_support import batches, build


def train(plan, *sinks, steps_per_epoch=None, log=None, **options):
    """Train a plan; return the session and the loop."""
    session = AcceleratedSession(plan)
    data = session.accelerator.prepare(loader(batches(plan.batches)))
    options = {"model": session.prepared, "optimizer": session.stepper} | options
    with AccelerateLoop(session.accelerator, *sinks, **options) as loop:
        for _ in loop.epochs(plan.epochs, steps_per_epoch=steps_per_epoch):
            for number, (x, y) in enumerate(loop.batches(data)):
                loss = session.micro_batch(x, y)
                (log or (lambda loop, number, loss: loop.log(loss=loss)))(loop, number, loss)
    return session, loop


def mean(losses):
    """Return a mean."""
    return pytest.approx(sum(losses) / len(losses))


def test_the_last_group_of_an_epoch_may_be_smaller():
    """The accelerator steps where its loader ends; that step has the mean of the micro-batches that it has."""
    watcher = Watcher()
    session, loop = train(Plan(epochs=1, batches=6, accumulation=4), watcher)
    assert [row["loss"] for _, row in watcher.rows] == [mean(session.losses[:4]), mean(session.losses[4:])]
    assert session.made == 2
    assert loop.run.steps_per_epoch == 2


def test_micro_batches_are_weighted():
    """In the mean of their step, and by the sum of their weights in the mean of the epoch."""
    watcher = Watcher("on_block", "on_epoch_end")
    weights = [1.0, 3.0, 2.0, 2.0]

    def log(loop, number, loss):
        loop.log(value=float(number), weight=weights[number])

    train(Plan(epochs=1, batches=4, accumulation=2), watcher, log=log)
    assert [row["value"] for _, row in watcher.rows] == [0.75, 2.5]
    assert watcher.events[-1][-1]["value"] == (0.75 * 4 + 2.5 * 4) / 8


def test_a_metric_of_some_micro_batches_has_their_mean():
    """Where some do not log it, or weigh nothing, they do not count."""
    watcher = Watcher()

    def log(loop, number, loss):
        loop.log(loss=loss)
        if number % 4 == 1:
            loop.log(odd=number)
        loop.log(nothing=float(number), weight=0)

    train(Plan(epochs=1, batches=8, accumulation=4), watcher, log=log)
    assert [(row["odd"], row["nothing"]) for _, row in watcher.rows] == [(1.0, 3.0), (5.0, 7.0)]


def test_a_value_that_is_not_a_metric_is_skipped():
    """As in any loop; the other metrics arrive."""
    history = History()
    train(Plan(epochs=1, accumulation=4), history, log=lambda loop, number, loss: loop.log(loss=loss, name="a string"))
    assert set(history) == {"loss"}


def test_training_by_steps_counts_optimizer_steps():
    """An epoch takes so many, from one iterator over the data, which begins again where they end."""
    watcher = Watcher("on_epoch_end", "on_block")
    session, loop = train(Plan(epochs=2, batches=6, accumulation=4), watcher, steps_per_epoch=3)
    assert watcher.steps == [*range(1, 7)]
    assert session.made == 6
    assert loop.run.steps_per_epoch == 3
    firsts = [0, 4, 6, 10, 12, 16]
    groups = [session.losses[first : first + size] for first, size in zip(firsts, [4, 2] * 3, strict=True)]
    assert [row["loss"] for _, row in watcher.rows] == [mean(each) for each in groups]
    assert len(session.losses) == 18


def test_a_group_that_is_left_is_no_step():
    """Neither by break, nor where the data end before the accelerator steps."""
    plan = Plan(epochs=1, batches=6, accumulation=4)
    session, watcher = AcceleratedSession(plan), Watcher()
    with AccelerateLoop(session.accelerator, watcher) as loop:
        for _ in loop.epochs(2):
            for x, y in loop.batches(batches(6)):  # not prepared: the accelerator does not know where they end
                loop.log(loss=session.micro_batch(x, y))
            break
    assert watcher.steps == [1]
    assert watcher.run.step == session.made == 1


def test_an_evaluation_within_an_epoch_is_an_event():
    """At the optimizer step after which it happens."""
    plan = Plan(epochs=1, batches=8, accumulation=4)
    session, recorder = AcceleratedSession(plan), Recorder("on_midepoch_evaluation", "on_epoch_end")
    steps = []
    data = session.accelerator.prepare(loader(batches(8)))
    with AccelerateLoop(session.accelerator, recorder) as loop:
        for _ in loop.epochs(1):
            for number, (x, y) in enumerate(loop.batches(data)):
                loop.log(loss=session.micro_batch(x, y))
                if number % 4 == 3:
                    with loop.evaluation():
                        loop.log(loss=1.0)
                        steps.append(loop.run.evaluation.step)
    assert [event[0] for event in recorder.events] == ["midepoch_evaluation", "epoch_end"]
    assert steps == [1, 2]


def test_a_rate_that_is_set_scales_the_rest_of_a_schedule():
    """A prepared scheduler does not undo it."""
    plan = Plan(epochs=1)
    session = AcceleratedSession(plan)
    scheduler = session.accelerator.prepare(torch.optim.lr_scheduler.ConstantLR(session.optimizer, 1.0))
    with AccelerateLoop(
        session.accelerator, model=session.prepared, optimizer=session.stepper, scheduler=scheduler
    ) as loop:
        loop.run.learning_rate = plan.rate / 2
        session.micro_batch(*batches(1)[0])
        scheduler.step()
    assert session.optimizer.param_groups[0]["lr"] == plan.rate / 2


def test_the_scaler_is_part_of_the_state():
    """A run that continues scales as before."""
    session = AcceleratedSession(Plan(skipped=1))
    loop = AccelerateLoop(session.accelerator, model=session.prepared, optimizer=session.stepper)
    assert list(loop.run.model.schedulers) == ["scaler"]


def test_a_handle_is_taken_as_it_is():
    """Its optimizers are its own."""
    handle = TorchModel(build())
    assert AccelerateLoop(accelerator_of(Plan()), model=handle).run.model is handle
    with pytest.raises(TypeError, match="optimizer and scheduler are only for a PyTorch module"):
        AccelerateLoop(accelerator_of(Plan()), model=handle, optimizer=torch.optim.SGD(handle.module.parameters()))


def test_the_accelerator_comes_first():
    """A sink in its place is refused."""
    with pytest.raises(TypeError, match="accelerator must be an Accelerator, the first argument"):
        AccelerateLoop(History())


def test_an_older_release_is_refused(monkeypatch):
    """With what to install."""
    monkeypatch.setattr("monitor_core.adapters.versions.version", lambda _: "0.34.2")
    with pytest.raises(SetupError, match=r"accelerate must be of version 1.0 or newer \(got 0.34.2\)"):
        AccelerateLoop(accelerator_of(Plan()))
