"""The rules on time and memory, and the watchdog."""

import logging
import threading
import time

import numpy as np
import pytest
from diagnosis_support import severe, symptoms

from monitor_core import Diagnosis, Loop, Run, diagnose
from monitor_core.diagnosis.examination import Examination
from monitor_core.diagnosis.observer import Observer
from monitor_core.diagnosis.seen import Seen
from monitor_core.diagnosis.watchdog import Watchdog
from monitor_core.testing import Recorder
from monitor_core.values.blocks import Block


def timed(durations):
    """Return what is found in steps that took these seconds, in epochs of 256."""
    examination = Examination()
    times = np.cumsum(durations)
    for epoch, first in enumerate(range(0, len(times), 256)):
        part = times[first : first + 256]
        steps = np.arange(first + 1, first + 1 + len(part))
        examination.add_block(Block(epoch, steps, part, {"loss": np.ones(len(part))}, {"loss": None}))
        examination.end_epoch(epoch, int(steps[-1]), {"loss": 1.0 / (1 + epoch)})
    return examination.findings


def test_steps_that_take_longer_and_longer():
    """The medians of windows of steps have a clear trend, and have doubled."""
    found = timed(np.linspace(0.01, 0.05, 3000))
    assert "slowing" in severe(found)
    assert "ms at the beginning" in next(each for each in found if each.symptom == "slowing").message


def test_noisy_and_uneven_steps_are_not_slowing():
    """A slow beginning, a slow stretch in the middle, and noise."""
    rng = np.random.default_rng(0)
    durations = 0.01 * rng.lognormal(0, 0.5, 3000)
    durations[:64] += 0.2
    durations[1000:1400] *= 5
    assert "slowing" not in severe(timed(durations))


def remembered(values):
    """Return what is found where the process used so much memory."""
    examination = Examination()
    for epoch, value in enumerate(values):
        examination.seen.memory.append(int(value))
        examination.end_epoch(epoch, 10 * epoch, {"loss": 1.0 / (1 + epoch)})
    return symptoms(examination.findings, "warning")


def test_memory_that_grows():
    """From epoch to epoch, by much."""
    assert remembered(np.linspace(1e9, 2e9, 20)) == ["memory_growth"]


def test_memory_that_is_allocated_at_the_beginning_does_not_grow():
    """Nor does one that goes up and down."""
    assert remembered([5e8, 9e8, *[1.5e9] * 18]) == []
    assert remembered(1e9 + 3e8 * np.sin(np.arange(20))) == []


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self):
        return self.now


def watched(seconds=10):
    """Return a running run, its watchdog and the clock."""
    run, clock = Run(), Clock()
    run.status = "running"
    return run, Watchdog(run, seconds, clock), clock


def test_the_watchdog_says_that_a_run_stalls(caplog):
    """Once, in the log, while it stalls."""
    run, watchdog, clock = watched()
    run.step = 412
    for clock.now in (1, 5, 12, 30, 60):
        watchdog.check()
    (message,) = [each.message for each in caplog.records]
    assert message == (
        "warning (stalled): Before the first epoch: No step has ended for 11 seconds, since step 412. Look at the data "
        "loader's workers, at locks and queues, and, of several processes, at the others."
    )
    assert watchdog.take().step == 412
    assert watchdog.take() is None


def test_a_run_that_moves_does_not_stall():
    """Slow steps are usual for it; an evaluation does not count."""
    run, watchdog, clock = watched()
    for run.step in range(1, 20):
        clock.now += 5
        watchdog.check()
    clock.now += 100  # longer than the limit, but not than 50 steps
    watchdog.check()
    assert watchdog.finding is None
    run.evaluation = object()
    clock.now += 10_000
    watchdog.check()
    assert watchdog.finding is None


def test_a_stall_is_among_the_findings_of_the_run(caplog):
    """It is reported with the next event, on the training's thread, and the thread ends with the run."""
    caplog.set_level(logging.WARNING, "monitor_core")
    diagnosis = Diagnosis(stall_seconds=0.1)
    with Loop(diagnosis) as loop:
        for _ in loop.epochs(1):
            for step in loop.batches(range(3)):
                loop.log(loss=1.0)
                deadline = time.monotonic() + 10
                while step == 1 and diagnosis._watchdog.finding is None and time.monotonic() < deadline:
                    time.sleep(0.01)
    assert symptoms(loop.run.findings) == ["stalled"]
    assert "stalled" in caplog.text
    threads = [each for each in threading.enumerate() if each.name == "monitor_core watchdog"]
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)


def waited(*epochs, planned=None):
    """Return what is found where loops waited so long, of so many seconds, in each epoch."""
    examination = Examination(seen=Seen(epochs_planned=planned))
    for epoch, times in enumerate(epochs):
        examination.seen.waiting.append(times)
        examination.end_epoch(epoch, 10 * epoch, {"loss": 1.0 / (1 + epoch)})
    return [each for each in examination.findings if each.symptom == "waiting_for_data"]


