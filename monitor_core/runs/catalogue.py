"""The catalogue: the runs and logs below a folder with their summaries, read from as few files as possible.

Contract. What is a log, `monitor_core.runs.logs` says; what is in or below a run's folder belongs to that run. A run's
summary is its ``summary.json`` if that was written after the journal's last record, and is otherwise read from the
journal; of a run in a store, it is always ``summary.json``. What was read is cached by path, size and time of the
files. Folders and files that cannot be read are reported, not raised. Nothing is written but the cache.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from monitor_core.files.csv_table import TooLongError
from monitor_core.journal import provenance
from monitor_core.journal.files import file_number, journal_files
from monitor_core.journal.recorded import read_runs
from monitor_core.journal.summary import SUMMARY_NAME, Summary, main_metric, summary_of
from monitor_core.runs.cache import Cache
from monitor_core.runs.logs import LARGEST, MOST_EPOCHS, FoundLog, LogFinder
from monitor_core.store.addresses import StorePath, located
from monitor_core.values.html import card, table
from monitor_core.values.text import format_value

if TYPE_CHECKING:
    from monitor_core.store.fetching import StoredRuns

_SLACK_NS = 2_000_000_000
"""How much older than the journal an ended run's summary may be: file systems round times."""
RUN = "run"
_DEPTH = 8
_SHOWN = 100
"""How many runs a notebook shows at most."""


@attrs.frozen
class FoundRun:
    """A run that was found.

    Attributes:
        path: What `open_run` opens: the run's folder, or a log.
        summary: Its last run's summary. A log's status is ``"unknown"``; its time is the file's if it has no times.
        problem: Why it was not read, human-readable, or None; the summary is then empty, and its status ``"unknown"``.
        kind: ``"run"``, or what kind of log it is: ``"CSV log"``, ``"history"`` or ``"event files"``.
    """

    path: Path
    summary: Summary
    problem: str | None = None
    kind: str = RUN

    @property
    def time(self) -> float:
        """When it began, or when a log without times was written, seconds since 1970; 0.0 if that is not known."""
        return self.summary.begun or (0.0 if self.kind == RUN else self.summary.time)

    @property
    def status(self) -> str:
        """As in its summary; of a run that could not be read, ``"damaged"``."""
        return "damaged" if self.problem is not None and self.kind == RUN else self.summary.status

    def name_in(self, folder: Path) -> str:
        """Return its path below a folder; of the folder itself its name."""
        path, above = str(self.path), str(folder)  # as text: asked of many runs, and slow with a path's parts
        if path == above:
            return self.path.resolve().name
        return (path if above == "." else path[len(above) :]).replace(os.sep, "/").lstrip("/")


class FoundRuns(list[FoundRun]):
    """Runs that were found: a list that a notebook shows as a table.

    Attributes:
        unread: The folders that could not be read, and the files that may be logs and could not, each with the reason.
    """

    def __init__(self, runs: Iterable[FoundRun] = (), unread: Mapping[Path, str] | None = None) -> None:
        super().__init__(runs)
        self.unread = dict(unread or {})

    def _repr_html_(self) -> str:
        """Return the table."""
        rows = [_shown(run) for run in self[:_SHOWN]]
        lines = [f"{len(self)} runs"] + ([f"the first {_SHOWN} of them"] if len(self) > _SHOWN else [])
        lines += [f"{path} cannot be read: {reason}" for path, reason in self.unread.items()]
        return card(
            "Recorded runs", lines, table(("run", "status", "epochs", "steps", "best", ""), rows, right=(2, 3, 5))
        )


def _shown(run: FoundRun) -> tuple[object, ...]:
    summary = run.summary
    if run.problem is not None:
        return run.path, run.problem, "", "", "", ""
    best = main_metric(summary)
    values = ("", "") if best is None else (best[0], format_value(best[1].value))
    status = summary.status if run.kind == RUN else f"{summary.status}, {run.kind}"
    return run.path, status, summary.epochs, summary.step, *values


