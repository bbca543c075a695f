"""The summary of a run: what is written live is what the record gives, and it stays small."""

import json
import math

import pytest

from monitor_core import EarlyStopping, Journal, Loop, open_run
from monitor_core.journal.summary import LIMIT, METRICS, SUMMARY_NAME, BestValue, Summary, Tally, summary_of
from monitor_core.testing import NumpyModel


def written(folder):
    """Return the summary in a folder."""
    return Summary.from_json((folder / SUMMARY_NAME).read_bytes())


def train(folder, losses, *, kill_at=None, **options):
    """Train epochs of two batches with these losses, an evaluation within each and one at its end."""
    with Loop(EarlyStopping("val_loss", patience=3), Journal(folder, config={"width": 8}), **options) as loop:
        for epoch in loop.epochs(len(losses)):
            for batch in loop.batches(range(2)):
                loop.log(loss=losses[epoch] + batch)
                if batch == 0:
                    with loop.evaluation(name="test"):
                        loop.log(accuracy=losses[epoch] / 10)
            if epoch == kill_at:
                raise KeyError("killed")
            with loop.evaluation():
                loop.log(loss=losses[epoch])


def test_it_has_what_people_ask_for(tmp_path):
    """How it ended, why, how far it came, the last and the best values, and the configuration."""
    train(tmp_path, [3.0, 1.0, 2.0, 2.5, 2.0, 9.0])
    summary = written(tmp_path)
    assert (summary.status, summary.epochs, summary.planned_epochs, summary.step) == ("stopped", 5, 6, 10)
    assert summary.last == {"test_accuracy": 0.2, "loss": 2.5, "val_loss": 2.0}
    assert summary.best == {
        "loss": BestValue(1.5, 1, 4, "min"),
        "val_loss": BestValue(1.0, 1, 4, "min"),
    }
    assert summary.config == {"width": 8}
    assert summary.stop_reason == "val_loss did not improve for 3 epochs; its best was 1 in epoch 2"
    assert summary.seconds >= 0


@pytest.mark.parametrize("losses", [[1.0], [3.0, 1.0, 2.0], [1.0, math.nan, math.inf], [3.0, 1.0, 2.0, 2.5, 2.0, 9.0]])
def test_what_is_written_live_is_what_the_record_gives(tmp_path, losses):
    """If the file is missing, readers use the journal instead."""
    train(tmp_path, losses)
    assert written(tmp_path).to_json() == summary_of(open_run(tmp_path).last).to_json()


def test_an_exception_is_in_it(tmp_path):
    """With the epochs that ended before."""
    with pytest.raises(KeyError):
        train(tmp_path, [1.0, 2.0], kill_at=1)
    summary = written(tmp_path)
    assert (summary.status, summary.error, summary.epochs) == ("failed", "KeyError: 'killed'", 1)
    assert summary.to_json() == summary_of(open_run(tmp_path).last).to_json()


def test_a_resumed_run_keeps_its_best(tmp_path):
    """What earlier processes recorded counts, up to where the run continues."""
    with pytest.raises(KeyError):
        train(tmp_path, [1.0, 4.0, 5.0], kill_at=2, resume=tmp_path, model=NumpyModel())
    train(tmp_path, [1.0, 4.0, 5.0], resume=tmp_path, model=NumpyModel())
    summary = written(tmp_path)
    assert (summary.status, summary.epochs, summary.best["val_loss"]) == ("completed", 3, BestValue(1.0, 0, 2, "min"))
    assert summary.to_json() == summary_of(open_run(tmp_path).last).to_json()


def test_a_run_that_lives_is_running(tmp_path):
    """The file is there from the first moment, and is written again when a minute has passed."""
    with Loop(Journal(tmp_path)) as loop:
        for _ in loop.epochs(2):
            loop.log(loss=1.0)
            assert (written(tmp_path).status, written(tmp_path).epochs) == ("running", 0)
    assert (written(tmp_path).status, written(tmp_path).epochs) == ("completed", 2)


def test_it_is_written_when_it_is_due(tmp_path, monkeypatch):
    """At an epoch's end, an evaluation within it, or a block."""
    monkeypatch.setattr("monitor_core.sinks.journal.SUMMARY_SECONDS", 0.0)
    with Loop(Journal(tmp_path)) as loop:
        for _ in loop.epochs(2, steps_per_epoch=2):
            for number in loop.batches(numbers := range(2)):
                loop.log(loss=1.0)
                if number == numbers[1]:
                    assert written(tmp_path).last.get("val_loss") == 5.0
                else:
                    with loop.evaluation():
                        loop.log(loss=5.0)
            break


