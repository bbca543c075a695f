"""Where a run comes from: versions, commit and process, without a framework, git or an error."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from monitor_core.journal import provenance
from monitor_core.journal.provenance import git_commit, is_alive, this_process, versions


def git(folder, *args):
    """Run git in a folder and return what it prints."""
    identity = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    options = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
    done = subprocess.run(
        ["git", *options, *args], cwd=folder, env=os.environ | identity, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path):
    """Return the folder of a repository with one commit, and the commit."""
    if shutil.which("git") is None:
        pytest.skip("there is no git here")
    folder = tmp_path / "repository"
    (folder / "deep" / "er").mkdir(parents=True)
    git(folder, "init")
    git(folder, "commit", "--allow-empty", "-m", "a")
    return folder, git(folder, "rev-parse", "HEAD")


def test_the_commit_of_a_branch_is_found_from_any_folder_of_the_tree(repository):
    """As git itself says it."""
    folder, commit = repository
    assert git_commit(folder) == git_commit(folder / "deep" / "er") == commit


def test_the_commit_is_found_where_branches_are_packed(repository):
    """After a garbage collection."""
    folder, commit = repository
    git(folder, "pack-refs", "--all")
    assert git_commit(folder) == commit


def test_the_commit_of_a_detached_head_is_found(repository):
    """In the middle of a rebase, or at a tag."""
    folder, commit = repository
    git(folder, "checkout", "--detach")
    assert git_commit(folder) == commit


def test_the_commit_of_a_worktree_is_its_own(repository, tmp_path):
    """Where ``.git`` is a file."""
    folder, commit = repository
    git(folder, "worktree", "add", "-b", "other", str(tmp_path / "other"))
    git(tmp_path / "other", "commit", "--allow-empty", "-m", "b")
    assert git_commit(tmp_path / "other") == git(tmp_path / "other", "rev-parse", "HEAD") != commit


@pytest.mark.parametrize("head", ["", "ref: refs/heads/none", "ref: ../../../secret", "\udcff", "not a commit"])
def test_a_repository_without_a_commit_gives_none(tmp_path, head):
    """And nothing else that a file may hold."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "secret").write_text("password")
    (tmp_path / ".git" / "HEAD").write_bytes(head.encode(errors="surrogateescape"))
    assert git_commit(tmp_path) is None


def test_outside_of_a_repository_there_is_no_commit(tmp_path, monkeypatch):
    """Nor where the working folder is gone."""
    assert git_commit(tmp_path) is None
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert git_commit() is None


def test_versions_are_those_of_what_is_imported_and_import_nothing():
    """In a fresh process NumPy's alone; a framework's once it was imported."""
    code = (
        "import sys, types; from monitor_core.journal.provenance import versions\n"
        "before = set(sys.modules); versions(); print(sorted(versions()))\n"
        "print({'keras', 'torch', 'jax', 'tensorflow'} & set(sys.modules))\n"
        "sys.modules['torch'] = types.SimpleNamespace(__version__='2.0')\n"
        "sys.modules['jax'] = None\n"
        "print(versions()['torch'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["['monitor_core', 'numpy', 'python']", "set()", "2.0"]
    assert versions()["python"] == ".".join(map(str, sys.version_info[:3]))


@pytest.fixture
def process():
    """Return another process and what it says of itself."""
    code = (
        "import json; from monitor_core.journal.provenance import this_process\n"
        "print(json.dumps(this_process()), flush=True)\ninput()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as other:
        yield other, json.loads(other.stdout.readline())
        other.kill()


def test_a_process_is_alive_until_it_has_ended(process):
    """Even before its parent has waited for it, and once its pid is free."""
    other, said = process
    assert is_alive(said) is True
    other.kill()
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    if "started" in said:
        assert is_alive(said) is False
    other.wait()
    assert is_alive(said) is False


def test_a_process_that_only_has_its_number_is_not_it():
    """As in a container that was started again, where the same numbers are given."""
    said = this_process()
    assert is_alive(said) is True
    if "started" in said:
        assert is_alive({**said, "started": "1"}) is False
        assert is_alive({**said, "boot": "before"}) is False


def test_without_a_start_time_from_the_system_the_number_decides(monkeypatch):
    """On systems without /proc."""
    monkeypatch.setattr(provenance, "_birth", lambda pid: {})
    said = {"host": this_process()["host"], "pid": os.getpid()}
    assert this_process() == said
    assert is_alive(said) is True
    assert is_alive({**said, "pid": 1}) is True
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    assert is_alive({**said, "pid": done.pid}) is False


@pytest.mark.parametrize("other", [{"host": "elsewhere"}, {"pid": "1"}, {"pid": 0}, {"pid": -1}, {"pid": None}])
def test_of_processes_elsewhere_nothing_is_known(other):
    """Nor of values that do not describe a process."""
    assert is_alive({**this_process(), **other}) is None
    assert is_alive({}) is None


def test_the_command_line_is_recorded_without_secrets(monkeypatch):
    """Its other arguments stay as they are."""
    monkeypatch.setattr(sys, "argv", ["train.py", "--lr", "0.1", "--api-key=s3cret", "--token", "s3cret"])
    assert provenance.describe()["argv"] == ["train.py", "--lr", "0.1", "--api-key=***", "--token", "***"]
