"""The loop for Accelerate passes the contract of adapters, and counts steps where batches are left or uneven."""

from pathlib import Path
from typing import ClassVar

import pytest

pytest.importorskip("accelerate")
torch = pytest.importorskip("torch")

from accelerate import Accelerator  # noqa: E402
from accelerate.state import AcceleratorState, GradientState, PartialState  # noqa: E402

from monitor_core import Loop  # noqa: E402
from monitor_core.adapters.accelerate import AccelerateLoop  # noqa: E402
from monitor_core.testing import AdapterContract, Plan, Recorder, Trained  # noqa: E402
from monitor_core.testing.trainings import Watcher  # noqa: E402
from torch_training_support import Session, loaders, reads, weights_of  # noqa: E402 (it imports torch)


class Accelerated(Session):
    """A session in Accelerate's idiom."""

    def __init__(self, plan):
        super().__init__(plan)
        for state in (AcceleratorState, GradientState, PartialState):
            state._reset_state()
        self.accelerator = Accelerator(cpu=True, gradient_accumulation_steps=plan.accumulation)
        if plan.skipped:
            self.accelerator.scaler = self.scaler
        self.data, self.held_out = (self.accelerator.prepare_data_loader(each) for each in loaders(plan))
        self.call = self.accelerator.prepare_model(self.call)
        self.prepared = self.accelerator.prepare_optimizer(self.optimizer)

    def train(self, batch):
        """Train on a micro-batch; return its loss."""
        self.plan.visit("batch")
        x, y = batch
        with self.accelerator.accumulate(self.call):
            loss = torch.nn.functional.mse_loss(self.call(x), y)
            self.losses.append(loss.item())
            skips = len(self.losses) == self.plan.skipped
            self.accelerator.backward(loss * float("inf") if skips else loss)
            self.prepared.step()
            self.prepared.zero_grad()
        return loss

    def test(self):
        """Yield the loss of each batch of the validation data."""
        with torch.no_grad():
            for x, y in self.held_out:
                self.plan.visit("evaluation")
                yield torch.nn.functional.mse_loss(self.call(x), y)

    def bare(self):
        """Train without monitoring."""
        for _ in range(self.plan.epochs):
            for batch in self.data:
                self.train(batch)
            if self.plan.evaluates:
                self.evaluated([*self.test()])


def run(session, loop):
    """Train in a loop."""
    for _ in loop.epochs(session.plan.epochs):
        for batch in loop.batches(session.data):
            loop.log(loss=session.train(batch))
        if session.plan.evaluates and not loop.run.stopped:
            with loop.evaluation():
                losses = []
                for loss in loop.batches(session.test()):
                    loop.log(loss=session.accelerator.gather_for_metrics(loss).mean())
                    losses.append(loss)
            session.evaluated(losses)


def loop_of(session, *sinks, **options):
    """Return the loop of a session."""
    return AccelerateLoop(session.accelerator, *sinks, model=session.call, optimizer=session.prepared, **options)


class TestAccelerate(AdapterContract):
    """A loop with accumulation."""

    documented_in: ClassVar = Path(__file__).parents[3] / "docs" / "frameworks" / "index.md"

    def values(self):
        """Return what counts reads of tensors."""
        return reads()

    @pytest.fixture
    def train(self):
        """Return the function that trains."""

        def train(sinks, plan):
            session, before = Accelerated(plan), 0
            if sinks is None:
                session.bare()
            else:
                with loop_of(session, *sinks, resume=plan.folder) as loop:
                    before = loop.run.step
                    run(session, loop)
            return Trained(
                weights=weights_of(session.module),
                steps=before + session.made,
                losses=session.rows(),
                evaluations=session.evaluations,
                rate=session.optimizer.param_groups[0]["lr"],
                compilations=session.compiler.count,
            )

        return train


def test_the_last_step_of_an_epoch_may_have_fewer_batches():
    """Gradients are synchronized at the end of the data."""
    session, watcher = Accelerated(Plan(epochs=2, batches=6, accumulation=4, evaluates=False)), Watcher()
    with loop_of(session, watcher) as loop:
        run(session, loop)
    means = [torch.tensor(session.losses[a:b]).mean().item() for a, b in ((0, 4), (4, 6), (6, 10), (10, 12))]
    assert [row["loss"] for _, row in watcher.rows] == pytest.approx(means)
    assert watcher.run.steps_per_epoch == 2


def test_a_step_that_is_left_is_dropped():
    """A break between two micro-batches leaves no half step, and the order of batches stays right."""
    session, watcher = Accelerated(Plan(epochs=2, batches=8, accumulation=4, evaluates=False)), Watcher()
    with loop_of(session, watcher, strict=True) as loop:
        for _ in loop.epochs(2):
            for number, batch in enumerate(loop.batches(session.data)):
                loop.log(loss=session.train(batch))
                if number == 5:
                    break
    assert watcher.steps == [1, *range(2, watcher.run.step + 1)]
    assert len([event for event in watcher.events if event[0] == "epoch_end"]) == 2


def test_weights_make_a_weighted_mean():
    """Of the micro-batches of a step, and of the steps of the epoch."""
    session, recorder = Accelerated(Plan(epochs=1, batches=4, accumulation=2, evaluates=False)), Recorder()
    with loop_of(session, recorder) as loop:
        for _ in loop.epochs(1):
            for number, batch in enumerate(loop.batches(session.data)):
                session.train(batch)
                loop.log(value=float(number), note="text", weight=1 + number)
    rows = next(event[1][1] for event in recorder.events if event[0] == "block")
    assert [row["value"] for _, row in rows] == pytest.approx([2 / 3, 18 / 7])
    logs = next(event[-1] for event in recorder.events if event[0] == "epoch_end")
    assert logs["value"] == pytest.approx(20 / 10)


def test_steps_of_an_epoch_are_steps_of_the_optimizer():
    """An epoch by steps takes as many batches as they need, from one stream."""
    session, watcher = Accelerated(Plan(epochs=2, batches=8, accumulation=4, evaluates=False)), Watcher()
    with loop_of(session, watcher) as loop:
        for _ in loop.epochs(2, steps_per_epoch=3):
            for batch in loop.batches(session.data):
                loop.log(loss=session.train(batch))
    assert watcher.steps == [*range(1, 7)]
    assert len(session.losses) == 24


def test_without_accumulation_it_is_a_loop():
    """The same events."""
    plan = Plan(epochs=1, batches=3)
    events = []
    for kind in (loop_of, lambda _, *sinks: Loop(*sinks)):
        session, recorder = Accelerated(plan), Recorder("on_batch_begin", "on_batch_end", "on_epoch_end")
        with kind(session, recorder) as loop:
            run(session, loop)
        events.append(recorder.events)
    assert events[0] == events[1]
