"""Uploading what is new in a spool, one round at a time.

Contract. Any exception may end a round at any point, and the process may be killed: the store then holds what it held
after the last manifest, and a later round, also of another process, continues from there.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Iterator
from hashlib import sha256
from zlib import crc32

import attrs

from monitor_core.errors import MonitorError
from monitor_core.store.manifest import MANIFEST, SEGMENT_BYTES, Manifest, StoredFile, read_manifest
from monitor_core.store.objects import Objects
from monitor_core.store.spool import Spool, SpooledFile

_SEGMENTS = 16
"""After how many segments the manifest is written, so that a kill while much is uploaded costs little."""
_SCANS = 3
"""How often files are looked for again because one was removed meanwhile."""


class TakenError(MonitorError, RuntimeError):
    """Another spool has taken the address over; the message says which."""


@attrs.frozen
class Left:
    """What of a spool is not in the store yet.

    Attributes:
        files: How many files have something.
        bytes: How many bytes they have.
    """

    files: int = 0
    bytes: int = 0

    def __bool__(self) -> bool:
        """Return whether there is anything."""
        return self.files > 0

    def __str__(self) -> str:
        """Return it as text."""
        size = f"{self.bytes / 1e6:.1f} MB" if self.bytes >= 1e5 else f"{self.bytes} bytes"
        return f"{size} of {self.files} file{'' if self.files == 1 else 's'}"


class Uploader:
    """Uploads from a spool to its store.

    Args:
        spool: The spool, which has been made.
        objects: The objects at its address.

    Attributes:
        objects: The objects at its address.
        stored: The manifest in the store, None as long as it is not known or there is none.
    """

    def __init__(self, spool: Spool, objects: Objects) -> None:
        self._spool = spool
        self.objects = objects
        self.stored: Manifest | None = None
        self._draft: Manifest | None = None
        self._seen: dict[str, tuple[int, int]] = {}

    def look(self) -> None:
        """Read the manifest in the store.

        Raises:
            TakenError: It is of another spool.
        """
        found, draft = read_manifest(self.objects), self._draft
        if found is not None and found.spool != self._spool.id:
            if draft is None or found.generation >= draft.generation:
                raise TakenError(f"{found.writer or 'another process'} records to {self._spool.address} now")
            self.stored = None  # it is of one that was taken over, and wrote it last
            return
        if draft is None or found != self.stored:  # of a process before, or removed
            generation = 1 if draft is None else draft.generation
            self._draft = Manifest(self._spool.id, generation) if found is None else _copied(found)
            self._seen.clear()
        self.stored = found

    def take_over(self, found: Manifest) -> None:
        """Make the store's record this spool's own, which has its files."""
        self._draft = Manifest(self._spool.id, found.generation + 1, files=dict(found.files))
        self._commit(self._draft)

    def round(self, *, verify: bool = False) -> None:
        """Upload what is new.

        Args:
            verify: Whether to compare what was uploaded with the files, by checksums.

        Raises:
            TakenError: Another spool has taken the address over.
            Exception: Whatever the store raises.
        """
        if not self._spool.is_there:  # else what is recorded again from the middle on would replace what is stored
            raise OSError(errno.ENOENT, f"the run's local folder was removed: {self._spool.folder}")
        self.look()
        draft = self._draft
        assert draft is not None  # noqa: S101 - `look` has made it
        for attempt in range(_SCANS):
            files = self._spool.files()
            try:
                for file in files:
                    self._upload(draft, file, verify)
                break
            except FileNotFoundError as error:
                if attempt + 1 == _SCANS or not str(error.filename).startswith(str(self._spool.folder)):
                    raise
        self._forget(draft, {file.name for file in files})
        if self.stored is None or draft.files != self.stored.files:
            self._commit(draft)

    def left(self) -> Left:
        """Return what is not in the store yet, as far as its last manifest says.

        Raises:
            OSError: The spool cannot be read.
        """
        stored = {} if self.stored is None else self.stored.files
        missing = []
        for file in self._spool.files():
            known = stored.get(file.name)
            if known is None or not file.grows:
                if known is None or (known.size, known.modified) != (file.size, file.modified):
                    missing.append(file.size)
            elif file.size != known.size:
                missing.append(max(file.size - known.size, 0))
        return Left(len(missing), sum(missing))

    def _upload(self, draft: Manifest, file: SpooledFile, verify: bool) -> None:
        if file.grows:
            self._extend(draft, file, verify)
            return
        known = draft.files.get(file.name)
        if known is not None and (known.size, known.modified) == (file.size, file.modified):
            return
        if file.data is None:
            size = self.objects.upload(file.name, file.path)
        else:
            self.objects.write(file.name, file.data)
            size = len(file.data)
        draft.files[file.name] = StoredFile(size, file.modified)

    def _extend(self, draft: Manifest, file: SpooledFile, verify: bool) -> None:
        """Upload the segments that a growing file has got, and the last one again."""
        place = file.size, file.modified
        if not verify and self._seen.get(file.name) == place:
            return
        known = draft.files.get(file.name)
        if known is None or (verify and not _begins_with(file, known)) or file.size < known.closed * known.segment:
            before = "" if known is None else known.id
            known = StoredFile(id=_id(self._spool.id, file.name, before), segment=SEGMENT_BYTES)
        stored = attrs.evolve(known, checksums=list(known.checksums))
        draft.files[file.name] = stored
        for count, (number, data) in enumerate(_open_segments(file, stored), 1):
            checksum = crc32(data)
            if stored.checksums[number:] != [checksum]:
                self.objects.write(stored.object(file.name, number), data)
                stored.checksums[number:] = [checksum]
            stored.size = number * stored.segment + len(data)
            if count % _SEGMENTS == 0:
                self._commit(draft)
        self._seen[file.name] = place

    def _forget(self, draft: Manifest, names: set[str]) -> None:
        """Leave out what was removed from the spool; a journal stays in the store."""
        for name in [name for name, file in draft.files.items() if name not in names and not file.id]:
            del draft.files[name]

    def _commit(self, draft: Manifest) -> None:
        """Write the manifest, then remove the objects that it no longer names."""
        before = set() if self.stored is None else self.stored.objects()
        new = attrs.evolve(_copied(draft), writer=_writer(), time=time.time())
        self.objects.write(MANIFEST, new.to_json())
        self.stored = new
        self.objects.remove(before - new.objects())


def _id(*parts: str) -> str:
    """Return what a file's segments are called by: the same after a kill, another for another spool."""
    return sha256("\0".join(parts).encode()).hexdigest()[:8]


