"""The contract of adapters, as tests: what a training with sinks promises, whatever framework runs it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from monitor_core.bus.run import Status
from monitor_core.loop import resume
from monitor_core.sinks.csv_logger import CSVLogger
from monitor_core.sinks.early_stopping import EarlyStopping
from monitor_core.sinks.history import History
from monitor_core.sinks.journal import Journal
from monitor_core.testing.promises import promise, promises
from monitor_core.testing.reads import HostReads
from monitor_core.testing.trainings import (
    Boom,
    Failing,
    Plan,
    Raiser,
    Rates,
    StepCounter,
    Stopper,
    Train,
    Trained,
    Watcher,
)

_ORDERED = (
    "on_train_begin",
    "on_train_end",
    "on_epoch_begin",
    "on_epoch_end",
    "on_batch_begin",
    "on_batch_end",
    "on_evaluation_begin",
    "on_evaluation_end",
)
"""The hooks whose order is the same in each framework; blocks come when they are due."""

RAISING = (
    "on_train_begin",
    "on_epoch_begin",
    "on_batch_begin",
    "on_batch_end",
    "on_block",
    "on_evaluation_begin",
    "on_evaluation_end",
    "on_epoch_end",
    "on_train_end",
)
"""The hooks in which a sink may raise."""


class AdapterContract:
    """Tests that every adapter passes. Subclass it in a test module and give it the fixture ``train``.

    The fixture returns a function ``train(sinks, plan)`` that trains a small model as the `Plan` says, with the sinks
    attached, and returns what the framework made of it as `Trained`; ``sinks=None`` trains without the adapter.
    The training calls ``plan.visit("batch")`` in each micro-batch and ``plan.visit("evaluation")`` in each batch of an
    evaluation, in code that is the user's, such as the model's. What it raises leaves ``train`` as it leaves the
    framework.

    What a framework cannot do is declared in ``cannot``, with the reason; that test must then fail. Nothing is skipped.

    Attributes:
        cannot: Reasons, by the names of tests without ``test_``; with a parameter's value in brackets for that alone.
        documented_in: A page of documentation that must contain each of these reasons; None without one.
        metric: The name of the training's metric.
        evaluation_metric: Its name in the logs of an epoch with an evaluation.

    Example:
        >>> class TestMyAdapter(AdapterContract):
        ...     cannot = {"a_skipped_step_is_not_a_step": "the framework has no loss scaling"}
        ...
        ...     @pytest.fixture
        ...     def train(self):
        ...         return train_with_my_framework
    """

    cannot: ClassVar[Mapping[str, str]] = {}
    documented_in: ClassVar[Path | None] = None
    metric: ClassVar[str] = "loss"
    evaluation_metric: ClassVar[str] = "val_loss"

    def epochs(self, plan: Plan) -> list[int]:
        """Return the number of steps in each epoch of a plan; override it where epochs are something else."""
        return [plan.steps] * plan.epochs

    def values(self) -> HostReads:
        """Return what counts the reads of the framework's values, as they are while it trains."""
        raise NotImplementedError("values() must return HostReads(kind), with the type of the framework's values")

    # --- events, steps, values ---------------------------------------------------------------------------------------

    def test_what_is_impossible_is_declared_by_name(self) -> None:
        """Each name in ``cannot`` is one of a promise, and its reason is in the documentation."""
        names = {name.partition("[")[0] for name in self.cannot}
        assert names <= promises(type(self)), "`cannot` has names that are not tests of the contract"
        assert all(self.cannot.values()), "`cannot` must give a reason for each"
        if self.documented_in is not None:
            text = self.documented_in.read_text(encoding="utf-8")
            missing = [reason for reason in self.cannot.values() if reason not in text]
            assert not missing, f"{self.documented_in} does not say: {'; '.join(missing)}"

    @promise
    def test_events_come_in_order(self, train: Train) -> None:
        """A training, its epochs, their batches and evaluations begin and end in the same order everywhere."""
        watcher, plan = Watcher(*_ORDERED), Plan()
        train([watcher], plan)
        assert [_short(event) for event in watcher.events] == _events(self.epochs(plan))

    @promise
    @pytest.mark.parametrize("accumulation", [1, 4])
    def test_steps_are_optimizer_steps(self, train: Train, accumulation: int) -> None:
        """The run counts optimizer steps, however many micro-batches make up one."""
        watcher, plan = Watcher(), Plan(accumulation=accumulation)
        trained = train([watcher], plan)
        steps = sum(self.epochs(plan))
        assert trained.steps == steps, "the training itself does not follow the plan"
        assert watcher.run.step == steps
        assert watcher.steps == [*range(1, steps + 1)]

    @promise
    def test_a_skipped_step_is_not_a_step(self, train: Train) -> None:
        """An optimizer step that a loss scaler skips, because its gradients overflow, is not counted."""
        watcher, plan = Watcher(), Plan(skipped=3)
        trained = train([watcher], plan)
        steps = sum(self.epochs(plan)) - 1
        assert trained.steps == steps, "the training itself does not follow the plan"
        assert watcher.run.step == steps
        assert watcher.steps == [*range(1, steps + 1)]

    @promise
    @pytest.mark.parametrize("accumulation", [1, 4])
    def test_every_metric_of_every_step_arrives_once(self, train: Train, accumulation: int) -> None:
        """Blocks have the metric of each step, the mean of its micro-batches, before their epoch ends."""
        watcher, plan = Watcher("on_block", "on_epoch_end"), Plan(accumulation=accumulation)
        trained = train([watcher], plan)
        assert [step for step, _ in watcher.rows] == [*range(1, len(trained.losses) + 1)]
        assert [row.get(self.metric) for _, row in watcher.rows] == pytest.approx(list(trained.losses), rel=1e-5)
        assert _ends(watcher) == list(np.cumsum(self.epochs(plan)))

    @promise
    def test_evaluation_results_arrive(self, train: Train) -> None:
        """An evaluation's results are in its own event and in the logs of its epoch."""
        watcher, plan = Watcher("on_evaluation_end", "on_epoch_end"), Plan()
        trained = train([watcher], plan)
        results = [pytest.approx(value, rel=1e-5) for value in trained.evaluations]
        assert len(results) == len(self.epochs(plan))
        found = [event[-1] for event in watcher.events]
        assert [logs.get(self.evaluation_metric) for logs in found[1::2]] == results
        short = self.evaluation_metric.removeprefix("val_")
        assert [logs.get(short, logs.get(self.evaluation_metric)) for logs in found[::2]] == results

    # --- requests ----------------------------------------------------------------------------------------------------

    @promise
    @pytest.mark.parametrize("hook", ["on_train_begin", "on_batch_end", "on_epoch_end"])
    def test_a_stop_is_obeyed(self, train: Train, hook: str) -> None:
        """After a request to stop, no further step is made; the run has its reason."""
        plan = Plan()
        calls, steps = {"on_train_begin": (1, 0), "on_batch_end": (3, 3)}.get(hook, (1, self.epochs(plan)[0]))
        watcher = Watcher()
        trained = train([Stopper(hook, calls), watcher], plan)
        assert trained.steps == steps
        assert watcher.steps == [*range(1, steps + 1)]
        assert (watcher.run.status, watcher.run.stop_reason) == ("stopped", "enough is enough")
        assert watcher.events[-1][0] == "train_end"

    @promise
    def test_the_rate_can_be_read(self, train: Train) -> None:
        """``run.learning_rate`` is the optimizer's rate."""
        rates, plan = Rates(), Plan()
        trained = train([rates], plan)
        assert trained.rate == pytest.approx(plan.rate)
        assert rates.read == [pytest.approx(plan.rate)] * sum(self.epochs(plan))

    @promise
    def test_the_rate_can_be_set(self, train: Train) -> None:
        """A rate that a sink sets is the optimizer's from the next step on."""
        plan, watcher = Plan(), Watcher("on_train_begin")
        rates = Rates(at=2, rate=plan.rate / 4)
        trained = train([rates, watcher], plan)
        assert not watcher.run.failures
        assert rates.read == [pytest.approx(plan.rate / (1 if step < 3 else 4)) for step in _all(self.epochs(plan))]
        assert trained.rate == pytest.approx(plan.rate / 4)
        assert not _equal(trained, train(None, plan)), "the rate that was set did not change the training"

    # --- exceptions --------------------------------------------------------------------------------------------------

    @promise
    @pytest.mark.parametrize("hook", RAISING)
    def test_an_exception_in_a_hook_ends_the_run(self, train: Train, hook: str) -> None:
        """What a critical sink raises leaves the training; the run has failed, and nothing recorded is lost."""
        watcher = Watcher()
        with pytest.raises(Boom):
            train([watcher, Raiser(hook, Boom())], Plan())
        _assert_ended(watcher, "completed" if hook == "on_train_end" else "failed")

    @promise
    @pytest.mark.parametrize("hook", RAISING)
    def test_ctrl_c_in_a_hook_ends_the_run(self, train: Train, hook: str) -> None:
        """Ctrl-C while a sink is called: the run was interrupted, and nothing recorded is lost."""
        watcher = Watcher()
        with suppress(KeyboardInterrupt, SystemExit):  # some frameworks end normally, others exit
            train([watcher, Raiser(hook, KeyboardInterrupt())], Plan())
        _assert_ended(watcher, "completed" if hook == "on_train_end" else "interrupted")

    @promise
    @pytest.mark.parametrize("place", ["batch", "evaluation"])
    def test_an_exception_of_the_training_ends_the_run(self, train: Train, place: str) -> None:
        """What the user's code raises leaves the training; the run has failed, and nothing recorded is lost."""
        watcher = Watcher()
        with pytest.raises(Boom):
            train([watcher], Plan(error=Boom(), place=place, at=1 if place == "evaluation" else 5))
        _assert_ended(watcher, "failed")
        assert any(event[0] == "exception" for event in watcher.events), "sinks do not get the exception"

    @promise
    @pytest.mark.parametrize("place", ["batch", "evaluation"])
    def test_ctrl_c_in_the_training_ends_the_run(self, train: Train, place: str) -> None:
        """Ctrl-C while the user's code runs: the run was interrupted, and nothing recorded is lost."""
        watcher = Watcher()
        with suppress(KeyboardInterrupt, SystemExit):
            train([watcher], Plan(error=KeyboardInterrupt(), place=place, at=1 if place == "evaluation" else 5))
        _assert_ended(watcher, "interrupted")

    @promise
    def test_resume_continues(self, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A training that failed in its second epoch continues as the same run, with the same results."""
        monkeypatch.setattr(resume, "SHARE", math.inf)  # save at each epoch's end, however short
        whole = train([Watcher()], Plan(epochs=3))
        first, second, counter = Watcher(), Watcher(), StepCounter()
        steps = self.epochs(Plan(epochs=3))
        broken = Plan(epochs=3, folder=tmp_path / "run", error=Boom(), at=Plan().batches + 3)
        with pytest.raises(Boom):
            train([first, StepCounter()], broken)
        trained = train([second, counter], Plan(epochs=3, folder=tmp_path / "run"))
        assert second.run.id == first.run.id
        assert second.steps == [*range(second.steps[0], sum(steps) + 1)]
        assert 1 < second.steps[0] <= first.steps[-1] + 1
        assert counter.seen == sum(steps), "the states of sinks are not those of the steps that were kept"
        assert trained.steps == whole.steps
        assert _equal(trained, whole), "the trained weights differ from those of an uninterrupted training"

    # --- the training is not disturbed -------------------------------------------------------------------------------

    @promise
    def test_a_failing_sink_changes_nothing(self, train: Train) -> None:
        """With a sink that raises in each hook the training ends as without it, and other sinks get everything."""
        watcher, plan = Watcher(), Plan()
        trained = train([Failing(), watcher], plan)
        assert watcher.run.status == "completed"
        assert watcher.steps == [*_all(self.epochs(plan))]
        assert _equal(trained, train(None, plan))

    @promise
    @pytest.mark.parametrize("accumulation", [1, 4])
    def test_weights_are_those_of_a_training_without_sinks(
        self, train: Train, tmp_path: Path, accumulation: int
    ) -> None:
        """With all kinds of sinks, the trained weights are equal bit by bit to those without monitoring."""
        sinks: list[Any] = [
            Watcher(),
            History(per_batch=True),
            EarlyStopping(self.evaluation_metric, patience=100, mode="min"),
            CSVLogger(tmp_path / "log.csv", per_batch=True),
            Journal(tmp_path / "journal", per_batch=True),
        ]
        trained = train(sinks, Plan(accumulation=accumulation))
        bare = train(None, Plan(accumulation=accumulation))
        assert not sinks[0].run.failures
        assert trained.steps == bare.steps
        assert _equal(trained, bare)

    @promise
    def test_a_compiled_step_is_not_compiled_again(self, train: Train) -> None:
        """A compiled step is compiled as often with sinks as without."""
        bare, trained = train(None, Plan(compiled=True)), train([Watcher()], Plan(compiled=True))
        assert bare.compilations > 0, "the training itself does not follow the plan"
        assert trained.compilations == bare.compilations

    @promise
    def test_no_step_reads_a_value_on_the_host(self, train: Train) -> None:
        """Where sinks only record, values are read a few times for each block, not in each step."""
        watcher, plan, reads = Watcher("on_block"), Plan(epochs=1, batches=32, evaluates=False), self.values()
        with reads.counted():
            train([watcher], plan)
        assert watcher.steps == [*_all(self.epochs(plan))]
        assert reads.count < plan.steps / 2, f"values are read at {', '.join(reads.places[:5])} ..."


def _all(steps: list[int]) -> range:
    return range(1, sum(steps) + 1)


def _short(event: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return an event without its logs."""
    return event[:1] if event[0] == "train_end" or event[0].startswith("evaluation") else event[:2]


def _events(epochs: list[int]) -> list[tuple[Any, ...]]:
    """Return the events of a training with so many steps in its epochs, and an evaluation at the end of each."""
    events: list[tuple[Any, ...]] = [("train_begin",)]
    step = 0
    for epoch, steps in enumerate(epochs):
        events.append(("epoch_begin", epoch))
        for step in range(step + 1, step + steps + 1):  # noqa: B020 (it counts on)
            events += [("batch_begin", step), ("batch_end", step)]
        events += [("evaluation_begin",), ("evaluation_end",), ("epoch_end", epoch)]
    return [*events, ("train_end",)]


def _ends(watcher: Watcher) -> list[int]:
    """Return how many steps had arrived when each epoch ended."""
    arrived, ends = 0, []
    for event in watcher.events:
        if event[0] == "block":
            arrived += len(event[1][1])
        else:
            ends.append(arrived)
    return ends


def _equal(one: Trained, other: Trained) -> bool:
    """Whether two trainings ended with the same weights, bit by bit."""
    pairs = zip(one.weights, other.weights, strict=True)
    return all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in pairs)


def _assert_ended(watcher: Watcher, status: Status) -> None:
    """Check that a run ended like this, and that each batch that had ended arrived before."""
    assert watcher.run.status == status
    assert [event[0] for event in watcher.events if event[0] == "train_end"] == ["train_end"]
    ended = [event[1] for event in watcher.events if event[0] == "batch_end"]
    assert watcher.steps == ended
    assert watcher.run.step == len(ended)
