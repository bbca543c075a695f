"""Runs in a real S3 server: they arrive whole, whatever the server does."""

import itertools
import os
import time

import pytest

import s3_server
from faults.children import answer_of, playing
from monitor_core import Journal, Loop, SetupError, open_run
from monitor_core.adapters.pytree import PytreeModel
from monitor_core.loop import resume
from monitor_core.runs import compare, find_runs, query
from monitor_core.store import mirror, objects
from monitor_core.store.addresses import located
from monitor_core.store.fetching import is_run
from monitor_core.store.spool import Spool
from monitor_core.store.uploading import upload
from store_support import expected, losses, spool_of, train
from web_server import wait_until

_numbers = itertools.count()


@pytest.fixture(scope="module")
def server():
    """Return a server for the module."""
    yield from s3_server.started()


@pytest.fixture
def bucket(server):
    """Return the address of an empty bucket."""
    name = f"bucket-{next(_numbers)}"
    s3_server.s3fs.S3FileSystem().mkdir(name)
    yield f"s3://{name}"
    server.heal()


def test_a_run_arrives_whole(bucket):
    """A reader of the address gets what was recorded, bit by bit."""
    loop = train(f"{bucket}/runs/a")
    run = open_run(f"{bucket}/runs/a")
    assert (run.status, run.damage, str(run.path)) == ("completed", (), f"{bucket}/runs/a")
    assert run.last.begin.id == loop.run.id
    assert losses(f"{bucket}/runs/a") == expected(2) == losses(spool_of(f"{bucket}/runs/a"))


def test_many_runs_are_found_compared_and_queried(bucket):
    """A list reads summaries alone."""
    for name in "abc":
        train(f"{bucket}/runs/{name}", epochs=1)
    found = find_runs(f"{bucket}/runs")
    assert [str(run.path) for run in found] == [f"{bucket}/runs/{name}" for name in "abc"]
    assert {run.summary.status for run in found} == {"completed"}
    assert [each.run for each in compare([f"{bucket}/runs"]).ranks("loss")] == ["a", "b", "c"]
    assert query("select path, count(*) from batches group by path order by path", f"{bucket}/runs").rows == [
        (name, 300) for name in "abc"
    ]
    with pytest.raises(FileNotFoundError, match="there is no recorded run"):
        open_run(f"{bucket}/runs")
    with pytest.raises(FileNotFoundError):
        find_runs(f"{bucket}/none")


def test_a_run_can_be_read_while_it_trains(bucket):
    """Some of it is there before it ends, and a reader's copy gets the rest later."""
    address = f"{bucket}/a"
    with Loop(record=address) as loop:
        for epoch in loop.epochs(3):
            loop.log(loss=float(epoch))
            wait_until(lambda epochs=epoch: not epochs or epochs_of(address) == list(range(epochs)), seconds=30)
    assert open_run(address).history["loss"].tolist() == [0.0, 1.0, 2.0]


def test_an_outage_costs_nothing(bucket, server, warned, monkeypatch):
    """The training does not notice, there is one warning, and what was recorded meanwhile arrives later."""
    address = f"{bucket}/a"
    with Loop(record=address) as loop:
        for epoch in loop.epochs(6):
            loop.log(loss=float(epoch))
            if epoch == 1:
                server.stop()
            if epoch == 4:
                wait_until(lambda: warned() != [], seconds=30)
                server.start()
    assert open_run(address).history["loss"].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    kinds = [text.partition(" (")[0] for text in warned()]
    assert kinds == [f"{address} cannot be reached", f"{address} is reached again, and has all of the run so far"]


def test_what_is_left_at_the_end_is_said_and_uploaded_by_the_next_run(bucket, server, warned, machine):
    """A store that is down at the run's end is not waited for long; the next run at the address uploads both."""
    address = f"{bucket}/a"
    with Loop(record=address) as loop:
        for epoch in loop.epochs(2):
            loop.log(loss=float(epoch))
        server.stop()
        mirror.mirror_of(located(address))._attempts.failures = 2
    assert "of 2 files of the run, which are in" in warned()[-1]
    assert str(spool_of(address)) in warned()[-1]
    mirror._at_work.clear()  # as if the process had ended
    mirror._mirrors.clear()
    loop.bus.sinks[0]._mirror = None
    server.start()
    train(address, epochs=1, batches=1)
    assert [run.status for run in open_run(address).runs] == ["completed", "completed"]
    assert open_run(address, run=0).history["loss"].tolist() == [0.0, 1.0]


def test_a_bucket_that_does_not_exist_is_an_error_at_once(server):
    """It is not made; the message says what is missing."""
    with pytest.raises(
        SetupError, match="s3://no-such-bucket/a cannot be written: The specified bucket does not exist"
    ):
        Loop(record="s3://no-such-bucket/a")


def test_a_store_that_refuses_is_an_error_at_once(bucket, server):
    """Before the first batch, not after the last."""
    server.refuses = {"PUT"}
    with pytest.raises(SetupError, match=f"{bucket}/a cannot be written: Access Denied"):
        Loop(record=f"{bucket}/a")


