"""Runs that are part of another: children of a parent run, tasks of an array, trials; each has a folder of its own."""

import json
import multiprocessing
import subprocess
import sys

import attrs
import pytest

from cli_support import command
from monitor_core import Journal, Loop, Sink, open_run
from monitor_core.bus.origin import FOLDER, RUN, Origin
from monitor_core.journal.facts import encode_fact, parse_fact
from monitor_core.runs.catalogue import find_runs

pytestmark = pytest.mark.usefixtures("nothing_around")


def train(folder, loss=1.0, *sinks):
    """Record a run of one epoch; return its folder."""
    with Loop(*sinks, record=folder) as loop:
        for _ in loop.epochs(1):
            loop.log(loss=loss)
    return loop.run.folder


@pytest.mark.parametrize("method", sorted({"fork", "spawn"} & set(multiprocessing.get_all_start_methods())))
def test_processes_started_in_a_run_record_runs_of_it(method, tmp_path):
    """Each in a folder of its own inside the parent's, also several one after the other in one worker of a pool."""
    with Loop(record=tmp_path) as loop:
        with multiprocessing.get_context(method).Pool(2) as pool:
            folders = pool.starmap(train, [(tmp_path, float(number)) for number in range(4)], chunksize=1)
        for _ in loop.epochs(1):
            loop.log(loss=-1.0)
    assert len({tmp_path, *folders}) == 5
    assert {folder.parent for folder in folders} == {tmp_path}
    assert [open_run(folder).begin.parent for folder in folders] == [loop.run.id] * 4
    assert [open_run(folder).history["loss"].tolist() for folder in folders] == [[0.0], [1.0], [2.0], [3.0]]
    assert (open_run(tmp_path).begin.parent, len(open_run(tmp_path).runs)) == (None, 1)


def test_another_program_started_in_a_run_records_a_run_of_it(tmp_path):
    """In the folder that it is given, if that is not the parent's."""
    code = "import sys\nfrom monitor_core import Loop\nwith Loop(record=sys.argv[1]) as loop: list(loop.epochs(1))"
    with Loop(record=tmp_path / "parent") as loop:
        subprocess.run([sys.executable, "-c", code, str(tmp_path / "child")], check=True, timeout=60)
    assert open_run(tmp_path / "child").begin.parent == loop.run.id


def test_runs_nested_in_one_process_are_not_parts_of_each_other(tmp_path):
    """Two trainings side by side in a process need not have to do with each other; ``parent`` says where they have."""
    with Loop(record=tmp_path / "a") as loop:
        train(tmp_path / "b")
        with Loop(Journal(tmp_path / "c", parent=loop.run.id)) as inner:
            list(inner.epochs(1))
    assert [open_run(tmp_path / name).begin.parent for name in "abc"] == [None, None, loop.run.id]


def test_a_name_in_the_environment_joins_runs(tmp_path, monkeypatch):
    """A launcher of any kind may set it."""
    monkeypatch.setenv(RUN, "night shift")
    assert open_run(train(tmp_path)).begin.parent == "night shift"


def test_a_child_that_is_to_resume_needs_a_folder_of_its_own(tmp_path, monkeypatch):
    """It would not find the name of its process again."""
    monkeypatch.setenv(RUN, "abc")
    monkeypatch.setenv(FOLDER, str(tmp_path))
    with pytest.raises(ValueError, match=r"^resume must not be the folder of a run that is open in the process that"):
        Loop(resume=tmp_path)


def test_a_task_of_an_array_has_its_own_folder_and_its_ids(tmp_path, monkeypatch):
    """The same again when SLURM starts it again; and a run that it starts is inside."""
    monkeypatch.setenv("SLURM_JOB_ID", "1241")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "1234")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "7")
    assert [train(tmp_path), train(tmp_path)] == [tmp_path / "task-7"] * 2
    recorded = open_run(tmp_path / "task-7")
    ids = {"slurm_job_id": "1241", "slurm_array_job_id": "1234", "slurm_array_task_id": "7"}
    assert [(run.begin.parent, run.begin.job) for run in recorded.runs] == [("slurm-1234", ids)] * 2
    with Loop(record=tmp_path) as loop, multiprocessing.get_context("spawn").Pool(1) as pool:
        folder = pool.apply(train, (tmp_path,))
    assert folder.parent == tmp_path / "task-7"
    assert open_run(folder).begin.parent == loop.run.id


def test_a_job_without_an_array_records_where_it_is_told(tmp_path, monkeypatch):
    """And its id."""
    monkeypatch.setenv("SLURM_JOB_ID", "1241")
    assert train(tmp_path) == tmp_path
    assert (open_run(tmp_path).begin.parent, open_run(tmp_path).begin.job) == (None, {"slurm_job_id": "1241"})


