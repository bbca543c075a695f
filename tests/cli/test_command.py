"""The command ``monitor-core``: list, show and watch, on every kind of record, for people and for programs."""

import contextlib
import json
import math
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli_support import command, train
from monitor_core import CSVLogger, EarlyStopping, History, Journal, Loop, TensorBoard

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
HOSTILE = "\x1b[31mloss\x1b[0m [red]<script>\n"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "100")


def test_list_has_a_line_for_each_run(tmp_path):
    """Status, epochs, steps, and the best value."""
    train(tmp_path / "runs" / "a", [3.0, 1.0, 2.0, 2.0], EarlyStopping(patience=2))
    train(tmp_path / "runs" / "b", [0.5])
    done = command("list", tmp_path / "runs")
    lines = [line.split() for line in done.out.splitlines()]
    assert done.code == 0
    assert lines[0][:5] == ["run", "status", "epochs", "steps", "best"]
    assert [line[:6] for line in lines[1:]] == [
        ["a", "stopped", "4/4", "8", "val_loss", "1"],
        ["b", "completed", "1/1", "2", "val_loss", "0.5"],
    ]
    assert command("list", tmp_path / "runs", "--sort", "best").out.splitlines()[1].startswith("b ")


def test_list_has_a_line_for_each_log(tmp_path):
    """Its status is unknown, and it was written when its file was; one that is not read says why."""
    (tmp_path / "log.csv").write_text("epoch,loss\n0,3\n1,0.5\n")
    (tmp_path / "long.csv").write_text("epoch,loss\n" + "0,1.00000000\n" * 1_400_000)
    (tmp_path / "data.csv").write_text("x,y\n1,2\n")
    done = command("list", tmp_path)
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in done.out.splitlines()}
    assert lines["log.csv"] == "unknown, CSV log 2 loss 0.5 written now"
    assert lines["long.csv"] == "is not read: it has 18 MB; 16 are read for a list"
    assert "data.csv" not in lines
    listed = [json.loads(line) for line in command("list", tmp_path, "--json").out.splitlines()]
    assert {Path(each["path"]).name: (each["kind"], each["status"], each["last"]) for each in listed} == {
        "log.csv": ("CSV log", "unknown", {"loss": 0.5}), "long.csv": ("CSV log", "unknown", {})
    }  # fmt: skip


def test_list_for_programs(tmp_path):
    """One JSON object a line."""
    train(tmp_path / "a", [3.0, 1.0], config={"width": 8})
    [line] = command("list", tmp_path, "--json").out.splitlines()
    run = json.loads(line)
    assert (run["status"], run["epochs"], run["config"], run["path"]) == (
        "completed", 2, {"width": 8}, str(tmp_path / "a")
    )  # fmt: skip
    assert run["best"]["val_loss"] == {"value": 1.0, "epoch": 1, "step": 4, "mode": "min"}


def test_show_says_how_it_ended_and_draws(tmp_path):
    """In sentences, a table and curves."""
    folder = train(tmp_path / "a", [3.0, 1.0, 2.0, 2.0], EarlyStopping(patience=2), config={"width": 8})
    done = command("show", folder)
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0].startswith(f"{folder}: stopped after 4 of 4 epochs, 8 steps, ")
    assert lines[1] == "  val_loss did not improve for 2 epochs; its best was 1 in epoch 2"
    assert "  best val_loss 1 in epoch 2" in lines
    assert ["val_loss", "2", "1", "2"] in [line.split() for line in lines]
    assert re.search("[\u2801-\u28ff]", done.out)
    assert "width: 8" in lines
    assert "\x1b" not in done.out


def test_show_for_programs(tmp_path):
    """The summary and the curves; NaN is null."""
    folder = train(tmp_path / "a", [3.0, math.nan, math.inf])
    shown = json.loads(command("show", folder, "--json").out)
    assert shown["curves"] == {"epoch": [0, 1, 2], "loss": [1.5, None, "Infinity"], "val_loss": [3.0, None, "Infinity"]}
    assert (shown["status"], shown["damage"]) == ("completed", [])


