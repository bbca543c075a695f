"""The cache of summaries in the user's cache folder, so that a thousand runs are listed without reading them again.

Contract. A cache that cannot be read or written is as none. Entries are valid for files of the same path, size and
time.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monitor_core.files.replacing import replacing
from monitor_core.files.user_folders import cache_folder
from monitor_core.journal.summary import Summary

_FORMAT = 3
_LIMIT = 50_000
"""How many runs are remembered; of more, those that were used first are forgotten."""

_PATIENCE = 20
Stats = Sequence[tuple[str, int, int]]


def cache_file() -> Path:
    """Return where the cache is, in the user's cache folder."""
    return cache_folder() / "runs.json"


def _has(entry: dict[str, Any], stats: Stats) -> bool:
    return bool(entry["files"] == [list(each) for each in stats])


def _is_recent(entry: dict[str, Any]) -> bool:
    read, seconds = entry.get("read", (0.0, 0.0))
    return bool(entry["summary"] is not None and 0 <= time.time() - read < _PATIENCE * seconds)


class Cache:
    """Summaries by folder.

    Args:
        file: The file; None: the user's.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._entries: dict[str, Any] = {}
        self._changed = False
        try:
            self._file = cache_file() if file is None else file
            data = json.loads(self._file.read_bytes())
            if data["format"] == _FORMAT:
                self._entries = dict(data["runs"])
        except (OSError, ValueError, LookupError, TypeError, RuntimeError, RecursionError):
            return

    def get(self, folder: Path, stats: Stats) -> Summary | None:
        """Return a folder's summary, None if its files have changed or are not known."""
        entry = self._entries.get(str(folder.absolute()))
        try:
            if entry is None or not (_has(entry, stats) or _is_recent(entry)):
                return None
            return Summary.from_data(entry["summary"])
        except (ValueError, LookupError, TypeError):
            return None

    def is_none(self, path: Path, stats: Stats) -> bool:
        """Return whether it is known that these files have no summary."""
        entry = self._entries.get(str(path.absolute()))
        try:
            return entry is not None and entry["summary"] is None and _has(entry, stats)
        except (LookupError, TypeError):
            return False

    def put(self, folder: Path, stats: Stats, summary: Summary | None, *, seconds: float = 0.0) -> None:
        """Remember a folder's summary, or that it has none.

        Args:
            folder: The folder, or the file.
            stats: Its files.
            summary: The summary; None for none.
            seconds: How long it took to read. For `_PATIENCE` times as long it is taken as it is, also if the files
                have changed since: a long log that grows is not read all the time.
        """
        data = None if summary is None else json.loads(summary.to_json())
        entry = {"files": [list(each) for each in stats], "summary": data}
        entry |= {"read": [time.time(), seconds]} if seconds else {}
        self._entries[str(folder.absolute())] = entry
        self._changed = True

    def save(self) -> None:
        """Write what has changed, if it can be written."""
        if not self._changed or self._file is None:
            return
        data = {"format": _FORMAT, "runs": dict(list(self._entries.items())[-_LIMIT:])}
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with replacing(self._file) as temporary:
                temporary.write_text(json.dumps(data, separators=(",", ":")), encoding="ascii")
        except OSError:
            return
