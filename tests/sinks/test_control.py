"""`Control`: what requests do to a run, when, and what stands in the journal of them."""

import logging
import threading
import time

import pytest

from monitor_core import Bus, Control, History, Journal, Loop, open_run
from monitor_core.errors import SetupError
from monitor_core.files import requests
from monitor_core.files.requests import Request, answer_to, listens, send
from monitor_core.journal.facts import Asked
from monitor_core.testing import SinkContract

WAIT = 30.0


class TestContract(SinkContract):
    """It behaves as every sink must."""

    @pytest.fixture
    def make_sink(self, tmp_path):
        return lambda: Control(tmp_path)


class Model:
    """A handle with a rate, and a file."""

    waits_within_epoch = False

    def __init__(self):
        self.learning_rates = [0.1, 0.2]
        self.threads = []

    def save(self, path, *, weights_only=False):
        self.threads.append(threading.get_ident())
        path.write_bytes(b"weights")


@pytest.fixture(autouse=True)
def _often(monkeypatch):
    monkeypatch.setattr("monitor_core.sinks.control.SECONDS", 0.02)


def ask(folder, run, verb, value=None, **members):
    """Send a request, as another process would; return it."""
    request = Request(verb=verb, value=value, who="ada@host", run=run.id, **members)
    send(folder, request)
    return request


def until(condition):
    """Wait for a condition, in a loop of batches."""
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def batches_until(condition):
    """Yield batches until a condition holds."""
    deadline = time.monotonic() + WAIT
    while not condition() and time.monotonic() < deadline:
        yield 0
        time.sleep(0.01)


def asked(folder):
    """Return what the journal has of requests."""
    return [(fact.verb, fact.who, fact.reason.split(": ", 1)[1]) for fact in open_run(folder).last.facts(Asked)]


def controlled(folder, verb, value=None, *, model=None, sinks=(), **members):
    """Train until a request has been answered; return the loop, the request and the answer."""
    found = []

    def is_answered(request):
        found.extend(filter(None, [answer_to(folder, request)]))
        return bool(found)

    with Loop(Control(), *sinks, record=folder, model=model) as loop:
        for epoch in loop.epochs(3):
            if epoch == 0:
                until(lambda: listens(folder, loop.run.id))
                request = ask(folder, loop.run, verb, value, **members)
            for _ in loop.batches(batches_until(lambda: is_answered(request))):  # noqa: B023 - called in this round
                loop.log(loss=1.0)
            loop.log(val_loss=1.0)
    is_answered(request)
    return loop, found[0]


def test_stop_stops_the_run(tmp_path):
    """With the reason and who asked; the journal has it."""
    loop, answer = controlled(tmp_path / "a", "stop", "enough")
    assert (loop.run.status, loop.run.stop_reason) == ("stopped", "ada@host asked to stop: enough")
    assert answer == (True, "the run stops")
    assert asked(tmp_path / "a") == [("stop", "ada@host", "enough: the run stops")]
    assert loop.run.epoch == 0


def test_rate_sets_the_rate_of_all_groups(tmp_path):
    """And what it was stands in the answer."""
    model = Model()
    loop, answer = controlled(tmp_path / "a", "rate", 0.001, model=model, sinks=[history := History()])
    assert model.learning_rates == [0.001, 0.001]
    assert answer == (True, "the learning rate is 0.001, after 0.1")
    assert history["learning_rate"].tolist() == [0.001] * 3
    assert loop.run.status == "completed"


def test_checkpoint_saves_the_model_on_the_training_s_thread(tmp_path):
    """In the run's folder."""
    model = Model()
    _, answer = controlled(tmp_path / "a", "checkpoint", model=model)
    [path] = (tmp_path / "a").glob("control-*.ckpt")
    assert answer == (True, f"the model is saved as {path.name}")
    assert (path.read_bytes(), model.threads) == (b"weights", [threading.get_ident()])


def test_a_note_is_a_decision_in_the_journal(tmp_path):
    """And changes nothing."""
    loop, _ = controlled(tmp_path / "a", "note", "a remark")
    assert asked(tmp_path / "a") == [("note", "ada@host", "a remark: noted")]
    [decision] = open_run(tmp_path / "a").decisions
    assert decision.reason == "ada@host asked for note: a remark: noted"
    assert loop.run.status == "completed"


@pytest.mark.parametrize(
    ("verb", "value", "reason"),
    [
        ("rate", 0.5, "refused: there is no learning rate to read or set: no model was given"),
        ("checkpoint", None, "refused: no model that can be saved was given"),
    ],
)
def test_what_cannot_be_done_is_refused(tmp_path, verb, value, reason):
    """The training continues."""
    loop, (done, text) = controlled(tmp_path / "a", verb, value)
    assert (done, text.startswith(reason)) == (False, True)
    assert loop.run.status == "completed"
    assert not loop.bus.failures


