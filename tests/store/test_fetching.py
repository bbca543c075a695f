"""Copies of what is in a store: a reader's, which gets only what is new."""

import os
import subprocess
import sys
import threading
import time

import pytest

from monitor_core import open_run
from monitor_core.files.ownership import LOCK_PREFIX
from monitor_core.runs import find_runs
from monitor_core.store import fetching, uploading
from monitor_core.store.addresses import located
from monitor_core.store.fetching import fetched
from monitor_core.store.manifest import MANIFEST, Manifest, StoredFile, read_manifest
from monitor_core.store.objects import Objects
from store_support import expected, losses, spool_of, train

ADDRESS = "memory://fetching/run"


@pytest.fixture(autouse=True)
def _store(monkeypatch):
    from fsspec.implementations.memory import MemoryFileSystem

    MemoryFileSystem.store.clear()
    monkeypatch.setattr(uploading, "SEGMENT_BYTES", 500)


@pytest.fixture
def read(monkeypatch):
    """Return the names of the objects that are read, as they are."""
    names, one, many = [], Objects.read, Objects.read_all
    monkeypatch.setattr(Objects, "read", lambda self, name: names.append(name) or one(self, name))
    monkeypatch.setattr(Objects, "read_all", lambda self, them: names.extend(them) or many(self, them))
    return names


def test_a_copy_gets_only_what_is_new(read):
    """Closed segments are read once."""
    train(ADDRESS, epochs=1)
    assert losses(ADDRESS) == expected(1)
    del read[:]
    about = fetched(located(ADDRESS)) / fetching._ABOUT
    written = about.stat()
    del read[:]
    assert losses(ADDRESS) == expected(1)
    assert read == [MANIFEST]
    assert about.stat().st_ino == written.st_ino
    train(ADDRESS, epochs=1, batches=5)
    del read[:]
    assert len(open_run(ADDRESS).runs) == 2
    assert [name for name in read if name.startswith("journal-0000")] == []
    assert [name for name in read if name.startswith("journal-0001")]


def test_a_run_that_was_replaced_is_read_from_its_beginning(machine):
    """The copy of one run is not the beginning of another at the same address."""
    train(ADDRESS, epochs=2)
    assert losses(ADDRESS) == expected(2)
    objects = Objects(located(ADDRESS))
    objects.remove(list(objects.find()))
    copies = fetching.cache_folder()
    machine()
    train(ADDRESS, epochs=1, batches=10)
    folder = fetching.cache_folder()
    folder.parent.mkdir(parents=True, exist_ok=True)
    copies.rename(folder)
    assert losses(ADDRESS) == expected(1, 10)


def test_a_damaged_copy_is_made_again():
    """It may be removed, or a process may have been killed while it wrote there."""
    train(ADDRESS, epochs=1)
    folder = fetched(located(ADDRESS))
    (folder / ".copy.json").write_text("[3")
    (folder / "journal-0000.mcj").write_bytes(b"nonsense")
    assert losses(ADDRESS) == expected(1)
    (folder / "journal-0000.mcj").unlink()
    assert losses(ADDRESS) == expected(1)


def test_a_reader_follows_a_manifest_that_is_replaced_meanwhile(monkeypatch):
    """What the old one names may be gone."""
    train(ADDRESS, epochs=1)
    objects = Objects(located(ADDRESS))
    manifests = [read_manifest(objects)]
    gone = Manifest("other", files={"journal-0000.mcj": StoredFile(3, 0, "abcd", 500, [1])})
    manifests.insert(0, gone)
    monkeypatch.setattr(fetching, "read_manifest", lambda objects: manifests.pop(0))
    assert losses(ADDRESS) == expected(1)