def test_it_is_small_whatever_is_in_it():
    """Long strings are cut, and what does not fit is left out; the result is a summary."""
    summary = Summary(
        config={"x" * 1000: "y" * 10_000, **{f"option {number}": [number] * 50 for number in range(500)}},
        last={f"metric {number}": math.nan for number in range(5000)},
        best={f"metric {number}": BestValue(1.0, 0, 1, "min") for number in range(5000)},
        error="e" * 100_000,
    )
    text = summary.to_json()
    assert len(text) <= LIMIT
    assert len(Summary.from_json(text).last) > 10
    assert Summary.from_json(text).error == "e" * 199 + "…"


def test_of_many_metrics_the_main_ones_are_kept():
    """The losses, what validation measured and what has a best value, wherever they were logged."""
    last = {f"m{number}": 1.0 for number in range(45)} | {
        "loss": 2.0,
        "accuracy": 0.5,
        "val_mape": 3.0,
        "val_loss": 4.0,
    }
    best = {name: BestValue(last[name], 0, 1, "min") for name in ("loss", "accuracy", "val_loss")}
    text = Summary(last=last, best=best).to_json()
    found = Summary.from_json(text)
    assert len(found.last) == METRICS
    assert found.last.keys() >= {"loss", "accuracy", "val_mape", "val_loss"}
    assert found.best == best
    crowded = Summary(last={"x" * 300 + name: 1.0 for name in last} | last, best=best)
    assert Summary.from_json(crowded.to_json()).last.keys() >= {"loss", "accuracy", "val_mape", "val_loss"}
    assert found.to_json() == text


def test_a_nested_configuration_stays_nested():
    """As deep as people write it; of one that does not fit, the first members are kept, and again the same ones."""
    config = {"optimizer": {"rate": 0.1, "betas": [0.9, 0.99], "note": "n" * 500}, "deep": nested(500)}
    found = Summary.from_json(Summary(config=config).to_json())
    assert found.config["optimizer"] == {"rate": 0.1, "betas": [0.9, 0.99], "note": "n" * 199 + "…"}
    many = {"first": {f"option {number}": {"a": number} for number in range(5000)}, "list": list(range(5000))}
    text = Summary(config=many).to_json()
    assert LIMIT - 100 < len(text) <= LIMIT
    assert Summary.from_json(text).config["first"]["option 7"] == {"a": 7}
    assert Summary.from_json(text).to_json() == text


def nested(depth):
    """Return a mapping so deep."""
    value = {}
    for _ in range(depth):
        value = {"a": value}
    return value


def test_a_record_with_impossible_times_has_a_summary():
    """A damaged clock or record; what counts in 64 bits reads it."""
    tally = Tally(None)
    for time in (math.nan, 1e300, -1e18, 5.0):
        tally.add({"loss": 1.0}, epoch=2**63 - 1, step=3, time=time, ends_epoch=True)
    assert (tally.summary.time, tally.summary.epochs) == (5.0, 2**63 - 1)
    assert Summary.from_json(tally.summary.to_json()).last == {"loss": 1.0}


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{", b"[" * 100_000, b'{"format": 2}', b'{"format": 1, "last": 3, "best": {}}', b"\xff"]
)
def test_what_is_no_summary_is_refused(text):
    """A damaged file does not cause a failure: the journal is read instead."""
    with pytest.raises(ValueError, match="not a run's summary"):
        Summary.from_json(text)


def test_unknown_members_are_ignored():
    """A later release may add some."""
    data = {**json.loads(Summary(id="a").to_json()), "new": 1}
    assert Summary.from_json(json.dumps(data).encode()) == Summary(id="a")


def test_an_evaluation_outside_of_epochs_is_not_taken_for_one_within(tmp_path):
    """Neither in the summary, nor in the steps of those that were recorded."""
    with Loop(Journal(tmp_path)) as loop:
        with loop.evaluation():
            loop.log(loss=0.0)
        for _ in loop.epochs(1, steps_per_epoch=10):
            for number in loop.batches(range(1, 11)):
                loop.log(loss=float(number))
                if number in (3, 6):
                    with loop.evaluation():
                        loop.log(loss=float(number))
    recorded = open_run(tmp_path)
    assert recorded.evaluations.steps.tolist() == [0, 3, 6]
    assert summary_of(recorded.last).best["val_loss"] == BestValue(3.0, 0, 3, "min")
    assert written(tmp_path).to_json() == summary_of(recorded.last).to_json()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("begun", "x"), ("time", 1e999), ("epochs", 1.5), ("status", 3), ("config", []), ("step", None)),
        *(("epochs", 2**70), ("planned_epochs", "abc"), ("begun", 1e300), ("time", -1e18), ("git_commit", 3)),
        ("last", {"loss": 10**400}),
        ("best", {"loss": {"value": 1.0, "epoch": 2**63, "step": 1, "mode": "min"}}),
    ],
)
def test_a_member_of_another_type_is_refused(name, value):
    """Files are not trusted."""
    data = {**json.loads(Summary(id="a").to_json()), name: value}
    with pytest.raises(ValueError, match="not a run's summary"):
        Summary.from_json(json.dumps(data).encode())
