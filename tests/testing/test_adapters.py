"""A loop passes the contract that authors of adapters get, and the contract finds adapters that break it."""

from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from monitor_core import Bus, Loop
from monitor_core.loop.recording import attach
from monitor_core.testing import AdapterContract, HostReads, Plan, Trained
from monitor_core.testing.promises import promise, promises
from monitor_core.testing.trainings import Boom

torch = pytest.importorskip("torch")

from monitor_core.adapters.torch import TorchModel  # noqa: E402
from torch_training_support import Session, reads, weights_of  # noqa: E402 (it imports torch)


def trained(session, before=0):
    """Return what the contract gets of a session."""
    return Trained(
        weights=weights_of(session.module),
        steps=before + session.made,
        losses=session.rows(),
        evaluations=session.evaluations,
        rate=session.optimizer.param_groups[0]["lr"],
        compilations=session.compiler.count,
    )


def train_bare(session):
    """Train without monitoring."""
    for _ in range(session.plan.epochs):
        for group in session.groups():
            session.step(group)
        if session.plan.evaluates:
            session.evaluated([*session.evaluate()])
    return trained(session)


def train_loop(sinks, plan):
    """Train in a loop."""
    session = Session(plan)
    if sinks is None:
        return train_bare(session)
    with Loop(*sinks, model=TorchModel(session.module, session.optimizer), resume=plan.folder) as loop:
        before = loop.run.step
        for _ in loop.epochs(plan.epochs):
            for group in loop.batches(session.groups()):
                loop.log(loss=session.step(group))
            if plan.evaluates and not loop.run.stopped:
                with loop.evaluation():
                    losses = []
                    for loss in loop.batches(session.evaluate()):
                        loop.log(loss=loss)
                        losses.append(loss)
                session.evaluated(losses)
    return trained(session, before)


class TestLoop(AdapterContract):
    """A `Loop` around a PyTorch training."""

    documented_in = Path(__file__).parents[2] / "docs" / "frameworks" / "index.md"
    cannot: ClassVar = {"a_skipped_step_is_not_a_step": "a batch of a loop is a step, whatever its optimizer does"}

    def values(self):
        """Return what counts reads of tensors."""
        return reads()

    @pytest.fixture
    def train(self):
        """Return the function that trains."""
        return train_loop


# --- an adapter of a small framework, and what may be wrong with it ---------------------------------------------------


class Trainer:
    """A framework: it owns the loop, calls callbacks, and ends where one sets ``stop``."""

    def __init__(self, session, callback):
        self.session, self.callback, self.stop, self.first = session, callback, False, 0

    def fit(self):
        plan, session = self.session.plan, self.session
        self.call("before_fit")
        for epoch in range(self.first, plan.epochs):
            if self.stop:
                break
            self.call("before_epoch", epoch)
            for group in session.groups():
                if self.stop:
                    break
                self.call("before_step")
                made = session.made
                loss = session.step(group)
                self.call("after_step", loss, is_skipped=session.made == made)
            if plan.evaluates and not self.stop:
                self.call("before_evaluation")
                session.evaluated([*session.evaluate()])
                self.call("after_evaluation", session.evaluations[-1])
            self.call("after_epoch", epoch)
        self.call("after_fit")

    def call(self, name, *args, **kwargs):
        getattr(self.callback, name)(self, *args, **kwargs)


