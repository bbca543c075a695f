"""The folder of a run: what ``record=...`` and ``resume=...`` of a `Loop` or an adapter add to its sinks.

Contract. Either adds a `Journal` for the folder, unless there is one among the sinks; earlier runs are kept, and new
ones are appended. Every batch is recorded if another sink records batches. ``resume`` also keeps
checkpoints, and continues; see `monitor_core.loop.resume`. Folders that differ are an error that names both. A folder
may be the address of a store; what resumes a run then works in the local folder that it is recorded in.

A run that is one of several gets a folder of its own inside the given one, so that no two write into the same: a trial
of a study one that is named after it; a task of a SLURM array ``task-<number>``; and a run in a process that was
started during another run, if it is given that run's folder, one that is named after its process.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from monitor_core.bus.bus import Bus
from monitor_core.bus.origin import Origin, new_name, origin_among, parent_run, slurm_task
from monitor_core.loop.resume import Resume
from monitor_core.sinks.journal import Journal
from monitor_core.store.addresses import located


def attach(bus: Bus, *, record: str | PathLike[str] | None, resume: str | PathLike[str] | None) -> Resume | None:
    """Add the sinks that record a bus's runs, and return the object that resumes one.

    Args:
        bus: The bus, with its sinks.
        record: The folder to record in, or its address in a store, or None.
        resume: The folder to record and to continue in, or its address in a store, or None.

    Returns:
        The object that resumes the run, None without ``resume``.

    Raises:
        ImportError: fsspec, or its package for the address, is not installed.
        SetupError: The store refuses to be written, or has no such bucket.
        TypeError: A folder is not a path.
        ValueError: The folders differ, or a `Journal` among the sinks records elsewhere.
    """
    given = {name: value for name, value in (("record", record), ("resume", resume)) if value is not None}
    folders = {name: _checked(name, value) for name, value in given.items()}
    if not folders:
        return None
    if len({each.resolve() for each in folders.values()}) > 1:
        raise ValueError(f"record and resume must name one folder (got record={record!r} and resume={resume!r})")
    option, folder = folders.popitem()
    folder = _own(option, folder, origin_among(bus.sinks))
    journal = _journal_of(bus, option, folder)
    bus.resumption.home = journal.home
    return None if resume is None else Resume(bus, journal.home, prepare=journal.prepare)


def _checked(name: str, folder: object) -> Path:
    if not isinstance(folder, (str, PathLike)):
        raise TypeError(f"{name} must be the path of the run's folder (got {folder!r})")
    return located(folder).absolute()  # so that a later chdir does not move it


def _own(option: str, folder: Path, origin: Origin | None) -> Path:
    """Return the folder of a run that is one of several; else the given one."""
    if origin is not None and origin.name is not None:
        return folder / origin.name
    if (task := slurm_task()) is not None and task.name is not None:
        folder /= task.name
    parent = parent_run()
    if parent is None or parent.folder is None or located(parent.folder).resolve() != folder.resolve():
        return folder
    if option == "resume":
        raise ValueError(
            f"resume must not be the folder of a run that is open in the process that started this one (got "
            f"{str(folder)!r}): pass a folder inside it, the same each time"
        )
    return folder / new_name()


def _journal_of(bus: Bus, option: str, folder: Path) -> Journal:
    """Return the journal for a folder, which is added unless there is one."""
    journals = [sink for sink in bus.sinks if isinstance(sink, Journal)]
    for journal in journals:
        if journal.folder.resolve() != folder.resolve():
            raise ValueError(
                f"{option} and Journal must name one folder (got {option}={str(folder)!r} and "
                f"Journal({str(journal.folder)!r})): leave one of them out"
            )
    if not journals:
        journals.append(Journal(folder, per_batch=bus.has_listeners("on_block")))
        bus.add(journals[0])
    return journals[0]
