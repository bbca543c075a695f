"""``monitor-core diagnose``, ``plot``, ``export`` and ``replay``: what is done with one recorded run."""

import json
import os
import re
import shlex
import subprocess
import sys

import pytest

from cli_support import command, train


@pytest.fixture
def run(tmp_path):
    return train(tmp_path / "a", [3.0, 1.0, 2.0, 2.5, 0.5])


def test_diagnose_exits_with_3_where_there_is_a_problem(tmp_path, run):
    """And with 0 where there is none."""
    bad = train(tmp_path / "bad", [3.0, float("nan"), float("nan")])
    done, fine = command("diagnose", bad), command("diagnose", run)
    assert (done.code, fine.code) == (3, 0)
    assert re.search(r"^problem +non_finite: ", done.out)
    data = json.loads(command("diagnose", bad, "--json").out)
    assert data["findings"][0]["symptom"] == "non_finite"
    assert {"reason", "symptom"} <= data["not_looked_at"][0].keys()


def test_diagnose_reads_logs_of_other_kinds(tmp_path):
    """Also through the shell."""
    (tmp_path / "log.csv").write_text("epoch,loss\n0,1\n1,nan\n")
    assert command("diagnose", tmp_path / "log.csv").code == 3


def test_diagnose_says_in_one_sentence_what_a_log_is_too_little_for(tmp_path):
    """Who has a log alone can pass neither a model nor samples."""
    (tmp_path / "log.csv").write_text("epoch,loss\n0,2\n1,1\n")
    lines = command("diagnose", tmp_path / "log.csv").out.splitlines()
    assert lines[0] == "Nothing was found."
    assert re.fullmatch(r"Not looked at: \d+ rules, for which a log has too little; Diagnosis .* asks them\.", lines[1])
    assert len(lines) == 2


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_plot_writes_an_image(tmp_path, run, suffix):
    """Of one run or several."""
    pytest.importorskip("matplotlib")
    train(tmp_path / "b", [3.0, 2.0])
    for paths, more in (([run], []), ([run, tmp_path / "b"], ["-f"])):
        done = command("plot", *paths, "-o", tmp_path / f"x.{suffix}", *more)
        assert (done.code, done.out) == (0, f"drew {tmp_path / f'x.{suffix}'}\n")
    assert (tmp_path / f"x.{suffix}").read_bytes()[:4] in (b"\x89PNG", b"<?xm")


def test_export_prints_csv_in_a_pipe(run):
    """And nothing else."""
    done = command("export", run, "--to", "csv")
    assert done.out.split()[:2] == ["epoch,loss,val_loss", "0,1.5,3.0"]
    assert len(json.loads(command("export", run, "--to", "json").out)["epochs"]["loss"]) == 5


def test_export_to_a_terminal_shows_escape_sequences_as_text(tmp_path):
    """A pipe gets the bytes as they are."""
    train(tmp_path / "b", [1.0], name="\x1b[31mred")
    args = [sys.executable, "-m", "monitor_core", "export", str(tmp_path / "b"), "--to", "csv"]
    script = ["script", "-qc", shlex.join(args), "/dev/null"]
    shown = subprocess.run(script, capture_output=True, check=True).stdout
    piped = subprocess.run(args, capture_output=True, check=True).stdout
    assert (b"\x1b[31mred" in shown, "\ufffd[31mred" in shown.decode()) == (False, True)
    assert b"\x1b[31mred" in piped


def test_export_writes_files(tmp_path, run):
    """Of each kind."""
    for kind in ("csv", "json", "parquet", "tensorboard"):
        done = command("export", run, "--to", kind, "-o", tmp_path / f"x.{kind}", "--batches")
        assert (done.code, done.out) == (0, f"wrote {tmp_path / f'x.{kind}'}\n"), done.err
    assert len((tmp_path / "x.csv").read_text().splitlines()) == 11