class Adapter:
    """The adapter of `Trainer`."""

    def __init__(self, sinks, session, folder=None):
        self.bus = Bus(*sinks, model=TorchModel(session.module, session.optimizer))
        self.resume = attach(self.bus, record=None, resume=folder)

    @property
    def step(self):
        return self.bus.run.step

    def before_fit(self, trainer):
        if self.resume is not None:
            self.resume.begin()
        self.before = self.step
        self.bus.train_begin(epochs=trainer.session.plan.epochs)
        trainer.first = self.bus.run.epoch + 1
        self.obey(trainer)

    def before_epoch(self, trainer, epoch):
        self.logs = {}
        self.bus.epoch_begin(epoch)

    def before_step(self, trainer):
        self.bus.batch_begin(self.step + 1)

    def after_step(self, trainer, loss, *, is_skipped):
        if is_skipped:
            self.bus.batch_abandon()
        else:
            self.bus.batch_end(self.step + 1, {"loss": loss})
        self.obey(trainer)

    def before_evaluation(self, trainer):
        self.bus.evaluation_begin()

    def after_evaluation(self, trainer, loss):
        self.bus.evaluation_end({"loss": loss})
        self.logs = {"val_loss": loss}

    def after_epoch(self, trainer, epoch):
        self.bus.epoch_end(epoch, self.logs)
        self.obey(trainer)

    def after_fit(self, trainer):
        self.bus.train_end()

    def obey(self, trainer):
        trainer.stop = self.bus.run.stopped

    def fit(self, trainer):
        """Notify sinks of exceptions."""
        try:
            trainer.fit()
        except BaseException as error:
            if self.bus.run.status == "running":
                self.bus.exception(error)
            raise


def train_with(kind):
    """Return a function that trains with an adapter of this class."""

    def train(sinks, plan):
        session = Session(plan)
        if sinks is None:
            return train_bare(session)
        adapter = kind(sinks, session, plan.folder)
        adapter.fit(Trainer(session, adapter))
        return trained(session, adapter.before)

    return train


class TrainerContract(AdapterContract):
    """The contract of `Trainer`'s adapters."""

    def values(self):
        """Return what counts reads of tensors."""
        return reads()


class TestTrainer(TrainerContract):
    """The adapter that is right."""

    @pytest.fixture
    def train(self):
        """Return the function that trains."""
        return train_with(Adapter)


class CountsMicroBatches(Adapter):
    """Counts micro-batches."""

    def after_step(self, trainer, loss, *, is_skipped):
        for _ in range(trainer.session.plan.accumulation):
            self.bus.batch_end(self.step + 1, {"loss": loss})
        self.obey(trainer)


class CountsSkippedSteps(Adapter):
    """Counts steps that were skipped."""

    def after_step(self, trainer, loss, *, is_skipped):
        super().after_step(trainer, loss, is_skipped=False)


class BeginsEpochsLate(Adapter):
    """Begins an epoch after its first batch has begun."""

    def before_epoch(self, trainer, epoch):
        self.begin = lambda: super(BeginsEpochsLate, self).before_epoch(trainer, epoch)

    def before_step(self, trainer):
        super().before_step(trainer)
        begin, self.begin = self.begin, lambda: None
        begin()


class ReportsEveryOther(Adapter):
    """Gives the loss of every other step alone."""

    def after_step(self, trainer, loss, *, is_skipped):
        logs = {"loss": loss} if self.step % 2 else {}
        self.bus.batch_end(self.step + 1, logs)
        self.obey(trainer)


class ForgetsEvaluations(Adapter):
    """Leaves an evaluation's results out of the epoch's logs."""

    def after_evaluation(self, trainer, loss):
        self.bus.evaluation_end({"loss": 0.0})
        self.logs = {}


class StopsAtEpochs(Adapter):
    """Obeys at the end of an epoch alone."""

    def after_step(self, trainer, loss, *, is_skipped):
        super().after_step(trainer, loss, is_skipped=is_skipped)
        trainer.stop = False


class IgnoresEarlyStops(Adapter):
    """Obeys no stop of a train begin."""

    def before_fit(self, trainer):
        super().before_fit(trainer)
        trainer.stop = False


class HasNoModel(Adapter):
    """Gives the bus no handle, so that there is no rate."""

    def before_fit(self, trainer):
        self.bus.run.model = None
        super().before_fit(trainer)


class ResetsTheRate(Adapter):
    """Lets the framework's rate replace what a sink set."""

    def before_step(self, trainer):
        super().before_step(trainer)
        trainer.session.optimizer.param_groups[0]["lr"] = trainer.session.plan.rate


class LosesExceptions(Adapter):
    """Leaves the run open after an exception."""

    def fit(self, trainer):
        trainer.fit()


