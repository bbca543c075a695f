"""What a sink has raised at a run's end, by ``run.stop(..., raising=error)``: after every sink was served."""

import pytest

from monitor_core import Bus, EarlyStopping, Journal, Loop, Sink, open_run
from recorders import Recorder


class PrunedError(Exception):
    """As a tuner has one."""


class Prunes(Sink):
    """Asks for the end after the first epoch."""

    def __init__(self, error):
        self.error = error

    def on_epoch_end(self, run, epoch, logs):
        run.stop("pruned", raising=self.error)


@pytest.mark.parametrize("error", [PrunedError("pruned"), SystemExit(0), KeyboardInterrupt()])
def test_it_is_raised_when_every_sink_has_had_its_end(error, tmp_path):
    """The run is stopped, not failed, and no failure of a sink is noted."""
    recorder = Recorder()
    with pytest.raises(type(error)) as caught, Loop(Prunes(error), recorder, record=tmp_path) as loop:
        for _ in loop.epochs(5):
            loop.log(loss=1.0)
    assert caught.value is error
    assert (loop.run.status, loop.run.stop_reason, loop.run.failures) == ("stopped", "pruned", [])
    hooks = [event[0] for event in recorder.events]
    assert (hooks.count("train_end"), "exception" in hooks) == (1, False)
    recorded = open_run(tmp_path)
    assert (recorded.status, len(recorded.history)) == ("stopped", 1)


def test_an_exception_of_the_training_is_raised_instead():
    """What happened is what is told."""
    with pytest.raises(ZeroDivisionError), Loop(Prunes(PrunedError())) as loop:
        for _ in loop.epochs(5):
            loop.log(loss=1.0)
        raise ZeroDivisionError
    assert loop.run.status == "failed"


def test_it_is_raised_too_if_another_sink_stopped_the_run_first():
    """As a callback that raises does; the first reason is kept, and the first exception."""
    first, second = PrunedError("first"), PrunedError("second")
    stopping = EarlyStopping("loss", stopping_threshold=2.0)
    with pytest.raises(PrunedError, match="first"), Loop(stopping, Prunes(first), Prunes(second)) as loop:
        for _ in loop.epochs(5):
            loop.log(loss=1.0)
    assert loop.run.stop_reason == "loss is 1 and has reached 2"


def test_the_next_run_of_the_bus_raises_nothing():
    """And the ended run does not keep the exception with its frames."""
    bus = Bus(Prunes(PrunedError()))
    bus.train_begin()
    bus.epoch_begin(0)
    bus.epoch_end(0, {})
    with pytest.raises(PrunedError):
        bus.train_end()
    assert bus.run.raising is None
    bus.train_begin()
    bus.train_end()
    assert bus.run.status == "completed"


def test_a_run_that_ends_as_interrupted_raises_nothing():
    """Such as one that the next run ends."""
    bus = Bus(Prunes(PrunedError()))
    bus.train_begin()
    bus.epoch_begin(0)
    bus.epoch_end(0, {})
    bus.train_begin()
    assert bus.run.index == 1


def test_a_journal_whose_process_ended_before_the_run_did_says_that_it_was_stopped(tmp_path, monkeypatch):
    """As that of a trial whose process its scheduler kills; one that was not asked to stop was killed."""
    from monitor_core.journal import provenance
    from monitor_core.runs.catalogue import find_runs

    monkeypatch.setattr(provenance, "is_alive", lambda process: False)
    for name, failed in (("stopped", False), ("failed", True), ("killed", None)):
        bus = Bus(Journal(tmp_path / name))
        bus.train_begin()
        bus.epoch_begin(0)
        if failed is not None:
            bus.run.stop("enough", failed=failed)
        bus.epoch_end(0, {"loss": 1.0})
        assert open_run(tmp_path / name).status == name
    found = find_runs(tmp_path, cache=tmp_path / "cache")
    assert {run.path.name: run.summary.status for run in found} == {
        name: name for name in ("stopped", "failed", "killed")
    }