def find_runs(folder: str | PathLike[str], *, cache: Path | None = None) -> FoundRuns:
    """Return the runs and logs in a folder and below it, in the order in which they began, as a list.

    Args:
        folder: The folder; itself a run's, or one with runs or logs below it, at most eight levels deep. Or the address
            of one in a store, which has runs alone.
        cache: The file of the cache; None: in the user's cache folder.

    Raises:
        FileNotFoundError: There is no such folder.
        ImportError: The package for the address is not installed.
        OSError: It cannot be read.

    Example:
        >>> for run in find_runs("runs"):
        ...     print(run.path, run.summary.status, run.summary.best)
    """
    root, known, unread = located(folder), Cache(cache), {}
    if isinstance(root, StorePath):
        from monitor_core.store.fetching import StoredRuns  # here and below, not before: folders need none of it

        found = _stored(StoredRuns(root), known)
    else:
        os.listdir(root)  # raises where it cannot be read  # noqa: PTH208
        finder = LogFinder()
        found = [_found(path, journals, known) for path, journals in _folders(root, _DEPTH, finder)]
        found += [run for log in finder.logs() if (run := _found_log(log, known)) is not None]
        unread = {path: why(error) for path, error in sorted(finder.unread.items())}
    known.save()
    found.sort(key=lambda run: str(run.path))
    found.sort(key=lambda run: run.time)
    return FoundRuns(found, unread)


def run_paths(paths: Iterable[str | PathLike[str]]) -> list[Path]:
    """Return paths that `open_run` opens: a folder without a record stands for the runs in it and below it.

    If there are none, it stands for the logs; next to runs they may be of the same trainings.

    Raises:
        FileNotFoundError: There is no such path, or it is a folder without runs and logs.
        OSError: A folder cannot be read.
    """
    found: list[Path] = []
    for path in map(located, paths):
        if isinstance(path, StorePath):
            from monitor_core.store.fetching import StoredRuns, is_run

            found += [path] if is_run(path) else sorted(each.path for each in StoredRuns(path).summaries) or [path]
            continue
        path.stat()  # raises if it is not there
        found += [path] if not path.is_dir() or journal_files(path) else _below(path)
    return found


def _below(folder: Path) -> list[Path]:
    """Return what a folder stands for: the runs in it, or else the logs; itself if it is one."""
    finder = LogFinder()
    runs = [each for each, _ in _folders(folder, _DEPTH, finder)]
    if runs:
        return sorted(runs)
    known = Cache(None)
    logs = [log.path for log in finder.logs() if _found_log(log, known) is not None]
    known.save()
    if folder in finder.unread:
        raise finder.unread[folder]
    if not logs:
        raise FileNotFoundError(errno.ENOENT, "neither a journal nor a log is in it or below it", str(folder))
    return [folder] if folder in logs else sorted(logs)


def _folders(
    folder: str | PathLike[str], depth: int, finder: LogFinder, *, is_of_run: bool = False
) -> Iterator[tuple[Path, list[os.DirEntry[str]]]]:
    """Yield each folder with journals, and the journals; show a finder of logs the files that are of no run."""
    try:
        with os.scandir(folder) as entries:
            inside = list(entries)
    except OSError as error:
        finder.unread[Path(folder)] = error
        return
    journals = [each for each in inside if file_number(each.name) is not None and _is_file(each)]
    if journals:
        yield Path(folder), journals
    is_of_run = is_of_run or bool(journals)
    if not is_of_run:
        finder.look(Path(folder), inside)
    if depth:
        for entry in inside:
            if not entry.name.startswith(".") and _is_folder(entry):
                yield from _folders(entry.path, depth - 1, finder, is_of_run=is_of_run)


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _stat(entry: os.DirEntry[str]) -> tuple[str, int, int]:
    found = entry.stat()
    return entry.name, found.st_size, found.st_mtime_ns


