"""How metrics are looked up: by the same rules in memory and in a journal."""

import pytest

from monitor_core import Bus, History, Journal, Loop, open_run
from recorders import train


@pytest.fixture
def pair(tmp_path):
    """Return a history and what a journal recorded of the same run."""
    history = History(per_batch=True)
    with Loop(history, Journal(tmp_path / "run")) as loop:
        for epoch in loop.epochs(2):
            loop.log({"accuracy": 0.5 + epoch / 4, "val_acc": 0.25})
    return history, open_run(tmp_path / "run").history


def test_a_history_and_a_recorded_one_answer_alike(pair):
    """Names, both spellings of accuracy, lists and length."""
    names = ["accuracy", "acc", "val_acc", "val_accuracy", "loss", 7]
    answers = [
        ([name in each for name in names], each.keys(), list(each), len(each), bool(each), each["acc"].tolist())
        for each in pair
    ]
    lists = [[each.history["acc"], each.history["accuracy"]] for each in pair]
    assert answers[0] == answers[1]
    assert lists == [[[0.5, 0.75]] * 2] * 2


def test_an_unknown_name_is_the_same_error_in_both(pair):
    """It lists the names, and the nearest."""
    for each in pair:
        with pytest.raises(KeyError, match=r"did you mean 'accuracy'.*this history has accuracy, val_acc"):
            each["acuracy"]


def test_no_batches_are_explained_by_what_would_record_them(tmp_path):
    """Each names its own option."""
    history = History()
    train(Bus(history, Journal(tmp_path / "run", per_batch=False)), [{"loss": 1.0}])
    with pytest.raises(KeyError, match=r"no batches are on record; History\(per_batch=True\) records them"):
        history.batches["loss"]
    with pytest.raises(KeyError, match=r"no batches are on record; Journal\(per_batch=True\) records them"):
        open_run(tmp_path / "run").batches["loss"]