def test_show_of_a_training_by_steps(tmp_path):
    """Evaluations within epochs are points of the curve, and places are steps."""
    stream = iter(range(100))
    with Loop(Journal(tmp_path)) as loop:
        for _ in loop.epochs(2, steps_per_epoch=4):
            for number in loop.batches(stream):
                loop.log(loss=1.0)
                if number % 2:
                    with loop.evaluation():
                        loop.log(loss=10.0 - number)
    shown = json.loads(command("show", tmp_path, "--json").out)["curves"]
    assert shown == {"step": [2, 4, 6, 8], "val_loss": [9.0, 7.0, 5.0, 3.0], "loss": [None, 1.0, None, 1.0]}
    text = command("show", tmp_path).out
    assert "  best val_loss 3 at step 8" in text.splitlines()
    assert "at step" in text
    assert command("watch", tmp_path).out.splitlines()[0] == "step 2 · val_loss 9"


def test_show_of_a_csv_file_and_of_a_history(tmp_path):
    """What has columns of epochs can be shown."""
    history = History()
    train(tmp_path / "a", [3.0, 1.0], CSVLogger(tmp_path / "run.csv"), history)
    history.to_json(tmp_path / "history.json")
    (tmp_path / "keras.json").write_text(json.dumps({"loss": [1.5, 0.5], "val_loss": [3.0, 1.0]}))
    for name in ("run.csv", "history.json", "keras.json"):
        shown = json.loads(command("show", tmp_path / name, "--json").out)
        assert shown["curves"] == {"epoch": [0, 1], "loss": [1.5, 0.5], "val_loss": [3.0, 1.0]}, name
        assert shown["best"]["val_loss"]["epoch"] == 1


def test_show_of_event_files(tmp_path):
    """By epoch where there are epochs, else by step."""
    pytest.importorskip("tensorboard")
    train(tmp_path / "a", [3.0, 1.0], TensorBoard(tmp_path / "board"))
    shown = json.loads(command("show", tmp_path / "board", "--json").out)
    assert shown["curves"]["epoch"] == [0, 1]
    assert (shown["curves"]["loss"], shown["last"]["val_loss"]) == ([1.5, 0.5], 1.0)


def test_show_of_a_run_within_its_first_epoch(tmp_path):
    """Batches are all there is."""
    with contextlib.suppress(KeyError), Loop(Journal(tmp_path)) as loop:
        for _ in loop.epochs(1):
            for number in loop.batches(range(3)):
                loop.log(loss=3.0 - number)
                if number == 2:
                    raise KeyError
    shown = json.loads(command("show", tmp_path, "--json").out)
    assert shown["curves"] == {"step": [1, 2, 3], "loss": [3.0, 2.0, 1.0]}
    assert (shown["last"], shown["status"]) == ({"loss": 1.0}, "failed")
    assert re.search("[\u2801-\u28ff]", command("show", tmp_path).out)


def test_nan_that_was_logged_is_shown(tmp_path):
    """In the table of a run that diverged within its first epoch, and in the lines of another."""
    with contextlib.suppress(KeyError), Loop(Journal(tmp_path / "a")) as loop:
        for _ in loop.epochs(1):
            for loss in loop.batches([0.4, math.nan]):
                loop.log(loss=loss)
            raise KeyError
    assert json.loads(command("show", tmp_path / "a", "--json").out)["last"] == {"loss": "NaN"}
    train(tmp_path / "b", [0.1, math.nan, math.inf])
    lines = command("watch", tmp_path / "b").out.splitlines()
    assert lines[:3] == [
        "epoch 1 · loss 0.05 · val_loss 0.1", "epoch 2 · loss nan · val_loss nan", "epoch 3 · loss inf · val_loss inf"
    ]  # fmt: skip


def test_a_metric_may_be_called_as_the_axis(tmp_path):
    """It has a name of its own in JSON."""
    train(tmp_path / "a", [3.0, 1.0], name="epoch")
    assert json.loads(command("show", tmp_path / "a", "--json").out)["curves"] == {
        "epoch": [0, 1], "loss": [1.5, 0.5], "logs/epoch": [3.0, 1.0]
    }  # fmt: skip
    first = command("watch", tmp_path / "a", "--json").out.splitlines()[0]
    assert json.loads(first) == {"epoch": 0, "loss": 1.5, "logs/epoch": 3.0}


