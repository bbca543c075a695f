"""Findings: what is wrong with a training, as sinks report it and others receive it."""

import gc
import weakref

import pytest

from monitor_core import Bus, Finding, Loop, Run, Sink
from monitor_core.testing import Recorder

FINDING = Finding(
    symptom="dead_units",
    severity="problem",
    message="Half of dense_2's units have been 0 for every sample since epoch 3; they no longer learn.",
    advice="Try a rate of 0.001.",
    evidence={"share": 0.5, "threshold": 0.5},
    epoch=2,
    step=30,
    layer="dense_2",
)


class Reporter(Sink):
    """Report a finding at the end of each epoch."""

    def on_epoch_end(self, run, epoch, logs):
        """Report it."""
        run.report(FINDING)


def test_a_finding_is_kept_and_reaches_all_sinks():
    """Those before the sink that reports it, too, before the event continues with the sinks after it."""
    events = []
    first = Recorder("on_finding", "on_epoch_end", name="first", events=events)
    last = Recorder("on_finding", "on_epoch_end", name="last", events=events)
    with Loop(first, Reporter(), last) as loop:
        for _ in loop.epochs(1):
            loop.log(loss=1.0)
    assert loop.run.findings == [FINDING]
    assert events == [
        ("first", "epoch_end", 0, {"loss": 1.0}),
        ("first", "finding", FINDING),
        ("last", "finding", FINDING),
        ("last", "epoch_end", 0, {"loss": 1.0}),
    ]


def test_findings_are_those_of_the_run():
    """The next run begins without any."""
    bus = Bus(Reporter())
    for _ in range(2):
        bus.train_begin()
        bus.epoch_begin(0)
        bus.epoch_end(0, {})
        bus.train_end()
    assert bus.run.findings == [FINDING]


def test_a_run_without_a_bus_keeps_findings():
    """As before the first train begin."""
    run = Run()
    run.report(FINDING)
    assert run.findings == [FINDING]


def test_a_finding_at_the_end_of_the_run_reaches_the_sinks():
    """One that is reported from ``on_train_end``."""

    class Late(Sink):
        def on_train_end(self, run, logs):
            run.report(FINDING)

    with Loop(recorder := Recorder("on_finding"), Late()) as loop:
        for _ in loop.epochs(1):
            loop.log(loss=1.0)
    assert recorder.events == [("finding", FINDING)]


def test_reporting_does_not_keep_the_bus_alive():
    """A run that is left open is freed with its bus."""
    bus = Bus(Reporter())
    bus.train_begin()
    reference = weakref.ref(bus)
    del bus
    gc.collect()
    assert reference() is None


def test_a_finding_has_one_of_three_severities():
    """Others are refused when it is made."""
    with pytest.raises(ValueError, match="'severity' must be in"):
        Finding(symptom="plateau", severity="fatal", message="It is flat.")


def test_a_finding_reads_as_sentences():
    """When, what, and what to try; epochs count from 1."""
    assert str(FINDING).startswith("Epoch 3: Half of dense_2's units")
    assert str(FINDING).endswith("Try a rate of 0.001.")
