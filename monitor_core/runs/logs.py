"""Logs among other files: which of a folder's files are the record of a training that did not record itself.

Contract. A log is what `open_run` opens and, as datasets are CSV and JSON files too, what looks like a training's:

- Event files: a folder with some is one log, together with those in the folders below it. ``train`` and ``validation``
  are parts of the log that they are in.
- A CSV file, ``.csv`` or ``.tsv``, whose first column is ``epoch``, with a whole number below a million in its first
  row, and a number in another column.
- A JSON file of at most 8 MB that `open_run` opens as a history, with a metric whose direction is known, such as
  ``loss``.

Links are not followed. Of a file that is none, its first lines are read at most, or the whole of a JSON file that
begins as a history does. Of a folder with more than a thousand CSV and JSON files, as datasets are, none is looked at.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs

from monitor_core.files.csv_table import TooLongError, is_log
from monitor_core.journal.events import MARK
from monitor_core.journal.imported import CSV, EVENTS, HISTORY, import_runs
from monitor_core.journal.summary import Summary, summary_of

_SUFFIXES = {".csv": CSV, ".tsv": CSV, ".json": HISTORY}
_MOST_FILES = 1_000
_LARGEST_HISTORY = 8_000_000
LARGEST = 16_000_000
"""How many bytes of a log are read for a list."""
MOST_EPOCHS = 300_000
"""How many epochs of a log are read for a list: about three seconds."""
_PARTS = ("train", "validation")
_LINE = 1 << 20
_HISTORY = re.compile(
    rb"""\s*\{\s*"(?:format"\s*:\s*\d+\s*,\s*"runs"   # what History.to_json writes,
    |(?:[^"\\]|\\.)*"\s*:\s*(?:\[\s*[N\d\]In-]        # names with lists of numbers,
    |\{\s*"(?:0"|(?:[^"\\]|\\.)*"\s*:\s*[\[{])))      # with numbered rows, or within another mapping,
    |\s*\[\s*\{[^{}]*?"epoch"\s*:\s*\d               # or a list of mappings with epochs
    """,
    re.VERBOSE,
)

Stats = list[tuple[str, int, int]]
"""The name, size and time of each of a log's files."""


@attrs.frozen
class FoundLog:
    """A log that was found.

    Attributes:
        path: What `open_run` opens: the file, or the folder of event files.
        kind: What it is, as in `monitor_core.journal.run_records.Log`.
        stats: Its files.
    """

    path: Path
    kind: str
    stats: Stats

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return sum(size for _, size, _ in self.stats)

    @property
    def time(self) -> float:
        """When it was last written, seconds since 1970."""
        return max(time for _, _, time in self.stats) / 1e9

    def summary(self) -> Summary | None:
        """Read the log; return the last run's summary, None if it is not a training's log after all.

        Raises:
            ImportError: The tensorboard package, which reads event files, is not installed.
            OSError: It cannot be read.
            TooLongError: It has more than `MOST_EPOCHS` epochs.
        """
        try:
            found = import_runs(self.path, most_epochs=MOST_EPOCHS)
        except TooLongError:
            raise
        except ValueError:
            return None
        runs = [] if found is None else found[0]
        summary = summary_of(runs[-1]) if runs else Summary(status="unknown")
        if self.kind == HISTORY and not summary.best:
            return None
        summary.time = summary.time or self.time
        return Summary.from_json(summary.to_json())  # cut as one that a run wrote


class LogFinder:
    """Finds the logs among files, folder by folder, those above first.

    Attributes:
        unread: The folders and files that may not be read, and why.
    """

    def __init__(self) -> None:
        self.unread: dict[Path, OSError] = {}
        self._files: list[FoundLog] = []
        self._events: dict[Path, Stats] = {}

    def look(self, folder: Path, files: Iterable[os.DirEntry[str]]) -> None:
        """Take the files of a folder."""
        candidates = []
        for each in files:
            kind = EVENTS if MARK in each.name else _SUFFIXES.get(os.path.splitext(each.name)[1].lower())  # noqa: PTH122
            if kind == EVENTS:
                self._events.setdefault(folder, []).extend(_stats(each))
            elif kind is not None and not each.name.startswith("."):
                candidates.append((each, kind))
        if len(candidates) <= _MOST_FILES:
            self._files += [
                FoundLog(folder / each.name, kind, stats)
                for each, kind in candidates
                if (stats := _stats(each)) and self._is_candidate(each, kind)
            ]

    def _is_candidate(self, entry: os.DirEntry[str], kind: str) -> bool:
        """Return whether a file begins as a log does."""
        try:
            if kind == HISTORY and entry.stat().st_size > _LARGEST_HISTORY:
                return False
            with Path(entry.path).open("rb") as file:
                if kind == HISTORY:
                    return _HISTORY.match(file.read(4096)) is not None
                return is_log((file.readline(_LINE) + file.readline(_LINE)).decode("utf-8-sig", "replace"))
        except PermissionError as error:
            self.unread[Path(entry.path)] = error
        except OSError:
            pass
        return False

    def logs(self) -> Iterator[FoundLog]:
        """Yield the logs of all folders, each event file in one of them."""
        yield from self._files
        folders = sorted(self._events)
        roots = {each.parent if each.name in _PARTS else each for each in folders}
        split = {each.parent for each in folders if each.name in _PARTS}
        kept = {each for each in roots if each in split or each.parent not in roots}
        for root in sorted(kept):
            inside = [each for each in folders if each == root or (each.parent == root and each not in kept)]
            stats = [(f"{each.name}/{name}", size, time) for each in inside for name, size, time in self._events[each]]
            if stats:
                yield FoundLog(root, EVENTS, sorted(stats))


def _stats(entry: os.DirEntry[str]) -> Stats:
    """Return the name, size and time of a file; nothing of a folder, a pipe, a link, or what is gone."""
    try:
        found = entry.stat(follow_symlinks=False)
    except OSError:
        return []
    return [(entry.name, found.st_size, found.st_mtime_ns)] if stat.S_ISREG(found.st_mode) else []
