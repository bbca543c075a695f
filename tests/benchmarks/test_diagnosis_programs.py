"""The labelled programs of the diagnosis: their parts, their recordings, and how they are scored."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from programs.running import programs
from programs.scoring import Score, by_program, interval
from programs.spec import STACKS, Program
from programs.split import part_of
from programs.tape import TapedDiagnosis, load, replay, save

from monitor_core import Finding, Loop
from monitor_core.diagnosis.symptoms import SYMPTOMS

PROGRAMS = programs()


def test_programs_are_distinct():
    """Each has an id of its own, and a stack that it can be built on."""
    assert len({program.id for program in PROGRAMS}) == len(PROGRAMS)
    assert all(program.stack in program.stacks for program in PROGRAMS)
    assert {program.stack for program in PROGRAMS} == set(STACKS)


def test_a_third_reports():
    """The part follows from the id alone."""
    shares = np.mean([part_of(program.id) == "report" for program in PROGRAMS])
    assert 0.28 < shares < 0.39
    assert [part_of(name) for name in ("tdc-reg-clean", "at-blob-0b6f114d")] == ["report", "tune"]


def test_healthy_is_the_larger_class():
    """At least 160 healthy programs of at least 12 families, at most 15 of each."""
    families = [program.family for program in PROGRAMS if program.kind == "healthy"]
    assert len(families) >= 160
    assert len(set(families)) >= 12
    assert max(map(families.count, families)) <= 15


def test_symptoms_of_labels_are_known():
    """But for those of published rows that no rule finds, which have others too."""
    for program in PROGRAMS:
        if program.kind == "fault":
            assert set(program.expect) & set(SYMPTOMS), program.id


def test_a_recording_gives_the_findings_of_its_run(tmp_path):
    """What was observed goes to a file and back."""
    rng = np.random.default_rng(0)
    x = 1000 * rng.normal(size=(100, 3)).astype("float32")
    sink = TapedDiagnosis(sample=(x, rng.integers(0, 2, 100)))
    with Loop(sink) as loop:
        for epoch in loop.epochs(8):
            for step in loop.batches(range(30)):
                loop.log(loss=2.0**epoch + 0.001 * step)
    save(tmp_path / "a.json.xz", sink.events, seed=0)
    found = load(tmp_path / "a.json.xz")
    assert found["seed"] == 0
    again = replay(found["events"]).findings
    assert [(each.symptom, each.epoch, each.step) for each in again] == [
        (each.symptom, each.epoch, each.step) for each in sink.findings
    ]
    assert [each.symptom for each in again] == ["unscaled_input", "loss_rising", "exploding"]


def made(kind, **labels):
    """Return a program."""
    return Program(id="p", kind=kind, family="f", data="blob", layers=[], loss="", **labels)


def found(*symptoms):
    """Return findings, each a symptom and a severity."""
    return [Finding(symptom=name, severity=severity, message="", step=5) for name, severity in symptoms]


def test_scores():
    """What is expected is right, what is neither expected nor allowed is false, and notes do not count."""
    fault = made("fault", expect=("spike",), allow=("plateau",))
    score = Score(fault, 0, found(("plateau", "problem"), ("spike", "warning"), ("exploding", "problem")), 100)
    assert score.right.symptom == "spike"
    assert score.when == 0.05
    assert [each.symptom for each in score.false_problems] == ["exploding"]
    healthy = Score(made("healthy"), 0, found(("plateau", "note"), ("spike", "warning")), 100)
    assert [len(healthy.false_problems), len(healthy.false_warnings)] == [0, 1]
    assert by_program([healthy, Score(made("healthy"), 1, [], 100)], lambda each: each.false_warnings) == {"p": 0.5}


def test_intervals_are_by_program():
    """Wilson's, for as many programs."""
    assert interval([1.0] * 9 + [0.0]) == pytest.approx((0.9, 0.596, 0.982), abs=1e-3)