def _copied(manifest: Manifest) -> Manifest:
    files = {name: attrs.evolve(file, checksums=list(file.checksums)) for name, file in manifest.files.items()}
    return attrs.evolve(manifest, files=files)


def upload(spool: Spool) -> Left:
    """Upload what an earlier process left in a spool; return what is left of it even so.

    Raises:
        OwnedError: A process uploads from it; the message names it.
        TakenError: Another spool has taken the address over.
        Exception: Whatever the store raises.
    """
    spool.make()
    spool.own()
    try:
        uploader = Uploader(spool, Objects(spool.address))
        uploader.round(verify=True)
        return uploader.left()
    finally:
        spool.free()


def _begins_with(file: SpooledFile, stored: StoredFile) -> bool:
    """Return whether a file has what its closed segments have."""
    with file.path.open("rb") as source:
        return all(crc32(source.read(stored.segment)) == each for each in stored.checksums[: stored.closed])


def _open_segments(file: SpooledFile, stored: StoredFile) -> Iterator[tuple[int, bytes]]:
    """Yield the segments that are not closed yet, as the file has them now, with their numbers."""
    number = stored.closed
    with file.path.open("rb") as source:
        source.seek(number * stored.segment)
        while data := source.read(stored.segment):
            yield number, data
            number += 1
            if len(data) < stored.segment:
                return


def _writer() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"
