"""Journals of every format that was ever written can be read: a sample of each is kept in ``data``."""

from pathlib import Path

import pytest

from monitor_core import open_run
from monitor_core.journal.facts import Found, MidepochEvaluation, Stop
from monitor_core.journal.files import _VERSION

DATA = Path(__file__).parent / "data"


def test_the_sample_of_format_2_has_what_is_new_in_it():
    """Evaluations by name and step, whether more training followed, a finding, and arrays of layers."""
    run = open_run(DATA / "format-2")
    evaluations = run.evaluations
    assert (evaluations.names, evaluations.steps.tolist()) == (["test", "val", "val"], [2, 3, 6])
    assert evaluations["test_loss"][:1].tolist() == [3.0]
    assert evaluations["val_loss"][1:].tolist() == [2.0, 1.5]
    assert [(fact.name, fact.step) for fact in run.last.facts(MidepochEvaluation)] == [("test", 2)]
    assert [(fact.symptom, fact.layer) for fact in run.last.facts(Found)] == [("dead units", "dense")]
    [layers] = run.last.arrays("layers")
    assert (layers.step, layers.about, layers.arrays["norm"].tolist()) == (6, {"layers": ["dense"]}, [[0.25]])
    assert (run.begin.rank, run.begin.ranks) == (0, 1)


def test_there_is_a_sample_of_the_present_format():
    """A change that raises the version adds a sample."""
    assert (DATA / f"format-{_VERSION}").is_dir()


@pytest.mark.parametrize("folder", sorted(DATA.iterdir()), ids=lambda folder: folder.name)
def test_a_sample_is_read_whole(folder):
    """Two epochs of three batches, an evaluation, a stop with its reason, and the configuration."""
    run = open_run(folder)
    assert (run.status, run.damage, run.config) == ("stopped", (), {"width": 8, "name": "sample"})
    assert run.history["loss"].tolist() == [1.0, 0.5]
    assert run.history["val_loss"].tolist() == [2.0, 1.5]
    assert run.batches["loss"].tolist() == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5]
    assert (run.batches.steps.tolist(), run.batches.epochs.tolist()) == ([1, 2, 3, 4, 5, 6], [0, 0, 0, 1, 1, 1])
    assert [each.reason for each in run.decisions if isinstance(each, Stop)] == ["enough"]
