"""A run's provenance: versions, the source's revision, host and process, as far as they are known at no cost.

Contract. Nothing here raises, imports a framework, starts a process or needs a network; unknown values are left out.
Everything is returned as JSON values.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from monitor_core import frameworks
from monitor_core._version import __version__
from monitor_core.journal.masking import masked

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_SLURM = ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def versions() -> dict[str, str]:
    """Return the versions of Python, of this package, and of the frameworks that are imported already, by name."""
    return {
        "python": platform.python_version(),
        "monitor_core": __version__,
        "numpy": np.__version__,
        **frameworks.versions(),
    }


def git_commit(folder: Path | None = None) -> str | None:
    """Return the commit that a folder's git repository is at, in hexadecimal, None if there is none.

    Git itself is not run; uncommitted changes are not detected.

    Args:
        folder: A folder in the working tree; None: the working folder.
    """
    with contextlib.suppress(OSError, ValueError):
        folder = Path(folder or Path.cwd()).resolve()
        for each in (folder, *folder.parents):
            if (repository := _repository(each / ".git")) is not None:
                return _resolved(repository)
    return None


def _repository(path: Path) -> Path | None:
    """Return the folder of a repository; in worktrees and submodules ``.git`` is a file that names it."""
    if path.is_dir():
        return path
    if not path.is_file():
        return None
    return path.parent / _text(path).removeprefix("gitdir:").strip()


def _resolved(repository: Path) -> str | None:
    head = _text(repository / "HEAD").strip()
    reference = head.removeprefix("ref:").strip()
    if reference == head:
        return _checked(head)
    common = repository
    with contextlib.suppress(OSError):  # a worktree's branches are in the main repository
        common = repository / _text(repository / "commondir").strip()
    for folder in (repository, common):
        with contextlib.suppress(OSError):
            return _checked(_text(folder / reference).strip())
    for line in _text(common / "packed-refs").splitlines():
        commit, _, name = line.partition(" ")
        if name == reference:
            return _checked(commit)
    return None


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _checked(text: str) -> str | None:
    """Return the string if it is a commit, else None."""
    return text if _COMMIT.fullmatch(text) else None


def this_process() -> dict[str, Any]:
    """Return what identifies this process: host, pid, and when it began, if the system provides it."""
    process: dict[str, Any] = {"host": platform.node(), "pid": os.getpid()}
    process.update(_birth(os.getpid()))
    return process


def is_alive(process: Mapping[str, Any]) -> bool | None:
    """Return whether the process that `this_process` described is alive; None if that cannot be determined from here.

    A process with the same pid that began at another time is a different one.
    """
    pid = process.get("pid")
    if process.get("host") != platform.node() or not isinstance(pid, int) or pid <= 0:
        return None
    if "started" in process and (birth := _birth(pid)):
        return birth.items() <= process.items()
    if pid == os.getpid():
        return True
    return None if os.name == "nt" else _answers(pid)  # on Windows, signal 0 is Ctrl-C


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it belongs to another user
        return True
    return True


def _birth(pid: int) -> dict[str, str]:
    """Return a running process's start, in ticks, and the boot they count from, if the system has them (Linux)."""
    with contextlib.suppress(OSError, IndexError):
        fields = _text(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()  # after its name, which may be anything
        has_ended = fields[0] in "ZX"  # and its parent has not waited for it yet
        return {"boot": _text(_BOOT_ID).strip(), "started": "" if has_ended else fields[19]}
    return {}


def job() -> dict[str, str]:
    """Return the ids of the SLURM job, as strings by the variables' names in lower case; empty outside of one."""
    return {name.lower(): os.environ[name] for name in _SLURM if os.environ.get(name)}


def describe() -> dict[str, Any]:
    """Return the provenance to record for a run."""
    return {
        "versions": versions(),
        "git_commit": git_commit(),
        "platform": platform.platform(),
        "argv": masked(map(str, sys.argv)),
        "process": this_process(),
        "job": job(),
    }
