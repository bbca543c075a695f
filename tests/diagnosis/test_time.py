"""The rules on time and memory, and the watchdog."""

import logging
import threading
import time

import numpy as np
from diagnosis_support import severe, symptoms

from monitor_core import Diagnosis, Loop, Run
from monitor_core.diagnosis.examination import Examination
from monitor_core.diagnosis.watchdog import Watchdog
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