def test_the_runs_without_a_number_are_sorted_last(tmp_path):
    """NaN comes last."""
    for name, loss in (("a", 2.0), ("b", math.nan), ("c", 1.0), ("d", math.nan), ("e", 0.5)):
        train(tmp_path / name, [loss], name="things")
    listed = command("list", tmp_path, "--sort", "best", "--metric", "things").out.splitlines()[1:]
    assert [line.split()[0] for line in listed] == ["e", "c", "a", "b", "d"]


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path):
    """As `head` is."""
    folder = train(tmp_path / "a", [3.0, 1.0])
    for args in (["show", folder], ["list", tmp_path], ["show", folder, "--json"]):
        child = subprocess.Popen(
            [sys.executable, "-m", "monitor_core", *map(str, args)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        child.stdout.close()
        error = child.stderr.read()
        child.stderr.close()
        assert (child.wait(60), error) == (0, "")


def test_an_encoding_without_braille(tmp_path):
    """What it lacks is a question mark."""
    done = command("show", train(tmp_path / "a", [3.0, 1.0], name="\u03b1"), PYTHONIOENCODING="ascii")
    assert (done.code, "Traceback" in done.err, "?" in done.out) == (0, False, True)


def test_show_of_one_of_several_runs(tmp_path):
    """The last, unless another is asked for."""
    train(tmp_path / "a", [3.0])
    train(tmp_path / "a", [5.0])
    assert json.loads(command("show", tmp_path / "a", "--json").out)["last"]["val_loss"] == 5.0
    assert json.loads(command("show", tmp_path / "a", "--json", "--run", "0").out)["last"]["val_loss"] == 3.0
    assert (
        "  run 0, counted from 0, of 2 runs here; --run picks another"
        in command("show", tmp_path / "a", "--run", "0").out.splitlines()
    )
    assert "  the last of 2 runs here; --run picks another" in command("show", tmp_path / "a").out.splitlines()


def test_names_are_text_and_never_obeyed(tmp_path):
    """Neither as escape sequences of the terminal nor as markup."""
    folder = train(tmp_path / "a", [3.0, 1.0], name=HOSTILE, config={HOSTILE: HOSTILE})
    for args in (("list", tmp_path), ("show", folder), ("show", folder, "--metric", HOSTILE), ("watch", folder)):
        done = command(*args)
        assert "\x1b" not in done.out + done.err
    assert "�[31mloss�[0m [red]<script>�" in command("show", folder).out
    assert command("list", tmp_path / HOSTILE.strip()).err.count("\x1b") == 0


def test_a_long_name_is_cut_in_a_pipe(tmp_path):
    """In tables and sentences, not in JSON: no line is so long that the others cannot be read."""
    name = "loss" * 50_000
    (tmp_path / "a.json").write_text(json.dumps({name: [2.0, 1.0], "loss": [3.0, 4.0]}))
    (tmp_path / f"{'b' * 200}.csv").write_text("epoch,loss\n0,1\n")
    for args in (("show", "a.json"), ("list",)):
        lines = command(*args, cwd=tmp_path).out.splitlines()
        assert max(map(len, lines)) < 300, args
    assert name in json.loads(command("show", "a.json", "--json", cwd=tmp_path).out)["curves"]


def test_a_narrow_terminal_is_not_exceeded(tmp_path):
    """Long names are cut, in a terminal of 50 columns."""
    train(tmp_path / "runs" / ("long-name-" * 12), [3.0, 1.0], name="a_metric_with_a_long_name_" * 4)
    script = ["script", "-qc", f"{sys.executable} -m monitor_core list runs", "/dev/null"]
    done = subprocess.run(script, capture_output=True, text=True, check=True, cwd=tmp_path, env={
        **__import__("os").environ, "COLUMNS": "50", "NO_COLOR": "1",
    })  # fmt: skip
    assert max(len(ESCAPE.sub("", line).rstrip("\r")) for line in done.stdout.splitlines()) <= 50


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("show", "none"), 1, "there is no none"),
        (("list", "none"), 1, "there is no folder none"),
        (("list", "empty"), 1, "there is no recorded run and no log in empty or below it"),
        (("list", "file.csv"), 1, "file.csv is not a folder: monitor-core show file.csv"),
        (("show", "empty"), 1, "empty holds no recorded run"),
        (("show", "file.csv"), 1, "its first line must name a column 'epoch' (got 'a', 'b')"),
        (("show", "file.json"), 1, "file.json is not a history"),
        (("show", "words.csv"), 1, "an epoch is not a whole number"),
        (("show", "damaged"), 1, "damaged holds no run that can be read: the file's head is damaged"),
        (("show", "run", "--run", "7"), 1, "run holds 1 run, and none is number 7"),
        (("lst",), 2, "No such command 'lst'"),
        (("show",), 2, "Missing argument"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, args, code, message):
    """It says what is wrong, without a traceback; usage is 2, anything else 1."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.csv").write_text("a,b\n1,2\n")
    (tmp_path / "words.csv").write_text("epoch,loss\none,2\n")
    (tmp_path / "file.json").write_text("[1, 2]")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "journal-0000.mcj").write_bytes(b"x" * 100)
    train(tmp_path / "run", [1.0])
    done = command(*args, cwd=tmp_path)
    assert done.code == code
    assert message in re.sub(r"[│\s]+", " ", done.err)
    assert "Traceback" not in done.err


TRAINING = """
import sys, time
from monitor_core import Journal, Loop
with Loop(Journal(sys.argv[1])) as loop:
    for epoch in loop.epochs(3):
        loop.log(loss=3.0 - epoch)
        time.sleep(0.5)
"""


def test_watch_follows_a_run_until_it_ends(tmp_path):
    """In a pipe a line for each epoch, once, and how it ended."""
    training = subprocess.Popen([sys.executable, "-c", TRAINING, str(tmp_path / "a")])
    deadline = time.monotonic() + 60
    while not list((tmp_path / "a").glob("journal-*.mcj")) and time.monotonic() < deadline:
        time.sleep(0.05)
    done = command("watch", tmp_path / "a", "--every", "0.1")
    assert training.wait(60) == 0
    lines = done.out.splitlines()
    assert lines[:3] == ["epoch 1 · loss 3", "epoch 2 · loss 2", "epoch 3 · loss 1"]
    assert lines[3].startswith(f"{tmp_path / 'a'}: completed after 3 of 3 epochs")


def test_watch_shows_an_epoch_whose_end_follows_its_evaluation_late(tmp_path):
    """The evaluation has had its line by then; the epoch gets one too."""
    script = """
import sys, time
from monitor_core import Bus, Journal
bus = Bus(Journal(sys.argv[1]))
bus.train_begin()
bus.epoch_begin(0)
for step in (1, 2):
    bus.batch_end(step, {})
    bus.evaluation_begin()
    bus.evaluation_end({"loss": step / 2}, followed=step == 1)
bus.flush()
time.sleep(4)
bus.epoch_end(0, {"loss": 7.0})
bus.train_end()
"""
    training = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "a")])
    deadline = time.monotonic() + 60
    while not list((tmp_path / "a").glob("summary.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    done = command("watch", tmp_path / "a", "--every", "0.1")
    assert training.wait(60) == 0
    lines = done.out.splitlines()
    assert lines[0] == "step 1 · val_loss 0.5"
    assert "step 2 · val_loss 1 · loss 7" in lines


def test_watch_of_a_log_of_others_ends(tmp_path):
    """It does not say whether more follows."""
    train(tmp_path / "a", [3.0, 1.0], CSVLogger(tmp_path / "run.csv"))
    assert command("watch", tmp_path / "run.csv").out.splitlines() == [
        "epoch 1 · loss 1.5 · val_loss 3",
        "epoch 2 · loss 0.5 · val_loss 1",
    ]


def test_watch_ends_with_a_run_that_was_killed(tmp_path):
    """It does not wait for ever."""
    training = subprocess.Popen([sys.executable, "-c", TRAINING.replace("0.5", "60"), str(tmp_path / "a")])
    deadline = time.monotonic() + 60
    while not list((tmp_path / "a").glob("summary.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    watching = subprocess.Popen(
        [sys.executable, "-m", "monitor_core", "watch", str(tmp_path / "a"), "--every", "0.1"],
        stdout=subprocess.PIPE,
        text=True,
    )
    time.sleep(1)
    training.kill()
    training.wait(60)
    out, _ = watching.communicate(timeout=60)
    assert (watching.returncode, "killed after 0 epochs" in out) == (0, True)


def test_version_and_help():
    """Both exit with 0."""
    assert re.fullmatch(r"monitor-core \d\S*\n", command("--version").out)
    assert "watch" in command("--help").out


def test_without_its_extra_the_command_says_what_to_install():
    """No traceback of an import."""
    code = (
        "import sys, importlib.util as util\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, *more: None if name in ('typer', 'rich') else find(name, *more)\n"
        "from monitor_core.cli import main\n"
        "sys.exit(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, 'monitor-core needs typer and rich: pip install "monitor_core[cli]"\n')


def test_it_is_installed_as_a_script():
    """Under its own name."""
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert 'monitor-core = "monitor_core.cli:main"' in text
