"""Copying from a store: the record of a run for readers, or its whole folder to record on; and the summaries of many.

Contract. A reader's copy is in the user's cache folder; it has the journals and the summary, and gets only what is new
since it was made. It may be removed at any time, and is, 30 days after it was read last, when another one is made. What
is read at once of a journal is some megabytes.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from monitor_core.files.ownership import LOCK_PREFIX, OwnedError, Ownership
from monitor_core.files.replacing import replacing
from monitor_core.files.user_folders import cache_folder
from monitor_core.store.addresses import StorePath
from monitor_core.store.manifest import MANIFEST, Manifest, StoredFile, read_manifest
from monitor_core.store.objects import Objects
from monitor_core.store.spool import belongs_to_store, folder_name, is_spool

SUMMARY = "summary.json"
DEPTH = 8
"""How many levels below an address runs are found."""
_AT_ONCE = 8
_READS = 3
"""How often a manifest is read again because an object that it names has gone."""
_WAIT_SECONDS = 30.0
_KEPT_SECONDS = 30 * 24 * 3600.0
"""How long a copy is kept after it was read last."""
_ABOUT = ".copy.json"
"""What a copy has of the store; its time is when the copy was read last."""
_PRIVATE = 0o600


def fetched(address: StorePath) -> Path:
    """Return the folder of a reader's copy of a run's record, as the store has it now.

    Raises:
        FileNotFoundError: There is no run at the address.
        ImportError: fsspec, or its package for this protocol, is not installed.
        OSError: The store, or the copy, cannot be read.
        ValueError: The protocol is unknown, or what is there is not a run.
    """
    objects = Objects(address)
    folder = cache_folder() / "stores" / folder_name(address)
    manifest = read_manifest(objects)
    if manifest is None:
        raise FileNotFoundError(errno.ENOENT, "there is no recorded run", str(address))
    is_new = not folder.exists()
    with _Alone(folder):
        fetch(objects, manifest, folder, wanted=lambda name, file: bool(file.id) or name == SUMMARY)
        with suppress(OSError):
            os.utime(folder / _ABOUT)
    if is_new:
        with suppress(OSError):
            _remove_old(folder.parent)
    return folder


def _remove_old(copies: Path) -> None:
    """Remove the copies that were not read for a long time, but those that another process fetches."""
    for folder in copies.iterdir():
        with suppress(OSError):
            if _is_old(folder):
                try:
                    with _Alone(folder, wait=0.0):
                        if _is_old(folder):  # still, now that no other process changes it
                            _empty(folder)
                finally:
                    folder.rmdir()  # if it is empty


def _is_old(folder: Path) -> bool:
    """Return whether a folder is a copy that was not read for a long time; raises if it is not one."""
    read = (folder / _ABOUT).lstat().st_mtime
    return not folder.is_symlink() and not is_spool(folder) and time.time() - read > _KEPT_SECONDS


def _empty(folder: Path) -> None:
    """Remove what is in a copy but its lock, last what says that it is one."""
    inside = sorted(folder.iterdir(), key=lambda path: path.name == _ABOUT)
    for path in inside:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif not path.name.startswith(LOCK_PREFIX):
            path.unlink()


def fetch(
    objects: Objects, manifest: Manifest, folder: Path, wanted: Callable[[str, StoredFile], bool] = lambda *_: True
) -> Manifest:
    """Bring a folder's files up to date with a store; return the manifest that they are of.

    Args:
        objects: The objects.
        manifest: The manifest.
        folder: The folder, which no other process changes.
        wanted: Whether a file is wanted, by its name and entry.

    Raises:
        OSError: The store, or the folder, cannot be read or written.
        ValueError: The manifest is damaged.
    """
    for attempt in range(_READS):
        try:
            _fetch(objects, manifest, folder, wanted)
        except FileNotFoundError:
            again = read_manifest(objects)
            if again is None or attempt + 1 == _READS:
                raise
            manifest = again
        else:
            break
    return manifest


def _fetch(objects: Objects, manifest: Manifest, folder: Path, wanted: Callable[[str, StoredFile], bool]) -> None:
    known = _known(folder)
    now = {name: _state(file) for name, file in manifest.files.items() if belongs_to_store(name) and wanted(name, file)}
    for name in known.keys() - now.keys():
        with suppress(FileNotFoundError):
            (folder / name).unlink()
    done = {name: state for name, state in known.items() if name in now}
    try:
        for name, state in now.items():
            path, file = folder / name, manifest.files[name]
            if done.get(name) == state and path.exists():
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            if file.id:
                _extend(objects, name, file, path, is_same=done.get(name, [""])[0] == file.id)
            else:
                _replace(objects, name, file, path)
            done[name] = state
    finally:
        if done != known:
            with replacing(folder / _ABOUT) as temporary:
                temporary.write_text(json.dumps(done), encoding="ascii")


def _extend(objects: Objects, name: str, file: StoredFile, path: Path, *, is_same: bool) -> None:
    """Add to a file what its segments have more; the last one may have become longer since the manifest."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), _PRIVATE)
    with open(descriptor, "r+b") as target:  # noqa: PTH123
        if not is_same:
            target.truncate(0)
        number = min(target.seek(0, os.SEEK_END) // file.segment, max(len(file.checksums) - 1, 0))
        while number < len(file.checksums):
            numbers = range(number, min(number + _AT_ONCE, len(file.checksums)))
            for each, data in zip(numbers, _read(objects, [file.object(name, each) for each in numbers]), strict=True):
                target.seek(each * file.segment)
                target.write(data)
            number = numbers.stop
        target.truncate()  # what the store has taken back, of a record that was torn


def _replace(objects: Objects, name: str, file: StoredFile, path: Path) -> None:
    with replacing(path) as temporary:
        objects.download(name, temporary)
        os.utime(temporary, ns=(file.modified, file.modified))


def _read(objects: Objects, names: Iterable[str]) -> list[bytes]:
    found = []
    for each in objects.read_all(names):
        if isinstance(each, BaseException):
            raise each
        found.append(each)
    return found


def _state(file: StoredFile) -> list[Any]:
    return [file.id, file.size, file.checksums[-1] if file.checksums else 0, file.modified]


def _known(folder: Path) -> dict[str, list[Any]]:
    """Return which state of each file a copy has."""
    try:
        data = json.loads((folder / _ABOUT).read_bytes())
        return {str(name): list(state) for name, state in data.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


class _Alone:
    """Keeps the threads and processes that read one run from changing its copy at the same time; makes the folder.

    Args:
        folder: The folder of the copy.
        wait: How many seconds to wait for other processes.
    """

    _within = threading.Lock()

    def __init__(self, folder: Path, *, wait: float = _WAIT_SECONDS) -> None:
        self._folder, self._wait = folder, wait
        self._ownership = Ownership(Path(os.path.realpath(folder)) / _ABOUT)

    def __enter__(self) -> None:
        self._within.acquire()
        deadline = time.monotonic() + self._wait
        try:
            while True:
                try:
                    self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                    self._ownership.take()
                    if self._folder.exists():  # else it was removed, as an old one, before it was taken
                        return
                except OwnedError:
                    if time.monotonic() >= deadline:
                        raise
                    time.sleep(0.05)
        except BaseException:
            self._within.release()
            raise

    def __exit__(self, *_: object) -> None:
        self._ownership.free()
        self._within.release()


def is_run(address: StorePath) -> bool:
    """Return whether there is a run at an address; raises as `fetched` does."""
    return read_manifest(Objects(address)) is not None


class StoredSummary(NamedTuple):
    """Where a run's summary is.

    Attributes:
        path: The run's address.
        version: What changes when the summary does.
        size: How many bytes it has.
    """

    path: StorePath
    version: str
    size: int


class StoredRuns:
    """The runs at an address and below it.

    Args:
        address: The address.

    Raises:
        FileNotFoundError: There is nothing at the address.
        ImportError: fsspec, or its package for this protocol, is not installed.
        OSError: The store cannot be read.
        ValueError: The protocol is unknown.
    """

    def __init__(self, address: StorePath) -> None:
        self._objects = Objects(address)
        found = self._objects.find()
        if not found and not self._objects.exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(address))
        self.summaries: list[StoredSummary] = []
        for name, about in found.items():
            folder, _, last = name.rpartition("/")
            if last == MANIFEST and name.count("/") <= DEPTH:
                summary = f"{folder}/{SUMMARY}" if folder else SUMMARY
                about = found.get(summary, {})  # noqa: PLW2901 (of the summary next to it)
                path = address / folder if folder else address
                self.summaries.append(StoredSummary(path, _version(about), int(about.get("size") or 0)))

    def read(self, summaries: list[StoredSummary]) -> list[bytes | Exception]:
        """Return what summaries hold, or what reading each raised."""
        begin = len(self._objects.address.parts)
        names = ["/".join([*each.path.parts[begin:], SUMMARY]) for each in summaries]
        return self._objects.read_all(names)


def _version(about: dict[str, Any]) -> str:
    times = (about.get(key) for key in ("ETag", "etag", "LastModified", "mtime", "last_modified", "updated", "created"))
    return " ".join(str(each) for each in times if each is not None)
