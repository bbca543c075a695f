"""Requests to a run as files: what is taken, what is refused, and that nothing in them is trusted."""

import json
import math
import os

import pytest

from monitor_core.files.requests import Request, answer, answer_to, asker, listen, listens, send, stop_listening, take


def request(verb="note", value="a", **members):
    return Request(verb=verb, value=value, **{"who": "ada@host", "run": "r", **members})


@pytest.fixture
def folder(tmp_path):
    listen(tmp_path, "r")
    return tmp_path


def test_a_request_comes_and_is_answered(folder):
    """Each once, the oldest first; the answer is gone once it is read."""
    first, second = request(number="1-00000000"), request("rate", 0.5, number="2-00000000")
    for each in (second, first):
        send(folder, each)
    assert list(take(folder)) == [first, second]
    assert list(take(folder)) == []
    assert answer_to(folder, first) is None
    answer(folder, first, done=True, text="noted")
    assert answer_to(folder, first) == (True, "noted")
    assert answer_to(folder, first) is None


def test_the_longest_texts_come_through_in_any_script(folder):
    """JSON escapes each of their characters."""
    longest = request(value="🙂" * 1000, who="🙂" * 200)
    send(folder, longest)
    assert list(take(folder)) == [longest]
    answer(folder, longest, done=True, text="🙂" * 1001)
    assert answer_to(folder, longest) == (True, "🙂" * 1000)


def test_a_run_says_that_it_listens(tmp_path):
    """Under its id, until it stops; answers of the past are removed."""
    assert not listens(tmp_path, "r")
    listen(tmp_path, "r")
    assert (listens(tmp_path, "r"), listens(tmp_path, "other")) == (True, False)
    answer(tmp_path, request(), done=True, text="x")
    listen(tmp_path, "s")
    assert [each.name for each in (tmp_path / "control").iterdir()] == ["listening.json"]
    stop_listening(tmp_path)
    assert not listens(tmp_path, "s")


@pytest.mark.parametrize(
    ("verb", "value", "message"),
    [
        ("exec", "ls", "verb must be one of stop, rate, checkpoint, note"),
        ("rate", 0.0, r"rate must be a number > 0 and finite \(got 0.0\)"),
        ("rate", math.nan, "rate must be"),
        ("rate", math.inf, "rate must be"),
        ("rate", True, "rate must be"),
        ("rate", "1e-4", "rate must be"),
        ("checkpoint", "../../x", "checkpoint takes no value"),
        ("note", None, "note must be a text of 1 to 1000 characters"),
        ("note", "", "note must be a text"),
        ("note", "a" * 1001, "note must be a text"),
        ("note", "\x1b[31m", "note must be a text"),
        ("stop", 3, "stop must be a text"),
    ],
)
def test_values_are_checked(verb, value, message):
    """Before they are sent, and again when they are taken."""
    with pytest.raises(ValueError, match=message):
        request(verb, value)


@pytest.mark.parametrize(
    "text",
    [
        b"", b"[]", b"3", b"{", b"\xff\xfe", b'{"verb": "stop"}', b"[" * 4000, b'{"verb": ' + b"9" * 5000 + b"}",
        json.dumps({"verb": "exec", "value": "ls", "who": "a", "time": 1.0, "run": "r"}).encode(),
        json.dumps({"verb": ["stop"], "value": None, "who": "a", "time": 1.0, "run": "r"}).encode(),
        json.dumps({"verb": "rate", "value": {"a": 1}, "who": "a", "time": 1.0, "run": "r"}).encode(),
        json.dumps({"verb": "stop", "value": None, "who": 3, "time": 1.0, "run": "r"}).encode(),
        json.dumps({"verb": "stop", "value": None, "who": "a", "time": "x", "run": "r"}).encode(),
    ],
)  # fmt: skip
def test_what_is_malformed_is_said_and_removed(folder, text):
    """Whatever it holds."""
    (folder / "control" / "request-1-00000000.json").write_bytes(text)
    [found] = take(folder)
    assert found.startswith("a request is malformed: ")
    assert [each.name for each in (folder / "control").iterdir()] == ["listening.json"]


def test_other_files_and_links_are_left_alone(folder):
    """A link is not followed, a pipe does not block, a folder stays."""
    secret = folder / "secret"
    secret.write_text(json.dumps({"verb": "stop", "value": None, "who": "a", "time": 1.0, "run": "r"}))
    (folder / "control" / "request-1-00000000.json").symlink_to(secret)
    os.mkfifo(folder / "control" / "request-2-00000000.json")
    (folder / "control" / "request-3-00000000.json").mkdir()
    (folder / "control" / "request-x.json").write_text("{}")
    found = list(take(folder))
    assert all(isinstance(each, str) for each in found)
    assert len(found) == 2
    assert secret.exists()
    assert (folder / "control" / "request-x.json").exists()


def test_without_a_folder_there_are_no_requests(tmp_path):
    """And no error."""
    assert list(take(tmp_path / "none")) == []


def test_the_asker_has_a_name():
    """A user and a host, and by what they ask; it fits into a request, however long the host's name is."""
    assert asker("from the page") == f"{asker()} (from the page)"
    assert "@" in asker()
    assert len(asker("x" * 150)) <= 200
