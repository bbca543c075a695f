"""The labelled programs of the diagnosis: their parts, their recordings, and how they are scored."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from programs.installed import installed
from programs.leaving_out import THRESHOLDS, chosen_without
from programs.running import everywhere, missing, path_of, programs
from programs.scoring import Recording, Score, by_program, hurt, interval, score
from programs.spec import STACKS, Program
from programs.split import part_of
from programs.tape import TapedDiagnosis, load, replay, save

from monitor_core import Finding, Loop
from monitor_core.diagnosis.rules.all import RULES
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


def recorded(kind, name, *logs, seed=0, data="blob", classes=(50, 50), **labels):
    """Return the recording of a run with these results of epochs, on two classes."""
    program = Program(id=name, kind=kind, family="f", data=data, layers=[], loss="", **labels)
    summary = {"rows": 100, "classes": {str(number): count for number, count in enumerate(classes)}}
    begin = ["begin", {"model": None, "data": summary, "validation": None}]
    epochs = [["epoch", number, 10 * number + 10, None, each, None] for number, each in enumerate(logs)]
    return Recording(program, seed, {"events": [begin, *epochs], "error": None, "probe_seconds": [0.1, 0.2]})


def test_skill_is_measured_from_a_constant_answer():
    """By the accuracy on validation data; what is not finite is worth nothing."""
    assert recorded("fault", "a", {"accuracy": 0.5}, {"accuracy": 1.0, "val_accuracy": 0.75}).skill == 0.5
    assert recorded("fault", "a", {"accuracy": 0.9}, classes=(80, 20)).skill == pytest.approx(0.5)
    assert recorded("fault", "a", {"accuracy": float("nan")}).skill == 0.0
    assert recorded("fault", "a").skill is None


def test_a_result_is_hurt_if_healthy_programs_reach_more():
    """On the same data; where there are none, it is not known."""
    found = hurt(
        [
            recorded("healthy", "h", {"accuracy": 0.95}),
            recorded("healthy", "i", {"accuracy": 0.97}),
            recorded("fault", "bad", {"accuracy": 0.8}),
            recorded("fault", "good", {"accuracy": 0.94}),
            recorded("fault", "other", {"accuracy": 0.8}, data="digits"),
        ]
    )
    assert found == {"bad": True, "good": False}


def test_thresholds_are_chosen_without_a_collection():
    """A threshold changes where that helps on what is left, and only there."""
    falling = [{"loss": 2.0**-epoch} for epoch in range(10)]
    rising = [{"loss": 1.0 + 0.03 * epoch} for epoch in range(10)]
    own = recorded("fault", "own-a", *rising, expect=("loss_rising",))
    healthy = recorded("healthy", "h", *falling)
    assert chosen_without("own", [own, healthy]) == RULES
    rules = chosen_without("at", [own, healthy])
    changed = [one.name for one, other in zip(RULES, rules, strict=True) if one != other]
    assert changed == ["Rising"]
    assert (score(own).right, score(own, rules).right.symptom) == (None, "loss_rising")


def test_thresholds_to_choose_are_those_of_rules():
    """Each is a number of a rule that there is."""
    rules = {rule.name: rule for rule in RULES}
    assert all(isinstance(getattr(rules[name], threshold), float) for name, threshold in THRESHOLDS)


def test_twenty_programs_run_everywhere(tmp_path):
    """Each has a recording of its own for each stack."""
    chosen = everywhere()
    assert len({program.id for program in chosen}) == 20
    program = chosen[0]
    paths = {path_of(program, 0, tmp_path, stack) for stack in STACKS}
    assert len(paths) == 3
    assert path_of(program, 0, tmp_path) in paths
    assert [missing([program], 1, stack, tmp_path) for stack in STACKS] == [[f"{program.id}:0"]] * 3
    path_of(program, 0, tmp_path, STACKS[0]).touch()
    assert [len(missing([program], 1, stack, tmp_path)) for stack in STACKS] == [0, 1, 1]


@pytest.mark.parametrize("name", ["runmedic", "gradsnitch", "trainproof"])
def test_installed_packages_are_scored(name):
    """What they find is translated to our symptoms."""
    pytest.importorskip(name)
    logs = [{"loss": 2.0**-epoch, "val_loss": 1.0} for epoch in range(20)] + [
        {"loss": float("nan"), "val_loss": 1.0}
    ] * 5
    found = installed()[name](recorded("fault", "a", *logs, expect=("non_finite",)))
    assert found.right.symptom == "non_finite"
