"""The contract of sinks, as tests: what a training may do to any sink, and what it must not do to the training."""

from __future__ import annotations

import gc
import os
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from monitor_core.bus.bus import Bus
from monitor_core.loop.loop import Loop
from monitor_core.testing.model import NumpyModel
from monitor_core.testing.player import Epoch, Played, Script, play, play_epoch
from monitor_core.testing.recorder import Recorder
from monitor_core.testing.states import differences, through_a_file

MakeSink = Callable[[], Any]

SAMPLES = (np.array([[1.0, 2.0], [0.5, 0.25], [0.0, 1.0]]), np.array([[1.0], [0.0], [1.0]]))


def falling(epochs: int, first: int = 0) -> list[Epoch]:
    """Return a script whose losses fall from epoch to epoch, with two batches and an evaluation in each."""
    return [
        Epoch(
            batches=[{"loss": 2.0 / (epoch + 1)}, {"loss": 1.0 / (epoch + 1)}],
            evaluation=[{"loss": 3.0 / (epoch + 1)}],
            logs={"accuracy": 1 - 0.5 / (epoch + 1)},
        )
        for epoch in range(first, first + epochs)
    ]


class SinkContract:
    """Tests that every sink passes. Subclass it in a test module and give it the fixture ``make_sink``.

    The fixture returns a function without arguments, which returns a new sink, each time with the same configuration:
    as if the same script was started again. Files belong into ``tmp_path``.

    Attributes:
        script: What the sink is played: metrics that it listens to must be in it.

    Example:
        >>> class TestMySink(SinkContract):
        ...     @pytest.fixture
        ...     def make_sink(self, tmp_path):
        ...         return lambda: MySink(tmp_path / "log.txt")
    """

    script: ClassVar[Script] = falling(3)

    def make_model(self) -> Any:
        """Return a new model's handle for sinks that look at the model; override it to give another, or None."""
        return NumpyModel()

    def play(self, sink: Any, script: Script | None = None, *, strict: bool = True) -> Played:
        """Play a script, by default the contract's, with a new model and three samples."""
        given = self.script if script is None else script
        return play(sink, given, model=self.make_model(), validation_data=SAMPLES, strict=strict)

    def test_it_can_be_added(self, make_sink: MakeSink) -> None:
        """Its hooks have the right names and signatures."""
        assert len(Bus(make_sink()).sinks) == 1

    def test_each_call_makes_a_new_sink(self, make_sink: MakeSink) -> None:
        """The fixture's function returns another object each time; the other tests rely on it."""
        assert make_sink() is not make_sink()

    def test_a_training_raises_nothing(self, make_sink: MakeSink) -> None:
        """A short training with batches, evaluations and epochs ends without a failure of the sink."""
        played = self.play(make_sink())
        _assert_no_failures(played)
        assert played.run.status in {"completed", "stopped"}

    def test_it_has_a_readable_repr(self, make_sink: MakeSink) -> None:
        """Its ``repr`` is one line, before and after a run."""
        sink = make_sink()
        assert "\n" not in repr(sink)
        self.play(sink)
        assert "\n" not in repr(sink)

    def test_the_same_sink_serves_a_second_run(self, make_sink: MakeSink) -> None:
        """A sink is used in one run after another, as in a notebook's cell that is run twice."""
        sink = make_sink()
        self.play(sink)
        _assert_no_failures(self.play(sink))

    def test_a_new_sink_finds_what_an_old_one_left(self, make_sink: MakeSink) -> None:
        """The same script is started twice: the second finds the files of the first."""
        self.play(make_sink())
        _assert_no_failures(self.play(make_sink()))

    def test_a_run_may_have_no_epoch(self, make_sink: MakeSink) -> None:
        """A training of zero epochs begins and ends."""
        assert self.play(make_sink(), []).run.status == "completed"

    def test_metrics_may_be_missing(self, make_sink: MakeSink) -> None:
        """Batches and epochs without any metric, and metrics that come and go, do not make a hook raise."""
        script: Script = [Epoch(batches=[{}, {"other": 1.0}]), {"another": 2.0}, *falling(1), {}]
        _assert_no_failures(self.play(make_sink(), script))

    def test_evaluations_may_be_within_an_epoch(self, make_sink: MakeSink) -> None:
        """A training by steps, evaluated before the first batch, between batches and after the last, raises nothing."""
        batches = [{"loss": 1.0 / step} for step in range(1, 5)]
        evaluations = {step: [{"loss": 2.0 / (step + 1), "accuracy": 0.5}] for step in (0, 2, 4)}
        script: Script = [
            Epoch(batches, evaluations=evaluations),
            Epoch(batches, evaluations={3: [{"other": 1.0}, {}]}),
        ]
        _assert_no_failures(self.play(make_sink(), script))

    def test_values_may_be_anything(self, make_sink: MakeSink) -> None:
        """NaN, infinities, None and strings among the metrics do not make a hook raise."""
        odd = {"loss": float("nan"), "val_loss": float("inf"), "accuracy": None, "note": "text"}
        _assert_no_failures(self.play(make_sink(), [Epoch(batches=[odd, odd], evaluation=[odd], logs=odd)]))

    def test_a_training_that_raises_is_closed(self, make_sink: MakeSink) -> None:
        """The training raises in mid-run: the exception is not replaced, and the sink can begin another run."""
        sink = make_sink()
        error = RuntimeError("the training failed")
        played = self.play(sink, [*falling(1), Epoch(batches=[{"loss": 1.0}, error])])
        assert played.error is error
        assert played.run.status == "failed"
        _assert_no_failures(self.play(sink))

    def test_ctrl_c_is_passed_on(self, make_sink: MakeSink) -> None:
        """Ctrl-C in mid-run leaves the loop as itself."""
        interrupt = KeyboardInterrupt()
        played = self.play(make_sink(), [*falling(1), interrupt])
        assert played.error is interrupt
        assert played.run.status == "interrupted"

    def test_its_state_survives_a_restart(self, make_sink: MakeSink, tmp_path: Path) -> None:
        """The state is JSON values and arrays; a new sink that loads it has the same one once its run has begun."""
        bus = Bus(make_sink(), model=self.make_model(), validation_data=SAMPLES)
        with _begun(bus):
            for epoch in range(2):
                bus.epoch_begin(epoch)
                for _ in range(2):
                    bus.batch_begin(bus.run.step + 1)
                    bus.batch_end(bus.run.step + 1, {"loss": 1.0 / bus.run.step if bus.run.step else 1.0})
                bus.epoch_end(epoch, {"loss": 1.0 / (epoch + 1), "val_loss": 1.5 / (epoch + 1), "accuracy": 0.5})
            saved = through_a_file(bus.state_dict(), tmp_path)
        restarted = Bus(make_sink(), model=self.make_model(), validation_data=SAMPLES)
        restarted.load_state_dict(saved)
        with _begun(restarted):
            loaded = through_a_file(restarted.state_dict(), tmp_path)
        assert not bus.failures
        assert not restarted.failures
        assert not (found := differences(saved["sinks"], loaded["sinks"])), "; ".join(found)

    def test_its_identity_is_that_of_its_configuration(self, make_sink: MakeSink) -> None:
        """Two sinks of the same configuration have the same identity, which finds them their state."""
        one, other = (getattr(make_sink(), "identity", {}) for _ in range(2))
        assert one == other

    def test_a_resumed_run_continues_with_it(self, make_sink: MakeSink, tmp_path: Path) -> None:
        """The same script is started again with ``resume=``: the run continues where it was, and no hook raises."""
        if self.make_model() is None:
            return
        for epochs in (2, 4):
            loop = Loop(
                make_sink(), model=self.make_model(), validation_data=SAMPLES, resume=tmp_path / "contract", strict=True
            )
            with loop:
                for epoch in loop.epochs(epochs):
                    play_epoch(loop, falling(1, first=epoch)[0])
            assert not loop.run.failures
            assert loop.run.stopped or loop.run.epoch == epochs - 1

    def test_it_keeps_its_promise_not_to_write(self, make_sink: MakeSink) -> None:
        """With ``read_only`` it shares the logs with all sinks: those after it get them unchanged."""
        alone = play(Recorder(), self.script, model=self.make_model(), validation_data=SAMPLES)
        beside = self.play(make_sink())
        epochs = [(epoch, _without_rate(logs)) for epoch, logs in beside.epochs]
        assert epochs == [(epoch, _without_rate(logs)) for epoch, logs in alone.epochs][: len(epochs)]
        batches = [event for event in beside.events if event[0] == "batch_end"]
        assert batches == [event for event in alone.events if event[0] == "batch_end"][: len(batches)]

    def test_it_keeps_no_model_alive(self, make_sink: MakeSink) -> None:
        """After the run the sink holds no reference to the model's handle, nor to the run that has it."""
        sink, model = make_sink(), self.make_model()
        if model is None:
            return
        play(sink, self.script, model=model, validation_data=SAMPLES)
        alive = weakref.ref(model)
        del model
        if alive() is not None:
            gc.collect()
        assert alive() is None, f"{sink!r} keeps the model alive after its run"

    def test_a_forked_process_ends_and_adds_no_file(self, make_sink: MakeSink, tmp_path: Path) -> None:
        """A process forked in mid-run, as data loaders do, has nothing to deliver; the parent's run continues."""
        if not hasattr(os, "fork"):
            return
        with Loop(make_sink(), model=self.make_model(), validation_data=SAMPLES) as loop:
            for _ in loop.epochs(2):
                for value in loop.batches([2.0, 1.0]):
                    loop.log(loss=value)
                    before = _files(tmp_path)
                    assert _fork_and_flush(loop.bus) == 0
                    assert _files(tmp_path) == before
                loop.log(val_loss=1.0, accuracy=0.5)
        assert not loop.bus.failures


def _assert_no_failures(played: Played) -> None:
    assert not played.failures, "\n".join(failure.traceback for failure in played.failures)


@contextmanager
def _begun(bus: Bus) -> Iterator[None]:
    """Begin a run, which ends however the block is left."""
    bus.train_begin(epochs=4)
    try:
        yield
    finally:
        bus.interrupt()


def _without_rate(logs: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in logs.items() if name != "learning_rate"}


def _files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def _fork_and_flush(bus: Bus) -> int:
    """Fork, let the child flush the bus and end, and return its exit code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from Python 3.12 on: there are threads
        child = os.fork()
    if child == 0:
        code = 1
        try:
            bus.flush()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
