"""``monitor-core gate``: exit codes, the sentence, many baselines after one option."""

import json
import re

import pytest

from cli_support import command, train

BASELINES = [1.00, 1.02, 0.97, 1.01, 0.99]


@pytest.fixture
def runs(tmp_path):
    for number, last in enumerate(BASELINES):
        train(tmp_path / "old" / f"{number}", [3.0, last])
    train(tmp_path / "worse", [1.5])
    train(tmp_path / "rerun", [1.01])
    return tmp_path


def test_a_worse_run_exits_with_3(runs):
    """A rerun with 0; the sentence names the smallest change that would have been seen."""
    paths = [runs / "old" / f"{number}" for number in range(5)]  # as a shell expands a pattern
    worse = command("gate", runs / "worse", "--baseline", *paths)
    rerun = command("gate", runs / "rerun", "--baseline", *paths, "--metric", "val_loss")
    assert (worse.code, rerun.code) == (3, 0)
    assert worse.out.startswith("the best val_loss of worse, 1.5, is worse than that of 5 baselines, 0.998: ")
    assert re.search(r"a change of 0\.\d+ would have been seen 90% of the time\n$", rerun.out)


def test_for_programs(runs):
    """A pattern that no shell expanded is expanded here; the run itself is not a baseline."""
    done = command("gate", runs / "worse", "-b", f"{runs}/old/*", runs / "worse", "--json")
    data = json.loads(done.out)
    assert done.code == 3
    assert (data["is_worse"], sorted(data["baselines"].values())) == (True, sorted(BASELINES))
    assert data["sentence"].startswith("the best val_loss of worse")


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("gate", "worse"), 2, "Missing option '--baseline'"),
        (("gate", "--baseline", "old/0", "old/1"), 2, "Missing argument"),
        (("gate", "worse", "--baseline", "old/0"), 1, "baselines must hold at least 2 other runs"),
        (("gate", "worse", "--baseline", "old/0", "none*"), 1, "there is no none*"),
        (("gate", "worse", "--baseline", "old", "--metric", "lss"), 1, "no metric 'lss' (did you mean 'loss'?)"),
        (("gate", "worse", "--baseline", "old", "--alpha", "2"), 2, "alpha must be > 0 and < 0.5 (got 2.0)"),
        (("gate", "none", "--baseline", "old"), 1, "there is no none"),
    ],
)
def test_bad_input_is_one_sentence(runs, args, code, message):
    """An error is 1 or 2, never 3."""
    done = command(*args, cwd=runs)
    assert (done.code, "Traceback" in done.err) == (code, False)
    assert message in re.sub(r"[│\s]+", " ", done.err)
