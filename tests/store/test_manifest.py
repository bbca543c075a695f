"""The manifest, which is read from a store that others may write to."""

import json

import pytest

from monitor_core.store.addresses import located
from monitor_core.store.manifest import MANIFEST, Manifest, StoredFile, read_manifest
from monitor_core.store.objects import Objects

WHOLE = Manifest(
    "0123",
    2,
    "process 1 on host",
    5.0,
    {"journal-0000.mcj": StoredFile(7, 0, "ab12", 4, [1, 2]), "summary.json": StoredFile(3, 9)},
)


def test_it_comes_back_as_it_was():
    """Also its objects' names."""
    assert Manifest.from_json(WHOLE.to_json()) == WHOLE
    assert WHOLE.objects() == {"journal-0000.mcj.ab12.000000", "journal-0000.mcj.ab12.000001", "summary.json"}


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "a/../../b", "", "a//b", "a\\b", "C:/a", "./a", "a\0"])
def test_a_name_that_leads_elsewhere_is_refused(name):
    """Readers write files of these names."""
    data = json.loads(WHOLE.to_json())
    data["files"][name] = data["files"]["summary.json"]
    with pytest.raises(ValueError, match="is not the manifest of a stored run"):
        Manifest.from_json(json.dumps(data).encode())


@pytest.mark.parametrize(
    "change",
    [
        {"size": -1},
        {"size": 1.5},
        {"segment": 0},
        {"checksums": ["a"]},
        {"checksums": None},
        {"id": "../x"},
        {"id": 3},
        {"new": 1},
    ],
)
def test_an_entry_that_is_damaged_is_refused(change):
    """Before anything is read by it."""
    data = json.loads(WHOLE.to_json())
    data["files"]["journal-0000.mcj"].update(change)
    with pytest.raises(ValueError, match="is not the manifest of a stored run"):
        Manifest.from_json(json.dumps(data).encode())


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b"3", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_manifest_is_said_with_its_address(text):
    """A bucket may hold anything."""
    objects = Objects(located("memory://damaged"))
    objects.write(MANIFEST, text)
    with pytest.raises(ValueError, match=r"memory://damaged/store\.json cannot be read: it is not the manifest"):
        read_manifest(objects)


def test_a_later_format_is_refused():
    """Rather than misread."""
    with pytest.raises(ValueError, match="it is of another format"):
        Manifest.from_json(json.dumps({**json.loads(WHOLE.to_json()), "format": 2}).encode())
