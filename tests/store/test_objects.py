"""What is asked of a store, and what is said of one that cannot be asked."""

import sys
import threading

import pytest

from monitor_core import Journal, Loop, SetupError
from monitor_core.store.addresses import located
from monitor_core.store.objects import Objects, cause, refuses, within


@pytest.mark.parametrize("address", ["memory://objects", "file://{tmp}/objects"])
def test_objects_are_written_read_found_and_removed(address, tmp_path):
    """By names relative to the address."""
    objects = Objects(located(address.format(tmp=tmp_path)))
    (tmp_path / "file").write_bytes(b"x" * 3_000_000)
    objects.write("a", b"1")
    objects.write("deep/b", b"2")
    assert objects.upload("deep/c", tmp_path / "file") == 3_000_000
    assert objects.read_all(["a", "deep/b"]) == [b"1", b"2"]
    objects.download("deep/c", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == (tmp_path / "file").read_bytes()
    assert {name: about["size"] for name, about in objects.find().items()} == {"a": 1, "deep/b": 1, "deep/c": 3_000_000}
    objects.remove(["a", "none", "deep/c"])
    assert set(objects.find()) == {"deep/b"}
    with pytest.raises(FileNotFoundError) as missing:
        objects.read("a")
    assert missing.value.filename == f"{objects.address}/a"
    assert isinstance(objects.read_all(["a"])[0], FileNotFoundError)
    assert (objects.exists(), Objects(objects.address / "none").exists()) == (True, False)


def test_without_fsspec_the_extra_is_named(monkeypatch):
    """Where a run begins, and where one is read."""
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    for call in (Journal, lambda address: Loop(record=address), lambda address: Objects(located(address))):
        with pytest.raises(ImportError, match=r'memory://a needs fsspec: pip install "monitor_core\[store\]"'):
            call("memory://a")


def test_a_protocol_whose_package_is_missing_is_named(monkeypatch):
    """With what fsspec says to install."""
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(ImportError, match=r"gs://a/b cannot be opened: .*gcsfs"):
        Loop(record="gs://a/b")


def test_an_unknown_protocol_is_an_error_at_once():
    """It is not a folder of that name."""
    with pytest.raises(
        SetupError, match="nothing://a cannot be written: nothing://a cannot be opened: Protocol not known"
    ):
        Loop(record="nothing://a")


def test_a_folder_that_cannot_be_written_is_an_error_at_once(tmp_path):
    """A local file system is a store like another."""
    (tmp_path / "file").touch()
    with pytest.raises(SetupError, match=r"file://.*/file/a cannot be written: Not a directory"):
        Loop(record=f"file://{tmp_path}/file/a")


def test_a_call_that_hangs_is_abandoned():
    """And one that raises, raises."""
    gate = threading.Event()
    with pytest.raises(TimeoutError, match=r"no answer within 0.05 s"):
        within(0.05, gate.wait)
    gate.set()
    assert within(5.0, lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        within(5.0, lambda: 1 / 0)


def test_a_refusal_is_told_from_an_outage():
    """What may pass is waited for."""
    assert refuses(PermissionError("Access Denied"))
    assert not refuses(ConnectionError("reset"))
    assert not refuses(TimeoutError())
    assert cause(TimeoutError()) == "TimeoutError"
