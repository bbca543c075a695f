"""What a run is part of: a run of another process, an array of SLURM's, a study whose trial it is.

Contract. While a recorded run is open, two variables of the environment name it, so that processes that start
meanwhile inherit them, whether they are forked, spawned or other programs. The process that set them ignores them.
Where runs are nested in a process, they name the innermost; after the last, they have their old values again.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import uuid
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

RUN = "MONITOR_CORE_PARENT_RUN"
"""Names the parent run by its id, or by any name: it may be set by hand."""
FOLDER = "MONITOR_CORE_PARENT_FOLDER"
"""The folder of the parent run."""
_REFUSED = re.compile(r"[^\w.-]+")

Named = Mapping[str, str]


@attrs.frozen
class Origin:
    """What a run is part of.

    Attributes:
        parent: The id of the parent run, or the name of a study, an experiment or an array of jobs.
        name: What the run is called there, None if that does not identify it. ``record=`` makes it a folder's name.
        folder: The folder of the parent run, None if there is none.
        config: What was chosen for this run, such as hyperparameters by name.
    """

    parent: str
    name: str | None = None
    folder: Path | None = None
    config: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.define
class _Open:
    """The runs that are open in a process.

    Attributes:
        outer: The variables as they were before the first of them.
        runs: The variables that name each, by id, and what withdraws it when its recorder is freed.
        process: The process. A forked one has none of them.
    """

    outer: Named
    runs: dict[str, tuple[Named, weakref.finalize[[str], object]]] = attrs.field(factory=dict)
    process: int = attrs.field(factory=os.getpid)


_open: _Open | None = None


def origin_among(sinks: Iterable[object]) -> Origin | None:
    """Return what the first of these sinks that knows it says that the runs are part of."""
    found = (getattr(sink, "origin", None) for sink in sinks)
    return next((each for each in found if isinstance(each, Origin)), None)


def origin_of(sinks: Iterable[object]) -> Origin | None:
    """Return what a run with these sinks is part of: what a sink knows, a parent run, or an array; None for nothing."""
    return origin_among(sinks) or parent_run() or slurm_task()


def announce(run: str, folder: Path, recorder: object) -> None:
    """Name an open run to the processes that start from now on, until `withdraw`.

    Args:
        run: Its id.
        folder: Its folder.
        recorder: What records it. If that is freed, the run is named no longer.
    """
    global _open  # noqa: PLW0603 (the environment is the process's too)
    if _open is None or _open.process != os.getpid() or not _open.runs:
        _open = _Open(_variables())
    withdraw(run)
    named = {RUN: run, FOLDER: str(folder)}
    at_end = weakref.finalize(recorder, withdraw, run)
    at_end.atexit = False
    _open.runs[run] = named, at_end
    _set(named)


def withdraw(run: str) -> None:
    """Name a run no longer."""
    if _open is None or _open.process != os.getpid() or run not in _open.runs:
        return
    _, at_end = _open.runs.pop(run)
    at_end.detach()
    _set(next(reversed(_open.runs.values()))[0] if _open.runs else _open.outer)


def parent_run() -> Origin | None:
    """Return the run, of another process, that this process was started in; None if there is none."""
    is_own = _open is not None and _open.process == os.getpid() and _open.runs
    named = _open.outer if _open is not None and is_own else _variables()
    if not named.get(RUN):
        return None
    return Origin(named[RUN], folder=Path(named[FOLDER]) if named.get(FOLDER) else None)


def slurm_task() -> Origin | None:
    """Return the SLURM array that this process is a task of, None if it is not."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return Origin(f"slurm-{array}", name=f"task-{as_name(task)}") if array and task else None


def new_name() -> str:
    """Return a name for a run of this process that no other run has."""
    return f"{as_name(multiprocessing.current_process().name)}-{uuid.uuid4().hex[:8]}"


def as_name(text: str) -> str:
    """Return a string as the name of a folder, at most 100 characters long."""
    return _REFUSED.sub("-", text).strip(".-")[:100] or "run"


def _variables() -> Named:
    return {name: os.environ[name] for name in (RUN, FOLDER) if name in os.environ}


def _set(named: Named) -> None:
    for name in (RUN, FOLDER):
        if name in named:
            os.environ[name] = named[name]
        else:
            os.environ.pop(name, None)