class SwallowsExceptions(Adapter):
    """Lets no exception leave the training."""

    def fit(self, trainer):
        with suppress(BaseException):
            super().fit(trainer)


class CallsInterruptsFailures(Adapter):
    """Takes Ctrl-C for an error."""

    def fit(self, trainer):
        try:
            trainer.fit()
        except BaseException as error:
            if self.bus.run.status == "running":
                self.bus.exception(Boom(str(error)))
            raise


class BeginsAgain(Adapter):
    """Begins a run that was to be continued with epoch 0."""

    def __init__(self, sinks, session, folder=None):
        super().__init__(sinks, session, None)


class ChangesTheTraining(Adapter):
    """Draws from the training's random generator, and rounds the weights."""

    def after_epoch(self, trainer, epoch):
        super().after_epoch(trainer, epoch)
        with torch.no_grad():
            next(trainer.session.module.parameters()).mul_(1.0001)


class EndsWithASink(Adapter):
    """Lets a sink that fails end the training."""

    def __init__(self, sinks, session, folder=None):
        super().__init__(sinks, session, folder)
        self.bus.strict = self.bus._dispatch.strict = True


class Recompiles(Adapter):
    """Makes the compiled step be compiled again."""

    def before_epoch(self, trainer, epoch):
        super().before_epoch(trainer, epoch)
        torch._dynamo.reset()


class ReadsEachLoss(Adapter):
    """Converts each loss to a float."""

    def after_step(self, trainer, loss, *, is_skipped):
        super().after_step(trainer, as_ours(loss), is_skipped=is_skipped)


def as_ours(loss):
    """Return a loss as a float, as if code of the package had read it."""
    scope = {"__name__": "monitor_core.adapters.broken"}
    exec("def read(value):\n    return value.item()", scope)  # noqa: S102
    return scope["read"](loss)


BROKEN = {
    BeginsEpochsLate: [("events_come_in_order",)],
    CountsMicroBatches: [
        ("steps_are_optimizer_steps", 4),
        ("every_metric_of_every_step_arrives_once", 4),
    ],
    CountsSkippedSteps: [("a_skipped_step_is_not_a_step",)],
    ReportsEveryOther: [("every_metric_of_every_step_arrives_once", 1)],
    ForgetsEvaluations: [("evaluation_results_arrive",)],
    StopsAtEpochs: [("a_stop_is_obeyed", "on_batch_end")],
    IgnoresEarlyStops: [("a_stop_is_obeyed", "on_train_begin")],
    HasNoModel: [("the_rate_can_be_read",), ("the_rate_can_be_set",)],
    ResetsTheRate: [("the_rate_can_be_set",)],
    LosesExceptions: [
        ("an_exception_in_a_hook_ends_the_run", "on_batch_end"),
        ("ctrl_c_in_a_hook_ends_the_run", "on_epoch_end"),
        ("an_exception_of_the_training_ends_the_run", "batch"),
        ("ctrl_c_in_the_training_ends_the_run", "evaluation"),
    ],
    SwallowsExceptions: [
        ("an_exception_in_a_hook_ends_the_run", "on_batch_begin"),
        ("an_exception_of_the_training_ends_the_run", "evaluation"),
    ],
    CallsInterruptsFailures: [
        ("ctrl_c_in_a_hook_ends_the_run", "on_batch_end"),
        ("ctrl_c_in_the_training_ends_the_run", "batch"),
    ],
    BeginsAgain: [("resume_continues",)],
    EndsWithASink: [("a_failing_sink_changes_nothing",)],
    ChangesTheTraining: [("weights_are_those_of_a_training_without_sinks", 1), ("a_failing_sink_changes_nothing",)],
    Recompiles: [("a_compiled_step_is_not_compiled_again",)],
    ReadsEachLoss: [("no_step_reads_a_value_on_the_host",)],
}

CAUGHT = [(kind, *each) for kind, tests in BROKEN.items() for each in tests]


FIXTURES = {
    "resume_continues": ["tmp_path", "monkeypatch"],
    "weights_are_those_of_a_training_without_sinks": ["tmp_path"],
}


