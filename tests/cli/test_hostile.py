"""Every subcommand on damaged and hostile input: a sentence and an exit code, no traceback and no escape sequence."""

import os
import random
import sys

import pytest

from cli_support import train
from monitor_core import Journal, Loop
from monitor_core.cli.app import run as run_command

COMMANDS = {
    "show": ["show", "{}"],
    "show for programs": ["show", "{}", "--json"],
    "compare": ["compare", "{}", "fine"],
    "compare for programs": ["compare", "{}", "--json"],
    "diagnose": ["diagnose", "{}"],
    "diagnose for programs": ["diagnose", "{}", "--json"],
    "gate": ["gate", "{}", "--baseline", "fine", "other"],
    "replay": ["replay", "{}", "--patience", "1", "--set", "monitor=loss"],
    "export": ["export", "{}", "--to", "csv"],
    "export of batches": ["export", "{}", "--to", "json", "--batches"],
    "list": ["list", "{}"],
    "control": ["control", "{}", "stop"],
}


def record(folder, logs, epochs=2):
    with Loop(Journal(folder)) as loop:
        for _ in loop.epochs(epochs):
            for _ in loop.batches(range(2)):
                loop.log(logs)


def torn(folder):
    """Leave a journal with a hole, damage and a cut end."""
    record(folder, {"loss": 1.0}, epochs=20)
    [file] = folder.glob("*.mcj")
    data = file.read_bytes()
    half = len(data) // 2
    file.write_bytes(data[:half] + b"\0" * 50 + data[half + 70 : -13])


INPUTS = {
    "long names": lambda path: record(path, {"m" * 1_000_000: 1.0, "loss": 2.0}),
    "many metrics": lambda path: record(path, {f"metric{number}": 1.0 for number in range(1000)}),
    "escape sequences": lambda path: record(path, {"\x1b[31m\r\n\u202eloss": 1.0, "<script>": 2.0}),
    "infinities": lambda path: record(path, {"loss": float("inf"), "val_loss": float("nan")}),
    "no metrics": lambda path: record(path, {}),
    "one epoch": lambda path: record(path, {"loss": 1.0}, epochs=1),
    "a torn journal": torn,
    "an empty folder": lambda path: path.mkdir(),
    "noise": lambda path: path.write_bytes(random.Random(0).randbytes(3000)),
    "noise.csv": lambda path: path.write_bytes(random.Random(1).randbytes(3000)),
    "noise.json": lambda path: path.write_bytes(random.Random(2).randbytes(300)),
    "empty.csv": lambda path: path.write_text(""),
    "nul.csv": lambda path: path.write_text("epoch,loss\n0,\0\n1,2\n"),
    "negative.csv": lambda path: path.write_text("epoch,loss\n-5,1\n-4,2\n"),
    "steps back.csv": lambda path: path.write_text("epoch,step,loss\n0,5,1\n0,3,2\n"),
    "a folder.csv": lambda path: path.mkdir(),
    "infinite.json": lambda path: path.write_text('{"history": {"loss": [1, 1e999, -1]}}'),
    "nothing": lambda path: None,
}


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    """Return a function that runs the command in this process; what it raises is raised."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    train("fine", [3.0, 1.0])
    train("other", [3.0, 1.5])

    def call(*args):
        monkeypatch.setattr(sys, "argv", ["monitor-core", *args])
        code = run_command()
        out, err = capfd.readouterr()
        return code, out, err

    return call


@pytest.mark.filterwarnings("ignore:overflow encountered")
@pytest.mark.parametrize("name", INPUTS)
def test_it_says_what_is_wrong(tmp_path, run, name):
    """Whatever is at the path."""
    INPUTS[name](tmp_path / name)
    for command in COMMANDS.values():
        code, out, err = run(*(part.format(name) for part in command))
        assert code in (0, 1, 3), command
        assert "\x1b" not in err + ("" if command[0] == "export" else out), command  # what is exported is exact
        assert "Traceback" not in err, command
        assert (code == 1) == bool(err) or code != 1, command


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may read everything")
def test_a_folder_without_rights_is_said_to_be_one(tmp_path, run):
    """And other runs are listed."""
    record(tmp_path / "shut", {"loss": 1.0})
    (tmp_path / "shut").chmod(0)
    try:
        assert run("show", "shut")[0] == 1
        assert run("list", ".")[0] == 0
    finally:
        (tmp_path / "shut").chmod(0o700)
