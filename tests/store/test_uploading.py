"""What a round uploads, and what the store holds when one is ended at any point."""

import os
import random
import shutil

import pytest

from monitor_core.files.ownership import OwnedError
from monitor_core.store import uploading
from monitor_core.store.addresses import located
from monitor_core.store.fetching import fetch
from monitor_core.store.manifest import read_manifest
from monitor_core.store.objects import Objects
from monitor_core.store.spool import Spool
from monitor_core.store.uploading import Left, TakenError, Uploader, upload
from store_support import spool_of

ADDRESS = "memory://uploading/run"
SEGMENT = 64


class Counted(Objects):
    """Objects that count what is written, and fail at the write of a number.

    Attributes:
        written: The name and the size of each object that was written.
        fails_at: At which write to raise, or None.
    """

    def __init__(self, address, fails_at=None):
        super().__init__(address)
        self.written, self.fails_at = [], fails_at

    def write(self, name, data):
        """Write an object, unless its turn is to fail."""
        if self.fails_at is not None and len(self.written) >= self.fails_at:
            raise ConnectionError("it is down")
        self.written.append((name, len(data)))
        super().write(name, data)


@pytest.fixture(autouse=True)
def spool(monkeypatch):
    """Return an empty spool of an empty store, with small segments."""
    monkeypatch.setattr(uploading, "SEGMENT_BYTES", SEGMENT)
    monkeypatch.setattr(uploading, "_SEGMENTS", 4)
    from fsspec.implementations.memory import MemoryFileSystem

    MemoryFileSystem.store.clear()
    made = Spool(located(ADDRESS))
    made.make()
    return made


def stored(tmp_path):
    """Return the files that the store holds now, and how many bytes each has."""
    objects = Objects(located(ADDRESS))
    target = tmp_path / os.urandom(4).hex()
    target.mkdir()
    manifest = fetch(objects, read_manifest(objects), target)
    return {name: (target / name).read_bytes() for name in manifest.files}


def append(spool, data, name="journal-0000.mcj"):
    """Append to a file of the spool."""
    with (spool.folder / name).open("ab") as file:
        file.write(data)


def test_a_growing_file_becomes_segments_of_which_the_last_is_replaced(spool, tmp_path):
    """Closed segments are written once, so what is uploaded again is bounded."""
    objects = Counted(spool.address)
    uploader = Uploader(spool, objects)
    written = b""
    for _ in range(50):
        piece = os.urandom(random.randrange(3 * SEGMENT))
        written += piece
        append(spool, piece)
        uploader.round()
    assert stored(tmp_path) == {"journal-0000.mcj": written}
    segments = [size for name, size in objects.written if ".mcj" in name]
    assert max(segments) == SEGMENT
    assert segments.count(SEGMENT) == len(written) // SEGMENT
    assert not uploader.left()


def test_a_round_without_news_writes_nothing(spool):
    """It reads the manifest, to see whether another writes."""
    objects = Counted(spool.address)
    append(spool, b"x" * 100)
    (spool.folder / "summary.json").write_bytes(b"{}")
    uploader = Uploader(spool, objects)
    uploader.round()
    count = len(objects.written)
    uploader.round()
    uploader.round(verify=True)
    assert len(objects.written) == count == 4  # two segments, the summary, the manifest


def test_whatever_write_fails_the_store_stays_whole_and_the_next_process_ends_the_work(spool, tmp_path):
    """As after a kill: the store has a beginning of each file, and no process but the first has to be asked."""
    rng = random.Random(0)
    whole = b""
    for fails_at in range(25):
        piece = rng.randbytes(rng.randrange(4 * SEGMENT))
        whole += piece
        append(spool, piece)
        (spool.folder / "summary.json").write_bytes(b"%d" % fails_at)
        with pytest.raises(ConnectionError):
            while True:
                Uploader(spool, Counted(spool.address, fails_at % 4)).round()
                append(spool, b"-")
                whole += b"-"
        if read_manifest(Objects(spool.address)) is not None:
            assert whole.startswith(stored(tmp_path).get("journal-0000.mcj", b""))
    assert not upload(spool)
    assert stored(tmp_path) == {"journal-0000.mcj": whole, "summary.json": b"24"}


def test_one_uploader_continues_after_failures(spool, tmp_path):
    """What it had uploaded is not uploaded again."""
    objects = Counted(spool.address, fails_at=3)
    uploader = Uploader(spool, objects)
    append(spool, bytes(range(256)))
    with pytest.raises(ConnectionError):
        uploader.round()
    objects.fails_at = None
    uploader.round()
    names = [name for name, _ in objects.written]
    assert len(names) == len(set(names)) == 5
    assert stored(tmp_path) == {"journal-0000.mcj": bytes(range(256))}