def test_a_request_older_than_the_run_is_refused(tmp_path):
    """By the time at which it was asked."""
    loop, answer = controlled(tmp_path / "a", "stop", time=time.time() - 3600)
    assert answer == (False, "refused: it is older than the run")
    assert loop.run.status == "completed"


def test_a_request_for_another_run_is_refused(tmp_path):
    """Such as the one before in this folder."""
    other = Bus().run
    with Loop(Control(), record=tmp_path) as loop:
        for _ in loop.epochs(1):
            until(lambda: listens(tmp_path, loop.run.id))
            request = ask(tmp_path, other, "stop")
            until(lambda: loop.run.requests)
    assert answer_to(tmp_path, request) == (False, "refused: it is meant for another run")
    assert loop.run.status == "completed"


def test_rate_and_checkpoint_wait_for_the_epoch_s_end_where_that_is_cheaper(tmp_path):
    """A stop does not."""
    model = Model()
    model.waits_within_epoch = True
    seen = []
    with Loop(Control(), record=tmp_path, model=model) as loop:
        for epoch in loop.epochs(2):
            if epoch == 0:
                until(lambda: listens(tmp_path, loop.run.id))
                ask(tmp_path, loop.run, "rate", 0.5)
                ask(tmp_path, loop.run, "note", "a")
            for _ in loop.batches(batches_until(lambda: loop.run.requests)):
                loop.log(loss=1.0)
            seen.append((epoch, list(model.learning_rates)))
    assert seen == [(0, [0.1, 0.2]), (1, [0.5, 0.5])]
    assert [request.verb for request, _ in loop.run.requests] == ["note", "rate"]


def test_what_comes_too_late_is_refused(tmp_path):
    """The run has ended; it does not listen any more."""
    with Loop(Control(), record=tmp_path) as loop:
        for _ in loop.epochs(1):
            loop.log(loss=1.0)
        until(lambda: listens(tmp_path, loop.run.id))
        request = ask(tmp_path, loop.run, "note", "late")
    assert answer_to(tmp_path, request) == (False, "refused: the run has ended")
    assert not listens(tmp_path, loop.run.id)


def test_a_job_of_several_processes_refuses(tmp_path):
    """Its processes would no longer agree."""
    with Loop(Control(), record=tmp_path) as loop:
        for _ in loop.epochs(1):
            loop.run.ranks = 2
            until(lambda: listens(tmp_path, loop.run.id))
            request = ask(tmp_path, loop.run, "stop")
            until(lambda: loop.run.requests)
            loop.log(loss=1.0)
    assert answer_to(tmp_path, request) == (False, "refused: a job of several processes cannot be controlled")


def test_a_journal_anywhere_gives_the_folder(tmp_path):
    """Also after it, and with epochs alone."""
    with Loop(Control(), Journal(tmp_path / "a", per_batch=False)) as loop:
        for epoch in loop.epochs(2):
            if epoch == 0:
                until(lambda: listens(tmp_path / "a", loop.run.id))
                ask(tmp_path / "a", loop.run, "stop")
            for _ in loop.batches(batches_until(lambda: loop.run.stopped)):
                loop.log(loss=1.0)
    assert (loop.run.status, loop.run.epoch) == ("stopped", 0)


def test_without_a_folder_it_says_so_once(caplog):
    """And what to add."""
    with caplog.at_level(logging.WARNING, "monitor_core"), Loop(Control()) as loop:
        for _ in loop.epochs(3):
            loop.log(loss=1.0)
    assert [record.getMessage() for record in caplog.records] == [
        "Control has no folder to look at: record the run with record=..., add a Journal, or pass the folder"
    ]


def test_a_malformed_request_harms_nothing(tmp_path, caplog):
    """It is logged and removed."""
    with caplog.at_level(logging.WARNING, "monitor_core"), Loop(Control(), record=tmp_path) as loop:
        for _ in loop.epochs(1):
            until(lambda: listens(tmp_path, loop.run.id))
            (tmp_path / "control" / "request-1-00000000.json").write_text('{"verb": "exec"}')
            until(lambda: [each.name for each in (tmp_path / "control").iterdir()] == ["listening.json"])
            loop.log(loss=1.0)
    assert loop.run.status == "completed"
    assert "a request is malformed" in caplog.text


def test_a_folder_that_cannot_be_written_is_an_error_at_train_begin(tmp_path):
    """Its name is that of a file."""
    (tmp_path / "a").write_text("x")
    with pytest.raises(SetupError, match="a cannot be looked at for requests"), Loop(Control(tmp_path / "a")):
        pass


def test_a_folder_that_cannot_be_read_harms_nothing(tmp_path, monkeypatch, caplog):
    """It is said once."""

    def fail(_):
        raise PermissionError("no")

    monkeypatch.setattr(requests, "take", fail)
    with caplog.at_level(logging.WARNING, "monitor_core"), Loop(Control(tmp_path)) as loop:
        for _ in loop.epochs(1):
            until(lambda: "Control could not look" in caplog.text)
            loop.log(loss=1.0)
            monkeypatch.undo()
    assert loop.run.status == "completed"
