"""Recording to a store: what the training sees of it, on a store in memory and on a local file system."""

import copy
import os
import pickle
import threading
import time

import pytest

from monitor_core import Journal, Loop, SetupError, open_run
from monitor_core.adapters.pytree import PytreeModel
from monitor_core.store import mirror
from monitor_core.store.addresses import located
from monitor_core.store.objects import Objects
from monitor_core.store.uploading import TakenError
from store_support import expected, losses, spool_of, train
from web_server import wait_until


@pytest.fixture(params=["memory", "file"])
def store(request, tmp_path):
    """Return the address of an empty store."""
    from fsspec.implementations.memory import MemoryFileSystem

    MemoryFileSystem.store.clear()
    return "memory://runs" if request.param == "memory" else f"file://{tmp_path}/store"


def test_a_run_is_recorded_and_read(store):
    """By `record`, by a `Journal`, or by both, which must agree."""
    with Loop(Journal(f"{store}/a"), record=f"{store}/a") as loop:
        assert loop.run.folder == spool_of(f"{store}/a")
        for _ in loop.epochs(1):
            for batch in loop.batches(range(10)):
                loop.log(loss=1.0 / (1 + batch))
    assert losses(f"{store}/a") == expected(1, 10)
    with pytest.raises(ValueError, match=rf"got record='{store}/b' and Journal\('{store}/a'\)"):
        Loop(Journal(f"{store}/a"), record=f"{store}/b")


def test_runs_of_one_process_follow_each_other(store):
    """With one journal or with several."""
    loop = Loop(Journal(f"{store}/a"))
    for _ in range(2):
        with loop:
            for epoch in loop.epochs(loop.next_epoch + 1):
                loop.log(loss=float(epoch))
    train(f"{store}/a", epochs=1)
    assert [run.status for run in open_run(f"{store}/a").runs] == ["completed"] * 3


def test_what_is_reported_after_the_end_arrives_at_the_exit(store):
    """A finding may come later than the journal's train end."""
    loop = train(f"{store}/a", epochs=1)
    before = open_run(f"{store}/a")
    journal = loop.bus.sinks[0]
    journal._writer.epoch(1, 600, time.time(), {"loss": 0.5})
    found = journal._mirror
    assert found._uploader.left()
    found.at_exit()
    assert len(open_run(f"{store}/a").history) == len(before.history) + 1


def test_a_journal_is_copied_and_pickled_before_its_run(store):
    """A copy records to the same address."""
    journal = Journal(f"{store}/a")
    for each in (copy.copy(journal), pickle.loads(pickle.dumps(journal))):  # noqa: S301
        assert str(each.folder) == f"{store}/a"
        assert each.home == spool_of(f"{store}/a")


def test_the_training_waits_for_no_upload(store, monkeypatch):
    """A write that does not end holds up no step; the run's end is held up for as long as is said."""
    gate, entered, write = threading.Event(), threading.Event(), Objects.write

    def hanging(self, name, data):
        if "journal" in name:
            entered.set()
            gate.wait(30)
        write(self, name, data)

    monkeypatch.setattr(Objects, "write", hanging)
    monkeypatch.setattr(mirror.Mirror.finish, "__defaults__", (0.2,))
    train(f"{store}/a", epochs=3)
    assert entered.is_set()
    assert len(open_run(spool_of(f"{store}/a")).batches) == 900
    gate.set()


def test_uploads_have_a_thread_of_their_own(store, monkeypatch):
    """Neither the training's nor the bus's."""
    threads, write = set(), Objects.write

    def noted(self, name, data):
        if "journal" in name:
            threads.add(threading.current_thread().name)
        write(self, name, data)

    monkeypatch.setattr(Objects, "write", noted)
    train(f"{store}/a")
    assert threads == {"monitor_core store"}


def test_a_run_continues_where_another_machine_left_it(store, machine, monkeypatch):
    """A run that is recorded again there is appended; what was recorded is fetched first."""
    train(f"{store}/a", epochs=1)
    machine()
    assert not spool_of(f"{store}/a").exists()
    train(f"{store}/a", epochs=2)
    assert [len(open_run(f"{store}/a", run=number).batches) for number in (0, 1)] == [300, 600]
    assert losses(spool_of(f"{store}/a")) == losses(f"{store}/a")


def test_a_machine_that_comes_back_fetches_what_another_recorded(store, machine, tmp_path, monkeypatch):
    """Its own spool is older then."""
    train(f"{store}/a", epochs=1)
    machine()
    train(f"{store}/a", epochs=1)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "machine-1" / "state"))
    mirror._mirrors.clear()
    train(f"{store}/a", epochs=1)
    assert len(open_run(f"{store}/a").runs) == len(open_run(spool_of(f"{store}/a")).runs) == 3


def test_two_machines_that_have_both_continued_are_told(store, machine, tmp_path, monkeypatch):
    """Nothing is thrown away: the message says where the records are."""
    train(f"{store}/a", epochs=1)
    wait_until(lambda: not mirror._at_work, seconds=30)
    with (spool_of(f"{store}/a") / "journal-0000.mcj").open("ab") as file:
        file.write(b"never uploaded")
    machine()
    train(f"{store}/a", epochs=1)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "machine-1" / "state"))
    mirror._mirrors.clear()
    with pytest.raises(SetupError, match=r"process \d+ on .* has gone on there, and .* has records that were never"):
        train(f"{store}/a", epochs=1)