class Trial(Sink):
    """Knows what the run is part of."""

    origin = Origin("study", name="trial-3", config={"width": 8, "rate": 0.1})

    def on_epoch_end(self, run, epoch, logs):
        assert run.origin is self.origin


def test_a_sink_that_knows_the_trial_says_where_and_what_it_is(tmp_path, monkeypatch):
    """Its parameters are the run's configuration, where the user does not say otherwise; it counts before SLURM."""
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "1234")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "7")
    assert train(tmp_path, 1.0, Trial()) == tmp_path / "trial-3"
    begin = open_run(tmp_path / "trial-3").begin
    assert (begin.parent, begin.config) == ("study", {"width": 8, "rate": 0.1})
    with Loop(Journal(tmp_path / "mine", config={"rate": 1}, parent="another"), Trial()) as loop:
        list(loop.epochs(1))
    begin = open_run(tmp_path / "mine").begin
    assert (begin.parent, begin.config) == ("another", {"width": 8, "rate": 1})


def test_a_parent_must_be_a_name():
    """It is checked when the journal is made."""
    with pytest.raises(TypeError, match=r"^parent must be the id of a run or a name \(got 7\)"):
        Journal("a", parent=7)
    with pytest.raises(ValueError, match=r"^parent must not be empty: "):
        Journal("a", parent="")


def test_a_long_name_groups_runs_too(tmp_path):
    """The summary cuts it, the same way for each run."""
    for number in range(2):
        with Loop(Journal(tmp_path / str(number), parent="x" * 20_000)) as loop:
            list(loop.epochs(1))
    first, second = (run.summary.parent for run in find_runs(tmp_path, cache=tmp_path / "cache"))
    assert first == second
    assert len(first) <= 200


def sweep(folder):
    """Record runs of two parents, in turns, and one of none."""
    parents = {}
    for name in ("a", "b"):
        with Loop(record=folder / name) as loop:
            list(loop.epochs(1))
        parents[name] = loop.run.id
    for number, name in enumerate("abab"):
        with Loop(Journal(folder / f"{name}-{number}", parent=parents[name])) as loop:
            for _ in loop.epochs(1):
                loop.log(loss=float(number))
    train(folder / "alone")
    return parents


def test_list_groups_runs_by_their_parent(tmp_path):
    """``--sort parent``: a parent, then its runs; the column names the parent's folder."""
    pytest.importorskip("typer")
    sweep(tmp_path)
    done = command("list", tmp_path, "--sort", "parent", XDG_CACHE_HOME=str(tmp_path / "cache"))
    lines = [line.split() for line in done.out.splitlines()[1:]]
    assert [line[0] for line in lines] == ["a", "a-0", "a-2", "b", "b-1", "b-3", "alone"]
    assert [line[-1] for line in lines if "-" in line[0]] == ["a", "a", "b", "b"]


def test_list_has_the_column_only_where_there_is_a_parent(tmp_path):
    """And JSON always has it."""
    pytest.importorskip("typer")
    train(tmp_path / "alone")
    assert "parent" not in command("list", tmp_path, XDG_CACHE_HOME=str(tmp_path / "cache")).out
    done = command("list", tmp_path, "--json", XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert json.loads(done.out)["parent"] is None


def test_show_names_the_parent_and_the_job(tmp_path, monkeypatch):
    """Of a task of an array."""
    pytest.importorskip("typer")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "1234")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "7")
    shown = command("show", train(tmp_path)).out
    assert "part of slurm-1234" in shown
    assert "slurm_array_job_id 1234, slurm_array_task_id 7" in shown


def test_queries_group_by_the_parent(tmp_path):
    """With the metrics of their runs."""
    pytest.importorskip("duckdb")
    from monitor_core.runs import query

    parents = sweep(tmp_path)
    sql = "select parent, max(best) from runs join metrics using (path) where parent is not null group by 1 order by 2"
    answer = query(sql, tmp_path, cache=tmp_path / "cache")
    assert list(answer) == [(parents["a"], 2.0), (parents["b"], 3.0)]


def test_a_journal_of_a_release_without_parents_is_read(tmp_path):
    """It has none, and no job."""
    train(tmp_path)
    begin = open_run(tmp_path).begin
    fields = json.loads(encode_fact(begin))
    del fields["parent"], fields["job"]
    assert parse_fact(json.dumps(fields).encode()) == attrs.evolve(begin, parent=None, job={})