def test_export_of_several_runs_as_csv(tmp_path, run):
    """The last, or another; a line says that there are more."""
    train(run, [7.0])
    done, first = (command("export", run, "--to", "csv", *more) for more in ([], ["--run", "0"]))
    assert done.out.split() == ["epoch,loss,val_loss", "0,3.5,7.0"]
    assert done.err == f"the last of 2 runs in {run}; --run picks another\n"
    assert (len(first.out.split()), first.err) == (6, "")


def test_replay_compares_patiences(run):
    """In a table, with the reasons."""
    done = command("replay", run, "--patience", "1", "--patience", "3")
    lines = [line.split() for line in done.out.splitlines()]
    assert lines[1] == ["patience", "1", "3", "2", "1", "2"]
    assert lines[2] == ["patience", "3", "0", "0.5", "5"]
    assert lines[3][:4] == ["patience", "1:", "val_loss", "did"]


def test_replay_takes_another_sink_and_its_arguments(run):
    """Values are JSON, or else strings."""
    done = command("replay", run, "--set", "monitor=loss", "--set", "min_delta=0.6", "--json")
    [decided] = json.loads(done.out)
    assert (decided["options"], decided["epoch"]) == ({"monitor": "loss", "min_delta": 0.6}, 2)
    assert command("replay", run, "--sink", "TerminateOnNaN").code == 0


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("diagnose", "none"), 1, "there is no none"),
        (("plot", "a", "-o", "there.png"), 1, "there.png is there already: pass --overwrite"),
        (("plot", "a", "-o", "x.gif"), 2, "output must end in .png or .svg (got 'x.gif')"),
        (("plot", "a"), 2, "Missing option '--output'"),
        (("plot", "a", "-o", "x.png", "--metric", "lss"), 1, "'lss'"),
        (("export", "a", "--to", "xls"), 2, "Invalid value for '--to'"),
        (("export", "a", "--to", "parquet"), 2, "parquet cannot be printed: pass --output"),
        (("export", "a", "--to", "csv", "-o", "log.csv"), 1, "log.csv is there already"),
        (("export", "a", "--to", "csv", "--run", "9"), 1, "there is no run 9: a holds 1"),
        (("export", "empty.csv", "--to", "csv"), 1, "empty.csv holds no run that can be read"),
        (("replay", "a", "--sink", "Webhook"), 2, "sink must be one of EarlyStopping, ReduceLROnPlateau"),
        (("replay", "a", "--set", "x"), 2, "--set must be an argument of the sink and its value"),
        (("replay", "a", "--set", "patence=1"), 2, "patience"),
        (("replay", "a", "--patience", "-1"), 2, "patience must be >= 0 (got -1)"),
        (("replay", "a", "--set", "monitor=accuracy", "--set", "mode=up"), 2, "mode must be 'auto', 'min' or 'max'"),
        (("replay", "a", "--sink", "ReduceLROnPlateau"), 1, "and none is on record in a: a journal has it"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence(tmp_path, run, args, code, message):
    """Without a traceback; nothing that was there changes."""
    (tmp_path / "log.csv").write_text("epoch,loss\n0,1\n")
    (tmp_path / "there.png").write_text("mine")
    (tmp_path / "empty.csv").write_text("epoch,loss\n")
    done = command(*args, cwd=tmp_path)
    assert (done.code, "Traceback" in done.err) == (code, False), done.err
    assert message in re.sub(r"[│\s]+", " ", done.err)
    assert (tmp_path / "there.png").read_text() == "mine"
    assert (tmp_path / "log.csv").read_text() == "epoch,loss\n0,1\n"


@pytest.mark.parametrize("words", ["monitor-core ga", "monitor-core gate --base"])
def test_the_shell_completes(words):
    """Subcommands and options."""
    code = "import sys; sys.argv = ['monitor-core']; from monitor_core.cli import main; sys.exit(main())"
    environment = {"_MONITOR_CORE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.stdout.split() == [{"ga": "gate", "--base": "--baseline"}[words.split()[-1]]]
