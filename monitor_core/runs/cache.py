"""The cache of summaries in the user's cache folder, so that a thousand runs are listed without reading them again.

Contract. A cache that cannot be read or written is as none, and so is a line of it whose checksum is wrong. Entries are
valid for files of the same path, size and time.

A line is an entry: its path, its checksum and what is known, in JSON, which has no tabs. Only the entries that are
asked for are parsed. They are not checked as a `Summary` that is read is: what was written had been.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import attrs

from monitor_core.files.replacing import replacing
from monitor_core.files.user_folders import cache_folder
from monitor_core.journal.summary import BestValue, Summary

_FIELDS = tuple(attrs.fields_dict(Summary))
_BEST = _FIELDS.index("best")
_HEAD = f"monitor_core runs 4: {' '.join([*_FIELDS, *attrs.fields_dict(BestValue)])}"
"""The first line: a release whose summaries have other members cannot read the others."""
_LIMIT = 50_000
"""How many runs are remembered; of more, those that were used first are forgotten."""

_PATIENCE = 20
Stats = Sequence[tuple[str, int, int]]


def cache_file() -> Path:
    """Return where the cache is, in the user's cache folder."""
    return cache_folder() / "runs.tsv"


def _key(path: Path) -> str:
    return json.dumps(str(path if path.is_absolute() else path.absolute()))


def _checksum(key: str, text: str) -> str:
    return f"{crc32(text.encode('ascii'), crc32(key.encode('ascii'))):08x}"


def _packed(summary: Summary) -> list[Any]:
    """Return a summary's members, cut as in its JSON; without their names, which take half the time to parse."""
    data = json.loads(summary.to_json())
    data["best"] = {name: list(best.values()) for name, best in data["best"].items()}
    return [data[name] for name in _FIELDS]


def _unpacked(members: list[Any]) -> Summary:
    summary = Summary(*members)
    summary.last = {name: float(value) for name, value in summary.last.items()}
    summary.best = {name: BestValue(float(value), *others) for name, (value, *others) in members[_BEST].items()}
    return summary


class _Entry(NamedTuple):
    """What is known of a path: its files, the members of its summary, when it was read and how long that took."""

    files: list[list[Any]]
    summary: list[Any] | None
    read: float = 0.0
    seconds: float = 0.0

    def has(self, stats: Stats) -> bool:
        return self.files == [list(each) for each in stats]

    def is_recent(self) -> bool:
        return self.summary is not None and 0 <= time.time() - self.read < _PATIENCE * self.seconds


class Cache:
    """Summaries by folder.

    Args:
        file: The file; None: the user's.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._lines: dict[str, str] = {}
        self._changed = False
        try:
            self._file = cache_file() if file is None else file
            head, *lines = self._file.read_text("ascii").splitlines()
            if head == _HEAD:
                self._lines = dict(line.split("\t", 1) for line in lines)
        except (OSError, ValueError, RuntimeError):
            return

    def get(self, folder: Path, stats: Stats) -> Summary | None:
        """Return a folder's summary, None if its files have changed or are not known."""
        entry = self._entry(folder)
        if entry is None or entry.summary is None or not (entry.has(stats) or entry.is_recent()):
            return None
        return _unpacked(entry.summary)

    def is_none(self, path: Path, stats: Stats) -> bool:
        """Return whether it is known that these files have no summary."""
        entry = self._entry(path)
        return entry is not None and entry.summary is None and entry.has(stats)

    def _entry(self, path: Path) -> _Entry | None:
        key = _key(path)
        checksum, _, text = self._lines.get(key, "").partition("\t")
        return _Entry(*json.loads(text)) if text and checksum == _checksum(key, text) else None

    def put(self, folder: Path, stats: Stats, summary: Summary | None, *, seconds: float = 0.0) -> None:
        """Remember a folder's summary, or that it has none.

        Args:
            folder: The folder, or the file.
            stats: Its files.
            summary: The summary; None for none.
            seconds: How long it took to read. For `_PATIENCE` times as long it is taken as it is, also if the files
                have changed since: a long log that grows is not read all the time.
        """
        members = None if summary is None else _packed(summary)
        entry = [[list(each) for each in stats], members, *([time.time(), seconds] if seconds else [])]
        key, text = _key(folder), json.dumps(entry, separators=(",", ":"))
        self._lines[key] = f"{_checksum(key, text)}\t{text}"
        self._changed = True

    def save(self) -> None:
        """Write what has changed, if it can be written."""
        if not self._changed or self._file is None:
            return
        lines = [f"{key}\t{line}" for key, line in list(self._lines.items())[-_LIMIT:]]
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with replacing(self._file) as temporary:
                temporary.write_text("\n".join([_HEAD, *lines]), encoding="ascii", newline="\n")
        except OSError:
            return