def test_a_machine_that_was_taken_over_says_so_once(store, machine, warned):
    """Its run trains to its end, and its record stays in its spool."""
    with Loop(Journal(f"{store}/a")) as first:
        for epoch in first.epochs(2):
            first.log(loss=float(epoch))
            if epoch == 0:
                spool = spool_of(f"{store}/a")
                wait_until(lambda: Objects(located(f"{store}/a")).find(), seconds=30)
                machine()
                train(f"{store}/a", epochs=1, batches=1)
    assert len(warned()) == 1
    assert f"this run is no longer uploaded to {store}/a; its record stays in {spool}" in warned()[0]
    assert open_run(spool).history["loss"].tolist() == [0.0, 1.0]
    assert open_run(f"{store}/a").runs[-1].status == "completed"


def test_the_end_does_not_wait_where_the_store_says_that_the_address_was_taken_over(store, monkeypatch):
    """Also if it did not answer before."""
    answers = [ConnectionError("not now"), TakenError("another machine records here")]

    def refuse(*_, **__):
        raise answers.pop(0)

    with Loop(Journal(f"{store}/a")) as loop:
        for _ in loop.epochs(1):
            loop.log(loss=1.0)
        taken = loop.bus.sinks[0]._mirror
        wait_until(lambda: taken._uploader.stored is not None, seconds=30)
        monkeypatch.setattr(taken._uploader, "round", refuse)
        finished = threading.Event()
        threading.Thread(target=lambda: (taken.finish(600.0), finished.set()), daemon=True).start()
        assert finished.wait(60)
    assert answers == []


def test_a_machine_that_was_taken_over_can_begin_again(store, machine, tmp_path, monkeypatch):
    """As the message of the error says: once its folder is moved away."""
    with Loop(Journal(f"{store}/a")) as loop:
        first = loop.bus.sinks[0]._mirror
        wait_until(lambda: first._uploader.stored is not None, seconds=30)
        machine()
        train(f"{store}/a", epochs=1, batches=1)
        wait_until(lambda: first._is_taken, seconds=30)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "machine-1" / "state"))
    mirror._mirrors[located(f"{store}/a")] = first  # as in a process that trains again
    spool_of(f"{store}/a").rename(tmp_path / "moved")
    train(f"{store}/a", epochs=1, batches=5)
    assert len(open_run(f"{store}/a", run=-1).batches) == 5


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_uploads_nothing(store):
    """The parent does; the child ends at once."""
    with Loop(Journal(f"{store}/a")) as loop:
        for _ in loop.epochs(1):
            for batch in loop.batches(range(10)):
                loop.log(loss=1.0 / (1 + batch))
            child = os.fork()
            if not child:
                loop.bus.sinks[0]._mirror.finish()
                os._exit(7)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert losses(f"{store}/a") == expected(1, 10)


def test_several_processes_of_one_machine_record_to_one_address(tmp_path):
    """Each has a journal of its own in the one spool, which one of them uploads."""
    from faults.support import script

    address = f"file://{tmp_path}/store/a"
    code = f"""
        from store_support import train
        train({address!r}, epochs=1)
    """
    threads = [threading.Thread(target=script, args=(code,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [run.status for run in open_run(address).runs] == ["completed"] * 3
    assert losses(address) == expected(1) * 3


def test_resume_keeps_its_checkpoints_in_the_store(store):
    """And removes the old ones there."""
    weights = {"w": 0.0}
    with Loop(model=PytreeModel(lambda: weights, weights.update), resume=f"{store}/a") as loop:
        for epoch in loop.epochs(5):
            loop.log(loss=float(epoch))
    names = {name.rpartition("/")[2] for name in Objects(located(f"{store}/a")).find() if name.startswith("resume/")}
    assert names == {path.name for path in (spool_of(f"{store}/a") / "resume").iterdir() if path.name[0] != "."}
    assert "epoch.latest.json" in names


def test_two_runs_of_one_process_record_to_one_address_at_the_same_time(store):
    """The end of one does not end the upload of the other."""
    with Loop(Journal(f"{store}/a")) as outer:
        for epoch in outer.epochs(3):
            outer.log(loss=float(epoch))
            if epoch == 0:
                train(f"{store}/a", epochs=1, batches=1)
        wait_until(lambda: len(open_run(f"{store}/a").history) >= 4, seconds=30)
        assert len(open_run(f"{store}/a").history) == 4
    assert {run.status for run in open_run(f"{store}/a").runs} == {"completed"}


def test_a_store_that_fails_is_said_once_and_not_waited_for_again(store, warned, monkeypatch):
    """The run's end has waited for three attempts; the interpreter's exit adds nothing."""
    attempts = []

    def failing(self, name, data):
        attempts.append(name)
        raise ConnectionError("it is down")

    with Loop(Journal(f"{store}/a")) as loop:
        monkeypatch.setattr(Objects, "write", failing)
        for _ in loop.epochs(1):
            loop.log(loss=1.0)
    found, count = loop.bus.sinks[0]._mirror, len(warned())
    assert "cannot be reached (it is down)" in warned()[0]
    assert warned()[-1].endswith(f"at the next run at this address, or by: monitor-core upload {store}/a")
    found.at_exit()
    assert len(warned()) == count == 2
    assert len(attempts) >= 3