@pytest.mark.parametrize(
    ("kind", "name", "argument"),
    [(kind, name, argument) for kind, name, *argument in CAUGHT],
    ids=[f"{kind.__name__}-{name}" for kind, name, *_ in CAUGHT],
)
def test_a_broken_adapter_is_caught(kind, name, argument, request):
    """By the test whose promise it breaks, which the adapter that is right passes."""
    test = getattr(TrainerContract(), f"test_{name}")
    fixtures = {each: request.getfixturevalue(each) for each in FIXTURES.get(name, ())}
    with pytest.raises((Exception, pytest.fail.Exception)):
        test(train_with(kind), *fixtures.values(), *argument)
    if "tmp_path" in fixtures:
        fixtures["tmp_path"] /= "right"
    test(train_with(Adapter), *fixtures.values(), *argument)


def test_each_promise_is_broken_by_an_adapter():
    """So each test is known to catch something."""
    assert {name for _, name, *_ in CAUGHT} == promises(AdapterContract)


# --- what is declared impossible --------------------------------------------------------------------------------------


class Contract:
    """A contract of two promises."""

    cannot: ClassVar = {"works": "it is said not to", "fails": "it cannot", "counts[4]": "it has no four"}

    @promise
    def test_works(self):
        """Succeed."""

    @promise
    def test_fails(self):
        """Fail."""
        raise AssertionError

    @promise
    def test_counts(self, number):
        """Fail."""
        raise AssertionError(number)


def test_a_declared_failure_is_expected():
    """With the reason."""
    with pytest.raises(pytest.xfail.Exception, match="it cannot"):
        Contract().test_fails()
    with pytest.raises(pytest.xfail.Exception, match="it has no four"):
        Contract().test_counts(4)


def test_a_failure_with_another_parameter_is_none_that_was_declared():
    """It fails as it is."""
    with pytest.raises(AssertionError, match="1"):
        Contract().test_counts(1)


def test_what_works_must_not_be_declared_impossible():
    """The test fails, and says what to remove."""
    with pytest.raises(pytest.fail.Exception, match="remove it from `cannot`"):
        Contract().test_works()


def test_an_unknown_name_is_no_declaration():
    """A misspelt one is found."""

    class Misspelt(AdapterContract):
        cannot: ClassVar = {"resume_continus": "why"}

    with pytest.raises(AssertionError, match="not tests of the contract"):
        Misspelt().test_what_is_impossible_is_declared_by_name()


def test_a_reason_must_be_documented(tmp_path):
    """Word for word."""
    (tmp_path / "page.md").write_text("It has no checkpoints.")

    class Documented(AdapterContract):
        cannot: ClassVar = {"resume_continues": "it has no checkpoints"}
        documented_in = tmp_path / "page.md"

    with pytest.raises(AssertionError, match="it has no checkpoints"):
        Documented().test_what_is_impossible_is_declared_by_name()


def test_reads_by_others_are_not_counted():
    """The training's own reads are its own business."""
    counter = HostReads(torch.Tensor)
    with counter.counted():
        torch.ones(()).item()
        assert counter.count == 0
        as_ours(torch.ones(()))
    as_ours(torch.ones(()))
    assert counter.count == 1


def test_a_plan_raises_at_one_visit():
    """And counts each place for itself."""
    plan = Plan(error=Boom(), place="evaluation", at=2)
    assert [plan.visit("batch"), plan.visit("batch"), plan.visit("evaluation")] == [1, 2, 1]
    with pytest.raises(Boom):
        plan.visit("evaluation")
    assert plan.visit("evaluation") == 3


def test_weights_are_compared_bit_by_bit():
    """A zero with another sign is another weight."""
    contract = TrainerContract()

    def train(sinks, plan):
        result = train_with(Adapter)(sinks, plan)
        sign = -1.0 if sinks is None else 1.0
        return Trained(weights=[np.array(0.0) * sign], steps=result.steps, losses=result.losses)

    with pytest.raises(AssertionError):
        contract.test_a_failing_sink_changes_nothing(train)