def test_a_record_that_was_torn_and_taken_back_does_not_stay(spool, tmp_path):
    """A full disk may tear a record; what replaces it counts, also in a segment that was closed."""
    append(spool, b"a" * (2 * SEGMENT + 10))
    uploader = Uploader(spool, Objects(spool.address))
    uploader.round()
    os.truncate(spool.folder / "journal-0000.mcj", 2 * SEGMENT - 5)
    append(spool, b"b" * 40)
    uploader.round(verify=True)
    assert stored(tmp_path) == {"journal-0000.mcj": b"a" * (2 * SEGMENT - 5) + b"b" * 40}
    assert len([name for name in Objects(spool.address).find() if ".mcj" in name]) == 3


def test_files_that_are_removed_go_and_journals_stay(spool, tmp_path):
    """Old checkpoints need no room in the store; a record is never removed by a machine that has lost it."""
    append(spool, b"a")
    (spool.folder / "1.npz").write_bytes(b"1")
    uploader = Uploader(spool, Objects(spool.address))
    uploader.round()
    (spool.folder / "1.npz").unlink()
    (spool.folder / "journal-0000.mcj").unlink()
    (spool.folder / "2.npz").write_bytes(b"2")
    uploader.round()
    assert stored(tmp_path) == {"journal-0000.mcj": b"a", "2.npz": b"2"}
    assert "1.npz" not in Objects(spool.address).find()


def test_a_spool_that_is_removed_changes_nothing_in_the_store(spool, tmp_path):
    """A journal that begins in the middle of a run would replace the whole one."""
    append(spool, b"a" * 200)
    uploader = Uploader(spool, Objects(spool.address))
    uploader.round()
    shutil.rmtree(spool.folder)
    spool.folder.mkdir()
    append(spool, b"b")
    with pytest.raises(OSError, match="the run's local folder was removed"):
        uploader.round()
    assert stored(tmp_path) == {"journal-0000.mcj": b"a" * 200}


def test_a_file_that_goes_meanwhile_is_looked_for_again(spool, monkeypatch):
    """Checkpoints are removed while others are uploaded."""
    (spool.folder / "1.npz").write_bytes(b"1")
    uploader, files = Uploader(spool, Objects(spool.address)), Spool.files

    def vanishing(each):
        found = files(each)
        (spool.folder / "1.npz").unlink(missing_ok=True)
        return found

    monkeypatch.setattr(Spool, "files", vanishing)
    uploader.round()
    assert uploader.stored.files == {}


def test_what_is_left_is_counted(spool):
    """In bytes that the store lacks."""
    uploader = Uploader(spool, Objects(spool.address))
    append(spool, b"a" * 100)
    assert uploader.left() == Left(1, 100)
    uploader.round()
    append(spool, b"a" * 20)
    (spool.folder / "model.npz").write_bytes(b"x" * 200_000)
    assert (uploader.left(), str(uploader.left())) == (Left(2, 200_020), "0.2 MB of 2 files")


def test_another_machine_takes_over_and_the_first_stops(spool, tmp_path, machine):
    """Neither spoils the other's record."""
    first = Uploader(spool, Objects(spool.address))
    append(spool, b"first")
    first.round()
    machine()
    other = Spool(located(ADDRESS))
    other.make()
    second = Uploader(other, Objects(other.address))
    with pytest.raises(TakenError):
        second.round()
    fetch(second.objects, read_manifest(second.objects), other.folder)
    second.take_over(read_manifest(second.objects))
    append(spool, b", and more")
    with pytest.raises(TakenError, match="records to memory://uploading/run now"):
        first.round()
    append(other, b"second", "journal-0001.mcj")
    second.round()
    assert stored(tmp_path) == {"journal-0000.mcj": b"first", "journal-0001.mcj": b"second"}


def test_a_store_that_was_emptied_is_filled_again(spool, tmp_path):
    """The objects may have been removed; the spool has all of it."""
    append(spool, b"a" * 200)
    uploader = Uploader(spool, Objects(spool.address))
    uploader.round()
    uploader.objects.remove(list(uploader.objects.find()))
    uploader.round()
    assert stored(tmp_path) == {"journal-0000.mcj": b"a" * 200}


def test_one_process_at_a_time_uploads(spool):
    """A command leaves a spool alone that a run is recorded in."""
    from faults.support import script

    spool.own()
    out = script(
        f"""
        from monitor_core.store.addresses import located
        from monitor_core.store.spool import Spool
        from monitor_core.store.uploading import upload
        try:
            upload(Spool(located({ADDRESS!r})))
        except OSError as error:
            print(type(error).__name__)
        """
    )
    assert out.split() == [OwnedError.__name__]
    assert spool_of(ADDRESS) == spool.folder
