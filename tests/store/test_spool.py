"""The local folder that a run in a store is recorded in."""

import os
import stat
import threading

import pytest

from monitor_core.store.addresses import located
from monitor_core.store.spool import Spool, all_spools


def made(address):
    """Return the spool of an address."""
    spool = Spool(located(address))
    spool.make()
    return spool


def test_an_address_has_one_and_keeps_it():
    """Its name follows from the address, and its id stays."""
    spool = made("s3://bucket/runs/a b")
    assert made("s3://bucket/runs/a b").id == spool.id
    assert made("s3://bucket/runs/a-b").folder != spool.folder
    assert {str(each.address) for each in all_spools()} == {"s3://bucket/runs/a b", "s3://bucket/runs/a-b"}
    assert stat.S_IMODE(spool.folder.stat().st_mode) == 0o700


def test_a_very_long_address_has_one_too():
    """File systems have a limit for names."""
    assert made("s3://bucket/" + "/".join(["long" * 50] * 4)).is_there


def test_files_that_name_others_come_last_and_as_they_were_before(monkeypatch):
    """So that what they name is uploaded before them, and is there."""
    spool = made("s3://bucket/a")
    index = spool.folder / "resume" / "resume.latest.json"
    index.parent.mkdir()
    index.write_text("old")
    for name in ("journal-0000.mcj", "resume/000001.npz", "summary.json"):
        (spool.folder / name).write_text(name)
    walk, walks = os.walk, []

    def walked(*args, **options):
        walks.append(args)
        if len(walks) == 2:
            index.write_text("new")
            (spool.folder / "resume" / "000002.npz").touch()
        return walk(*args, **options)

    monkeypatch.setattr(os, "walk", walked)
    files = spool.files()
    assert sorted(file.name for file in files[:-2]) == ["journal-0000.mcj", "resume/000001.npz", "resume/000002.npz"]
    assert {file.name: file.data for file in files[-2:]} == {
        "summary.json": b"summary.json",
        "resume/resume.latest.json": b"old",
    }
    assert [file.name for file in files if file.grows] == ["journal-0000.mcj"]


def test_what_is_for_this_machine_stays_here(tmp_path):
    """Locks, requests, links and what the spool says of itself are not uploaded."""
    spool = made("s3://bucket/a")
    (spool.folder / "control").mkdir()
    for name in (".monitor_core-lock-1", "control/request-1.json", ".hidden"):
        (spool.folder / name).touch()
    (spool.folder / "link").symlink_to(tmp_path)
    os.mkfifo(spool.folder / "pipe")
    assert spool.files() == []


def test_processes_that_make_it_at_the_same_time_have_one():
    """The first one's id is that of all."""
    ids, barrier = set(), threading.Barrier(8)

    def make():
        barrier.wait()
        ids.add(made("s3://bucket/a").id)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 1


def test_one_that_is_damaged_is_said():
    """Its records may be all that there is of a run, so none is made over them."""
    spool = made("s3://bucket/a")
    (spool.folder / "spool.json").write_text("{")
    with pytest.raises(OSError, match=r"it is damaged .*: move the folder away"):
        made("s3://bucket/a")