def test_a_store_that_refuses_later_is_one_warning(bucket, server, warned):
    """Rights may come back: it is tried again."""
    with Loop(record=f"{bucket}/a") as loop:
        for epoch in loop.epochs(3):
            loop.log(loss=float(epoch))
            if epoch == 0:
                wait_until(lambda: is_run(located(f"{bucket}/a")), seconds=30)
                server.refuses = {"PUT"}
            if epoch == 1:
                wait_until(lambda: warned() != [], seconds=30)
                server.heal()
    assert "cannot be reached (Access Denied); training continues" in warned()[0]
    assert open_run(f"{bucket}/a").history["loss"].tolist() == [0.0, 1.0, 2.0]


def test_a_store_that_is_down_from_the_beginning_is_recorded_for_later(bucket, server, warned, monkeypatch):
    """Recording needs no store; to continue a run that may be there does."""
    monkeypatch.setattr(objects, "REACH_SECONDS", 0.5)
    monkeypatch.setattr(mirror, "REACH_SECONDS", 0.5)
    server.stop()
    with pytest.raises(SetupError, match=f"{bucket}/b cannot be continued"), resumed(f"{bucket}/b"):
        pass
    with Loop(record=f"{bucket}/a") as loop:
        server.start()
        for epoch in loop.epochs(2):
            loop.log(loss=float(epoch))
    assert "cannot be reached" in warned()[0]
    assert open_run(f"{bucket}/a").history["loss"].tolist() == [0.0, 1.0]


def test_a_slow_store_slows_no_step(bucket, server):
    """No batch waits for an answer that takes half a second, and all of it arrives by the end."""
    with Loop(Journal(f"{bucket}/a")) as loop:
        for _ in loop.epochs(1):
            server.delay = 0.5
            began = server.requests.total()
            for batch in loop.batches(range(2000)):
                loop.log(loss=float(batch))
            assert server.requests.total() - began <= 4  # more would need seconds
    assert losses(f"{bucket}/a") == [float(batch) for batch in range(2000)]


def test_listings_that_are_late_matter_to_lists_alone(bucket, server, machine):
    """A run is opened, continued and uploaded by names that are known."""
    server.lists_late = True
    train(f"{bucket}/a", epochs=1)
    assert losses(f"{bucket}/a") == expected(1)
    machine()
    train(f"{bucket}/a", epochs=1)
    assert [len(run.facts(object)) > 0 for run in open_run(f"{bucket}/a").runs] == [True, True]


def resumed(address):
    """Return a loop that continues the run at an address, of a model of one number."""
    weights = {"w": 0.0}
    return Loop(model=PytreeModel(lambda: weights, weights.update), resume=address)


def test_a_run_continues_on_another_machine(bucket, machine, monkeypatch):
    """Its folder is fetched first: the checkpoint and the record are there, and the record of both is one run."""
    monkeypatch.setattr(resume, "SHARE", float("inf"))
    address = f"{bucket}/a"
    with pytest.raises(RuntimeError, match="preempted"), resumed(address) as loop:
        for epoch in loop.epochs(5):
            loop.log(loss=float(epoch))
            if epoch == 2:
                raise RuntimeError("preempted")
    machine()
    with resumed(address) as loop:
        continued = [loop.log(loss=float(epoch)) or epoch for epoch in loop.epochs(5)]
    assert continued == [2, 3, 4]
    run = open_run(address)
    assert (len(run.runs), run.status) == (1, "completed")
    assert run.history["loss"].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert losses_of_epochs(spool_of(address)) == losses_of_epochs(address)


def losses_of_epochs(source):
    """Return every epoch's loss."""
    return open_run(source).history["loss"].tolist()


def epochs_of(address):
    """Return the epochs that have arrived."""
    try:
        return open_run(address).history.epoch
    except FileNotFoundError:
        return []


KILLS = 4


@pytest.mark.skipif(os.name != "posix", reason="kills are those of POSIX")
def test_a_kill_costs_the_store_nothing_that_was_on_disk(bucket, tmp_path, monkeypatch):
    """After a SIGKILL at any moment the store has a readable beginning; the next run or the command brings the rest."""
    import random

    for number in range(KILLS):
        address = f"{bucket}/{number}"
        with playing("record_to_store", address, tmp_path / "state") as child:
            assert answer_of(child) == ["ready"]
            time.sleep(random.uniform(0.0, 0.6))
            child.kill()
            child.wait(60)
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        local = open_run(spool_of(address))
        try:
            early = losses(address)
        except FileNotFoundError:  # it was killed before the first upload
            early = []
        assert losses(spool_of(address))[: len(early)] == early
        if number % 2:
            assert not upload(Spool(located(address)))
        else:  # the next run uploads both
            train(address, epochs=1, batches=1)
        assert open_run(address, run=0).batches.steps.tolist() == local.batches.steps.tolist()
        assert open_run(address, run=0).status == "killed"
