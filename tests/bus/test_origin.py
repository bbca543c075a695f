"""What a run is part of: what a process learns of the run in which it was started, and of SLURM."""

import gc
import os
import subprocess
import sys

import pytest

from monitor_core.bus.origin import (
    FOLDER,
    RUN,
    Origin,
    announce,
    as_name,
    new_name,
    origin_among,
    parent_run,
    slurm_task,
    withdraw,
)

pytestmark = pytest.mark.usefixtures("nothing_around")


def told():
    """Return what a process that starts now learns of its parent run."""
    code = "from monitor_core.bus.origin import parent_run; print(parent_run())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


def test_a_process_learns_of_the_run_that_is_open(tmp_path):
    """Not of one that has ended; and the process of the run itself is in no run."""
    announce("abc", tmp_path, announce)
    assert told() == str(Origin("abc", folder=tmp_path))
    assert parent_run() is None
    withdraw("abc")
    assert told() == "None"


def test_of_nested_runs_the_innermost_counts_in_any_order_of_their_ends(tmp_path):
    """And once they have ended, the variables are as they were."""
    os.environ[RUN] = "by hand"
    announce("outer", tmp_path, announce)
    announce("inner", tmp_path / "inner", announce)
    assert (os.environ[RUN], os.environ[FOLDER]) == ("inner", str(tmp_path / "inner"))
    assert parent_run() == Origin("by hand")
    withdraw("outer")
    assert os.environ[RUN] == "inner"
    withdraw("inner")
    assert (os.environ[RUN], FOLDER in os.environ) == ("by hand", False)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks are those of POSIX")
def test_a_forked_process_is_in_the_run(tmp_path):
    """It inherits the memory of the process that set the variables, too; its own run is what its children are in."""
    announce("abc", tmp_path, announce)
    child = os.fork()
    if child == 0:
        before = parent_run()
        announce("mine", tmp_path / "mine", announce)
        during, now = parent_run(), os.environ[RUN]
        withdraw("mine")
        right = before == during == Origin("abc", folder=tmp_path) and (now, os.environ[RUN]) == ("mine", "abc")
        os._exit(0 if right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert os.environ[RUN] == "abc"
    withdraw("abc")


def test_withdrawing_a_run_that_is_not_open_changes_nothing(tmp_path):
    """Such as one that a forked child ends, or that was never announced."""
    announce("abc", tmp_path, announce)
    withdraw("another")
    assert os.environ[RUN] == "abc"
    withdraw("abc")
    withdraw("abc")
    assert RUN not in os.environ


class Recorder:
    """Anything that can be freed."""


def test_a_run_whose_recorder_is_freed_is_named_no_longer(tmp_path):
    """It never ended, such as a `fit` that raised."""
    recorder = Recorder()
    announce("abc", tmp_path, recorder)
    del recorder
    gc.collect()
    assert RUN not in os.environ


def test_a_task_of_an_array_is_known_by_slurm(monkeypatch):
    """A job without an array is not part of one."""
    assert slurm_task() is None
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "1234")
    assert slurm_task() is None
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "7")
    assert slurm_task() == Origin("slurm-1234", name="task-7")


@pytest.mark.parametrize(
    ("text", "name"),
    [("task-3", "task-3"), ("../a b", "a-b"), ("a/b\\c", "a-b-c"), ("..", "run"), ("", "run"), ("é" * 200, "é" * 100)],
)
def test_a_name_is_that_of_one_folder(text, name):
    """Of whatever a scheduler or a user calls it."""
    assert as_name(text) == name


def test_new_names_differ():
    """They begin with the process's."""
    names = {new_name() for _ in range(100)}
    assert len(names) == 100
    assert all(name.startswith("MainProcess-") for name in names)


def test_only_an_origin_counts_as_one():
    """Any object may be a sink, and call something else so."""

    class Other:
        origin = "a place"

    class Knowing:
        origin = Origin("study")

    assert origin_among([Other(), object(), Knowing()]) == Origin("study")
    assert origin_among([Other()]) is None