def test_a_store_cannot_bring_requests_or_locks(tmp_path):
    """They are of one machine, and a bucket may be written by others."""
    objects = Objects(located(ADDRESS))
    names = ["control/request-1-00000000.json", ".monitor_core-lock-1", "spool.json", "deep/.hidden", "model.npz"]
    for name in names:
        objects.write(name, b"1")
    fetching.fetch(objects, Manifest("other", files={name: StoredFile(1, 5) for name in names}), tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [".copy.json", "model.npz"]


def test_objects_that_are_missing_are_said():
    """A reader does not make up what a store has lost."""
    train(ADDRESS, epochs=1)
    objects = Objects(located(ADDRESS))
    objects.remove([name for name in objects.find() if name.endswith("000001")])
    with pytest.raises(FileNotFoundError, match=r"fetching/run/journal-0000.mcj.*000001"):
        open_run(ADDRESS)


def test_many_threads_read_one_run():
    """Their copy is one; each gets all of it."""
    train(ADDRESS, epochs=1)
    found = []
    threads = [threading.Thread(target=lambda: found.append(losses(ADDRESS))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected(1)] * 8


def test_a_list_reads_summaries_that_have_changed_and_nothing_else(read):
    """A bucket of a thousand runs is listed by a thousand small objects, once."""
    for name in "ab":
        train(f"memory://fetching/many/{name}", epochs=1)
    del read[:]
    assert [str(run.path) for run in find_runs("memory://fetching")] == [
        "memory://fetching/many/a",
        "memory://fetching/many/b",
    ]
    assert read == ["many/a/summary.json", "many/b/summary.json"]
    del read[:]
    train("memory://fetching/many/b", epochs=1)
    del read[:]
    assert len(find_runs("memory://fetching")) == 2
    assert read == ["many/b/summary.json"]


def test_what_is_no_run_is_reported_or_left_out():
    """A summary of something else is left out; a run's that is damaged has a problem."""
    train("memory://fetching/a", epochs=1)
    train("memory://fetching/b", epochs=1)
    train("memory://fetching/c", epochs=1)
    Objects(located("memory://fetching/other")).write("summary.json", b"{}")
    Objects(located("memory://fetching/b")).write("summary.json", b"{")
    Objects(located("memory://fetching/c")).remove(["summary.json"])
    found = {run.path.name: run.problem for run in find_runs("memory://fetching")}
    assert found.keys() == {"a", "b", "c"}
    assert found["a"] is None
    assert "it is not a run's summary" in found["b"]
    assert found["c"] == "it has no summary.json"
    assert spool_of("memory://fetching/a").is_dir()


# --- what is removed --------------------------------------------------------------------------------------------------


def age(address, days):
    """Let a run's copy be one that was read so many days ago; return its folder."""
    folder = fetched(located(address))
    moment = time.time() - days * 24 * 3600
    os.utime(folder / ".copy.json", (moment, moment))
    return folder


def files(folder):
    """Return the files below a folder, but its lock, with their content."""
    names = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(LOCK_PREFIX))
    return {path: path.read_bytes() for path in names}


@pytest.mark.parametrize("store", ["memory://fetching", "file://{}/store"])
def test_a_copy_that_is_not_read_is_removed_when_another_is_made(tmp_path, store):
    """After 30 days; reading keeps it. The spools, and the store, have what they had, and it can be read again."""
    store = store.format(tmp_path)
    for name in ("old", "recent", "read", "new"):
        train(f"{store}/{name}", epochs=1)
    spools = {name: files(spool_of(f"{store}/{name}")) for name in ("old", "recent", "read", "new")}
    for name in ("old", "recent", "read"):
        fetched(located(f"{store}/{name}"))
    old, recent, read = (age(f"{store}/{name}", days) for name, days in (("old", 31), ("recent", 29), ("read", 31)))
    (old / "deep").mkdir()
    (old / "deep" / "file").write_text("from an earlier release")
    assert losses(f"{store}/read") == expected(1)  # there already, so nothing is removed
    assert old.is_dir()
    new = fetched(located(f"{store}/new"))
    assert sorted(new.parent.iterdir()) == sorted([recent, read, new])
    assert {name: files(spool_of(f"{store}/{name}")) for name in spools} == spools
    assert all(spools.values())
    assert losses(f"{store}/old") == expected(1)


HOLD = """
import sys
from pathlib import Path
from monitor_core.store.fetching import _Alone
with _Alone(Path(sys.argv[1])):
    print("has it", flush=True)
    sys.stdin.read()
"""


def test_a_copy_that_a_process_fetches_is_not_removed():
    """However old it is."""
    for name in "abc":
        train(f"memory://fetching/{name}", epochs=1)
    old = age("memory://fetching/a", 400)
    had = {path: data for path, data in files(old).items() if path.suffix == ".mcj"}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(old)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout.readline() == "has it\n"
        fetched(located("memory://fetching/b"))
        assert {path: data for path, data in files(old).items() if path.suffix == ".mcj"} == had
        assert had
    fetched(located("memory://fetching/c"))
    assert not old.exists()


def test_what_is_not_a_copy_is_not_removed(tmp_path, monkeypatch):
    """A spool, also where the user has caches and what must be kept in one folder; links, and what others put there."""
    monkeypatch.setenv("XDG_STATE_HOME", os.environ["XDG_CACHE_HOME"])
    for name in "abc":
        train(f"memory://fetching/{name}", epochs=1)
    spool = spool_of("memory://fetching/a")
    assert age("memory://fetching/a", 400) == spool
    copies = spool.parent
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / ".copy.json").write_text("{}")
    os.utime(elsewhere / ".copy.json", (0, 0))
    (copies / "link").symlink_to(elsewhere)
    (copies / "others").mkdir()
    (copies / "others" / "file").touch()
    os.utime(copies / "others" / "file", (0, 0))
    (copies / "file").touch()
    before = [files(spool), files(elsewhere), files(copies / "others")]
    spool_of("memory://fetching/b").rename(tmp_path / "b")  # so that its copy is new
    assert losses("memory://fetching/b") == expected(1)
    assert [files(spool), files(elsewhere), files(copies / "others")] == before
    assert (copies / "file").exists()
    assert (copies / "link").is_symlink()


REMOVE = """
import sys
from pathlib import Path
from monitor_core.store import fetching
fetching._KEPT_SECONDS = -1.0
print("begins", flush=True)
while not Path(sys.argv[2]).exists():
    fetching._remove_old(Path(sys.argv[1]))
"""


def test_a_copy_that_is_removed_meanwhile_is_made_again(tmp_path):
    """Another process removes it again and again, before, between and after the steps of fetching it."""
    train(ADDRESS, epochs=1)
    copies = fetched(located(ADDRESS)).parent
    with subprocess.Popen(
        [sys.executable, "-c", REMOVE, str(copies), str(tmp_path / "end")], stdout=subprocess.PIPE, text=True
    ) as remover:
        assert remover.stdout.readline() == "begins\n"
        try:
            for _ in range(50):
                assert fetched(located(ADDRESS)).parent == copies
        finally:
            (tmp_path / "end").touch()
    assert remover.returncode == 0
    assert losses(ADDRESS) == expected(1)
