"""The manifest of a run in a store: which files it has, and of which objects they are made.

Contract. It is one small object of a known name, and is replaced after the objects that it names were written. So a
reader that follows it needs no listing, and finds a state of the run's folder in which every file that another one
names is there. Objects that a manifest names are never changed, with two exceptions: a file that is replaced, and the
last segment of a file that grows, which only gets longer. Who writes to a run has a generation; a writer that finds a
later one stops, so that two machines that record to one address do not spoil each other's record.
"""

from __future__ import annotations

import json
import time
from typing import Any

import attrs

from monitor_core.store.objects import Objects

MANIFEST = "store.json"
SEGMENT_BYTES = 1 << 20
"""How many bytes a closed segment has. The last one, which is shorter, is uploaded again when the file has grown: what
is uploaded and kept in memory at a time is at most this."""
_FORMAT = 1


@attrs.define
class StoredFile:
    """A file as it is in the store.

    Attributes:
        size: How many bytes it has.
        modified: When it was modified, nanoseconds since 1970; 0 for one that grows.
        id: Of a file that grows, what its segments are called by; "" for one that is replaced, a single object.
        segment: How many bytes its closed segments have.
        checksums: The CRC-32 of each segment.
    """

    size: int = 0
    modified: int = 0
    id: str = ""
    segment: int = SEGMENT_BYTES
    checksums: list[int] = attrs.field(factory=list)

    @property
    def closed(self) -> int:
        """How many closed segments it has."""
        return self.size // self.segment

    def objects(self, name: str) -> list[str]:
        """Return the names of its objects, in order."""
        return [self.object(name, number) for number in range(len(self.checksums))] if self.id else [name]

    def object(self, name: str, number: int) -> str:
        """Return the name of a segment's object."""
        return f"{name}.{self.id}.{number:06d}"


@attrs.define
class Manifest:
    """What a store holds of a run.

    Attributes:
        spool: The id of the spool that it is uploaded from.
        generation: How many spools there were.
        writer: The process that wrote it, human-readable.
        time: When, seconds since 1970 by that process's clock.
        files: The files, by name.
    """

    spool: str
    generation: int = 1
    writer: str = ""
    time: float = attrs.field(factory=time.time)
    files: dict[str, StoredFile] = attrs.field(factory=dict)

    def objects(self) -> set[str]:
        """Return the names of all objects of the files."""
        return {each for name, file in self.files.items() for each in file.objects(name)}

    def to_json(self) -> bytes:
        """Return it as JSON."""
        return json.dumps({"format": _FORMAT, **attrs.asdict(self)}, separators=(",", ":")).encode("ascii")

    @classmethod
    def from_json(cls, text: bytes) -> Manifest:
        """Return what `to_json` wrote.

        Raises:
            ValueError: It is not a manifest of this format.
        """
        try:
            data = _of_this_format(json.loads(text))
            files = {_checked_name(name): _checked_file(StoredFile(**file)) for name, file in data["files"].items()}
            return cls(str(data["spool"]), int(data["generation"]), str(data["writer"]), float(data["time"]), files)
        except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
            raise ValueError(f"it is not the manifest of a stored run ({error})") from None


def _of_this_format(data: dict[str, Any]) -> dict[str, Any]:
    if data.pop("format") != _FORMAT:
        raise ValueError("it is of another format")
    return data


def _checked_name(name: str) -> str:
    """Return a file's name if it leads nowhere else."""
    parts = name.split("/")
    if "\\" in name or "\0" in name or ":" in parts[0] or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{name!r} is not the name of a file in a run's folder")
    return name


def _checked_file(file: StoredFile) -> StoredFile:
    numbers = [file.size, file.modified, file.segment, *file.checksums]
    if not all(type(each) is int and each >= 0 for each in numbers) or not file.segment or not isinstance(file.id, str):
        raise ValueError("a file's entry is damaged")
    if file.id and not file.id.isalnum():
        raise ValueError("a file's id is damaged")
    return file


def read_manifest(objects: Objects) -> Manifest | None:
    """Return a run's manifest, None if there is none.

    Raises:
        OSError: It cannot be read.
        ValueError: It is none.
    """
    try:
        text = objects.read(MANIFEST)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return Manifest.from_json(text)
    except ValueError as error:
        raise ValueError(f"{objects.address}/{MANIFEST} cannot be read: {error}") from None