def _found(path: Path, journals: list[os.DirEntry[str]], cache: Cache) -> FoundRun:
    try:
        stats = sorted(map(_stat, journals))
        summary = cache.get(path, stats)
        if summary is None:
            summary = _written(path, stats) or _read(path)
            cache.put(path, stats, summary)
        if summary.status == "running" and summary.stop_reason is not None and _status(summary) == "killed":
            summary = _read(path)  # which knows whether it was stopped before its process ended
            cache.put(path, stats, summary)
    except (OSError, ValueError) as error:
        return FoundRun(path, Summary(status="unknown"), why(error))
    return FoundRun(path, _now(summary))


def why(error: Exception) -> str:
    """Return why something was not read, in a few words."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[:1].lower() + error.strerror[1:]
    return str(error) or type(error).__name__


def _found_log(log: FoundLog, cache: Cache) -> FoundRun | None:
    """Return a log with its summary, None if it is not a training's."""
    if cache.is_none(log.path, log.stats):
        return None
    if (summary := cache.get(log.path, log.stats)) is None:
        unread = partial(FoundRun, log.path, Summary(status="unknown", time=log.time), kind=log.kind)
        if log.size > LARGEST:
            return unread(f"it has {log.size / 1e6:,.0f} MB; {LARGEST / 1e6:.0f} are read for a list")
        began = time.monotonic()
        try:
            summary = log.summary()
        except TooLongError:
            return unread(f"it has more than {MOST_EPOCHS:,} epochs; as many are read for a list")
        except (ImportError, OSError) as error:
            return unread(why(error))
        cache.put(log.path, log.stats, summary, seconds=time.monotonic() - began)
    return None if summary is None else FoundRun(log.path, summary, kind=log.kind)


def _stored(runs: StoredRuns, cache: Cache) -> list[FoundRun]:
    """Return the runs in a store, by their summaries alone."""
    found, unknown = {}, []
    for each in runs.summaries:
        summary = cache.get(each.path, [(each.version, each.size, 0)])
        if summary is None:
            unknown.append(each)
        else:
            found[each.path] = FoundRun(each.path, _now(summary))
    for each, text in zip(unknown, runs.read(unknown), strict=True):
        found[each.path] = _of_text(each.path, text)
        if found[each.path].problem is None:
            cache.put(each.path, [(each.version, each.size, 0)], found[each.path].summary)
    return list(found.values())


def _of_text(path: Path, text: bytes | Exception) -> FoundRun:
    if isinstance(text, Exception):
        is_gone = isinstance(text, FileNotFoundError)  # whose text in a store is a path alone
        return FoundRun(path, Summary(status="unknown"), f"it has no {SUMMARY_NAME}" if is_gone else why(text))
    try:
        summary = Summary.from_json(text)
    except ValueError as error:
        return FoundRun(path, Summary(status="unknown"), why(error))
    return FoundRun(path, _now(summary))


def _written(path: Path, stats: Iterable[tuple[str, int, int]]) -> Summary | None:
    """Return the summary that the run wrote, if it wrote it after its last record."""
    file = path / SUMMARY_NAME
    if not file.is_file():
        return None
    try:
        age = max(time for _, _, time in stats) - file.stat().st_mtime_ns
        summary = Summary.from_json(file.read_bytes())
    except (OSError, ValueError):
        return None
    return summary if age <= (0 if summary.status == "running" else _SLACK_NS) else None


def _read(path: Path) -> Summary:
    runs, damage = read_runs(path)
    if not runs and (lasting := [each for each in damage if not each.unfinished]):
        raise ValueError(lasting[0].reason)
    if not runs:
        return Summary(status="unknown")
    return Summary.from_json(summary_of(runs[-1]).to_json())  # cut as one that was written


def _now(summary: Summary) -> Summary:
    """Return a summary with the status as it is now."""
    status = _status(summary)
    return summary if status == summary.status else attrs.evolve(summary, status=status)


def _status(summary: Summary) -> str:
    """Return the status as it is now: a run that was running may have been killed."""
    if summary.status not in ("running", "killed", "unknown"):
        return summary.status
    return {True: "running", False: "killed", None: "unknown"}[provenance.is_alive(summary.process)]