def test_a_loop_that_waits_for_its_data():
    """Half of its time, and for seconds: the message has the share."""
    (found,) = waited((60, 61), (30, 40), (30, 40))
    assert (found.severity, found.epoch, found.evidence["share"]) == ("warning", 1, 0.75)
    assert found.message == "75% of the last 40 seconds of training went into waiting for the next batch."
    assert [each.severity for each in waited((35, 100), (35, 100))] == ["note"]


def test_a_little_waiting_is_no_finding():
    """Nor is a first epoch that fills caches, or a training of a few seconds."""
    assert waited((20, 100), (20, 100)) == []
    assert waited((80, 100), (5, 100), (5, 100)) == []
    assert waited((0.9, 1.0), (0.9, 1.0)) == []
    assert waited((80, 100)) == []
    assert symptoms(waited((80, 100), planned=1), "warning") == ["waiting_for_data"]


def test_how_long_a_loop_waits_is_measured():
    """The time of getting an item, and with it the time of using it; the last request, which gets none, is left out."""

    def slow():
        for number in range(5):
            time.sleep(0.02)
            yield number
        time.sleep(0.2)

    diagnosis = Diagnosis()
    with Loop(diagnosis) as loop:
        for _ in loop.epochs(2):
            for _ in loop.batches(slow()):
                time.sleep(0.01)
                loop.log(loss=1.0)
    waits = diagnosis._examination.seen.waiting
    assert len(waits) == 2
    for waited, total in waits:
        assert 0.1 <= waited <= total - 0.05
    assert "waiting" not in {each.reason for each in diagnosis.not_looked_at}


def test_elsewhere_waiting_is_not_looked_at():
    """In curves, and in a loop without a diagnosis, nothing is measured."""
    with Loop() as loop:
        for _ in loop.epochs(1):
            for _ in loop.batches(range(2)):
                loop.log(loss=1.0)
    assert loop.run.waiting is None
    missing = {each.symptom: each.reason for each in diagnose({"loss": [1.0]}).not_looked_at}
    assert missing["waiting_for_data"].endswith("measured live only, in loop.batches")


def observer(*, epochs, batch_seconds, probe_seconds, batches=100):
    """Train on a clock that is set by hand; return the times and steps of the looks into the model."""
    clock, looks = Clock(), []

    class Model:
        def activations(self, x, layers=None):
            clock.now += probe_seconds
            looks.append((clock.now, run.step))
            yield "one", np.ones((2, 2), np.float32)

        def weights(self):
            return iter([])

    run = Run(model=Model())
    watching = Observer(Seen(), clock=clock, sample=(np.ones((2, 2)), None))
    watching.probe(run)
    for epoch in range(epochs):
        run.epoch = epoch
        for _ in range(batches):
            run.step += 1
            clock.now += batch_seconds
            if watching.is_due_within():
                watching.probe(run)
        if watching.is_due(run.epoch):
            watching.probe(run)
    return looks, watching.cost / clock.now


def test_long_epochs_are_looked_into():
    """Every half a minute at first, then every fiftieth of the time so far."""
    looks, share = observer(epochs=1, batch_seconds=1.0, probe_seconds=0.01, batches=36_000)
    gaps = np.diff([now for now, _ in looks])
    assert gaps[:10].max() < 32
    assert gaps[-2] > 650
    assert 150 < len(looks) < 250
    assert share < 0.02


def test_short_epochs_are_looked_at_as_they_end():
    """The first ones, and then with larger gaps."""
    looks, _ = observer(epochs=16, batch_seconds=0.001, probe_seconds=0.001)
    assert [step for _, step in looks][:5] == [0, 100, 200, 400, 800]


@pytest.mark.parametrize("probe_seconds", [0.5, 5.0, 60.0])
def test_looks_keep_their_share(probe_seconds):
    """However much one takes: 2% of the time, not counting the first ones."""
    looks, share = observer(epochs=4, batch_seconds=1.0, probe_seconds=probe_seconds, batches=3_000)
    assert share <= 0.02 + 2 * probe_seconds / 12_000
    assert len(looks) > 3


def test_a_diagnosis_looks_within_a_long_epoch(monkeypatch):
    """While a loop's only epoch lasts."""
    monkeypatch.setattr("monitor_core.diagnosis.observer.WITHIN_SECONDS", 0.0)
    monkeypatch.setattr("monitor_core.diagnosis.observer.SHARE", 1e9)  # however slow a look is

    class Model:
        def activations(self, x, layers=None):
            yield "one", np.asarray(x, np.float32)

        def weights(self):
            return iter([])

    diagnosis = Diagnosis(sample=(np.ones((4, 2)), np.ones(4)))
    with Loop(diagnosis, recorder := Recorder("on_probe"), model=Model()) as loop:
        for _ in loop.epochs(1):
            for number in loop.batches(range(2000)):
                loop.log(loss=1.0)
                if number % 100 == 0:
                    time.sleep(0.01)  # so that blocks are delivered meanwhile
    steps = [event[1].step for event in recorder.events]
    assert steps[0] == 0
    assert steps[-1] == 2000
    assert any(0 < step < 2000 for step in steps)
    assert {event[1].epoch for event in recorder.events[1:]} == {0}
