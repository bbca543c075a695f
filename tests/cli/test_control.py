"""``monitor-core control``: it reaches a training in another process, and says what it cannot do."""

import json
import re

import pytest

from cli_support import TRAINING, command, train, training_process


@pytest.fixture
def training(tmp_path):
    with training_process(tmp_path / "a") as process:
        yield process


def test_it_reaches_a_training(tmp_path, training):
    """Rate, note and stop; refused ones exit with 1."""
    folder = tmp_path / "a"
    rate = command("control", folder, "rate", "0.01", "--json")
    assert json.loads(rate.out) == {"done": True, "answer": "the learning rate is 0.01, after 0.1"}
    refused = command("control", folder, "checkpoint")
    assert (refused.code, refused.out) == (
        1,
        "refused: no model that can be saved was given: pass model=...\n",
    )
    for args, message in (
        (("rate", "fast"), "rate must be a number > 0 and finite (got 'fast')"),
        (("rate", "0"), "rate must be a number > 0 and finite (got 0.0)"),
        (("rate",), "rate must be a number > 0 and finite (got None)"),
        (("note",), "note must be a text of 1 to 1000 characters"),
        (("checkpoint", "x"), "checkpoint takes no value"),
    ):
        done = command("control", folder, *args)
        assert (done.code, message in done.err) == (1, True)
    assert command("control", folder, "stop", "enough").out == "the run stops\n"
    out, _ = training.communicate(timeout=60)
    assert out.rstrip().endswith("asked to stop: enough")
    shown = command("show", folder, "--no-curves").out
    assert re.search(
        r"^epoch \d+: \S+ asked for the learning rate 0.01: the learning rate is 0.01, after 0.1$", shown, re.MULTILINE
    )


def test_a_training_that_is_killed_does_not_answer(tmp_path, training):
    """The command says so."""
    training.kill()
    training.wait(60)
    done = command("control", tmp_path / "a", "stop")
    assert (done.code, done.err) == (1, f"monitor-core: {tmp_path / 'a'} is not running: its status is killed\n")


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("control", "none", "stop"), 1, "there is no none"),
        (("control", "a", "stop"), 1, "a is not running: its status is completed"),
        (("control", "a", "exec"), 2, "Invalid value for"),
        (("control", "log.csv", "stop"), 1, "log.csv is not a run's folder"),
        (("control",), 2, "Missing argument"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, args, code, message):
    """Without a traceback."""
    train(tmp_path / "a", [1.0])
    (tmp_path / "log.csv").write_text("epoch,loss\n0,1\n")
    done = command(*args, cwd=tmp_path)
    assert (done.code, "Traceback" in done.err) == (code, False)
    assert message in re.sub(r"[│\s]+", " ", done.err)


def test_a_run_that_does_not_listen_is_told_from_one_that_does(tmp_path):
    """The sentence says what to add."""
    code = TRAINING.replace("Control(), ", "")
    with training_process(tmp_path / "a", code, until="summary.json"):
        done = command("control", tmp_path / "a", "stop")
    assert (done.code, "does not listen: add Control() to its sinks" in done.err) == (1, True)
